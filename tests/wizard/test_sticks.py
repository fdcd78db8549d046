"""Sticks with images: plugged in while the wizard runs, flashed from, and free to be pulled at the end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.loop import LoopDisk
from tests.wizard.conftest import ENVIRONMENT, Shelf
from tests.wizard.terminal import Terminal, bty
from tests.wizard.test_screens import choose_disk

pytestmark = [pytest.mark.loop, pytest.mark.needs("mke2fs")]


def test_a_stick_that_is_plugged_in_later_is_found_and_flashed_from(shelf: Shelf, disk: LoopDisk, tmp_path: Path) -> None:
    """`r` finds it; it is mounted read-only while the wizard runs and cannot be chosen as a disk; afterwards it is free."""
    tree, backing, root = tmp_path / "tree", tmp_path / f"stick-{os.getpid()}", tmp_path / "images"
    tree.mkdir()
    root.mkdir()
    name = f"stick-{os.getpid()}.img"  # other sticks may be in this machine, and other flashers
    (tree / name).write_bytes(shelf.content("first.img"))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "BTY_IMAGES", "-d", tree, backing, "32M"], check=True, stdout=subprocess.DEVNULL)
    with Terminal(bty("--image-root", str(root)), term="vt100", env=ENVIRONMENT) as terminal:
        terminal.wait_for("Which image?")
        terminal.settle()
        assert name not in terminal.screen()
        device = subprocess.run(["losetup", "--find", "--show", backing], check=True, capture_output=True, text=True).stdout.strip()
        try:
            terminal.press("r")
            terminal.wait_for(name)
            terminal.press("/")
            terminal.send(name)
            terminal.press("Enter")
            terminal.wait_for("Which image? 1")
            terminal.press("Enter")
            terminal.wait_for("Which disk?")
            terminal.press("/")
            terminal.send(f"stick-{os.getpid()}")
            terminal.press("Enter")
            terminal.wait_for("is mounted at /run/bty/sticks")
            terminal.press("Escape")
            terminal.wait_gone("filter:")
            choose_disk(terminal, disk)
            terminal.send(disk.serial[-4:])
            terminal.press("Enter")
            terminal.wait_for("Done: the disk is flashed")
            mount = f"{device} /run/bty/sticks/{terminal.pid}/"
            assert mount in Path("/proc/mounts").read_text()
            terminal.press("q")
            assert terminal.wait_exit() == 0
            assert mount not in Path("/proc/mounts").read_text()
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)
    image = shelf.content("first.img")
    assert disk.read(len(image)) == image
