"""Waits for what nothing can interrupt: a name that is looked up, a connection that is made, a registry that is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
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
    outcome: Future[Made] = Future()
    threading.Thread(target=_work, args=(make, outcome), name="ask", daemon=True).start()  # a pool's thread would be waited for at exit
    while not wait([outcome], timeout=_LOOK_S).done:
        if stopped.is_set():
            outcome.add_done_callback(_close)
            return None
    try:
        return outcome.result()
    finally:
        del outcome  # its error holds this frame and all that called it, blocks of memory among it


def _work(make: Callable[[], Made], outcome: Future[Made]) -> None:
    try:
        made = make()
    except BaseException as error:  # noqa: BLE001 - carried to who waits: one that is not would have him wait for ever
        outcome.set_exception(error)
        del outcome  # as above: the error holds this frame too
    else:
        outcome.set_result(made)


def _close(outcome: Future[Made]) -> None:
    if outcome.exception() is None:
        outcome.result().close()
