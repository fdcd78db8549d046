"""What keeps the bytes of an image from coming, just now."""

from __future__ import annotations

import time

SILENCE_S = 5.0
"""A server that is silent for so long is worth a word; shorter pauses are usual."""
_MOST_CHARACTERS = 300


class Trouble:
    """The thread that reads says what happens; any other may ask for `words`, and for `last_break`, which stays."""

    def __init__(self) -> None:
        self.last_break = ""
        self._reason = ""
        self._since: float | None = None  # when a server was asked for what has not come

    def asked(self) -> None:
        """Note that a server is asked for bytes, and waited for."""
        if not self._reason:
            self._since = time.monotonic()

    def came(self) -> None:
        """Note that what was asked for is there, or that nobody is waited for any more."""
        self._since, self._reason = None, ""

    def broke(self, reason: str) -> None:
        """Note why a connection failed: no bytes come until `came` is called."""
        self._since = self._since or time.monotonic()
        self.last_break = self._reason = reason[:_MOST_CHARACTERS]

    def goes_back(self, reason: str) -> None:
        """Note why what comes until `came` is called is nothing new; `moved` tells of it."""
        self._reason = reason[:_MOST_CHARACTERS]
        self.moved()

    def moved(self) -> None:
        """Note that something came that is nothing new."""
        self._since = time.monotonic()

    def words(self) -> str | None:
        """Return why no bytes come just now, None while they do."""
        reason, since = self._reason, self._since
        silent_s = time.monotonic() - since if since is not None else 0.0
        silence = f"no byte for {silent_s:.0f} s" if silent_s >= SILENCE_S else ""
        return ", ".join(filter(None, (reason, silence))) or None
