"""The unattended run on a terminal: the plan of a real daemon, seen on the wizard's screen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import Operator
from tests.support.hostile import Behaviour, End, Hostile, hostile_server
from tests.support.loop import LoopDisk
from tests.support.process import DaemonProcess
from tests.wizard.conftest import ENVIRONMENT, Shelf
from tests.wizard.terminal import Terminal, bty
from tests.wizard.test_screens import choose_disk

pytestmark = pytest.mark.loop
MAC = "52:54:00:11:22:33"


@pytest.fixture
def origin(shelf: Shelf) -> Iterator[Hostile]:
    with hostile_server(Hostile(body=shelf.content("first.img"))) as server:
        yield server


def _add_image(operator: Operator, origin: Hostile) -> str:
    entry = {"image_url": f"{origin.url}/os.img", "sha256": hashlib.sha256(origin.body).hexdigest(), "format": "img"}
    return str(operator.call("POST", "/catalog/entries", entry)["bty_image_ref"])


def _add_unproved(operator: Operator, origin: Hostile) -> None:
    operator.call("POST", "/catalog/entries", {"image_url": f"{origin.url}/plain.img"})


def _argv(daemon: DaemonProcess) -> list[str]:
    return bty("--server", daemon.url, "--mac", MAC, "--no-reboot")


def _flash_the_servers_image(terminal: Terminal, disk: LoopDisk) -> None:
    """From the list of images to the end of the program, which must be a success."""
    terminal.press("/")
    terminal.send("os.img")
    terminal.press("Enter", "Enter")
    choose_disk(terminal, disk)
    terminal.send(disk.serial[-4:])
    terminal.press("Enter")
    terminal.wait_for("Done: the disk is flashed")
    terminal.press("q")
    assert terminal.wait_exit() == 0


def test_the_plan_is_done_in_sight_and_nobody_presses_a_key(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk
) -> None:
    """The disk is the image, the daemon knows it once, and the terminal is as it was, with the receipt on it."""
    operator.bind(MAC, _add_image(operator, origin), disk.serial)
    # The source breaks and is away for a moment: a flash of so little is over before it was painted otherwise.
    origin.script = [Behaviour(end=End.CLOSE, end_after=9_000_000), *[Behaviour(status=503)] * 3, Behaviour()]
    operator.boot(MAC)
    with Terminal(_argv(daemon), term="vt100", env=ENVIRONMENT) as terminal:
        assert terminal.wait_exit(30) == 0
        assert terminal.changes_left() == []
        assert f"flashed {disk.path}" in terminal.screen()
        assert b"as the server's plan says" in terminal.output
    assert disk.read(len(origin.body)) == origin.body
    assert len(operator.events("machine.flashed")) == 1


def test_a_machine_that_gave_up_waits_with_the_reason_and_is_flashed_by_hand(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk
) -> None:
    """Three attempts, then choices; the first of them tries again, this time with success, which the daemon hears too."""
    ref = _add_image(operator, origin)
    operator.bind(MAC, ref, disk.serial)
    origin.script = [Behaviour(flip_at=9_000_000)]
    operator.boot(MAC)
    with Terminal(_argv(daemon), term="vt100", env=ENVIRONMENT) as terminal:
        terminal.wait_for("attempt 1 of 3")
        terminal.wait_for("The next attempt begins in")
        screen = terminal.wait_for("t try again", timeout_s=60)
        assert "promised was" in " ".join(screen.split())
        assert len(operator.events("machine.flash.failed")) == 3
        origin.script = []
        terminal.press("t")
        terminal.wait_for("Done: the disk is flashed")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert disk.read(len(origin.body)) == origin.body
    (flashed,) = operator.events("machine.flashed")
    assert flashed["details"]["ref"] == ref


def test_an_interactive_plan_lets_a_person_choose_from_the_servers_catalog(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk
) -> None:
    """What was picked is reported, and the binding stays as it was."""
    ref = _add_image(operator, origin)
    operator.bind(MAC, None, None, "bty-tui")
    operator.boot(MAC)
    with Terminal(_argv(daemon), term="vt100", env=ENVIRONMENT) as terminal:
        assert "on the server" not in terminal.wait_for("os.img")
        _flash_the_servers_image(terminal, disk)
    assert disk.read(len(origin.body)) == origin.body
    (flashed,) = operator.events("machine.flashed")
    assert flashed["details"]["ref"] == ref
    assert operator.call("GET", f"/machines/{MAC}")["bty_image_ref"] is None


def test_an_interactive_plan_asks_by_numbered_prompts_where_no_screen_can_be(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk
) -> None:
    """A terminal without a cursor, too, has a person at it, who is told that an image has no digest and may have it."""
    _add_unproved(operator, origin)
    operator.bind(MAC, None, None, "bty-tui")
    operator.boot(MAC)
    with Terminal(_argv(daemon), term="dumb", rows=100, env=ENVIRONMENT) as terminal:
        assert re.search(r"1 plain\.img +img +none ", terminal.wait_for("plain.img"))
        for awaited, answer in (
            ("plain.img", "/plain.img"),
            ("filter: plain.img", "1"),
            (disk.path, f"/{disk.serial}"),
            (f"filter: {disk.serial}", "1"),
            ("No digest is promised for this image", disk.serial[-4:]),
            ("Done: the disk is flashed", "q"),
        ):
            terminal.wait_for(awaited)
            terminal.send(f"{answer}\n")
        assert terminal.wait_exit() == 0
    assert disk.read(len(origin.body)) == origin.body
    assert len(operator.events("machine.flashed")) == 1


def test_an_image_of_the_server_that_has_no_digest_is_marked_and_can_be_chosen(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk
) -> None:
    """It is in the list beside one that has, and the confirmation says what that means."""
    _add_image(operator, origin)
    _add_unproved(operator, origin)
    with Terminal(bty("--server", daemon.url), term="vt100", env=ENVIRONMENT) as terminal:
        screen = terminal.wait_for("plain.img")
        assert re.search(r"os\.img +img +sha256 ", screen)
        assert re.search(r"plain\.img +img +none ", screen)
        terminal.press("/")
        terminal.send("plain.img")
        terminal.wait_for("no digest is promised: right as far as the transport is")
        terminal.press("Enter", "Enter")
        choose_disk(terminal, disk)
        assert "No digest is promised for this image" in terminal.screen()
        terminal.send(disk.serial[-4:])
        terminal.press("Enter")
        terminal.wait_for("Done: the disk is flashed")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert disk.read(len(origin.body)) == origin.body


def test_a_person_chooses_from_the_catalog_of_a_server(daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk) -> None:
    """`--server` alone: this machine has no part in the fleet, so nothing is reported."""
    _add_image(operator, origin)
    with Terminal(bty("--server", daemon.url), term="vt100", env=ENVIRONMENT) as terminal:
        terminal.wait_for("os.img")
        _flash_the_servers_image(terminal, disk)
    assert disk.read(len(origin.body)) == origin.body
    assert operator.events("machine.flashed") == []


def test_a_terminal_that_moves_no_cursor_gets_plain_lines(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk
) -> None:
    """As a log does."""
    operator.bind(MAC, _add_image(operator, origin), disk.serial)
    operator.boot(MAC)
    with Terminal(_argv(daemon), term="dumb", env=ENVIRONMENT) as terminal:
        assert terminal.wait_exit(30) == 0
        assert b"bty: auto-flash starting" in terminal.output
        assert b"\x1b[?" not in terminal.output
    assert disk.read(len(origin.body)) == origin.body


def _logged(argv: list[str], log: Path) -> list[str]:
    return ["sh", "-c", 'exec "$@" 2>"$0"', str(log), *argv]


def test_a_log_gets_the_lines_and_the_terminal_the_screen(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk, tmp_path: Path
) -> None:
    """With standard error in a file the file tells the run to who was not there; its markers come once."""
    operator.bind(MAC, _add_image(operator, origin), disk.serial)
    operator.boot(MAC)
    log = tmp_path / "log"
    with Terminal(_logged(_argv(daemon), log), term="vt100", env=ENVIRONMENT) as terminal:
        assert terminal.wait_exit(30) == 0
        assert b"as the server's plan says" in terminal.output
        assert b"bty: auto-flash starting" not in terminal.output
    said = log.read_text()
    assert f"bty: os.img to {disk.path}" in said
    assert f"flashed {disk.path}" in said
    for marker in ("bty: entered v", "bty: auto-flash starting", "bty: flash complete", "bty: exiting v"):
        assert said.count(marker) == 1, marker


def test_a_machine_without_its_disk_says_so_on_the_screen_and_has_a_shell(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, tmp_path: Path
) -> None:
    """The reason is there between the attempts and afterwards; the shell speaks on the terminal, not into the log."""
    operator.bind(MAC, _add_image(operator, origin), "no-such-serial")
    operator.boot(MAC)
    log = tmp_path / "log"
    with Terminal(_logged(_argv(daemon), log), term="vt100", env=ENVIRONMENT) as terminal:
        screen = terminal.wait_for("attempt 2 of 3 follows")
        assert "no-such-serial" in " ".join(screen.split())
        screen = terminal.wait_for("t try again", timeout_s=60)
        assert "no-such-serial" in " ".join(screen.split())
        terminal.press("s")
        terminal.wait_for("`exit` goes back")
        terminal.send("PS1='ready> '\n")
        terminal.wait_for("ready> ")
        terminal.send("exit\n")
        terminal.wait_for("t try again")
        terminal.press("q")
        assert terminal.wait_exit() == 10
    assert log.read_text().count("no-such-serial") >= 3
    assert len(operator.events("machine.flash.failed")) == 3


def test_what_is_written_to_the_console_beside_the_screen_does_not_stay_on_it(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk
) -> None:
    """The console may show the very session that the screen is in: the picture is whole again a moment after each marker."""
    operator.bind(MAC, _add_image(operator, origin), disk.serial)
    origin.script = [Behaviour(flip_at=9_000_000)] * 3
    operator.boot(MAC)
    argv = ["sh", "-c", 'BTY_CONSOLE=$(tty) exec "$@"', "sh", *_argv(daemon)]
    with Terminal(argv, term="vt100", env=ENVIRONMENT) as terminal:
        terminal.wait_for("t try again", timeout_s=60)
        terminal.wait_until(lambda screen: "bty: " not in screen and "t try again" in screen, "a picture without markers")
        assert b"\nbty: auto-flash starting\r" in terminal.output
        assert terminal.output.count(b"bty: exiting v") == 1
        terminal.press("q")
        assert terminal.wait_exit() == 13
