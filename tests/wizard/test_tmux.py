"""The wizard in tmux: it is left alone, looked at from terminals of other sizes, and typed to by whoever is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bty.units import MIB
from tests.support.loop import LoopDisk
from tests.support.slow import Slow, slow_server
from tests.wizard.conftest import ENVIRONMENT, Shelf
from tests.wizard.terminal import Terminal, Tmux, bty
from tests.wizard.test_screens import choose_disk

pytestmark = [pytest.mark.loop, pytest.mark.needs("tmux")]


@pytest.fixture
def origin(shelf: Shelf) -> Iterator[Slow]:
    with slow_server(shelf.content("first.img"), rate=MIB) as slow:
        yield slow


@pytest.fixture
def tmux(origin: Slow, tmp_path: Path) -> Iterator[Tmux]:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(f'version = 1\n[[images]]\nname = "slow image"\nsrc = "{origin.url}/First.img"\nformat = "img"\n')
    # A shell tells how the program ended, since tmux does not always notice.
    argv = ["sh", "-c", '"$@"; echo "ended with $?"; read _', "sh", *bty("--catalog", str(catalog))]
    with Tmux(argv, socket=tmp_path / "tmux", env=ENVIRONMENT) as tmux:
        tmux.wait_until(lambda screen: "slow image" in screen and "looking" not in screen and "loading" not in screen, "all images")
        yield tmux


def start_flash(tmux: Tmux, disk: LoopDisk) -> None:
    tmux.press("Enter")
    choose_disk(tmux, disk)
    tmux.send(disk.serial[-4:])
    tmux.press("Enter")
    tmux.wait_until(lambda screen: re.search(r"Write +\[[^\]]+\] +[1-9]", screen) is not None, "bytes written")


def test_a_flash_outlives_the_line_of_whoever_began_it(tmux: Tmux, origin: Slow, disk: LoopDisk) -> None:
    """The client's line drops in the middle; who attaches later, from a terminal of another size, sees it go on, and ends it."""
    with Terminal(tmux.attach_argv, columns=80, rows=24, term="vt100") as first:
        first.wait_for("slow image")
        start_flash(tmux, disk)
        first.wait_for("Flashing")
        first.hang_up()
    with Terminal(tmux.attach_argv, columns=120, rows=40) as second:
        second.wait_for("Flashing")
        second.wait_until(lambda screen: any(len(line) > 100 for line in screen.splitlines()), "the whole width used")
        origin.hurry.set()
        second.wait_for("Done: the disk is flashed")
        second.press("q")
        second.wait_for("ended with 0")
    assert disk.read(len(origin.body)) == origin.body


@pytest.mark.parametrize(("columns", "rows"), [(132, 43), (40, 12), (20, 6)])
def test_a_window_of_any_size_is_filled_and_left(tmux: Tmux, columns: int, rows: int) -> None:
    """Resized while it stands; back at 80x24 the picture is what it was, but for what has come since."""
    before = tmux.screen()
    tmux.resize(columns, rows)
    tmux.wait_until(lambda screen: screen != before and 0 < max(map(len, screen.splitlines()), default=0) <= columns, "another picture")
    tmux.resize(80, 24)
    tmux.wait_until(lambda screen: screen == before, "the picture as it was")
    tmux.press("q")
    tmux.wait_for("Leave the flasher?")
    tmux.press("y")
    tmux.wait_for("ended with 0")


def test_keys_as_tmux_sends_them(tmux: Tmux) -> None:
    """Paging, Home and End, Backspace, a paste: a catalog's address is typed and pasted, wrong, with its case kept."""
    tmux.press("Escape")
    tmux.wait_for("Where do images come from?")
    tmux.press("End", "Home", "NPage", "PPage", "a")
    tmux.send("/No/Such/Foldex")
    tmux.press("BSpace")
    tmux.send("r/Catalog.TOML")
    tmux.press("Enter")
    tmux.wait_for("/No/Such/Folder/Catalog.TOML")
    tmux.wait_for("no file or folder")
    tmux.press("q")
    tmux.wait_for("Leave the flasher?")
    tmux.press("y")
    tmux.wait_for("ended with 0")
