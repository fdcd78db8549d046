"""Compressed clusters of qcow2 images, with each of the libraries that may be there."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Sequence

import pytest

from bty.flash.inflate import address_of, inflate_zlib, load_deflate, load_zstd
from bty.flash.qcow2 import UnusableImage
from tests.support.qcow2 import decode, plan_bytes, run, some_bytes


def unpack(inflate, packed: Sequence[bytes], out: bytearray) -> int:
    """Have *inflate* unpack data of this test's own memory, and return how many it could."""
    memory = [bytearray(data) for data in packed]
    return inflate([(address_of(data), len(data)) for data in memory], memoryview(out))


def unpacked(inflate, data: bytes, size: int) -> bytes | None:
    """What *inflate* makes of *data*, None where it says that it could not."""
    out = bytearray(size)
    return bytes(out) if unpack(inflate, [data], out) else None


@pytest.mark.parametrize("inflate", [inflate_zlib, load_deflate()])
def test_deflate_is_bounded_and_says_when_it_fails(inflate):
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    packed = packer.compress(b"x" * (1 << 20)) + packer.flush()
    assert unpacked(inflate, packed + b"rest of the sector", 1 << 20) == b"x" * (1 << 20)
    assert unpacked(inflate, packed, 4096) == b"x" * 4096
    assert unpacked(inflate, packed, 2 << 20) is None
    assert unpacked(inflate, b"\xff" * 100, 4096) is None


@pytest.mark.parametrize("inflate", [inflate_zlib, load_deflate()])
def test_many_clusters_are_unpacked_up_to_one_that_cannot_be(inflate):
    def pack(data: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -12)
        return packer.compress(data) + packer.flush()

    packed = [pack(letter * 4096) for letter in (b"a", b"b", b"c")]
    out = bytearray(3 * 4096)
    assert unpack(inflate, packed, out) == 3
    assert bytes(out) == b"a" * 4096 + b"b" * 4096 + b"c" * 4096
    assert unpack(inflate, [packed[0], b"\xff" * 100, packed[2]], out) == 1
    assert unpack(inflate, [packed[0], pack(b"b" * 4095), packed[2]], out) == 1


def test_zstd_is_bounded_and_says_when_it_fails(tmp_path):
    (tmp_path / "same").write_bytes(b"x" * 65536)
    packed = subprocess.run(["zstd", "-q", "-c", str(tmp_path / "same")], check=True, capture_output=True).stdout
    inflate = load_zstd()
    assert inflate is not None
    assert unpacked(inflate, packed + b"rest", 65536) == b"x" * 65536
    out = bytearray(2 * 65536)
    assert unpack(inflate, (packed, packed), out) == 2
    assert bytes(out) == b"x" * (2 * 65536)
    assert unpack(inflate, (packed, packed[:-1]), out) == 1
    for data, size in ((packed, 4096), (packed[:-1], 65536), (b"noise", 65536)):
        assert unpacked(inflate, data, size) is None


def test_without_libdeflate_zlib_does_the_work(small_qcow2, monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lacks_library)
    assert load_deflate() is inflate_zlib
    assert decode(small_qcow2[0]) == small_qcow2[1]


def test_without_libzstd_a_zstd_image_is_refused_with_the_way_out(tmp_path, monkeypatch):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compression_type=zstd", image, "1M")
    monkeypatch.setattr("ctypes.CDLL", lacks_library)
    with pytest.raises(UnusableImage, match="compression_type=zlib"):
        plan_bytes(image.read_bytes())


def lacks_library(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


def test_clusters_packed_with_zstd_are_read(tmp_path):
    raw, image = tmp_path / "raw", tmp_path / "image.qcow2"
    raw.write_bytes(some_bytes(4, 1 << 20, "text") + bytes(1 << 20) + some_bytes(5, 1 << 20, "noise"))
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd", raw, image)
    assert decode(image.read_bytes(), block=70_000) == raw.read_bytes()
