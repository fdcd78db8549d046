"""Every format, from a file and over http, onto a disk full of old content: the disk reads back as the image."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from bty.flash.writer import HEAD_BYTES
from bty.units import MIB
from tests.integration.flash.conftest import run_bty
from tests.support.hostile import Behaviour, Hostile, hostile_server
from tests.support.loop import OLD_CONTENT, LoopDisk

pytestmark = pytest.mark.loop
FORMATS = ["img", "img.gz", "img.xz", "img.zst", "img.bz2", "qcow2"]


def _assert_is_image(disk: LoopDisk, image: Path) -> None:
    raw = image.read_bytes()
    assert disk.read(len(raw)) == raw
    behind = OLD_CONTENT[:MIB] * 24
    assert disk.read(MIB, len(raw)) == behind[len(raw) : len(raw) + MIB], "bytes behind the image were touched"


@pytest.mark.parametrize("image_format", FORMATS)
def test_an_image_file_is_flashed_bit_for_bit(disk: LoopDisk, images: dict[str, Path], image_format: str) -> None:
    """A file of each format, with its digest promised and the disk read back."""
    digest = hashlib.sha256(images[image_format].read_bytes()).hexdigest()
    run = run_bty("flash", str(images[image_format]), disk.path, "--sha256", digest, "--verify", "--json", "--yes")
    assert run.code == 0, run.stderr
    _assert_is_image(disk, images["img"])
    assert run.receipt["verified"] == ["wire", "readback"]
    assert run.receipt["sha256"] == digest
    assert run.receipt["image_bytes"] == images["img"].stat().st_size
    assert run.receipt["bytes_read"] == images[image_format].stat().st_size


@pytest.mark.parametrize("image_format", FORMATS)
def test_an_image_on_a_server_is_flashed_bit_for_bit(disk: LoopDisk, images: dict[str, Path], image_format: str) -> None:
    """An http source of each format, by a serial as target."""
    with hostile_server(Hostile(body=images[image_format].read_bytes())) as server:
        run = run_bty("flash", f"{server.url}/small.{image_format}", disk.serial, "--json", "--yes")
    assert run.code == 0, run.stderr
    _assert_is_image(disk, images["img"])
    assert run.receipt["source"] == f"{server.url}/small.{image_format}"
    assert run.receipt["target_path"] == disk.path


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_wrong_digest_leaves_a_disk_that_does_not_boot(disk: LoopDisk, images: dict[str, Path], image_format: str) -> None:
    """The body is there by then, but the first MiB, with boot code and partition table, is empty."""
    run = run_bty("flash", str(images[image_format]), disk.path, "--sha256", "0" * 64, "--json", "--yes")
    assert run.code == 13
    assert "promised was" in run.receipt["error"]
    assert disk.read(HEAD_BYTES) == bytes(HEAD_BYTES)


def test_zeros_are_left_out_or_written_as_asked(disk: LoopDisk, images: dict[str, Path]) -> None:
    """Sparse writing sends fewer bytes to the disk than the image has; --no-sparse sends all of them."""
    sparse = run_bty("flash", str(images["img"]), disk.path, "--json", "--yes")
    dense = run_bty("flash", str(images["img"]), disk.path, "--no-sparse", "--json", "--yes")
    _assert_is_image(disk, images["img"])
    size = images["img"].stat().st_size
    assert sparse.receipt["bytes_written"] < size <= dense.receipt["bytes_written"]


def test_the_declared_format_wins_over_the_name(disk: LoopDisk, images: dict[str, Path], tmp_path: Path) -> None:
    """A qcow2 file that is declared raw is written as the bytes that it is."""
    named = tmp_path / "looks-packed.img.gz"
    named.write_bytes(images["qcow2"].read_bytes())
    run = run_bty("flash", str(named), disk.path, "--format", "img", "--json", "--yes")
    assert run.code == 0, run.stderr
    assert disk.read(named.stat().st_size) == named.read_bytes()


@pytest.mark.parametrize("image_format", ["img.gz", "img.xz", "img.zst", "img.bz2"])
def test_a_truncated_packed_image_is_no_success(disk: LoopDisk, images: dict[str, Path], tmp_path: Path, image_format: str) -> None:
    """Nobody promised a digest, and yet half an image is not called done."""
    half = tmp_path / f"half.{image_format}"
    data = images[image_format].read_bytes()
    half.write_bytes(data[: len(data) // 2])
    before = disk.read(HEAD_BYTES)
    run = run_bty("flash", str(half), disk.path, "--json", "--yes")
    # The end of a gzip file is its size, so that half a file may claim any: it is then refused before the first write.
    assert run.code == 13 or (run.code == 11 and "by its own account" in run.receipt["error"]), run.receipt
    assert disk.read(HEAD_BYTES) == (bytes(HEAD_BYTES) if run.code == 13 else before)


def test_a_stream_that_breaks_is_continued_and_not_restarted(disk: LoopDisk, images: dict[str, Path]) -> None:
    """Each cut costs one range request; the server sends no byte twice."""
    body = images["img"].read_bytes()
    from tests.support.hostile import End

    cuts = [Behaviour(end=End.CLOSE, end_after=5 * MIB), Behaviour(end=End.RESET, end_after=4 * MIB), Behaviour()]
    with hostile_server(Hostile(body=body, script=cuts)) as server:
        run = run_bty("flash", f"{server.url}/a.img", disk.path, "--json", "--yes")
    assert run.code == 0, run.stderr
    _assert_is_image(disk, images["img"])
    assert run.receipt["retries"] == 2
    ranges = [request for request in server.requests if "\r\nRange: bytes=" in request]
    assert len(ranges) == 2
    assert all('If-Range: "a"' in request for request in ranges)


def test_a_raw_image_that_is_sent_packed_is_refused(disk: LoopDisk, images: dict[str, Path]) -> None:
    """A server that packs on the way, though it was asked not to, must not put packed bytes onto a disk."""
    before = disk.read(HEAD_BYTES)
    script = [Behaviour(encoding="gzip")]
    with hostile_server(Hostile(body=images["img.gz"].read_bytes(), script=script)) as server:
        run = run_bty("flash", f"{server.url}/small.img", disk.path, "--json", "--yes")
        assert run.code == 12
        assert "sends the image packed" in run.receipt["error"]
        assert disk.read(HEAD_BYTES) == before
        run = run_bty("flash", f"{server.url}/small.img.gz", disk.path, "--json", "--yes")
    assert run.code == 0, run.stderr
    _assert_is_image(disk, images["img"])


@pytest.mark.parametrize("image_format", ["img.gz", "img.xz", "img.zst", "img.bz2"])
def test_a_wrong_format_is_asked_about_and_nothing_is_written(
    disk: LoopDisk, images: dict[str, Path], tmp_path: Path, image_format: str
) -> None:
    """Somebody who says the wrong format hears that this may be it, and that the disk is as it was."""
    other = tmp_path / "other"
    other.write_bytes(
        images["img.gz" if image_format == "img.xz" else "img.xz"].read_bytes() + bytes(4)
    )  # the size, to who takes it for gz
    before = disk.read(HEAD_BYTES)
    run = run_bty("flash", str(other), disk.path, "--format", image_format, "--json", "--yes")
    assert run.code == 13, run.receipt
    assert run.receipt["error"].endswith("(is the format right? nothing was written)")
    assert disk.read(HEAD_BYTES) == before


@pytest.mark.parametrize("image_format", ["img.xz", "img.zst"])
def test_a_damaged_image_tells_that_the_disk_is_partly_written(
    disk: LoopDisk, images: dict[str, Path], tmp_path: Path, image_format: str
) -> None:
    """A good beginning shows that the format is right, so nobody is asked about it."""
    damaged = tmp_path / f"damaged.{image_format}"
    data = bytearray(images[image_format].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = bytes(4096)
    damaged.write_bytes(data)
    run = run_bty("flash", str(damaged), disk.path, "--json", "--yes")
    assert run.code == 13, run.receipt
    assert run.receipt["error"].endswith(f"({disk.path} holds a partial write and does not boot)")


@pytest.mark.parametrize(
    ("image_format", "packer"),
    [
        *((image_format, None) for image_format in FORMATS),
        ("img.gz", "gzip"),
        ("img.xz", "xz"),
        ("img.zst", "zstd"),
        ("img.bz2", "bzip2"),
    ],
)
def test_an_empty_image_is_called_empty(disk: LoopDisk, tmp_path: Path, image_format: str, packer: str | None) -> None:
    """A file of no bytes, and one that unpacks to none."""
    empty = tmp_path / f"empty.{image_format}"
    empty.write_bytes(subprocess.run([packer, "-c"], input=b"", stdout=subprocess.PIPE, check=True).stdout if packer else b"")
    before = disk.read(HEAD_BYTES)
    run = run_bty("flash", str(empty), disk.path, "--json", "--yes")
    assert (run.code, run.receipt["error"]) == (13, "the image is empty (nothing was written)")
    assert disk.read(HEAD_BYTES) == before
