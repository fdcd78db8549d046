"""The wizard on a serial line: a VT100 of 80x24 at 115200 baud. What it writes is counted, since there a byte takes 87 us."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bty.units import MIB
from tests.support.loop import LoopDisk
from tests.support.slow import Slow, slow_server
from tests.wizard.conftest import ENVIRONMENT, Shelf
from tests.wizard.terminal import Terminal, bty
from tests.wizard.test_screens import choose_disk

pytestmark = pytest.mark.loop
BAUD = 115200
SCREEN_BYTES = 24 * 80
A_SECOND = BAUD // 10
IN_50_MS = A_SECOND // 20


@pytest.fixture
def origin(shelf: Shelf) -> Iterator[Slow]:
    with slow_server(shelf.content("second.img"), rate=2 * MIB) as slow:
        yield slow


@pytest.fixture
def line(shelf: Shelf, origin: Slow, tmp_path: Path) -> Iterator[Terminal]:
    """The wizard with a folder and a catalog, whose image comes slowly."""
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(f'version = 1\n[[images]]\nname = "remote image"\nsrc = "{origin.url}/Second.img"\nformat = "img"\n')
    argv = bty("--image-root", str(shelf.folder), "--catalog", str(catalog))
    with Terminal(argv, columns=80, rows=24, term="vt100", baud=BAUD, env=ENVIRONMENT) as terminal:
        terminal.wait_for("Which image? 3")
        terminal.settle()
        yield terminal


def cost(terminal: Terminal, key: str, answer: str) -> int:
    """Press a key, wait for what it shows, and return how many bytes that took."""
    mark = terminal.mark()
    terminal.press(key)
    terminal.wait_for(answer)
    terminal.settle(after=mark)
    return terminal.written_since(mark)


def test_a_screen_is_there_in_a_fraction_of_a_second(line: Terminal) -> None:
    """The first picture, a new screen and a whole repaint take less than the screen has places; a step in a list what it takes in 50 ms."""
    assert line.mark() < SCREEN_BYTES
    assert cost(line, "Down", ">  2") < IN_50_MS
    assert cost(line, "Up", ">  1") < IN_50_MS
    assert cost(line, "?", "Keys: Images") < SCREEN_BYTES
    assert cost(line, "Escape", "Which image?") < SCREEN_BYTES
    assert cost(line, "C-l", "Which image?") < SCREEN_BYTES
    assert cost(line, "/", "/") < IN_50_MS
    line.send("no such image")
    line.wait_gone("second.img")
    for _ in range(2):
        line.press("Escape")
    line.wait_for("second.img")
    line.press("Escape")
    line.wait_for("Where do images come from?")
    line.press("q")
    line.wait_for("Leave the flasher?")
    line.press("y")
    assert line.wait_exit() == 0
    assert line.changes_left() == []


def test_keys_that_are_typed_ahead_are_not_lost(line: Terminal) -> None:
    """A person who knows the way types faster than the line paints: every key counts, in order."""
    line.press("Down", "Down", "Up", "?", "q", "Down")
    line.press("Enter")

    line.wait_for("Which disk?")
    assert "second.img" in line.screen()


def test_a_flash_by_a_serial_line(line: Terminal, origin: Slow, disk: LoopDisk) -> None:
    """From the list of images to the receipt; what comes in a second leaves most of the line free; the disk is the image."""
    line.press("/")
    line.send("remote")
    line.press("Enter")
    line.wait_gone("second.img")
    line.press("Enter")
    choose_disk(line, disk)
    line.send(disk.serial[-4:])
    line.press("Enter")
    line.wait_until(lambda screen: re.search(r"Write +\[[#.]+\] +[1-9]", screen) is not None, "bytes written")
    line.write_over("\r\n[   77.000001] scsi 2:0:0:0: Direct-Access")
    line.wait_for("Direct-Access")
    line.press("C-l")
    line.wait_gone("Direct-Access")
    mark, before = line.mark(), _passed(line.screen())
    line.wait_until(lambda screen: _passed(screen) >= before + 3, "three seconds of the flash")
    assert line.written_since(mark) < 4 * A_SECOND / 5
    line.press("l")
    line.wait_for("remote image to")
    line.press("Escape")
    origin.hurry.set()
    line.wait_for("Done: the disk is flashed")
    line.settle()
    line.press("q")
    assert line.wait_exit() == 0
    assert line.changes_left() == []
    assert line.output.isascii()
    assert disk.read(len(origin.body)) == origin.body


def _passed(screen: str) -> int:
    found = re.search(r"(\d):(\d\d) passed", screen)
    return int(found[1]) * 60 + int(found[2]) if found else 0
