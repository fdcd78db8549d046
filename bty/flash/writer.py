"""Writes a raw image to a disk: direct, in large blocks, leaving out what is already zero.

The first MiB is held back until the caller says that the image is proved (decision F12), so a flash that failed leaves
a disk that does not boot. A run of zeros is not written but punched on the device, which the kernel answers for; where
the kernel refuses, zeros are written, except where a bmap says that nobody will read them.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from bty.errors import DiskRefused, WriteFailed
from bty.flash.blocks import BLOCK_BYTES, Block
from bty.flash.waits import LONG_S, Waits
from bty.units import KIB, MIB, format_bytes

HEAD_BYTES = MIB
RUN_BYTES = 64 * KIB
"""The grain of zero skipping: of 2048 MiB with 832 used, 825 to 834 were written with it (measured)."""
_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02
_PUNCH_BYTES = 256 * MIB  # one call at most, so that a cancel is heard
_NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EREMOTEIO, errno.EIO, errno.ENODEV})
_GPT_SIGNATURE = b"EFI PART"
_libc = ctypes.CDLL(None, use_errno=True)


class Unmapped(Protocol):
    """What a bmap knows: whether a range of the image holds nothing that anybody will read."""

    def is_unmapped(self, offset: int, length: int) -> bool:
        """Tell whether no byte of the range is mapped."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of the disk and the sha256 of what was written there; None for a range of zeros."""

    offset: int
    length: int
    digest: bytes | None


class DiskWriter:
    """Writes at any offset to one open disk, in one thread. `bytes_written` counts what was sent to the device."""

    def __init__(
        self,
        fd: int,
        disk_bytes: int,
        *,
        sector_bytes: int = 512,
        sparse: bool = True,
        unmapped: Unmapped | None = None,
        record: bool = False,
        check_head: Callable[[bytes], None] | None = None,
    ) -> None:
        self.bytes_written = 0
        self.bytes_zeroed = 0
        self.bytes_left_out = 0
        self.image_bytes = 0
        self.position = 0  # bytes of the image dealt with, for progress
        self.extents: list[Extent] = []
        self.waits = Waits()
        self._fd = fd
        self._disk_bytes = disk_bytes
        self._sector_bytes = sector_bytes
        self._can_punch = sparse
        self._sparse = sparse
        self._unmapped = unmapped
        self._check_head = check_head
        self._head = Block()
        self._head_length = 0
        self._bounce = Block()
        self._bounce_offset = 0
        self._bounce_skip = 0  # where its data begins: as far into a sector as on the disk
        self._hashers = ThreadPoolExecutor(2, thread_name_prefix="extent-digest") if record else None
        self._pending: list[tuple[int, int, Future[bytes]]] = []

    def write_block(self, block: Block, offset: int) -> None:
        """Write a block of a stream at *offset*, which is a multiple of the block size. Raises `WriteFailed`."""
        self.write_part(block, 0, block.length, offset)
        self.position = offset + block.length

    def write_part(self, block: Block, start: int, end: int, offset: int) -> None:
        """Write `block[start:end]`, both whole sectors unless it is the image's end, at *offset*. Raises `WriteFailed`."""
        self._check_room(offset, end - start)
        self.position += end - start
        if offset < HEAD_BYTES:
            skip = min(end - start, HEAD_BYTES - offset)
            self._keep_head(offset, block.view[start : start + skip])
            if self._check_head:
                self._check_head(self.head())
                self._check_head = None
            start, offset = start + skip, offset + skip
        self._write_runs(block, start, end, offset)

    def write(self, offset: int, data: memoryview | bytes | bytearray) -> None:
        """Write *data* anywhere. Pieces that follow each other are gathered into large writes."""
        view = memoryview(data)
        self._check_room(offset, len(view))
        self.position += len(view)
        if offset < HEAD_BYTES:
            part = min(len(view), HEAD_BYTES - offset)
            self._keep_head(offset, view[:part])
            offset += part
            view = view[part:]
        while view:
            bounce = self._bounce
            if offset != self._bounce_offset + bounce.length or bounce.length == BLOCK_BYTES:
                self.flush()
                self._bounce_skip = bounce.length = offset % self._sector_bytes
                self._bounce_offset = offset - bounce.length
            part = min(len(view), BLOCK_BYTES - bounce.length)
            bounce.view[bounce.length : bounce.length + part] = view[:part]
            bounce.length += part
            offset += part
            view = view[part:]

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros."""
        self._check_room(offset, length)
        self.position += length
        if offset < HEAD_BYTES:
            part = min(length, HEAD_BYTES - offset)
            self._keep_head(offset, memoryview(bytes(part)))
            offset += part
            length -= part
        if length:
            self.flush()
            self._zero_run(offset, length)

    def flush(self) -> None:
        """Write what `write` has gathered."""
        if self._bounce.length:
            self._write_runs(self._bounce, self._bounce_skip, self._bounce.length, self._bounce_offset + self._bounce_skip)
            self._bounce.length = self._bounce_skip = 0

    def sync(self) -> None:
        """Make the device keep what it was given. Raises `WriteFailed`."""
        self.flush()
        self._settle()
        try:
            with self.waits.call(LONG_S):
                os.fsync(self._fd)
        except OSError as error:
            raise WriteFailed(f"the disk could not be flushed: {error.strerror}") from error

    def head(self) -> bytes:
        """Return the first MiB of the image, as far as it has come."""
        return bytes(self._head.view[: self._head_length])

    def write_head(self) -> None:
        """Write the first MiB, last of all, and flush."""
        block = self._head
        block.length = self._head_length
        self._write_data(block, 0, block.length, 0)
        self.sync()

    def make_unbootable(self) -> None:
        """Empty the start of the disk, and the backup partition table that firmware would fall back to.

        Done before the first write, so that whatever ends the flash, no half of it boots by the old table.
        """
        try:
            self._write_all(_blank(min(HEAD_BYTES, self._disk_bytes)), 0)
            last = self._disk_bytes - self._sector_bytes
            if last > HEAD_BYTES and self._read_sector(last)[:8] == _GPT_SIGNATURE:
                self._write_all(_blank(self._sector_bytes), last)
            with self.waits.call(LONG_S):
                os.fsync(self._fd)
        except OSError as error:
            raise WriteFailed(f"the old partition table could not be emptied: {error.strerror}") from error

    def close(self) -> None:
        """End the threads that compute digests; the disk stays open."""
        if self._hashers:
            self._hashers.shutdown(wait=True, cancel_futures=True)

    def _read_sector(self, offset: int) -> memoryview:
        block = Block()
        with self.waits.call():
            count = os.preadv(self._fd, [block.view[: self._sector_bytes]], offset)
        return block.view[:count]

    def _check_room(self, offset: int, length: int) -> None:
        end = offset + length
        if end > self._disk_bytes:
            raise DiskRefused(f"the image is larger than the disk of {format_bytes(self._disk_bytes)}")
        self.image_bytes = max(self.image_bytes, end)

    def _keep_head(self, offset: int, data: memoryview) -> None:
        self._head.view[offset : offset + len(data)] = data
        self._head_length = max(self._head_length, offset + len(data))

    def _write_runs(self, block: Block, start: int, end: int, offset: int) -> None:
        """Write `block[start:]` at *offset*, zero runs left out."""
        if not self._sparse:
            if start < end:
                self._write_data(block, start, end, offset)
            self._settle()
            return
        base = offset - start
        data_from = -1
        at = start
        while at < end:
            step = min(RUN_BYTES - (base + at) % RUN_BYTES, end - at)
            if block.is_zero(at, step):
                if data_from >= 0:
                    self._write_data(block, data_from, at, base + data_from)
                    data_from = -1
                zero_from = at
                at += step
                while at < end and block.is_zero(at, min(RUN_BYTES, end - at)):
                    at += min(RUN_BYTES, end - at)
                self._zero_run(base + zero_from, at - zero_from)
            else:
                if data_from < 0:
                    data_from = at
                at += step
        if data_from >= 0:
            self._write_data(block, data_from, end, base + data_from)
        self._settle()

    def _write_data(self, block: Block, start: int, end: int, offset: int) -> None:
        if start >= end:
            return
        view = block.view[start:end]
        if self._hashers:
            self._pending.append((offset, end - start, self._hashers.submit(_digest, view)))
        self._write_all(view, offset)

    def _write_all(self, view: memoryview, offset: int) -> None:
        whole = len(view) - len(view) % self._sector_bytes
        if offset % self._sector_bytes:
            whole = 0
        done = 0
        try:
            while done < whole:
                with self.waits.call():
                    done += os.pwritev(self._fd, [view[done:whole]], offset + done)
            if whole < len(view):
                with self.waits.call():
                    self._patch(view[whole:], offset + whole)
        except OSError as error:
            raise WriteFailed(f"the disk refused a write at byte {offset + done}: {error.strerror}") from error
        self.bytes_written += len(view)

    def _patch(self, view: memoryview, offset: int) -> None:
        """Write bytes that do not fill sectors: read the sectors around them, change these bytes, write them back."""
        before = offset % self._sector_bytes
        length = before + len(view)
        length += -length % self._sector_bytes
        block = Block()
        os.preadv(self._fd, [block.view[:length]], offset - before)
        block.view[before : before + len(view)] = view
        done = 0
        while done < length:
            done += os.pwritev(self._fd, [block.view[done:length]], offset - before + done)

    def _zero_run(self, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            part = min(_PUNCH_BYTES, end - offset, -offset % self._sector_bytes or _PUNCH_BYTES)
            aligned = part - (offset + part) % self._sector_bytes if self._can_punch else 0
            if aligned > 0 and offset % self._sector_bytes == 0 and self._punch(offset, aligned):
                self.bytes_zeroed += aligned
                self._record_zeros(offset, aligned)
                part = aligned
            elif self._unmapped and self._unmapped.is_unmapped(offset, part):
                self.bytes_left_out += part
            else:
                part = min(part, BLOCK_BYTES)
                self._write_all(_blank(part), offset)
                self._record_zeros(offset, part)
            offset += part

    def _punch(self, offset: int, length: int) -> bool:
        mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
        with self.waits.call(LONG_S):
            failed = _libc.fallocate(self._fd, mode, ctypes.c_long(offset), ctypes.c_long(length))
        if not failed:
            return True
        number = ctypes.get_errno()
        if number not in _NOT_SUPPORTED:
            raise WriteFailed(f"the disk refused to zero {length} bytes at byte {offset}: {os.strerror(number)}")
        self._can_punch = False  # the kernel turns it off for the device after one failure
        return False

    def _record_zeros(self, offset: int, length: int) -> None:
        if self._hashers:
            self.extents.append(Extent(offset, length, None))

    def _settle(self) -> None:
        """Wait for the digests of a block before its memory is used again."""
        for offset, length, future in self._pending:
            self.extents.append(Extent(offset, length, future.result()))
        self._pending.clear()


_BLANK = Block()


def _blank(length: int) -> memoryview:
    return _BLANK.view[:length]


def _digest(view: memoryview) -> bytes:
    return hashlib.sha256(view).digest()
