"""The writer over a plain file: holes, the withheld head, odd ends, and what it records for reading back."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bty.errors import DiskRefused
from bty.flash.blocks import BLOCK_BYTES, Block
from bty.flash.writer import HEAD_BYTES, DiskWriter
from bty.units import KIB, MIB

DISK_BYTES = 16 * MIB


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file full of old content in place of a disk; holes can be punched into it as into a disk."""
    path = tmp_path / "disk"
    path.write_bytes(b"\xaa" * DISK_BYTES)
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def _stream(writer: DiskWriter, image: bytes) -> None:
    block = Block()
    for offset in range(0, len(image), BLOCK_BYTES):
        piece = image[offset : offset + BLOCK_BYTES]
        block.view[: len(piece)] = piece
        block.length = len(piece)
        writer.write_block(block, offset)


def _image(size: int) -> bytes:
    chance = random.Random(size)
    image = bytearray(size)
    for _ in range(12):
        at = chance.randrange(size)
        piece = chance.randbytes(chance.randrange(1, 150_000))
        image[at : at + len(piece)] = piece[: size - at]
    return bytes(image)


@pytest.mark.parametrize("size", [1, 511, 512, MIB - 1, MIB, MIB + 1, 5 * MIB + 77, 9 * MIB])
@pytest.mark.parametrize("sparse", [True, False])
def test_an_image_of_any_size_is_written_exactly(fd: int, size: int, sparse: bool) -> None:
    """What lies behind the image stays as it was."""
    writer = DiskWriter(fd, DISK_BYTES, sparse=sparse)
    image = _image(size)
    _stream(writer, image)
    writer.sync()
    writer.write_head()
    written = os.pread(fd, DISK_BYTES, 0)
    assert written[:size] == image
    assert written[size:] == b"\xaa" * (DISK_BYTES - size)
    assert writer.image_bytes == size


def test_the_head_is_withheld_until_it_is_asked_for(fd: int) -> None:
    """Before that, the first MiB is not even touched."""
    writer = DiskWriter(fd, DISK_BYTES)
    _stream(writer, _image(6 * MIB))
    writer.sync()
    assert os.pread(fd, HEAD_BYTES, 0) == b"\xaa" * HEAD_BYTES
    assert os.pread(fd, 5 * MIB, HEAD_BYTES) == _image(6 * MIB)[HEAD_BYTES:]


def test_a_disk_is_made_unbootable_at_both_ends(fd: int) -> None:
    """Firmware falls back to the backup table at the end, so that goes too; anything else there stays."""
    os.pwrite(fd, b"EFI PART", DISK_BYTES - 512)
    DiskWriter(fd, DISK_BYTES).make_unbootable()
    written = os.pread(fd, DISK_BYTES, 0)
    assert written[:HEAD_BYTES] == bytes(HEAD_BYTES)
    assert written[-512:] == bytes(512)
    assert set(written[HEAD_BYTES:-512]) == {0xAA}


def test_zeros_are_not_written_where_they_can_be_punched(fd: int) -> None:
    """An image with 64 KiB of data costs the head and that."""
    image = bytearray(8 * MIB)
    image[4 * MIB : 4 * MIB + 64 * KIB] = b"x" * (64 * KIB)
    writer = DiskWriter(fd, DISK_BYTES)
    _stream(writer, bytes(image))
    writer.sync()
    writer.write_head()
    assert writer.bytes_written == HEAD_BYTES + 64 * KIB
    assert writer.bytes_zeroed == len(image) - writer.bytes_written
    assert os.pread(fd, len(image), 0) == image


def test_an_image_that_outgrows_the_disk_is_refused(fd: int) -> None:
    """At the block that does not fit."""
    writer = DiskWriter(fd, 5 * MIB)
    with pytest.raises(DiskRefused, match="larger than the disk"):
        _stream(writer, _image(6 * MIB))


class _Unmapped:
    """A bmap that maps only the first 2 MiB."""

    def is_unmapped(self, offset: int, length: int) -> bool:
        return offset >= 2 * MIB


def test_a_bmap_lets_unused_zeros_be_left_where_nothing_can_be_punched(fd: int) -> None:
    """Data in a range that the bmap calls unused is written all the same: it is part of the image."""
    image = bytearray(6 * MIB)
    image[: 2 * MIB] = b"m" * (2 * MIB)
    image[5 * MIB : 5 * MIB + 100] = b"u" * 100
    writer = DiskWriter(fd, DISK_BYTES, unmapped=_Unmapped())
    writer._can_punch = False
    _stream(writer, bytes(image))
    writer.sync()
    writer.write_head()
    written = os.pread(fd, len(image), 0)
    assert written[: 2 * MIB] == image[: 2 * MIB]
    assert written[5 * MIB : 5 * MIB + 100] == b"u" * 100
    assert writer.bytes_left_out > 3 * MIB
    assert set(written[2 * MIB : 5 * MIB]) == {0xAA}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 31), st.integers(1, 6), st.booleans()), max_size=20))
def test_writes_in_any_order_land_where_they_belong(tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int, bool]]) -> None:
    """Data and zero runs of a qcow2 image come in the order of its file; neighbours are gathered."""
    grain = 256 * KIB
    path = tmp_path_factory.mktemp("any-order") / "disk"
    path.write_bytes(b"\xaa" * DISK_BYTES)
    expected = bytearray(b"\xaa" * DISK_BYTES)
    fd = os.open(path, os.O_RDWR)
    try:
        writer = DiskWriter(fd, DISK_BYTES, record=True)
        head_end = 0
        for number, (at, count, is_data) in enumerate(pieces):
            offset, length = at * grain, count * grain
            data = bytes([number + 1]) * length if is_data else bytes(length)
            expected[offset : offset + length] = data
            head_end = max(head_end, min(offset + length, HEAD_BYTES)) if offset < HEAD_BYTES else head_end
            if is_data:
                writer.write(offset, data)
            else:
                writer.zero(offset, length)
        expected[:head_end] = bytes(b if touched else 0 for b, touched in _head(pieces, expected, grain, head_end))
        writer.sync()
        writer.write_head()
        writer.close()
        assert os.pread(fd, DISK_BYTES, 0) == expected
        for extent in writer.extents:
            found = os.pread(fd, extent.length, extent.offset)
            later = [other for other in writer.extents[writer.extents.index(extent) + 1 :] if _overlap(extent, other)]
            if not later:
                digest = hashlib.sha256(found).digest()
                assert digest == (extent.digest or hashlib.sha256(bytes(extent.length)).digest())
    finally:
        os.close(fd)


def _overlap(one, other) -> bool:
    return one.offset < other.offset + other.length and other.offset < one.offset + one.length


def _head(pieces: list[tuple[int, int, bool]], expected: bytearray, grain: int, head_end: int) -> Iterator[tuple[int, bool]]:
    touched = [any(at * grain <= place * grain < (at + count) * grain for at, count, _ in pieces) for place in range(HEAD_BYTES // grain)]
    return ((expected[place], touched[place // grain]) for place in range(head_end))
