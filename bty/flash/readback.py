"""Reads a disk back, past the page cache, and compares it with what was written (decision F4)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bty.errors import ReadbackFailed, WriteFailed
from bty.flash.blocks import BLOCK_BYTES, Block
from bty.flash.waits import Waits
from bty.flash.writer import Extent

_READERS = 2  # a direct read and a digest overlap; more readers gain nothing on two processors


def read_back(
    fd: int, extents: list[Extent], *, sector_bytes: int, waits: Waits, progress: Callable[[int], None], stopped: Callable[[], bool]
) -> None:
    """Compare every extent with the disk. *progress* is called with the bytes compared since its last call, *waits* is told of each read.

    Raises `ReadbackFailed` with the place of the first difference found, `WriteFailed` where the disk cannot be read.
    Returns early, without a verdict, once *stopped* says so.
    """
    pieces = [(extent, at) for extent in extents for at in range(0, extent.length, BLOCK_BYTES)]

    def work(share: int) -> None:
        block = Block()
        for extent, at in pieces[share::_READERS]:
            if stopped():
                return
            length = min(BLOCK_BYTES, extent.length - at)
            _compare(fd, extent, extent.offset + at, length, block, sector_bytes, waits)
            progress(length)

    with ThreadPoolExecutor(_READERS, thread_name_prefix="read-back") as pool:
        for future in [pool.submit(work, share) for share in range(_READERS)]:
            future.result()


def _compare(fd: int, extent: Extent, offset: int, length: int, block: Block, sector_bytes: int, waits: Waits) -> None:
    before = offset % sector_bytes
    span = before + length
    span += -span % sector_bytes
    try:
        with waits.call():
            count = os.preadv(fd, [block.view[:span]], offset - before)
    except OSError as error:
        raise WriteFailed(f"the disk cannot be read back at byte {offset}: {error.strerror}") from error
    if count < before + length:
        raise ReadbackFailed(f"the disk ended at byte {offset - before + count} on reading back")
    view = block.view[before : before + length]
    same = block.is_zero(before, length) if extent.digest is None else hashlib.sha256(view).digest() == extent.digest
    if not same:
        raise ReadbackFailed(f"the disk does not hold what was written: first difference in the {length} bytes from byte {offset}")
