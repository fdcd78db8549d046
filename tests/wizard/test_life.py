"""What happens to a terminal: it is resized, written over, stopped, dropped; the flasher is ended, or fails. On real terminals."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bty.flash.writer import HEAD_BYTES
from bty.units import MIB
from tests.support.api import eventually
from tests.support.loop import LoopDisk
from tests.support.slow import Slow, slow_server
from tests.wizard.conftest import ENVIRONMENT, Shelf
from tests.wizard.terminal import Terminal, bty
from tests.wizard.test_screens import choose_disk

pytestmark = pytest.mark.loop
# Runs the program with a picture that fails when the help is asked for.
BROKEN = """
import sys
from bty.agent.wizard import app
from bty.agent.wizard.frame import paint
from bty.agent.wizard.state import Overlay

def broken(state, look):
    if state.overlay is Overlay.HELP:
        raise ValueError("a defect of the picture")
    return paint(state, look)

app.paint = broken
sys.argv = ["bty.pyz", *sys.argv[1:]]
from bty.cli import main
sys.exit(main())
"""


@pytest.fixture
def origin(shelf: Shelf) -> Iterator[Slow]:
    """A server that sends so slowly that a test can look at a flash, until it says hurry."""
    with slow_server(shelf.content("first.img"), rate=MIB) as slow:
        yield slow


@pytest.fixture
def catalog(origin: Slow, tmp_path: Path) -> Path:
    path = tmp_path / "catalog.toml"
    path.write_text(f'version = 1\n[[images]]\nname = "slow.img"\nsrc = "{origin.url}/Slow.img"\nformat = "img"\n')
    return path


def start_flash(terminal: Terminal, disk: LoopDisk) -> None:
    """From the start until the first bytes are on the disk."""
    terminal.wait_for("slow.img")
    terminal.press("Enter")
    choose_disk(terminal, disk)
    terminal.send(disk.serial[-4:])
    terminal.press("Enter")
    terminal.wait_until(lambda screen: re.search(r"Write +\[[#█.░]+\] +[1-9]", screen) is not None, "bytes written")


def is_flashed(disk: LoopDisk, origin: Slow) -> bool:
    return disk.read(len(origin.body)) == origin.body


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_flash_is_seen_at_every_size_and_after_whatever_wrote_over_it(catalog: Path, origin: Slow, disk: LoopDisk) -> None:
    """Resized, printed over, and scrolled by what was printed: Ctrl-L puts it right, keys work, and the flash ends well."""
    with Terminal(bty("--catalog", str(catalog)), term="vt100", env=ENVIRONMENT) as terminal:
        start_flash(terminal, disk)
        terminal.resize(132, 43)
        terminal.wait_until(lambda screen: "-" * 131 in screen, "a line across the new width")
        mark = terminal.mark()
        terminal.resize(80, 24)
        terminal.settle(after=mark)
        terminal.write_over("\r\n[ 12.345678] usb 1-1: something was plugged in" * 12)
        terminal.wait_for("plugged in")
        terminal.press("C-l")
        terminal.wait_gone("plugged in")
        screen = terminal.wait_for("Flashing")
        assert len(re.findall("Write", screen)) == 1
        assert "c cancel" in screen
        terminal.press("l")
        terminal.wait_for("slow.img to")
        terminal.press("Escape")
        terminal.wait_for("Write")
        origin.hurry.set()
        terminal.wait_for("Done: the disk is flashed")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert terminal.changes_left() == []
    assert is_flashed(disk, origin)


def test_a_step_of_a_flash_says_only_what_changed(catalog: Path, origin: Slow, disk: LoopDisk) -> None:
    """Less than 200 bytes at 80x24, and the first picture is a small part of what a slow line takes in a second."""
    with Terminal(bty("--catalog", str(catalog)), term="vt100", env=ENVIRONMENT, baud=115200) as terminal:
        terminal.wait_for("slow.img")
        terminal.settle()
        assert terminal.mark() < 4000
        start_flash(terminal, disk)
        mark = terminal.mark()
        before = int(terminal.screen().partition(" passed")[0][-2:])
        terminal.wait_until(
            lambda screen: (found := re.search(r"0:(\d\d) passed", screen)) is not None and int(found[1]) >= before + 4, "4 s"
        )
        seconds = 5
        assert terminal.written_since(mark) < seconds * 2 * 200
        origin.hurry.set()
        terminal.wait_for("Done: the disk is flashed")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert is_flashed(disk, origin)


@pytest.mark.parametrize("how", ["a signal", "the key"])
def test_a_stopped_flasher_gives_the_terminal_back_and_goes_on_where_it_was(shelf: Shelf, how: str) -> None:
    """Ctrl-Z, or SIGTSTP from outside: the shell gets its terminal as it was; continued, the screen is there again."""
    with Terminal(bty("--image-root", str(shelf.folder)), env=ENVIRONMENT) as terminal:
        terminal.wait_for("first.img")
        if how == "the key":
            terminal.press("C-z")
            terminal.wait_stopped()
        else:
            terminal.suspend()
        terminal.settle()
        assert terminal.changes_left() == []
        terminal.write_over("the shell was here\r\n")
        terminal.resume()
        terminal.wait_for("Which image?")
        terminal.press("Down")
        terminal.wait_for(">  2")
        terminal.press("q", "y")
        assert terminal.wait_exit() == 0
        assert terminal.changes_left() == []


def test_a_shell_takes_the_terminal_and_gives_it_back(catalog: Path, origin: Slow, disk: LoopDisk) -> None:
    """What is typed goes to the shell until it ends; then the receipt is there again."""
    origin.hurry.set()
    with Terminal(bty("--catalog", str(catalog)), term="vt100", env={**ENVIRONMENT, "SHELL": "/bin/sh"}) as terminal:
        terminal.wait_for("slow.img")
        terminal.press("Enter")
        choose_disk(terminal, disk)
        terminal.send(disk.serial[-4:])
        terminal.press("Enter")
        terminal.wait_for("Done: the disk is flashed")
        terminal.press("s")
        terminal.wait_for("A shell.")
        terminal.send("echo $((6 * 7)) from the shell\n")
        terminal.wait_for("42 from the shell")
        terminal.send("exit\n")
        terminal.wait_for("Done: the disk is flashed")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert terminal.changes_left() == []


def test_a_cancelled_flash_leaves_a_disk_that_does_not_boot(catalog: Path, origin: Slow, disk: LoopDisk) -> None:
    """After the question; the reason stands on the screen, trying again works, and then all is well."""
    with Terminal(bty("--catalog", str(catalog)), term="vt100", env=ENVIRONMENT) as terminal:
        start_flash(terminal, disk)
        terminal.press("C-c")
        terminal.wait_for("Stop the flash?")
        terminal.press("y")
        screen = terminal.wait_for("Failed")
        assert "cancelled" in screen
        assert disk.read(HEAD_BYTES) == bytes(HEAD_BYTES)
        origin.hurry.set()
        terminal.press("t")
        terminal.wait_for("Done: the disk is flashed")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert is_flashed(disk, origin)


def test_whoever_ends_the_program_gets_the_terminal_back(shelf: Shelf) -> None:
    """SIGTERM while nothing is flashed."""
    with Terminal(bty("--image-root", str(shelf.folder)), env=ENVIRONMENT) as terminal:
        terminal.wait_for("first.img")
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait_exit() == 128 + signal.SIGTERM
        assert terminal.changes_left() == []


def test_whoever_ends_a_flash_cancels_it(catalog: Path, origin: Slow, disk: LoopDisk) -> None:
    """SIGTERM while it writes: as if cancelled, with the exit code of that, and a disk that does not boot."""
    with Terminal(bty("--catalog", str(catalog)), env=ENVIRONMENT) as terminal:
        start_flash(terminal, disk)
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait_exit() == 15
        assert terminal.changes_left() == []
        assert "cancelled" in terminal.screen()
    assert disk.read(HEAD_BYTES) == bytes(HEAD_BYTES)


def test_a_dropped_terminal_ends_a_wizard_and_no_flash(catalog: Path, origin: Slow, disk: LoopDisk, shelf: Shelf) -> None:
    """As when ssh breaks: nobody is there to choose, so the wizard ends; a flash goes on to its end first."""
    with Terminal(bty("--image-root", str(shelf.folder)), env=ENVIRONMENT) as terminal:
        terminal.wait_for("first.img")
        terminal.hang_up()
        terminal.wait_gone_after_hang_up()
    with Terminal(bty("--catalog", str(catalog)), env=ENVIRONMENT) as terminal:
        start_flash(terminal, disk)
        pid = terminal.pid
        terminal.hang_up()

        def is_flashed_although_hung_up_again() -> bool:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)  # a shell that ends sends one more to what it started
            return is_flashed(disk, origin)

        origin.hurry.set()
        eventually(is_flashed_although_hung_up_again)
        terminal.wait_gone_after_hang_up()
        assert not runs(pid) or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_defect_of_the_screen_gives_the_terminal_back_and_ends_no_flash(catalog: Path, origin: Slow, disk: LoopDisk) -> None:
    """The traceback is there to be read, the flash goes on without a screen, and its receipt is printed."""
    with Terminal([sys.executable, "-c", BROKEN, "--catalog", str(catalog)], env=ENVIRONMENT, rows=40) as terminal:
        start_flash(terminal, disk)
        terminal.press("?")
        terminal.wait_for("the flash is not: waiting for its end")
        origin.hurry.set()
        assert terminal.wait_exit() == 1
        assert terminal.changes_left() == []
        assert "a defect of the picture" in terminal.screen()
        assert f"flashed {disk.path}" in terminal.screen()
    assert is_flashed(disk, origin)


@pytest.mark.parametrize("locale", [["LC_ALL=C"], ["-u", "LC_ALL", "LANG=C"], ["-u", "LC_ALL", "-u", "LANG"]], ids=" ".join)
def test_without_a_locale_that_has_them_no_letters_beyond_ascii_are_sent(shelf: Shelf, locale: list[str]) -> None:
    """In the C locale Python itself would send UTF-8."""
    argv = ["env", "-u", "LC_CTYPE", *locale, *bty("--image-root", str(shelf.folder))]
    with Terminal(argv, env=ENVIRONMENT) as terminal:
        terminal.wait_for("first.img")
        terminal.press("q", "y")
        assert terminal.wait_exit() == 0
        assert terminal.output.isascii()


def test_colours_go_where_they_are_not_wanted(shelf: Shelf) -> None:
    """NO_COLOR: bold and reverse at most."""
    with Terminal(bty("--image-root", str(shelf.folder)), env={**ENVIRONMENT, "NO_COLOR": "1"}) as terminal:
        terminal.wait_for("first.img")
        terminal.press("q", "y")
        assert terminal.wait_exit() == 0
        looks = {number for codes in re.findall(rb"\x1b\[([\d;]*)m", terminal.output) for number in codes.split(b";")}
        assert looks <= {b"", b"0", b"1", b"7"}


def test_the_mouse_chooses(shelf: Shelf) -> None:
    """A click moves to a line, a second one chooses it; the wheel moves too."""
    with Terminal(bty("--image-root", str(shelf.folder)), env=ENVIRONMENT) as terminal:
        terminal.wait_for("second.img")
        row = next(number for number, line in enumerate(terminal.screen().splitlines(), 1) if "second.img" in line)
        for expected in (">  2 second.img", "[3.Disk]"):
            terminal.send(f"\x1b[<0;10;{row}M\x1b[<0;10;{row}m")
            terminal.wait_for(expected)
        terminal.press("C-c", "y")
        assert terminal.wait_exit() == 0
        assert terminal.changes_left() == []


def test_a_flash_on_plain_lines_is_cancelled_after_a_question(catalog: Path, origin: Slow, disk: LoopDisk) -> None:
    """Ctrl-C asks, a line goes on, y stops; and SIGTERM needs no answer."""
    for how in ("asked", "terminated"):
        with Terminal(bty("--catalog", str(catalog)), term="dumb", rows=60, env=ENVIRONMENT) as terminal:
            for awaited, answer in (
                ("1 slow.img", "1"),
                (disk.path, f"/{disk.serial}"),
                (f"filter: {disk.serial}", "1"),
                ("Type the last 4", disk.serial[-4:]),
            ):
                terminal.wait_for(awaited)
                terminal.send(f"{answer}\n")
            terminal.wait_for("writing  ")
            if how == "terminated":
                os.kill(terminal.pid, signal.SIGTERM)
                assert terminal.wait_exit() == 15
            else:
                terminal.press("C-c")
                terminal.wait_for("Stop the flash?")
                terminal.send("n\n")
                terminal.wait_for("(Ctrl-C cancels)")
                terminal.press("C-c")
                terminal.wait_until(lambda screen: screen.count("Stop the flash?") == 2, "the question again")
                terminal.send("y\n")
                terminal.wait_for("the flash was cancelled")
                terminal.send("q\n")
                assert terminal.wait_exit() == 15
            assert terminal.changes_left() == []
        assert not is_flashed(disk, origin)
