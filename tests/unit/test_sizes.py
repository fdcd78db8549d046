"""What a packed image tells of its raw size, against the tools that pack."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bty.flash.sizes import raw_size
from bty.model.image import ImageFormat

RAW = bytes(range(256)) * 3000 + bytes(123)


def _pread(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: data[offset : offset + length]


def test_a_raw_image_is_as_large_as_its_file() -> None:
    """And that is exact."""
    assert raw_size(ImageFormat.IMG, _pread(RAW), len(RAW)) == (len(RAW), True)


def test_gzip_tells_a_lower_bound() -> None:
    """The last four bytes are the size of the last member, modulo 4 GiB."""
    packed = gzip.compress(RAW)
    assert raw_size(ImageFormat.IMG_GZ, _pread(packed), len(packed)) == (len(RAW), False)


@pytest.mark.parametrize("block_size", [None, "64KiB"])
def test_xz_tells_the_exact_size_of_one_stream(block_size: str | None) -> None:
    """Of one block or of many."""
    command = ["xz", "-0c", *([f"--block-size={block_size}"] if block_size else [])]
    packed = subprocess.run(command, input=RAW, stdout=subprocess.PIPE, check=True).stdout
    assert raw_size(ImageFormat.IMG_XZ, _pread(packed), len(packed)) == (len(RAW), True)


def test_joined_xz_streams_are_only_bounded() -> None:
    """The last stream does not know of those before it."""
    packed = lzma.compress(RAW) + lzma.compress(RAW[:1000])
    assert raw_size(ImageFormat.IMG_XZ, _pread(packed), len(packed)) == (1000, False)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65791, 70000])
def test_zstd_tells_the_size_of_its_first_frame(size: int) -> None:
    """Each width of the size field is read."""
    packed = subprocess.run(["zstd", "-qc", "--stream-size", str(size)], input=bytes(size), stdout=subprocess.PIPE, check=True).stdout
    assert raw_size(ImageFormat.IMG_ZST, _pread(packed), len(packed)) == (size, False)


def test_bzip2_tells_nothing() -> None:
    """Its format has no size."""
    assert raw_size(ImageFormat.IMG_BZ2, _pread(b"BZh9"), 4) is None


@given(st.binary(max_size=80), st.sampled_from([ImageFormat.IMG_XZ, ImageFormat.IMG_ZST, ImageFormat.IMG_GZ]))
def test_garbage_never_raises(data: bytes, image_format: ImageFormat) -> None:
    """Whatever a server sends, the guard says a number or that it does not know."""
    result = raw_size(image_format, _pread(data), len(data))
    assert result is None or result[0] >= 0
    footer = data + b"YZ"
    raw_size(image_format, _pread(footer), len(footer))
