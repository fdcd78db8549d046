"""Waits for what nothing can interrupt: a name that is looked up, a connection that is made, a registry that is asked."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

_LOOK_S = 0.1  # how long a stop may go unheard


class _Closable(Protocol):
    def close(self) -> None:
        """Give back what is held."""


Made = TypeVar("Made", bound=_Closable)


def wait_unless(stopped: threading.Event, make: Callable[[], Made]) -> Made | None:
    """Return what *make* returns, or raise what it raises; None once *stopped* is set.

    It runs in a thread that ends in its own time. What it makes after a stop is closed.
    """
    outcomes: queue.SimpleQueue[tuple[Made | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcomes.put((make(), None))
        except BaseException as error:  # noqa: BLE001 - carried to who waits, whatever it is
            outcomes.put((None, error))
        if stopped.is_set():
            _drop(outcomes)

    threading.Thread(target=work, name="ask", daemon=True).start()
    while True:
        try:
            made, error = outcomes.get(timeout=_LOOK_S)
        except queue.Empty:
            if stopped.is_set():
                _drop(outcomes)  # it may have come just now, before the stop
                return None
            continue
        try:
            if error:
                raise error
        finally:
            del error  # it holds this frame and all that called it, blocks of memory among it
        return made


def _drop(outcomes: queue.SimpleQueue[tuple[Made | None, BaseException | None]]) -> None:
    """Close what nobody took any more."""
    try:
        made, _ = outcomes.get_nowait()
    except queue.Empty:
        return
    if made is not None:
        made.close()
