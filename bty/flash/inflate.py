"""Decompresses one cluster of a qcow2 image in the fastest way there is on this machine.

libdeflate takes half of zlib's time and is used where it is installed; zstd needs libzstd, which every Debian has. Both are called
without the GIL, so a pool of threads uses all processors. The output is bounded by its buffer whatever the input says.
"""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections.abc import Callable

Inflate = Callable[[bytes, memoryview], bool]
"""Fills the memory from the compressed data and tells whether that could be done: not where the data is damaged or too short."""


def inflate_zlib(data: bytes, out: memoryview) -> bool:
    """Fill *out* from raw deflate in a window of 4 KiB."""
    try:
        made = zlib.decompressobj(-12).decompress(data, len(out))
    except zlib.error:
        return False
    if len(made) != len(out):
        return False
    out[:] = made
    return True


def load_deflate() -> Inflate:
    """Return the fastest function here that unpacks raw deflate."""
    try:
        library = ctypes.CDLL("libdeflate.so.0")
        function = library.libdeflate_deflate_decompress
        allocate, free = library.libdeflate_alloc_decompressor, library.libdeflate_free_decompressor
    except (OSError, AttributeError):
        return inflate_zlib
    # decompressor, in, in length, out, out length, where to put the length made (none: exactly the out length, or an error)
    function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    allocate.restype, free.argtypes, free.restype = ctypes.c_void_p, [ctypes.c_void_p], None

    class Scratch:
        """The memory that one thread needs, given back when the thread ends."""

        def __init__(self) -> None:
            self.handle = allocate()

        def __del__(self) -> None:
            free(self.handle)

    local = threading.local()

    def inflate(data: bytes, out: memoryview) -> bool:
        if not hasattr(local, "scratch"):
            local.scratch = Scratch()
        if local.scratch.handle and not function(local.scratch.handle, data, len(data), _address(out), len(out), None):
            return True
        return inflate_zlib(data, out)  # it accepts a stream that goes on behind the cluster, as QEMU does

    return inflate


def load_zstd() -> Inflate | None:
    """Return a function that unpacks zstd frames, or None where libzstd is not installed."""
    try:
        library = ctypes.CDLL("libzstd.so.1")
        measure, function = library.ZSTD_findFrameCompressedSize, library.ZSTD_decompress
    except (OSError, AttributeError):
        return None
    measure.argtypes, measure.restype = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_size_t
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    function.restype = ctypes.c_size_t

    def inflate(data: bytes, out: memoryview) -> bool:
        # The frame is followed by whatever fills its last sector, and the library wants its exact length.
        length = measure(data, len(data))
        # An error is a number near the top of size_t.
        return bool(length <= len(data) and function(_address(out), len(out), data, length) == len(out))

    return inflate


def _address(buffer: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
