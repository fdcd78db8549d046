"""Where the runner's threads leave their events for the screen, which may not be there yet."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable

from bty.agent.wizard.events import Event


class Inbox:
    """A queue of events, and the way to wake whoever takes them. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.came: Callable[[], None] = _nobody
        """Called after an event came."""
        self.overprinted: Callable[[], None] = _nobody
        """Called after something else has written to the terminal."""
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def post(self, event: Event) -> None:
        """Leave an event."""
        self._events.put(event)
        self.came()

    def tell_overprinted(self) -> None:
        """Tell that something else has written to the terminal."""
        self.overprinted()

    def take(self) -> list[Event]:
        """Return the events that nobody has acted on."""
        events = []
        with contextlib.suppress(queue.Empty):
            while True:
                events.append(self._events.get_nowait())
        return events


def _nobody() -> None:
    pass
