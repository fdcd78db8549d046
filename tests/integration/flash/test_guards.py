"""What must not be written is refused with its reason, before a byte is written."""

from __future__ import annotations

import json
import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from bty.units import MIB
from tests.integration.flash.conftest import run_bty
from tests.support.loop import LoopDisk, loop_disk

pytestmark = pytest.mark.loop


def _assert_refused(disk: LoopDisk, image: Path, code: int, words: str, unchanged: int = MIB) -> None:
    before = sha256(disk.read(unchanged)).digest()
    run = run_bty("flash", str(image), disk.path, "--json", "--yes")
    told = run.result.get("receipt", run.result)["error"]
    assert run.code == code, told
    assert words in told
    assert sha256(disk.read(unchanged)).digest() == before


def test_a_mounted_disk_is_refused(disk: LoopDisk, images: dict[str, Path], tmp_path: Path) -> None:
    """The reason names the mount point."""
    subprocess.run(["mkfs.ext4", "-q", "-F", disk.path], check=True)
    mountpoint = tmp_path / "mounted"
    mountpoint.mkdir()
    subprocess.run(["mount", "--read-only", "--options", "noload", disk.path, mountpoint], check=True)  # else the kernel writes to it
    try:
        _assert_refused(disk, images["img"], 11, f"is mounted at {mountpoint}")
    finally:
        subprocess.run(["umount", mountpoint], check=True)


def test_a_disk_in_use_as_swap_is_refused(disk: LoopDisk, images: dict[str, Path]) -> None:
    """Swap is no mount, and just as deadly to write over."""
    subprocess.run(["mkswap", "-q", disk.path], check=True)
    if subprocess.run(["swapon", disk.path], check=False, capture_output=True).returncode:
        pytest.skip("this kernel takes no swap")
    try:
        # Behind the page of its header the kernel swaps whenever it likes.
        _assert_refused(disk, images["img"], 11, "is swap", unchanged=4096)
    finally:
        subprocess.run(["swapoff", disk.path], check=True)


def test_a_read_only_disk_is_refused(disk: LoopDisk, images: dict[str, Path]) -> None:
    """The write protection of the device is respected."""
    subprocess.run(["blockdev", "--setro", disk.path], check=True)
    try:
        _assert_refused(disk, images["img"], 11, "read-only")
    finally:
        subprocess.run(["blockdev", "--setrw", disk.path], check=True)


def test_a_disk_that_is_held_exclusively_is_refused(disk: LoopDisk, images: dict[str, Path]) -> None:
    """The kernel's own exclusive claim counts, whoever has it."""
    holder = os.open(disk.path, os.O_RDWR | os.O_EXCL)
    try:
        _assert_refused(disk, images["img"], 11, "in use")
    finally:
        os.close(holder)


@pytest.mark.parametrize("image_format", ["img", "img.xz", "img.zst", "qcow2", "img.gz"])
def test_a_disk_that_is_too_small_is_refused_before_the_first_write(tmp_path: Path, images: dict[str, Path], image_format: str) -> None:
    """Every format that tells its size beforehand is measured beforehand."""
    with loop_disk(tmp_path / f"small-target-{os.getpid()}", 16 * MIB) as small:
        _assert_refused(small, images[image_format], 11, "too small")


def test_an_image_that_turns_out_larger_than_the_disk_ends_without_anything_that_boots(tmp_path: Path, images: dict[str, Path]) -> None:
    """bz2 does not tell its size; the flash stops at the end of the disk."""
    with loop_disk(tmp_path / f"small-bz2-{os.getpid()}", 16 * MIB) as small:
        run = run_bty("flash", str(images["img.bz2"]), small.path, "--json", "--yes")
        assert run.code == 11
        assert "larger than the disk" in run.receipt["error"]
        assert small.read(MIB) == bytes(MIB)


def test_two_disks_with_the_same_serial_are_both_refused(disk: LoopDisk, images: dict[str, Path], tmp_path: Path) -> None:
    """Serials repeat behind some controllers; bty does not guess."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    with loop_disk(other / disk.backing.name, 24 * MIB) as twin:
        _assert_refused(disk, images["img"], 11, f"same serial as {twin.path}")
        run = run_bty("flash", str(images["img"]), disk.serial, "--json", "--yes")
        assert run.code == 11
        assert "2 disks have the serial" in run.stderr


def test_a_gpt_for_another_sector_size_is_refused(disk: LoopDisk, tmp_path: Path) -> None:
    """An image made on a disk of 4096-byte sectors has its table at the wrong place for one of 512."""
    with loop_disk(tmp_path / f"big-sectors-{os.getpid()}", 16 * MIB, sector_bytes=4096) as maker:
        subprocess.run(["sfdisk", "--quiet", maker.path], input="label: gpt\n,4M\n", text=True, check=True)
        image = tmp_path / "made-for-4k.img"
        image.write_bytes(maker.read(16 * MIB))
    _assert_refused(disk, image, 11, "sectors of 4096 bytes")


def test_an_unknown_serial_has_its_own_exit_code(images: dict[str, Path]) -> None:
    """No such disk is not the same as a refused one."""
    run = run_bty("flash", str(images["img"]), "NO-SUCH-SERIAL", "--yes", "--json")
    assert run.code == 10
    assert "no disk has the serial 'NO-SUCH-SERIAL'" in run.stderr


def test_without_permission_loop_devices_are_no_disks(disk: LoopDisk, images: dict[str, Path]) -> None:
    """Only who says BTY_ALLOW_LOOP=1 has them counted."""
    run = run_bty("flash", str(images["img"]), disk.path, "--yes", env={"BTY_ALLOW_LOOP": "0"})
    assert run.code == 11
    assert "not a whole disk" in run.stderr


def test_nobody_to_confirm_means_no_flash(disk: LoopDisk, images: dict[str, Path]) -> None:
    """Without --yes and without a terminal nothing is written."""
    before = disk.read(MIB)
    run = run_bty("flash", str(images["img"]), disk.path)
    assert run.code == 2
    assert "--yes" in run.stderr
    assert disk.read(MIB) == before


def test_disks_lists_each_disk_with_the_reason_why_it_is_refused(disk: LoopDisk) -> None:
    """A free disk has no reasons, one in use says by what."""
    import sys

    command = [sys.executable, "-m", "bty", "disks", "--json"]
    listed = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "BTY_ALLOW_LOOP": "1"}, check=True)
    ours = next(entry for entry in json.loads(listed.stdout) if entry["path"] == disk.path)
    assert ours["serial"] == disk.serial
    assert ours["size_bytes"] == 24 * MIB
    assert ours["refused"] == []


def test_an_image_without_a_known_format_is_asked_for_it(disk: LoopDisk, tmp_path: Path) -> None:
    """A tarball is named as such."""
    archive = tmp_path / "rootfs.tar.gz"
    archive.write_bytes(b"x")
    run = run_bty("flash", str(archive), disk.path, "--yes")
    assert run.code == 2
    assert "archive of files" in run.stderr


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("disk", "say it with --format: img, img.gz, img.xz, img.zst, img.bz2, qcow2"),
        ("ftp://x/y.img", "unsupported source 'ftp://x/y.img' (a path, file://, http://, https:// or oras://)"),
        (".", ". is a folder (name one of the images in it)"),
        ("file:///tmp", "/tmp is a folder"),
    ],
)
def test_a_source_that_is_none_is_told_what_would_be_one(disk: LoopDisk, source: str, words: str) -> None:
    """Words that can be mended say how, and a folder or another scheme is no file that is missing."""
    run = run_bty("flash", source, disk.path, "--yes")
    assert run.code == 2
    assert words in run.stderr


def test_a_bmap_by_another_scheme_is_refused(disk: LoopDisk, images: dict[str, Path]) -> None:
    """As the image itself would be."""
    run = run_bty("flash", str(images["img"]), disk.path, "--yes", "--bmap", "ftp://x/y.bmap")
    assert run.code == 2
    assert "unsupported source 'ftp://x/y.bmap'" in run.stderr


def test_a_bmap_for_a_qcow2_image_is_refused(disk: LoopDisk, images: dict[str, Path], tmp_path: Path) -> None:
    """It would be ignored: the image's own tables tell what is used. One that only lies beside the image is."""
    (tmp_path / "image.qcow2").symlink_to(images["qcow2"])
    (tmp_path / "image.qcow2.bmap").write_text("<bmap> of something else")
    run = run_bty("flash", str(tmp_path / "image.qcow2"), disk.path, "--yes", "--bmap", str(tmp_path / "image.qcow2.bmap"))
    assert run.code == 2
    assert "a bmap is of a raw image, this one is qcow2" in run.stderr
    assert run_bty("flash", str(tmp_path / "image.qcow2"), disk.path, "--yes").code == 0
