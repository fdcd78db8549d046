"""Since when a disk is at work on a call: one that does not answer has to be told of while it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SILENCE_S = 5.0
"""A healthy disk takes a block of 4 MiB in a fraction of a second."""
LONG_S = 30.0
"""For what may take its time: a flush of the disk's own memory, a range of 256 MiB that it zeroes."""


class Waits:
    """The calls that a disk has not answered, of one thread each; any thread may ask for `words`."""

    def __init__(self) -> None:
        self._begun: dict[int, tuple[float, float]] = {}  # by thread: since when, and how long it may take

    @contextmanager
    def call(self, patience_s: float | None = None) -> Iterator[None]:
        """Have the block be one call, worth a word after *patience_s*."""
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic(), SILENCE_S if patience_s is None else patience_s
        try:
            yield
        finally:
            del self._begun[thread]

    def words(self) -> str | None:
        """Return that the disk does not answer, None while it does."""
        now = time.monotonic()
        late_s = [now - since for since, patience_s in list(self._begun.values()) if now - since >= patience_s]
        return f"the disk has not answered for {max(late_s):.0f} s" if late_s else None
