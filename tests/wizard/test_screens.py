"""The wizard, on real terminals, through every screen onto a real block device, which is then compared with the image."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.loop import LoopDisk
from tests.support.process import free_port
from tests.wizard.conftest import ENVIRONMENT, Shelf
from tests.wizard.terminal import Display, Terminal, Tmux, bty

pytestmark = pytest.mark.loop
TERMINALS = [("vt100", 80, 24), ("xterm-256color", 132, 43), ("linux", 80, 25), ("vt220", 40, 12)]


def choose_disk(display: Display, disk: LoopDisk, *, verify: bool = False) -> None:
    """From the list of disks to the question, by the filter, as there may be others."""
    display.wait_for("Which disk?")
    display.press("/")
    display.send(disk.serial)
    display.press("Enter")
    display.wait_for(f"1 [ ] {disk.path}")
    if verify:
        display.press("v")
        display.wait_for("verify after writing: yes")
    display.press("Enter")
    display.wait_for("Type the last 4 characters")


def flash_second_image(display: Display, disk: LoopDisk) -> str:
    """From the list of images to the receipt; returns the screen at the end."""
    display.wait_for("second.img")
    display.press("Down", "Enter")
    choose_disk(display, disk)
    display.send(disk.serial[-4:])
    display.press("Enter")
    return display.wait_for("Done: the disk is flashed")


@pytest.mark.parametrize(("term", "columns", "rows"), TERMINALS)
def test_every_screen_on_the_way_to_a_flashed_disk(shelf: Shelf, disk: LoopDisk, term: str, columns: int, rows: int) -> None:
    """Image, disk, confirmation, flash, receipt; the disk is the image, and the terminal is left as it was."""
    argv = bty("--image-root", str(shelf.folder))
    with Terminal(argv, columns=columns, rows=rows, term=term, env=ENVIRONMENT) as terminal:
        flash_second_image(terminal, disk)
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert terminal.changes_left() == []
        assert f"flashed {disk.path}" in terminal.screen()
        if term.startswith("vt"):
            assert terminal.output.isascii()
            assert b"?1049" not in terminal.output
            looks = {number for codes in re.findall(rb"\x1b\[([\d;]*)m", terminal.output) for number in codes.split(b";")}
            assert looks <= {b"", b"0", b"1", b"7"}, "more than plain, bold and reverse"
    image = shelf.content("second.img")
    assert disk.read(len(image)) == image


def test_the_disk_is_read_back_where_somebody_wants_it(shelf: Shelf, disk: LoopDisk) -> None:
    """The receipt says so."""
    with Terminal(bty("--image-root", str(shelf.folder)), term="vt100", env=ENVIRONMENT) as terminal:
        terminal.wait_for("first.img")
        terminal.press("Enter")
        choose_disk(terminal, disk, verify=True)
        terminal.send(disk.serial[-4:])
        terminal.press("Enter")
        screen = terminal.wait_for("Done: the disk is flashed")
        assert "read back" in " ".join(screen.split())
        terminal.press("q")
        assert terminal.wait_exit() == 0


@pytest.mark.needs("tmux")
def test_every_screen_in_tmux(shelf: Shelf, disk: LoopDisk, tmp_path: Path) -> None:
    """The same keys, sent by tmux to a terminal of its own."""
    # tmux 3 now and then does not take notice of how a program ended, so a shell tells it.
    argv = ["sh", "-c", '"$@"; echo "ended with $?"; read _', "sh", *bty("--image-root", str(shelf.folder))]
    with Tmux(argv, socket=tmp_path / "tmux", env=ENVIRONMENT) as tmux:
        flash_second_image(tmux, disk)
        tmux.press("q")
        tmux.wait_for("ended with 0")
    image = shelf.content("second.img")
    assert disk.read(len(image)) == image


def test_every_screen_as_numbered_prompts(shelf: Shelf, disk: LoopDisk) -> None:
    """A terminal that cannot move its cursor gets plain lines, and not one escape sequence."""
    with Terminal(bty("--image-root", str(shelf.folder)), rows=60, term="dumb", env=ENVIRONMENT) as terminal:
        for awaited, answer in (
            ("2 second.img", "2"),
            (disk.path, f"/{disk.serial}"),
            (f"filter: {disk.serial}", "1"),
            ("Type the last 4 characters", "nope"),
            ("That is not it", disk.serial[-4:]),
            ("Done: the disk is flashed", "q"),
        ):
            terminal.wait_for(awaited)
            terminal.send(f"{answer}\n")
        assert terminal.wait_exit() == 0
        assert b"\x1b" not in terminal.output
        assert terminal.changes_left() == []
    image = shelf.content("second.img")
    assert disk.read(len(image)) == image


def test_two_disks_get_one_image(shelf: Shelf, disk: LoopDisk, other_disk: LoopDisk) -> None:
    """Both are marked, each is confirmed by its own serial, and both are the image at the end."""
    with Terminal(bty("--image-root", str(shelf.folder)), term="vt100", env=ENVIRONMENT) as terminal:
        terminal.wait_for("second.img")
        terminal.press("Down", "Enter")
        terminal.wait_for("Which disk?")
        terminal.press("/")
        terminal.send(f"{os.getpid()}-")
        terminal.press("Enter")
        terminal.wait_for("filter:")
        terminal.wait_for(disk.path)  # they may be listed after the keys were typed
        terminal.wait_for(other_disk.path)
        terminal.press("Home", "Space", "Space")
        terminal.wait_for("2 marked")
        terminal.press("Enter")
        for number in (1, 2):
            screen = terminal.wait_for(f"disk {number} of 2")
            wanted = disk if f"Disk    {disk.path}," in screen else other_disk
            terminal.send(wanted.serial[-4:])
            terminal.press("Enter")
        terminal.wait_for("Done: 2 disks are flashed")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    image = shelf.content("second.img")
    assert disk.read(len(image)) == image
    assert other_disk.read(len(image)) == image


def test_a_wrong_confirmation_writes_nothing(shelf: Shelf, disk: LoopDisk) -> None:
    """Nor does leaving after it; and from the confirmation one comes back to the first screen, one Esc at a time."""
    before = disk.read(1 << 20)
    with Terminal(bty("--image-root", str(shelf.folder)), term="vt100", env=ENVIRONMENT) as terminal:
        terminal.wait_for("first.img")
        terminal.press("Enter")
        choose_disk(terminal, disk)
        terminal.send("nope")
        terminal.press("Enter")
        terminal.wait_for("That is not it")
        terminal.press("Escape")
        terminal.wait_for("Which disk?")
        terminal.press("Escape")
        terminal.wait_gone("filter:")
        terminal.press("Escape")
        terminal.wait_for("Which image?")
        terminal.press("Escape")
        terminal.wait_for("Where do images come from?")
        terminal.press("q")
        terminal.wait_for("Leave the flasher?")
        terminal.press("y")
        assert terminal.wait_exit() == 0
        assert terminal.changes_left() == []
    assert disk.read(1 << 20) == before


def test_an_image_that_does_not_answer_is_told_before_anything_is_lost(tmp_path: Path, disk: LoopDisk) -> None:
    """On the confirmation, with the reason."""
    address = f"http://127.0.0.1:{free_port()}/gone.img"
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(f'version = 1\n[[images]]\nname = "gone.img"\nsrc = "{address}"\nformat = "img"\n')
    with Terminal(bty("--catalog", str(catalog)), term="vt100", env=ENVIRONMENT) as terminal:
        terminal.wait_for("gone.img")
        terminal.press("Enter")
        choose_disk(terminal, disk)
        terminal.wait_for("The image cannot be had now", 60)
        terminal.press("Escape")
        terminal.wait_for("Which disk?")


def test_without_a_terminal_there_is_help(shelf: Shelf) -> None:
    """Nobody could press a key: the help goes to standard error, as for wrong words."""
    ran = subprocess.run(bty("--image-root", str(shelf.folder)), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    assert ran.returncode == 2
    assert "usage: bty" in ran.stderr
    assert ran.stdout == ""
