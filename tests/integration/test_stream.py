"""The event stream over a real socket: what it says, what a client that was away gets, and what a client that does not read costs."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest

from bty.daemon import keys, stream
from bty.model.catalog import Entry
from bty.units import utc_now
from tests.support.daemon import make_config, running
from tests.support.sse import listening

MAC = "52:54:00:00:00:01"
ENTRY = Entry(bty_image_ref="a" * 64, src="http://images.example/d.img", name="debian", added_at=utc_now())


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as made:
        await made.log_in()
        yield made


async def test_the_stream_needs_a_login(daemon):
    """Without a session there is 401 and no stream."""
    daemon.client.session.cookie_jar.clear()

    assert (await daemon.call("GET", "/events/stream"))[0] == 401


async def test_a_changed_machine_comes_as_its_row(daemon):
    """A machine that boots comes whole, as GET /machines has it, and with its events."""
    async with listening(daemon) as listener:
        await daemon.call("GET", f"/pxe/{MAC}")
        row = (await listener.until("machine", mac=MAC)).data

    assert [row] == (await daemon.call("GET", "/machines"))[1]
    assert row["cycle_state"] == "offered"


async def test_events_come_as_the_log_has_them(daemon):
    """Each new event of the audit log is a message with the fields that GET /events gives."""
    async with listening(daemon) as listener:
        await daemon.call("GET", f"/pxe/{MAC}")
        event = (await listener.until("event", kind="netboot.pxe.offered")).data

    assert event == (await daemon.events(kind="netboot.pxe.offered"))[0]


async def test_a_fetch_of_the_live_environment_shows_though_no_event_tells_it_again(daemon):
    """The second artifact that a machine fetches is no event, but its row has a newer `last_seen_at`."""
    await daemon.call("GET", f"/pxe/{MAC}")
    await daemon.call("GET", f"/boot/kernel?mac={MAC}")
    async with listening(daemon) as listener:
        await daemon.call("GET", f"/boot/initrd?mac={MAC}")
        seen_at = (await daemon.call("GET", f"/machines/{MAC}"))[1]["last_seen_at"]
        row = (await listener.until("machine", last_seen_at=seen_at)).data

    assert row["cycle_state"] == "armed"


async def test_progress_comes_and_ends_with_the_flash(daemon):
    """A running flash sends its progress; its end is a machine without any."""
    await daemon.call("GET", f"/pxe/{MAC}")
    async with listening(daemon) as listener:
        await daemon.call("POST", f"/pxe/{MAC}/progress", json={"stage": "write", "bytes": 5, "total": 10, "rate": 2.5, "trouble": "reset"})
        progress = (await listener.until("progress")).data
        await daemon.call("POST", f"/pxe/{MAC}/done", json={"error": "no disk"})
        row = (await listener.until("machine", mac=MAC)).data

    at = progress["progress"].pop("at")
    assert progress == {"mac": MAC, "progress": {"stage": "write", "bytes": 5, "total": 10, "rate": 2.5, "trouble": "reset"}}
    assert at <= utc_now()
    assert (row["progress"], row["flash_error"]) == (None, "no disk")


async def test_a_log_that_grew_is_told_once_to_who_has_read_it(daemon):
    """After each reading one message has the number of the newest line and no text; a log that nobody reads is never told."""
    for mac in (MAC, "52:54:00:00:00:02"):
        await daemon.call("GET", f"/pxe/{mac}")
    async with listening(daemon) as listener, listening(daemon, "/events/machines") as narrow:
        await daemon.call("POST", f"/pxe/{MAC}/log", json={"lines": ["unread"]})
        _, first = await daemon.call("GET", f"/machines/{MAC}/log")
        for mac, line in [("52:54:00:00:00:02", "unread"), (MAC, "two"), (MAC, "three")]:
            await daemon.call("POST", f"/pxe/{mac}/log", json={"lines": [line]})
        told = await listener.until("log")
        _, second = await daemon.call("GET", f"/machines/{MAC}/log?after={first['upto']}")
        await daemon.call("POST", f"/pxe/{MAC}/log", json={"lines": ["four"]})
        again = await listener.until("log")
        await daemon.call("DELETE", f"/machines/{MAC}")
        await listener.until("machine-deleted")
        await narrow.until("machine-deleted")

    assert told.data == {"mac": MAC, "upto": 2}
    assert second == {"lines": ["two", "three"], "upto": 3, "whole": False}
    assert again.data == {"mac": MAC, "upto": 4}
    assert len([message for message in listener.messages if message.name == "log"]) == 2
    assert [message for message in narrow.messages if message.name == "log"] == []


async def test_logs_of_a_whole_rack_crowd_nothing_out(daemon, monkeypatch):
    """However many machines log, also ones that are read, nobody is sent back to fetch everything, and each is told once a second."""
    macs = [f"52:54:00:00:01:{n:02x}" for n in range(20)]
    async with listening(daemon) as listener:
        for mac in macs:
            await daemon.call("PUT", f"/machines/{mac}", json={})
        await listener.until("machine", mac=macs[-1])
        monkeypatch.setattr(stream, "MANY", 4)
        for _ in range(2):
            for mac in macs:
                await daemon.call("GET", f"/machines/{mac}/log")
                await daemon.call("POST", f"/pxe/{mac}/log", json={"lines": ["x", "y"]})
        _, newest = await daemon.call("GET", f"/machines/{macs[-1]}/log")
        await listener.until("log", mac=macs[-1], upto=newest["upto"])
    names = [message.name for message in listener.messages]
    told = [message.data["mac"] for message in listener.messages if message.name == "log"]

    assert "resync" not in names
    assert set(told) == set(macs)
    assert max(map(told.count, macs)) <= 2


async def test_a_deleted_machine_is_named(daemon):
    """A machine that an operator deletes goes by its MAC."""
    await daemon.call("PUT", f"/machines/{MAC}", json={})
    async with listening(daemon) as listener:
        await daemon.call("DELETE", f"/machines/{MAC}")

        assert (await listener.until("machine-deleted")).data == {"mac": MAC}


async def test_images_come_and_go(daemon):
    """An image that is added comes as its row, one that is deleted as its ref alone."""
    async with listening(daemon) as listener:
        await daemon.call("POST", "/catalog/entries", json={"image_url": "http://127.0.0.1:9/d.img"})
        added = (await listener.until("catalog")).data
        await daemon.call("DELETE", "/catalog/entries?src=http://127.0.0.1:9/d.img")
        deleted = (await listener.until("catalog")).data

    assert added["entry"]["src"] == "http://127.0.0.1:9/d.img"
    assert added["entry"]["bty_image_ref"] == added["ref"]
    assert deleted == {"ref": added["ref"], "entry": None}


async def test_acknowledged_events_are_named(daemon):
    """What one operator marks as seen, every other one's page learns."""
    async with listening(daemon) as listener:
        await daemon.call("POST", "/events/1/ack")

        assert (await listener.until("acknowledged")).data == {"ids": [1], "acknowledged": True}


async def test_a_client_that_was_away_gets_each_change_once(daemon):
    """With the id of its last message a client gets what came since, each machine once, as it is now."""
    async with listening(daemon) as listener:
        await daemon.call("GET", f"/pxe/{MAC}")
        await listener.until("machine", mac=MAC)
        last = listener.last_id
    await daemon.call("PATCH", f"/machines/{MAC}", json={"labels": ["one"]})
    await daemon.call("PATCH", f"/machines/{MAC}", json={"labels": ["two"]})
    async with listening(daemon) as other:  # so that what happened is out of the daemon's hands
        await daemon.call("PUT", "/machines/52:54:00:00:00:02", json={})
        await other.until("machine", mac="52:54:00:00:00:02")
    async with listening(daemon, headers={"Last-Event-ID": last}) as again:
        await again.until("machine", mac="52:54:00:00:00:02")

    assert again.messages[0].data["resumed"] is True
    rows = [message.data for message in again.messages if message.name == "machine" and message.data["mac"] == MAC]
    assert [row["labels"] for row in rows] == [["two"]]
    assert sum(message.name == "event" for message in again.messages) == 3


@pytest.mark.parametrize("last", ["", "other-1", "x", "-", "\N{SUPERSCRIPT TWO}-\N{SUPERSCRIPT TWO}", "1" * 500])
async def test_an_unknown_id_begins_anew(daemon, last):
    """An id of another daemon's life, or none at all, is no error: the greeting says that nothing was resumed."""
    async with listening(daemon, params={"last_event_id": last}) as listener:
        assert listener.messages[0].data["resumed"] is False


async def test_too_many_changes_at_once_are_one_resync(daemon):
    """Where more changes than a screen can follow there is one message that says so, and the stream goes on."""
    async with listening(daemon) as listener:
        changes = daemon.app[keys.STREAM]._changes
        changes.machines(f"52:54:00:00:{n // 256:02x}:{n % 256:02x}" for n in range(stream.MANY + 1))
        await listener.until("resync")
        await daemon.call("PUT", f"/machines/{MAC}", json={})
        await listener.until("machine", mac=MAC)

    assert [message.name for message in listener.messages][:2] == ["hello", "resync"]


async def test_a_silent_stream_stays_alive(daemon, monkeypatch):
    """Where nothing happens a comment comes from time to time."""
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)
    async with listening(daemon) as listener:
        while not listener.comments:
            asyncio.get_running_loop().call_later(0.2, daemon.app[keys.STREAM]._changes.machines, [MAC])
            await listener.read()

    assert listener.comments[0] == ": keep-alive"


async def test_the_predecessors_streams_carry_their_share(daemon):
    """/events/machines sends machines and progress and nothing else."""
    async with listening(daemon, "/events/machines") as listener:
        await daemon.call("GET", f"/pxe/{MAC}")
        await listener.until("machine", mac=MAC)

    assert {message.name for message in listener.messages} == {"hello", "machine"}


async def test_a_stream_ends_with_its_login(daemon, monkeypatch):
    """After a logout an open stream tells nothing more."""
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)
    async with listening(daemon) as listener:
        await daemon.call("POST", "/auth/logout")

        assert await listener.read() is None


async def test_clients_are_capped_by_address_and_in_all(tmp_path):
    """One more than may listen gets 429 with Retry-After; one that leaves makes room."""
    toml = "[tuning]\nstream_clients_max = 3\nstream_clients_per_address = 2\n[server]\ntrusted_proxy = '127.0.0.0/8'\n"
    async with running(make_config(tmp_path / "state", toml)) as daemon:
        await daemon.log_in()

        def at(address):
            return listening(daemon, headers={"X-Forwarded-For": address})

        async with at("192.0.2.1"), at("192.0.2.1"):
            answer = await daemon.client.get("/events/stream", headers={"X-Forwarded-For": "192.0.2.1"})
            assert (answer.status, "Retry-After" in answer.headers) == (429, True)
            assert "192.0.2.1 has 2 streams open" in (await answer.json())["detail"]
            async with at("192.0.2.2"):
                assert (await daemon.call("GET", "/events/stream", headers={"X-Forwarded-For": "192.0.2.3"}))[0] == 429
        daemon.app[keys.STREAM]._changes.machines([MAC])  # writing to it shows that a client is gone
        await eventually(lambda: daemon.app[keys.STREAM].clients == 0)
        async with at("192.0.2.1"):
            pass


async def test_a_client_that_does_not_read_is_cut_off(daemon, monkeypatch):
    """A client that does not read is disconnected; meanwhile the others get everything."""
    monkeypatch.setattr(stream, "QUEUE_MAX_BYTES", 256 * 1024)
    cookie = "; ".join(f"{c.key}={c.value}" for c in daemon.client.session.cookie_jar)
    silent = socket.socket()
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    silent.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(silent, (daemon.client.host, daemon.client.port))
    await loop.sock_sendall(silent, f"GET /events/stream HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n".encode())
    hub, events = daemon.app[keys.STREAM], daemon.app[keys.EVENTS]
    await eventually(lambda: hub.clients == 1)
    async with listening(daemon) as listener:
        number = 0
        deadline = time.monotonic() + 60
        while hub.clients == 2:
            assert time.monotonic() < deadline
            number += 1
            await events.record("machine.flashed", "x" * 900, details={"n": number, "pad": "y" * 500_000})
            await listener.until("event", id=number + 1)
        await events.record("machine.flashed", "the last")
        await listener.until("event", summary="the last")
    silent.close()

    told = [message.data["details"] for message in listener.messages if message.name == "event"]
    assert [details["n"] for details in told if details] == list(range(1, number + 1))


async def test_streams_end_when_the_daemon_stops(tmp_path):
    """A stop ends every stream properly and waits for none."""
    began = 0.0
    async with running(make_config(tmp_path / "state")) as daemon:
        await daemon.log_in()
        answer = await daemon.client.get("/events/stream")
        await answer.content.readline()
        began = time.monotonic()
        await daemon.app.shutdown()
        rest = await asyncio.wait_for(answer.content.read(), 10)

    assert b"event: hello" in rest
    assert time.monotonic() - began < 10


async def test_text_of_clients_stays_within_its_line(daemon):
    """Line breaks that a machine sends are escaped: nobody can forge a message."""
    await daemon.call("GET", f"/pxe/{MAC}")
    async with listening(daemon) as listener:
        await daemon.call("POST", f"/pxe/{MAC}/done", json={"error": "x\n\nevent: machine\ndata: {}\n\n\u2028\r"})
        event = (await listener.until("event", kind="machine.flash.failed")).data

    assert event["details"]["error"] == "x\n\nevent: machine\ndata: {}\n\n\u2028\r"
    assert json.dumps(event)


async def eventually(claim) -> None:
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
