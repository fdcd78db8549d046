"""How large the raw image will be, as far as its packed form tells before it is unpacked."""

from __future__ import annotations

from collections.abc import Callable

from bty.model.image import ImageFormat

Pread = Callable[[int, int], bytes]
_XZ_FOOTER_BYTES = 12
_XZ_INDEX_LIMIT = 4 * 1024 * 1024  # an index entry is at most 18 bytes, so this is over 200,000 blocks
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_HEADER_BYTES = 18


def raw_size(image_format: ImageFormat, pread: Pread, packed_bytes: int) -> tuple[int, bool] | None:
    """Return the size of the raw image and whether that is exact; otherwise it is a lower bound. None: unknown.

    gz keeps the size of its last member modulo 4 GiB, xz that of its last stream, zstd that of its first frame.
    """
    if image_format is ImageFormat.IMG:
        return packed_bytes, True
    if image_format is ImageFormat.IMG_GZ and packed_bytes >= 18:
        return int.from_bytes(pread(packed_bytes - 4, 4), "little"), False
    if image_format is ImageFormat.IMG_XZ:
        return _xz_size(pread, packed_bytes)
    if image_format is ImageFormat.IMG_ZST:
        return _zstd_size(pread(0, _ZSTD_HEADER_BYTES))
    return None


def _xz_size(pread: Pread, packed_bytes: int) -> tuple[int, bool] | None:
    """Read the index of the last stream (The .xz File Format 1.2, sections 2.1.2 and 4)."""
    footer = pread(packed_bytes - _XZ_FOOTER_BYTES, _XZ_FOOTER_BYTES) if packed_bytes > 32 else b""
    if len(footer) != _XZ_FOOTER_BYTES or footer[10:] != b"YZ":
        return None
    index_bytes = (int.from_bytes(footer[4:8], "little") + 1) * 4
    if index_bytes > min(_XZ_INDEX_LIMIT, packed_bytes - 24):
        return None
    index = pread(packed_bytes - _XZ_FOOTER_BYTES - index_bytes, index_bytes)
    if len(index) != index_bytes or index[0] != 0:
        return None
    try:
        records, at = _varint(index, 1)
        packed = total = 0
        for _ in range(records):
            unpadded, at = _varint(index, at)
            size, at = _varint(index, at)
            packed += unpadded + -unpadded % 4
            total += size
    except (IndexError, ValueError):
        return None
    return total, packed + index_bytes + 24 == packed_bytes


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 56:
            raise ValueError("a number of more than nine bytes")


def _zstd_size(header: bytes) -> tuple[int, bool] | None:
    """Read the content size of the first frame (RFC 8878, section 3.1.1.1)."""
    if header[:4] != _ZSTD_MAGIC or len(header) < 6:
        return None
    descriptor = header[4]
    size_flag, single_segment, dictionary_flag = descriptor >> 6, descriptor >> 5 & 1, descriptor & 3
    field_bytes = (1 if single_segment else 0, 2, 4, 8)[size_flag]
    at = 5 + (0 if single_segment else 1) + (0, 1, 2, 4)[dictionary_flag]
    field = header[at : at + field_bytes]
    if not field_bytes or len(field) < field_bytes:
        return None
    return int.from_bytes(field, "little") + (256 if field_bytes == 2 else 0), False
