"""Blocks of memory that image bytes travel in: page-aligned, reused, never grown."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import queue
import threading

from bty.units import KIB, MIB

BLOCK_BYTES = 4 * MIB
"""Whole blocks from 1 to 16 MiB write equally fast, smaller ones slower (measured)."""
ALIGNMENT = 4096
"""What O_DIRECT asks of memory: a page satisfies every device."""

_ZEROS = bytes(64 * KIB)
_memcmp = ctypes.PyDLL(None).memcmp  # a few microseconds for 64 KiB: shorter than it takes to give the GIL back and get it again
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


class Block:
    """Memory of whole pages, all zeros at first. The first `length` bytes of `view` hold data."""

    __slots__ = ("_users", "address", "length", "view")

    def __init__(self) -> None:
        memory = mmap.mmap(-1, BLOCK_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel may lack them. Debian's gives them unasked, others gain a tenth for qcow2 (measured)
            memory.madvise(mmap.MADV_HUGEPAGE)
        self.view = memoryview(memory)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.length = 0
        self._users = 0

    def is_zero(self, at: int, length: int) -> bool:
        """Tell whether *length* bytes from *at* on are zeros, ending at the first that is not."""
        begin, known = self.address + at, min(length, len(_ZEROS))
        if _memcmp(begin, _ZEROS, known):
            return False
        return known == length or not _memcmp(begin + known, begin, length - known)  # each byte is as the one before it: a zero


class BlockPool:
    """A fixed number of blocks, taken by a reader and given back by everyone who was handed them.

    The number bounds memory, and it is the depth of the pipeline: who reads waits for who writes.
    """

    def __init__(self, count: int) -> None:
        self._free: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(count):
            self._free.put(Block())

    def take(self, users: int) -> Block | None:
        """Return a free block that *users* will give back, waiting for one. None after `stop`."""
        block = self._free.get()
        if block is None:
            self._free.put(None)
            return None
        block._users = users
        return block

    def share(self, block: Block) -> None:
        """Let one user more have a block that is taken, who will give it back too."""
        with self._lock:
            block._users += 1

    def give_back(self, block: Block) -> None:
        """Give a block back; it is free when its last user has done so."""
        with self._lock:
            block._users -= 1
            free = block._users == 0
        if free:
            self._free.put(block)

    def stop(self) -> None:
        """Wake everyone who waits for a block, now and later."""
        self._free.put(None)
