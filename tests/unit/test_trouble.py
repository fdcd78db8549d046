"""Why no bytes come, as long as none do."""

from __future__ import annotations

import time

import pytest

from bty.sources.trouble import SILENCE_S, Trouble


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_reason_stands_until_bytes_come(clock: Clock) -> None:
    """Also while the next connection is silent; and for a second after, so that who looks now and then sees it."""
    trouble = Trouble()
    assert trouble.words() is None
    trouble.broke("Connection refused")
    trouble.asked()
    clock.now += 30
    assert trouble.words() == "Connection refused"

    trouble.came()
    assert trouble.words() is None
    trouble.broke("reset")
    trouble.came()
    assert trouble.words() == "reset"
    clock.now += 1.5
    assert trouble.words() is None


def test_a_silence_is_told_once_it_is_long(clock: Clock) -> None:
    """Only while a server is waited for: nobody asks one while the disk is busy."""
    trouble = Trouble()
    trouble.asked()
    clock.now += SILENCE_S - 0.1
    assert trouble.words() is None
    clock.now += 2.1
    assert trouble.words() == "no byte for 7 s"

    trouble.came()
    clock.now += 60
    assert trouble.words() is None
    trouble.asked()
    trouble.answered()
    clock.now += 60
    assert trouble.words() is None
