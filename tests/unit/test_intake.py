"""The running digest of what a source delivers."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from bty.flash.intake import RunningDigest


@pytest.fixture
def digest():
    running = RunningDigest()
    yield running
    running.close()


def test_the_digest_is_that_of_all_pieces_in_their_order(digest):
    for piece in (b"one", b"two", b""):
        digest.submit(memoryview(piece))
    assert digest.hexdigest() == hashlib.sha256(b"onetwo").hexdigest()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may put a thread before others")
def test_the_digest_alone_goes_first(digest):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    digest.go_first()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "wire-digest")
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == -10
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_digest_that_may_not_go_first_stays_as_it_is(digest, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    digest.go_first()
    digest.submit(memoryview(b"bytes"))
    assert digest.hexdigest() == hashlib.sha256(b"bytes").hexdigest()
