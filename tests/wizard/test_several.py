"""Several disks for one image, of which one fails: each has its own bar and outcome, and only the failed one is tried again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bty.flash.writer import HEAD_BYTES
from bty.units import MIB
from tests.support.loop import LoopDisk, full_disk
from tests.wizard.conftest import DISK_BYTES, ENVIRONMENT, Shelf
from tests.wizard.terminal import Terminal, bty

pytestmark = pytest.mark.loop


def test_a_disk_that_fails_is_told_beside_the_one_that_is_flashed(shelf: Shelf, disk: LoopDisk, tmp_path: Path) -> None:
    """The good one is the image, the bad one does not boot; once its cause is gone, trying again flashes it alone."""
    room = tmp_path / "small"
    with full_disk(room, DISK_BYTES, room=4 * MIB) as bad:
        with Terminal(bty("--image-root", str(shelf.folder)), rows=30, term="vt100", env=ENVIRONMENT) as terminal:
            terminal.wait_for("first.img")
            terminal.press("Enter")
            for number, target in enumerate((disk, bad), 1):
                terminal.wait_for("Which disk?")
                terminal.press("/")
                terminal.send(target.serial)
                terminal.press("Enter")
                terminal.wait_for(f"1 [ ] {target.path}")
                terminal.press("Home", "Space")
                terminal.wait_for(f"{number} marked")
                terminal.press("Escape")
                terminal.wait_gone("filter:")
            terminal.press("Enter")
            for number in (1, 2):
                screen = terminal.wait_for(f"disk {number} of 2")
                wanted = disk if f"Disk    {disk.path}," in screen else bad
                terminal.send(wanted.serial[-4:])
                terminal.press("Enter")
            screen = terminal.wait_for("1 of 2 disks")
            assert f"failed: {bad.path}" in screen
            assert disk.read(len(shelf.content("first.img"))) == shelf.content("first.img")
            assert bad.read(HEAD_BYTES) == bytes(HEAD_BYTES)
            subprocess.run(["mount", "-o", f"remount,size={2 * DISK_BYTES}", room], check=True)
            terminal.press("t")
            terminal.wait_for("Done: the disk is flashed")
            terminal.press("q")
            assert terminal.wait_exit() == 0
        assert bad.read(len(shelf.content("first.img"))) == shelf.content("first.img")
