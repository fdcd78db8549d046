"""Reads at an offset, each a range request: those that follow each other go on one connection, for as long as it is kept."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bty.errors import SourceFailed
from bty.sources.http import Endpoint, HttpSource, Location
from tests.support.hostile import Behaviour, End, Hostile, hostile_server
from tests.support.listening import answering, listening

BODY = random.Random(3).randbytes(300_000)
PART = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-3/9\r\nContent-Length: 4\r\n\r\nabcd"
OFFSETS = (0, 65_536, 299_000, 4096, 123_457)


@contextmanager
def reading(*script: Behaviour, keeps: bool = True) -> Iterator[tuple[HttpSource, Hostile]]:
    with hostile_server(Hostile(BODY, script=list(script), keeps=keeps)) as hostile:
        source = HttpSource([Location.of(f"{hostile.url}/x.qcow2")], name="x.qcow2", stall_limit_s=1)
        try:
            yield source, hostile
        finally:
            source.close()


def read_all(source: HttpSource) -> None:
    for offset in OFFSETS:
        assert source.pread(offset, 1000) == BODY[offset : offset + 1000]


def test_reads_share_a_connection() -> None:
    """Five reads, one connection; those that go over the end get what there is, and the next are right again."""
    with reading() as (source, hostile):
        read_all(source)
        assert (len(hostile.requests), hostile.connections) == (5, 1)
        assert source.pread(299_990, 1000) == BODY[-10:]
        assert source.pread(300_000, 1000) == b""
        read_all(source)
        assert source.pread(0, 70_000) == BODY[:70_000]


def test_a_server_that_keeps_none_is_asked_anew() -> None:
    """One that says so is believed; no read is lost and none is told as trouble."""
    with reading(keeps=False) as (source, hostile):
        read_all(source)
        assert hostile.connections == 5
        assert (source.retries, source.last_break, source.trouble) == (0, "", None)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(status=404),
        Behaviour(status=500),
        Behaviour(end=End.CLOSE, end_after=500),
        Behaviour(end=End.RESET, end_after=0),
        Behaviour(length_delta=-1),
        Behaviour(length_delta=5),
        Behaviour(chunked=True),
        Behaviour(ignore_range=True),
        Behaviour(end=End.STALL, end_after=20),
    ],
    ids=str,
)
def test_what_goes_wrong_on_a_kept_connection_is_asked_on_a_new_one(behaviour: Behaviour) -> None:
    """The second answer is wrong in each way: the third, on another connection, is right, and so is what is read."""
    with reading(Behaviour(), behaviour, Behaviour()) as (source, hostile):
        read_all(source)
        assert hostile.connections == 2
        assert source.trouble is None


def test_another_range_than_asked_for_is_refused_on_a_kept_connection_too() -> None:
    """What an answer says of itself is believed before what was asked: the bytes of another place are never taken."""
    with reading(Behaviour(), Behaviour(shift_range=1)) as (source, _), pytest.raises(SourceFailed, match="another range"):
        read_all(source)


def test_a_kept_connection_that_was_closed_meanwhile_is_no_trouble() -> None:
    """A server may promise to keep it and close it in the next moment."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(PART)
        connection.shutdown(socket.SHUT_RDWR)

    with answering(answer) as url:
        source = HttpSource([Location.of(f"{url}/x")], name="x", stall_limit_s=1)
        try:
            assert [source.pread(0, 4) for _ in range(3)] == [b"abcd"] * 3
            assert (source.last_break, source.trouble) == ("", None)
        finally:
            source.close()


def test_a_kept_connection_that_falls_silent_costs_one_timeout() -> None:
    """Something between us and the server may let one request through for each connection: it is believed no second time."""
    second_requests = []

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(PART)
        while data := connection.recv(65536):
            second_requests.append(data)

    with listening(serve) as url:
        source = HttpSource([Location.of(f"{url}/x")], name="x", stall_limit_s=1)
        try:
            assert [source.pread(0, 4) for _ in range(5)] == [b"abcd"] * 5
        finally:
            source.close()
    assert len(second_requests) == 1


def test_whoever_may_read_is_asked_once_for_all_reads() -> None:
    """A token or a signed address is looked for again only where the last one does not serve any more."""
    asked = []
    with hostile_server(Hostile(BODY, script=[Behaviour()] * 3 + [Behaviour(status=401), Behaviour()], keeps=True)) as hostile:

        def find() -> Endpoint:
            asked.append("once")
            return Endpoint(f"{hostile.url}/x", {"Authorization": "Bearer t"})

        source = HttpSource([Location(find=find, shown="x")], name="x", stall_limit_s=1)
        try:
            read_all(source)
        finally:
            source.close()
    assert len(asked) == 2
    assert all("\r\nAuthorization: Bearer t\r\n" in request for request in hostile.requests)


def test_a_stop_is_heard_on_a_kept_connection() -> None:
    """Nothing is read after `abort`, on whichever connection."""
    with reading() as (source, _):
        read_all(source)
        source.abort()
        with pytest.raises(SourceFailed, match="stopped"):
            source.pread(0, 10)
