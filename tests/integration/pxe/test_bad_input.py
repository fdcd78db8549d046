"""Bad input, and a database that fails: a clear answer, and nothing is lost."""

import asyncio
import json
import socket

import pytest
from aiohttp import ClientSession

from bty.daemon.keys import STORE
from bty.model.machine import BootMode
from bty.store import machines as machine_table
from tests.integration.pxe.rig import LIVE, MAC, Rig, Start, flashing

# --- bad input


@pytest.mark.parametrize(
    "mac",
    [
        "aabbccddeeff",
        "aabb.ccdd.eeff",
        "aa:bb:cc:dd:ee",
        "aa:bb:cc:dd:ee:fg",
        "aa:bb:cc:dd:ee:ff'",
        'aa:bb:cc:dd:ee:f"',
        f"{MAC}%0Aexit",
        "%C3%A4",
    ],
)
async def test_malformed_macs(rig: Rig, mac: str) -> None:
    """A MAC that is none is 400 on every route, says so, and leaves no record."""
    for method, path in (("GET", ""), ("GET", "/plan"), ("POST", "/done"), ("POST", "/inventory"), ("POST", "/log"), ("POST", "/progress")):
        body = {"stage": "x", "bytes": 0} if path == "/progress" else {"lines": []} if path == "/log" else {}
        async with rig.client.request(method, f"/pxe/{mac}{path}", json=body) as answer:
            assert answer.status == 400
            assert "invalid MAC" in (await answer.json())["detail"]
    assert await rig.events() == []


@pytest.mark.parametrize("host", ["a b", "h/x", "h:x", "${net0/ip}", 'h"', "h\texit"])
async def test_forged_host_reaches_no_script(rig: Rig, host: str) -> None:
    """A Host header that could break a script is 400 and leaves no record."""
    for path in ("/pxe-bootstrap.ipxe", f"/pxe/{MAC}", f"/pxe/{MAC}/plan"):
        answer = await rig.client.get(path, headers={"Host": host})
        assert answer.status == 400
        assert "Host header" in (await answer.json())["detail"]
    assert await rig.events() == []


@pytest.mark.parametrize("name", ["Host: h\nexit", "Host: h\x00", "Host : h"])
async def test_broken_header_lines_are_refused(rig: Rig, name: str) -> None:
    """A header that no client would send is refused by the parser."""

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", rig.client.port), timeout=5) as connection:
            connection.sendall(f"GET /pxe/{MAC} HTTP/1.1\r\n{name}\r\n\r\n".encode())
            return connection.recv(1000)

    assert b" 400 " in (await asyncio.to_thread(ask)).splitlines()[0]
    assert await rig.events() == []


async def test_http_1_0_without_host(rig: Rig) -> None:
    """A client too old to name a host is served with the address that it reached."""

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", rig.client.port), timeout=5) as connection:
            connection.sendall(b"GET /pxe-bootstrap.ipxe HTTP/1.0\r\n\r\n")
            with connection.makefile("rb") as answer:
                return answer.read()

    assert f"chain --replace http://127.0.0.1:{rig.client.port}/pxe/".encode() in await asyncio.to_thread(ask)


@pytest.mark.parametrize(
    ("what", "body", "loc"),
    [
        ("inventory", b'{"unknown": 1}', ["body", "unknown"]),
        ("inventory", b'{"disks": [{"path": "/dev/sda"}, {}]}', ["body", "disks", 1, "path"]),
        ("inventory", b'{"disks": [{"path": 1}]}', ["body", "disks", 0, "path"]),
        ("inventory", b'{"disks": {}}', ["body", "disks"]),
        ("inventory", b'{"lshw": "text"}', ["body", "lshw"]),
        ("inventory", json.dumps({"disks": [{"path": "/dev/x"}] * 65}).encode(), ["body", "disks"]),
        ("inventory", json.dumps({"disks": [{"path": "x" * 256}]}).encode(), ["body", "disks", 0, "path"]),
        ("inventory", b"", ["body"]),
        ("inventory", b"not json", ["body"]),
        ("inventory", b'{"lshw": {"a": "\\ud800"}}', ["body"]),
        ("inventory", b'{"lshw": ' + b"[" * 5000 + b"]" * 5000 + b"}", ["body"]),
        ("inventory", b"\xff\xfe", ["body"]),
        ("done", b"[]", ["body"]),
        ("done", b'{"seconds": "long"}', ["body", "seconds"]),
        ("done", b'{"bytes_read": -1}', ["body", "bytes_read"]),
        ("done", b'{"bytes_read": 1e400}', ["body", "bytes_read"]),
        ("done", b'{"bytes_read": 99999999999999999999999}', ["body", "bytes_read"]),
        ("done", json.dumps({"error": "x" * 4097}).encode(), ["body", "error"]),
        ("done", b'{"notes": [1]}', ["body", "notes", 0]),
        ("done", b'{"seconds": NaN}', ["body"]),
        ("status", b'{"status": "maybe"}', ["body", "status"]),
        ("status", b"{}", ["body", "status"]),
        ("progress", b"{}", ["body", "stage"]),
        ("progress", b'{"stage": "write", "bytes": "many"}', ["body", "bytes"]),
        ("log", b'{"lines": "one"}', ["body", "lines"]),
        ("log", b"lines", ["body"]),
    ],
)
async def test_malformed_bodies(rig: Rig, what: str, body: bytes, loc: list) -> None:
    """A body that does not fit is 422 with the place of the mistake, and changes nothing."""
    await rig.contact()
    before = rig.fleet.get(MAC)
    answer = await rig.client.post(f"/pxe/{MAC}/{what}", data=body, headers={"Content-Type": "application/json"})
    detail = (await answer.json())["detail"]
    assert (answer.status, detail[0]["loc"]) == (422, loc), detail
    assert set(detail[0]) == {"loc", "msg", "type"}
    assert rig.fleet.get(MAC) == before


@pytest.mark.parametrize(
    ("what", "size"), [("done", 65 << 10), ("progress", 65 << 10), ("log", (1 << 20) + 1), ("inventory", (8 << 20) + 1)]
)
async def test_bodies_over_their_cap_are_refused_unread(rig: Rig, what: str, size: int) -> None:
    """A body that announces more than its cap is 413 before anything of it was sent."""

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", rig.client.port), timeout=5) as connection:
            head = f"POST /pxe/{MAC}/{what} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
            connection.sendall(head.encode())
            return connection.recv(1000)

    await rig.contact()
    assert b" 413 " in await asyncio.to_thread(ask)


async def test_labels_of_a_machine_stay_in_their_comment(rig: Rig) -> None:
    """Even a label that got into the database with a newline is one comment."""
    await rig.put(BootMode.IPXE_EXIT, labels=("evil\nsanboot http://evil/", "${net0/ip}"))
    text = await (await rig.client.get(f"/pxe/{MAC}")).text()
    assert "evil?sanboot http://evil/" in text
    assert [line for line in text.splitlines() if line.startswith("sanboot")] == ["sanboot --no-describe --drive 0x80 || exit"]
    assert "${net0" not in text


async def test_trusted_proxy_names_the_machine(start: Start) -> None:
    """Behind a trusted proxy the machine's own address is recorded."""
    rig = await start(**{"server.trusted_proxy": "127.0.0.0/8"})
    await rig.client.get(f"/pxe/{MAC}", headers={"X-Forwarded-For": "203.0.113.1, 192.0.2.7"})
    assert rig.stored("last_seen_ip") == "192.0.2.7"


# --- a database that fails


async def test_full_disk_is_503_and_memory_follows_the_database(rig: Rig) -> None:
    """When the disk is full nothing is acknowledged, the state is that of the last commit, and later requests work again."""
    await rig.put(BootMode.FLASH_ONCE)
    before = rig.fleet.get(MAC)
    store = rig.app[STORE]
    pages = (await store.read("PRAGMA page_count"))[0][0]
    await store._writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")
    statuses = set()
    for n in range(200):
        answer = await rig.client.post(f"/pxe/{MAC}/done", json={"name": "x" * 4000, "target_path": str(n)})
        statuses.add(answer.status)
        if answer.status == 503:
            break
        before = rig.fleet.get(MAC)
    assert statuses <= {204, 503}
    assert "disk is full" in (await answer.json())["detail"]
    assert rig.fleet.get(MAC) == before
    (stored,) = (await machine_table.load(store, [MAC])).values()
    assert stored == before
    assert (await rig.client.get("/pxe/52:54:00:00:00:99")).status in (200, 503)
    await store._writer.execute_fetchall("PRAGMA max_page_count = 1000000")
    assert await rig.contact() == LIVE


async def test_repeated_receipt_is_not_acknowledged_before_the_first_one_is_stored(rig: Rig) -> None:
    """When the disk is full, a receipt that comes twice at once is refused twice, and taken once there is room."""
    token = await flashing(rig)
    receipt = {"cycle": token, "target_path": "/dev/sda", "source": "x" * 4000, "notes": ["y" * 4000] * 10}
    writer = rig.app[STORE]._writer
    pages = (await rig.app[STORE].read("PRAGMA page_count"))[0][0]
    await writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")
    assert await asyncio.gather(*(rig.post("done", receipt) for _ in range(5))) == [503] * 5
    await writer.execute_fetchall("PRAGMA max_page_count = 1000000")
    assert await rig.contact() == LIVE
    assert await asyncio.gather(*(rig.post("done", receipt) for _ in range(5))) == [204] * 5
    assert len(await rig.events("machine.flashed")) == 1


async def test_storm(rig: Rig) -> None:
    """Five hundred machines that power on at once are all recorded, each with its events, and all are served."""
    async with ClientSession() as session:

        async def boot(n: int) -> int:
            async with session.get(rig.client.make_url(f"/pxe/52:54:00:00:{n // 256:02x}:{n % 256:02x}")) as answer:
                return answer.status

        assert set(await asyncio.gather(*(boot(n) for n in range(500)))) == {200}
    assert len(await machine_table.load(rig.app[STORE])) == 500
    rows = await rig.app[STORE].read("SELECT kind, count(*) FROM events GROUP BY kind")
    assert {row[0]: row[1] for row in rows} == {"machine.discovered": 500, "netboot.pxe.offered": 500}
