"""What once broke the daemon: a disk that fills up under many requests, and connections on which nobody asks for anything."""

import asyncio
import contextlib
import resource
import socket
from pathlib import Path

import pytest

from bty.daemon import keys, protocol
from bty.services.live import LOG_LINES, Live
from bty.store import machines as table
from tests.support.daemon import make_config, running
from tests.support.process import daemon_process


async def test_memory_follows_the_database_where_many_commits_fail_at_once(tmp_path: Path) -> None:
    """A look at what is stored is no change: it does not fail with the changes that it shares a commit with."""
    async with running(make_config(tmp_path)) as daemon:
        store, fleet = daemon.app[keys.STORE], daemon.app[keys.FLEET]
        pages = (await store.read("PRAGMA page_count"))[0][0]
        await store._writer.execute_fetchall(f"PRAGMA max_page_count = {pages + 2}")

        async def contact(number: int) -> int:
            await asyncio.sleep(number % 7 / 1000)
            return (await daemon.call("GET", f"/pxe/02:00:00:00:{number // 256:02x}:{number % 256:02x}"))[0]

        statuses = await asyncio.gather(*(contact(number) for number in range(400)))
        assert 503 in statuses
        assert set(statuses) <= {200, 503}
        assert {machine.mac: machine for machine in fleet.machines()} == await table.load(store)
        assert len(fleet.machines()) == statuses.count(200)


async def test_looking_at_what_is_stored_does_not_fail_with_the_changes_beside_it(tmp_path: Path) -> None:
    """Whoever waits for earlier changes is told that they are over, however they ended."""
    async with running(make_config(tmp_path)) as daemon:
        store = daemon.app[keys.STORE]
        broken = store.write(("INSERT INTO no_such_table VALUES (1)", ()))
        outcomes = await asyncio.gather(broken, store.write(), return_exceptions=True)
        assert isinstance(outcomes[0], Exception)
        assert outcomes[1] == []


@pytest.mark.parametrize("said", [b"", b"GET /hea"], ids=["nothing", "half a request"])
async def test_a_connection_without_a_request_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """A silent client costs a descriptor, and gets a while and no more."""
    monkeypatch.setattr(protocol, "FIRST_REQUEST_S", 0.2)
    async with running(make_config(tmp_path)) as daemon:
        reader, writer = await asyncio.open_connection(daemon.client.host, daemon.client.port)
        writer.write(said)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_connection_with_a_request_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for the first request only: a client that asked may ask again later."""
    monkeypatch.setattr(protocol, "FIRST_REQUEST_S", 0.2)
    async with running(make_config(tmp_path)) as daemon:
        reader, writer = await asyncio.open_connection(daemon.client.host, daemon.client.port)
        for _ in range(2):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
            async with asyncio.timeout(5):
                assert (await reader.readuntil(b"}")).endswith(b'{"status":"ok"}')
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.4):
                    assert await reader.read(1) == b"x", "closed"
        writer.close()
        await writer.wait_closed()


def test_a_thousand_silent_connections_hold_up_nobody(tmp_path: Path) -> None:
    """The usual limit of 1024 descriptors would be used up by them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("no more descriptors may be had here")
    with contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            daemon = stack.enter_context(daemon_process(tmp_path))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1024), hard))
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=5) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.1 200")


def test_of_many_log_lines_only_the_newest_are_looked_at() -> None:
    """Half a million lines in one request must not hold up the loop."""

    class Line(str):
        looked = 0

        def __getitem__(self, key: object) -> str:
            Line.looked += 1
            return str(self)

    live = Live()
    live.add_log("m", [Line(number) for number in range(10_000)])
    assert live.log("m").lines[-1] == "9999"
    assert Line.looked == LOG_LINES
