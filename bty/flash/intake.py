"""Takes the bytes of a source in, in order, counts them, and hashes them beside everything else."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
from collections.abc import Callable

from bty.flash.blocks import Block, BlockPool
from bty.sources.source import ImageSource

_FIRST_NICE = -10


class RunningDigest:
    """The sha256 of a stream, computed in a thread of its own (hashlib lets the other threads run meanwhile)."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._queue: queue.SimpleQueue[memoryview | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wire-digest", daemon=True)
        self._thread.start()

    def go_first(self) -> None:
        """Let the digest have a processor before the threads that wait for it, where the system allows that: for root it does.

        Of a raw image the digest takes longest, and was put aside for a fifth of its time by those who bring it more (measured).
        """
        number = self._thread.native_id
        if number is not None:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, number, _FIRST_NICE)

    def submit(self, piece: memoryview) -> None:
        """Add the next bytes; their memory must stay as it is until `then`'s call comes."""
        self._queue.put(piece)

    def then(self, call: Callable[[], None]) -> None:
        """Call *call* once everything submitted so far is hashed."""
        self._queue.put(call)

    def hexdigest(self) -> str:
        """Return the digest of everything submitted so far, waiting for it."""
        caught_up = threading.Event()
        self.then(caught_up.set)
        caught_up.wait()
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, memoryview):
                self._hash.update(item)
            else:
                item()


class Intake:
    """A source and the digest of what it delivered."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.bytes_read = 0
        self.digest = RunningDigest()

    def fill(self, block: Block, pool: BlockPool, limit: int) -> bool:
        """Fill *block* with up to *limit* bytes; False where the source had no more. One of its users is this digest."""
        block.length = submitted = 0

        def submit() -> None:
            nonlocal submitted
            if submitted < block.length:
                self.digest.submit(block.view[submitted : block.length])
                submitted = block.length

        def delivered() -> str:
            submit()
            return self.digest.hexdigest()

        try:
            while block.length < limit and (count := self.source.readinto(block.view[block.length : limit], delivered)):
                block.length += count
                self.bytes_read += count
        finally:
            submit()
            self.digest.then(lambda: pool.give_back(block))
        return block.length > 0
