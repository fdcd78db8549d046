"""What is waited for beside a stop: taken, given up, and never left open."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from bty.sources.waiting import wait_unless


class Thing:
    """Something that must be closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def test_what_is_made_is_returned() -> None:
    thing = Thing()
    assert wait_unless(threading.Event(), lambda: thing) is thing
    assert not thing.closed.is_set()


def test_what_is_made_after_the_stop_is_closed() -> None:
    stopped, go_on, thing = threading.Event(), threading.Event(), Thing()

    def make() -> Thing:
        stopped.set()
        assert go_on.wait(10)
        return thing

    assert wait_unless(stopped, make) is None
    go_on.set()
    assert thing.closed.wait(10)


def test_what_comes_just_before_the_stop_is_closed() -> None:
    """Made between the last look for it and the look for the stop."""
    go_on, thing = threading.Event(), Thing()

    class Stop(threading.Event):
        def is_set(self) -> bool:
            go_on.set()
            for thread in threading.enumerate():
                if thread.name == "ask":
                    thread.join(10)
            return True

    def make() -> Thing:
        assert go_on.wait(10)
        return thing

    assert wait_unless(Stop(), make) is None
    assert thing.closed.is_set()


def test_an_error_is_raised_and_keeps_no_memory_of_its_caller() -> None:
    """A cycle would keep the blocks that the caller reads into until the collector comes."""

    def fail() -> Thing:
        raise ValueError("no")

    def caller() -> weakref.ref[Thing]:
        held = Thing()
        with pytest.raises(ValueError, match="no"):
            wait_unless(threading.Event(), fail)
        return weakref.ref(held)

    gc.collect()
    gc.disable()
    try:
        assert caller()() is None
    finally:
        gc.enable()
