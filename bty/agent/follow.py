"""Runs a flash in a thread of its own and looks at it from beside."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from bty.errors import BtyError, WriteFailed
from bty.flash.engine import Flash, ManyFlash, Outcome
from bty.model.plan import Receipt
from bty.model.progress import Progress

_LOOK_S = 0.25
_STANDS_BPS = 1024  # what moves less stands still: the average of nothing never becomes 0 by itself
Watcher = Callable[[Progress, float], None]
"""Called with the progress and the rate of the last seconds, in bytes of the raw image a second."""
_Result = TypeVar("_Result")


def follow(flash: Flash, watch: Watcher) -> Receipt:
    """Run *flash* to its end, calling *watch* four times a second. SIGINT and SIGTERM cancel it.

    Raises what the flash raises.
    """
    rate = _Rate()

    def look() -> None:
        progress = flash.progress()
        watch(progress, rate.update(progress))

    receipt = _run_beside(flash.run, flash.cancel, look)
    watch(flash.progress(), rate.mean())
    return receipt


def follow_many(
    flash: ManyFlash, watch: Callable[[int, Progress, float], None], ended: Callable[[int, Outcome], None]
) -> tuple[Outcome, ...]:
    """Run *flash* to its end, calling *watch* four times a second for each disk that has not ended, and *ended* once for each.

    SIGINT and SIGTERM cancel it. Returns how it ended for each disk.
    """
    rates = [_Rate() for _ in flash.progress()]
    told: set[int] = set()

    def look() -> None:
        for index, progress in enumerate(flash.progress()):
            if index in told:
                continue
            outcome = flash.outcome(index)
            watch(index, progress, rates[index].mean() if outcome else rates[index].update(progress))
            if outcome:
                told.add(index)
                ended(index, outcome)

    try:
        return _run_beside(flash.run, flash.cancel, look)
    finally:
        look()


def _run_beside(run: Callable[[], _Result], cancel: Callable[[], None], look: Callable[[], None]) -> _Result:
    """Do *run* in a thread and *look* at it until it ends. Raises what it raises; a defect as `WriteFailed`, so that it has a name."""
    outcome: list[_Result] = []
    failure: list[BtyError] = []
    ended = threading.Event()

    def work() -> None:
        try:
            outcome.append(run())
        except BtyError as error:
            failure.append(error)
        except BaseException as error:  # a defect of ours still has to end the flash with its name
            failure.append(WriteFailed(f"internal error: {error!r}"))
            raise
        finally:
            ended.set()

    thread = threading.Thread(target=work, name="flash")
    with _cancelled_by_signals(cancel):
        thread.start()
        while not ended.wait(_LOOK_S):
            look()
        thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


class _Rate:
    """The rate of the last second or so, smoothed, and of the whole."""

    def __init__(self) -> None:
        self._began_at = self._at = time.monotonic()
        self._done = 0
        self._rate = 0.0

    def update(self, progress: Progress) -> float:
        now = time.monotonic()
        passed = now - self._at
        if progress.done < self._done or passed <= 0:
            self._rate = 0.0
        else:
            fresh = (progress.done - self._done) / passed
            self._rate = fresh if not self._rate else 0.7 * self._rate + 0.3 * fresh
        if self._rate < _STANDS_BPS:
            self._rate = 0.0
        self._at, self._done = now, progress.done
        return self._rate

    def mean(self) -> float:
        return self._done / max(self._at - self._began_at, 0.001)


@contextlib.contextmanager
def _cancelled_by_signals(cancel: Callable[[], None]) -> Iterator[None]:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        # Not here: the handler runs between two instructions of a thread that may hold the lock cancel needs.
        threading.Thread(target=cancel, name="cancel").start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
