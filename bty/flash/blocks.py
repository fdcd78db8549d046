"""Blocks of memory that image bytes travel in: page-aligned, reused, never grown."""

from __future__ import annotations

import ctypes
import queue
import threading

from bty.units import MIB

BLOCK_BYTES = 4 * MIB
"""Whole blocks from 1 to 16 MiB write equally fast, smaller ones slower (measured)."""
ALIGNMENT = 4096
"""What O_DIRECT asks of memory: a page satisfies every device."""


class Block:
    """Aligned memory. `length` bytes of it, from `start` in `buffer` on, hold data."""

    __slots__ = ("_users", "address", "buffer", "length", "start", "view")

    def __init__(self) -> None:
        self.buffer = bytearray(BLOCK_BYTES + ALIGNMENT)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))
        self.start = -address % ALIGNMENT
        self.address = address + self.start
        self.view = memoryview(self.buffer)[self.start : self.start + BLOCK_BYTES]
        self.length = 0
        self._users = 0


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
