"""What keeps the bytes of an image from coming, just now."""

from __future__ import annotations

import time

SILENCE_S = 5.0
"""A server that is silent for so long is worth a word; shorter pauses are usual."""
_TOLD_S = 1.0  # who looks four times a second also sees a break that was mended at once
_MOST_CHARACTERS = 300


class Trouble:
    """One thread says what happens, any other may ask for `words`."""

    def __init__(self) -> None:
        self._reason = ""
        self._broke_at = 0.0
        self._is_mended = True
        self._asked_at: float | None = None

    def asked(self) -> None:
        """Note that a server is asked for bytes, and waited for."""
        self._asked_at = time.monotonic()

    def answered(self) -> None:
        """Note that nobody is waited for, whatever was answered."""
        self._asked_at = None

    def came(self) -> None:
        """Note that bytes came: whatever was wrong is mended."""
        self._asked_at = None
        self._is_mended = True

    def broke(self, reason: str) -> None:
        """Note why no bytes come until `came` is called."""
        self._asked_at = None
        self._reason, self._broke_at, self._is_mended = reason[:_MOST_CHARACTERS], time.monotonic(), False

    def words(self) -> str | None:
        """Return why no bytes come just now, None while they do."""
        now, asked_at = time.monotonic(), self._asked_at
        if self._reason and (not self._is_mended or now - self._broke_at < _TOLD_S):
            return self._reason
        if asked_at is not None and now - asked_at >= SILENCE_S:
            return f"no byte for {now - asked_at:.0f} s"
        return None
