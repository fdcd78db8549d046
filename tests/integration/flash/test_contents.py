"""What is on a disk now, as somebody about to overwrite it is shown."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bty.errors import CommandFailed
from bty.host.contents import read_contents
from bty.units import MIB
from tests.support.loop import LoopDisk

pytestmark = pytest.mark.loop


def _table(disk: LoopDisk, script: str) -> None:
    subprocess.run(["sfdisk", "-q", "--no-reread", disk.path], input=script, text=True, check=True)
    subprocess.run(["partx", "--update", disk.path], check=True)


@pytest.mark.needs("sfdisk", "mkfs.vfat", "mke2fs", "partx")
def test_partitions_are_told_with_file_system_and_label(disk: LoopDisk) -> None:
    """Both of the names that a partition may have: its own, and that of the file system on it."""
    _table(disk, 'label: gpt\nsize=4M, type=U, name="ESP"\nsize=8M, type=L\ntype=L\n')
    subprocess.run(["mkfs.vfat", "-n", "BOOTING", f"{disk.path}p1"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "root of it", f"{disk.path}p2"], check=True)
    try:
        contents = read_contents(disk.path)
    finally:
        subprocess.run(["partx", "--delete", disk.path], check=True)

    assert contents.table == "gpt"
    assert [(part.path.removeprefix(disk.path), part.kind, part.label, part.name) for part in contents.parts] == [
        ("p1", "vfat", "BOOTING", "ESP"),
        ("p2", "ext4", "root of it", None),
        ("p3", None, None, None),
    ]
    assert contents.parts[0].size_bytes == 4 * MIB


@pytest.mark.needs("mke2fs")
def test_a_disk_may_hold_a_file_system_and_no_partitions(disk: LoopDisk) -> None:
    """It is then told like a partition."""
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "whole", disk.path], check=True)
    contents = read_contents(disk.path)

    assert (contents.table, [(part.path, part.kind, part.label) for part in contents.parts]) == (None, [(disk.path, "ext4", "whole")])


def test_a_disk_of_noise_holds_nothing_that_is_known(disk: LoopDisk) -> None:
    """No guess is made."""
    contents = read_contents(disk.path)

    assert (contents.table, contents.parts) == (None, ())


def test_a_disk_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """With the words of lsblk."""
    with pytest.raises(CommandFailed, match="not a block device"):
        read_contents(str(tmp_path / "none"))
