"""What the first MiB of an image says about its partition table. Source: UEFI specification 2.10, section 5.3.2."""

from __future__ import annotations

import struct
import zlib

_SECTOR_SIZES = (512, 4096)
_HEADER = struct.Struct("<8sIIIIQQ")  # signature, revision, header size, CRC of the header, zero, own LBA, LBA of the backup


def gpt_sector_size(head: bytes) -> int | None:
    """Return the sector size that the GPT at the start of an image was made for, or None where there is no valid one."""
    return next((size for size in _SECTOR_SIZES if _backup_at(head, size) is not None), None)


def gpt_fits(head: bytes, sector_bytes: int) -> bool:
    """Tell whether a disk with such sectors can use the image's partition table; an image without a GPT fits everywhere."""
    return gpt_sector_size(head) is None or _backup_at(head, sector_bytes) is not None


def gpt_end(head: bytes) -> int | None:
    """Return how many bytes the image has by its GPT, whose backup header is its last sector; None where there is no valid GPT."""
    for sector in _SECTOR_SIZES:
        backup = _backup_at(head, sector)
        if backup is not None:
            return (backup + 1) * sector
    return None


def _backup_at(head: bytes, sector: int) -> int | None:
    header = bytes(head[sector : 2 * sector])
    if len(header) < sector:
        return None
    signature, _, length, crc, _, own, backup = _HEADER.unpack_from(header)
    if signature != b"EFI PART" or not 92 <= length <= sector or own != 1:
        return None
    # The header is summed with its own sum taken as zero.
    if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != crc:
        return None
    return int(backup)
