"""Proves the ranges of a bmap over a raw image that streams by, in a thread beside the writing."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor

from bty.errors import IntegrityFailed
from bty.flash.bmap import Bmap


class BmapCheck:
    """Hashes what a map calls used, in order. Where nobody promised a digest of the whole, this is the proof there is."""

    def __init__(self, bmap: Bmap) -> None:
        self._bmap = bmap
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="bmap-digest")
        self._range = 0
        self._hash = self._new_hash()

    def submit(self, offset: int, view: memoryview) -> Future[None]:
        """Take the bytes at *offset*, which follow those before; their memory must stay until the result is there."""
        return self._pool.submit(self._feed, offset, view)

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)

    def finish(self) -> bool:
        """Tell whether every range had a digest and matched it. Raises `IntegrityFailed` where the image ended before the map."""
        if self._range < len(self._bmap.ranges):
            raise IntegrityFailed("the image ended before what its bmap describes")
        return self._bmap.has_digests()

    def _feed(self, offset: int, view: memoryview) -> None:
        ranges, block_bytes = self._bmap.ranges, self._bmap.block_size
        end = offset + len(view)
        while self._range < len(ranges):
            entry = ranges[self._range]
            start, stop = entry.first * block_bytes, min((entry.last + 1) * block_bytes, self._bmap.image_size)
            if start >= end:
                return
            if entry.digest:
                self._hash.update(view[max(0, start - offset) : stop - offset])
            if stop > end:
                return
            if entry.digest and self._hash.hexdigest() != entry.digest:
                raise IntegrityFailed(f"the image differs from its bmap in the bytes {start} to {stop - 1}")
            self._range += 1
            self._hash = self._new_hash()

    def _new_hash(self) -> hashlib._Hash:
        return hashlib.new(self._bmap.checksum_type or "sha256")
