"""Decompresses clusters of a qcow2 image in the fastest way there is on this machine.

libdeflate takes half of zlib's time and is used where it is installed; zstd needs libzstd, which every Debian has. Both are called
without the GIL, so a pool of threads uses all processors; they take many clusters at once, so that little is done between two calls,
which is with it. The output is bounded by its buffer whatever the input says.
"""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections.abc import Callable, Sequence

Packed = tuple[int, int]
"""Compressed data where it lies: its address and its length in bytes. Whoever passes it on keeps the memory."""
Inflate = Callable[[Sequence[Packed], memoryview], int]
"""Fills each of so many equal parts of the memory from the compressed data of its own, one at least.

Returns how many could be filled: fewer than all where the next one's data is damaged or too short.
"""


def address_of(memory: memoryview | bytearray) -> int:
    """Return the address of writable *memory*, valid for as long as the memory is kept and not resized."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def inflate_zlib(packed: Sequence[Packed], out: memoryview) -> int:
    """Fill the parts of *out* from raw deflate in a window of 4 KiB."""
    size = len(out) // len(packed)
    for index, (data, length) in enumerate(packed):
        try:
            made = zlib.decompressobj(-12).decompress(ctypes.string_at(data, length), size)
        except zlib.error:
            return index
        if len(made) != size:
            return index
        out[index * size : (index + 1) * size] = made
    return len(packed)


def load_deflate() -> Inflate:
    """Return the fastest function here that unpacks raw deflate."""
    try:
        library = ctypes.CDLL("libdeflate.so.0")
        function = library.libdeflate_deflate_decompress
        allocate, free = library.libdeflate_alloc_decompressor, library.libdeflate_free_decompressor
    except (OSError, AttributeError):
        return inflate_zlib
    # decompressor, in, in length, out, out length, where to put the length made (none: exactly the out length, or an error)
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    allocate.restype, free.argtypes, free.restype = ctypes.c_void_p, [ctypes.c_void_p], None

    class Scratch:
        """The memory that one thread needs, given back when the thread ends."""

        def __init__(self) -> None:
            self.handle = allocate()

        def __del__(self) -> None:
            free(self.handle)

    local = threading.local()

    def inflate(packed: Sequence[Packed], out: memoryview) -> int:
        if not hasattr(local, "scratch"):
            local.scratch = Scratch()
        handle, address, size = local.scratch.handle, address_of(out), len(out) // len(packed)
        if not handle:
            return inflate_zlib(packed, out)
        for index, (data, length) in enumerate(packed):
            # zlib accepts a stream that goes on behind the cluster, as QEMU does.
            if function(handle, data, length, address, size, None) and not inflate_zlib((packed[index],), out[index * size :][:size]):
                return index
            address += size
        return len(packed)

    return inflate


def load_zstd() -> Inflate | None:
    """Return a function that unpacks zstd frames, or None where libzstd is not installed."""
    try:
        library = ctypes.CDLL("libzstd.so.1")
        measure, function = library.ZSTD_findFrameCompressedSize, library.ZSTD_decompress
    except (OSError, AttributeError):
        return None
    measure.argtypes, measure.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_size_t
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
    function.restype = ctypes.c_size_t

    def inflate(packed: Sequence[Packed], out: memoryview) -> int:
        address, size = address_of(out), len(out) // len(packed)
        for index, (data, most) in enumerate(packed):
            # The frame is followed by whatever fills its last sector, and the library wants its exact length.
            length = measure(data, most)
            # An error is a number near the top of size_t.
            if length > most or function(address, size, data, length) != size:
                return index
            address += size
        return len(packed)

    return inflate
