"""Fills blocks in a thread of its own, ahead of who uses them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from bty.flash.blocks import Block, BlockPool

Fill = Callable[[Block, BlockPool], bool]
"""Fills a block, of a pool, and returns False where there was nothing more to put into it."""


class ReadAhead:
    """The blocks that *fill* fills, in order, as far ahead as *pool* has blocks; each is given back by *users*.

    What *fill* raises is told to *fail*, and is the end here: who takes the last block looks whether something failed.
    """

    def __init__(self, fill: Fill, pool: BlockPool, *, users: int, fail: Callable[[BaseException], None], name: str) -> None:
        self._fill = fill
        self._pool = pool
        self._users = users
        self._fail = fail
        self._filled: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name)
        self._thread.start()

    def take(self) -> Block | None:
        """Return the next block, waiting for it; None at the end, however often it is asked for."""
        block = self._filled.get()
        if block is None:
            self._filled.put(None)
        return block

    def close(self) -> None:
        """End the thread: it begins no further block, and this waits for the one that it fills."""
        self._pool.stop()
        self._thread.join()

    def _work(self) -> None:
        try:
            while (block := self._pool.take(self._users)) and self._fill(block, self._pool):
                self._filled.put(block)
        except Exception as error:  # noqa: BLE001 - a thread that dies must never look like the end of the image
            self._fail(error)
        finally:
            self._filled.put(None)
