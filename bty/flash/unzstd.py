"""Unpacks zstd within this process, straight into the blocks that are written.

The program takes as long for the unpacking itself, but what it makes then goes through a pipe, 64 KiB at a time: a flash of
2 GiB took half as much processor time again that way (measured). libzstd is called without the GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from bty.errors import NotUnpacked, WriteFailed
from bty.flash.blocks import BLOCK_BYTES, Block, BlockPool
from bty.flash.readahead import Fill, ReadAhead


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer of zstd.h: memory, its size, and how much of it is dealt with."""

    _fields_ = (("memory", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


class Zstd:
    """One image being unpacked. *take* fills a block with the next packed bytes and returns False at their end.

    It is called in a thread of its own: unpacking is what a flash waits for, and what is fetched meanwhile costs it nothing.
    What it raises is told to *fail*.
    """

    def __init__(self, library: ctypes.CDLL, take: Fill, pool: BlockPool, fail: Callable[[BaseException], None]) -> None:
        self._library = library
        self._pool = pool
        self._stream = library.ZSTD_createDStream()
        if not self._stream:
            raise WriteFailed("no memory to unpack zstd")
        self._packed: Block | None = None
        self._input = _Buffer(None, 0, 0)
        self._inside_frame = False
        self._more_output = False
        self._fetched = ReadAhead(take, pool, users=2, fail=fail, name="fetch")

    def fill(self, block: Block, pool: BlockPool) -> bool:
        """Fill *block* with the next raw bytes; False at the end. Raises `NotUnpacked` where the image is damaged or cut."""
        block.length = 0
        while block.length < BLOCK_BYTES:
            if self._input.position == self._input.size and not self._more_output and not self._next_input():
                if self._inside_frame:
                    raise NotUnpacked("the image cannot be unpacked: zstd: it ends in the middle of a frame")
                break
            output = _Buffer(block.address + block.length, BLOCK_BYTES - block.length, 0)
            hint = self._library.ZSTD_decompressStream(self._stream, ctypes.byref(output), ctypes.byref(self._input))
            if self._library.ZSTD_isError(hint):
                raise NotUnpacked(f"the image cannot be unpacked: zstd: {self._library.ZSTD_getErrorName(hint).decode()}")
            block.length += output.position
            self._inside_frame = hint != 0
            self._more_output = output.position == output.size and self._inside_frame
        return block.length > 0

    def kill(self) -> None:
        """Nothing to end: what it waits for ends with the source and the pools."""

    def close(self) -> None:
        """End the thread that fetches and give the memory back."""
        self._fetched.close()
        self._library.ZSTD_freeDStream(self._stream)
        self._stream = None

    def _next_input(self) -> bool:
        if self._packed:
            self._pool.give_back(self._packed)
            self._packed = None
        packed = self._fetched.take()
        if packed is None:
            return False
        self._packed = packed
        self._input = _Buffer(packed.address, packed.length, 0)
        return True


def load_libzstd() -> ctypes.CDLL | None:
    """Return libzstd, which every Debian has since its package manager needs it, or None."""
    try:
        library = ctypes.CDLL("libzstd.so.1")
        library.ZSTD_createDStream.restype = ctypes.c_void_p
        library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
        library.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        library.ZSTD_decompressStream.restype = ctypes.c_size_t
        library.ZSTD_isError.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.restype = ctypes.c_char_p
    except (OSError, AttributeError):
        return None
    return library
