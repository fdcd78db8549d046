"""The boot directory over HTTP: what machines fetch, what an operator stores, and what never leaves or enters it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import random
import resource
from pathlib import Path

import pytest

from bty.daemon import keys
from bty.model.machine import CycleState
from bty.services.boot_files import BootFiles
from tests.support.daemon import Daemon, make_config, raw, running
from tests.support.origin import eventually

CONTENT = random.Random(7).randbytes(300_000)
MAC = "52:54:00:00:00:07"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state", "[tuning]\nmax_upload_bytes = 10_000_000\n")) as made:
        (made.boot_dir / "vmlinuz").write_bytes(CONTENT)
        yield made


async def fetch(daemon: Daemon, name: str = "vmlinuz", method: str = "GET", **headers: str):
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    async with daemon.client.request(method, f"/boot/{name}", headers=named, auto_decompress=False) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_a_file_comes_whole(daemon):
    """GET answers the bytes with their length, a validator, and the word that ranges work."""
    status, headers, body = await fetch(daemon)

    assert (status, body) == (200, CONTENT)
    assert headers["Content-Length"] == str(len(CONTENT))
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"].startswith('"')
    assert headers["Content-Disposition"] == 'attachment; filename="vmlinuz"'


async def test_head_answers_the_headers_of_get(daemon):
    """HEAD has the same length and validator as GET, and no body."""
    _, of_get, _ = await fetch(daemon)
    status, of_head, body = await fetch(daemon, method="HEAD")

    assert (status, body) == (200, b"")
    assert {name: of_head[name] for name in ("Content-Length", "ETag")} == {name: of_get[name] for name in ("Content-Length", "ETag")}


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=100-199", 100, 199), ("bytes=299999-", 299_999, 299_999), ("bytes=-10", 299_990, 299_999),
     ("bytes=-999999", 0, 299_999), ("bytes=5-9999999", 5, 299_999)],
)  # fmt: skip
async def test_a_range_is_served(daemon, asked, first, last):
    """A range that fits is answered with 206, its bytes and their place."""
    status, headers, body = await fetch(daemon, Range=asked)

    assert (status, body) == (206, CONTENT[first : last + 1])
    assert headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=300000-", "bytes=9-3", "bytes=-0", "bytes=-", "bytes=x-y", "lines=1-2", "bytes 1-2"])
async def test_a_range_that_cannot_be_met_is_refused(daemon, asked):
    """A malformed range, or one behind the end, is 416 with the file's size and a detail."""
    status, headers, body = await fetch(daemon, Range=asked)

    assert status == 416
    assert headers["Content-Range"] == f"bytes */{len(CONTENT)}"
    assert b'"detail"' in body


async def test_a_range_of_a_file_that_changed_is_the_whole_file(daemon):
    """If-Range with the validator of older bytes, or with a date, gets everything; with the current one it gets the range."""
    _, headers, _ = await fetch(daemon)
    fresh = await fetch(daemon, Range="bytes=1-4", If_Range=headers["ETag"])
    (daemon.boot_dir / "vmlinuz").write_bytes(b"other")
    stale = await fetch(daemon, Range="bytes=1-4", If_Range=headers["ETag"])

    assert (fresh[0], fresh[2]) == (206, CONTENT[1:5])
    assert (stale[0], stale[2]) == (200, b"other")


async def test_an_unchanged_file_is_not_sent_again(daemon):
    """If-None-Match with the current validator is 304."""
    _, headers, _ = await fetch(daemon)

    assert (await fetch(daemon, If_None_Match=headers["ETag"]))[0] == 304


async def test_a_compressed_neighbour_is_never_sent_in_place(daemon):
    """`disk.img` is answered with its own bytes although `disk.img.gz` lies beside it and the client takes gzip."""
    (daemon.boot_dir / "disk.img").write_bytes(CONTENT)
    (daemon.boot_dir / "disk.img.gz").write_bytes(gzip.compress(b"something else"))
    status, headers, body = await fetch(daemon, "disk.img", Accept_Encoding="gzip, br")

    assert (status, body) == (200, CONTENT)
    assert "Content-Encoding" not in headers


async def test_an_empty_file_is_a_file(daemon):
    """A file without bytes is answered with 200 and length 0."""
    (daemon.boot_dir / "empty").write_bytes(b"")
    status, headers, body = await fetch(daemon, "empty")

    assert (status, headers["Content-Length"], body) == (200, "0", b"")


async def test_a_download_that_is_broken_off_disturbs_nobody(daemon, caplog):
    """A client that goes away in the middle of a file costs no error in the log, and no descriptor stays open."""
    (daemon.boot_dir / "big").write_bytes(bytes(20_000_000))
    before = len(names(Path("/proc/self/fd")))
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.client.port)
        writer.write(b"GET /boot/big HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.read(1000)
        writer.transport.abort()
    await eventually(lambda: len(names(Path("/proc/self/fd"))) <= before, "the end of the downloads")

    assert (await fetch(daemon))[2] == CONTENT
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


@pytest.mark.parametrize(
    "path",
    ["..%2Fstate.db", "%2e%2e%2fstate.db", "..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "..%5Cx", "a%00b", "a%0ab",
     ".hidden", "x.partial", "..", "%2e%2e", "%ff%2fx"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_name_that_is_no_bare_one_leads_nowhere(daemon, method, path):
    """A path, a hidden or partial name, and control characters are refused as sent, encoded or not."""
    await daemon.log_in()
    token = next(cookie.value for cookie in daemon.client.session.cookie_jar)
    head = f"{method} /boot/{path} HTTP/1.1\r\nHost: {daemon.address}\r\nCookie: bty-token={token}\r\n"
    answer = await raw(daemon.client.port, f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())

    assert answer.split(b" ")[1] in (b"400", b"404"), answer
    assert b'"detail"' in answer
    assert b"root:" not in answer
    assert b"SQLite" not in answer


async def test_a_link_that_leaves_the_directory_is_refused(daemon, tmp_path):
    """A symbolic link to a file outside is 400, one to a file inside is followed, one that leads in a circle is 404."""
    (tmp_path / "outside").write_bytes(b"secret")
    (daemon.boot_dir / "out").symlink_to(tmp_path / "outside")
    (daemon.boot_dir / "in").symlink_to("vmlinuz")
    (daemon.boot_dir / "circle").symlink_to("circle")

    assert (await fetch(daemon, "out"))[0] == 400
    assert (await fetch(daemon, "in"))[2] == CONTENT
    assert (await fetch(daemon, "circle"))[0] == 404


async def test_only_regular_files_are_served(daemon):
    """A directory and a pipe are 404, and a pipe does not make anybody wait."""
    (daemon.boot_dir / "sub").mkdir()
    os.mkfifo(daemon.boot_dir / "pipe")

    assert (await fetch(daemon, "sub"))[0] == 404
    assert (await fetch(daemon, "pipe"))[0] == 404


async def test_a_missing_file_is_named(daemon):
    """404 says which file is not there."""
    assert await daemon.call("GET", "/boot/nix") == (404, {"detail": "no such file: nix"})


@pytest.mark.parametrize(("method", "name"), [("GET", "vmlinuz"), ("HEAD", "vmlinuz"), ("GET", "missing")])
async def test_a_tagged_fetch_arms_the_machine(daemon, method, name):
    """`?mac=` arms the cycle of that machine by GET and HEAD, and also where the file is missing; it is logged once."""
    await daemon.client.get(f"/pxe/{MAC}")
    for _ in range(2):
        await fetch(daemon, f"{name}?mac={MAC.replace(':', '-').upper()}", method)
    await daemon.log_in()

    assert daemon.app[keys.FLEET].get(MAC).cycle_state is CycleState.ARMED
    assert len(await daemon.events(kind="netboot.flasher.armed")) == 1


@pytest.mark.parametrize("mac", ["nonsense", "", "52:54:00:00:00:99", "aabb.ccdd.eeff", "%22%0a"])
async def test_a_tag_that_means_no_machine_is_ignored(daemon, mac):
    """A malformed or unknown MAC changes nothing about the answer and makes no machine."""
    assert (await fetch(daemon, f"vmlinuz?mac={mac}"))[2] == CONTENT
    assert daemon.app[keys.FLEET].machines() == []


async def test_an_upload_is_stored_and_audited(daemon):
    """PUT stores the bytes, answers name, size and path, and leaves an event with the digest."""
    await daemon.log_in()
    body = random.Random(8).randbytes(9_000_000)
    answer = await daemon.call("PUT", "/boot/new.squashfs", data=io.BytesIO(body))
    (event,) = await daemon.events(kind="netboot.artifact.uploaded")

    assert answer == (200, {"name": "new.squashfs", "size_bytes": len(body), "path": str(daemon.boot_dir / "new.squashfs")})
    assert (await fetch(daemon, "new.squashfs"))[2] == body
    assert event["details"] == {"name": "new.squashfs", "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


async def test_an_upload_needs_a_login(daemon):
    """Without a session PUT is 401, before any byte is taken."""
    answer = await raw(
        daemon.client.port,
        f"PUT /boot/x HTTP/1.1\r\nHost: {daemon.address}\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n".encode(),
        until=b"}",
    )

    assert answer.startswith(b"HTTP/1.1 401")
    assert not (daemon.boot_dir / "x").exists()


async def test_an_upload_over_the_cap_is_refused_before_it_is_read(daemon):
    """An announced length over the cap is 413 at once; a chunked body is cut off where it passes the cap. Nothing stays."""
    await daemon.log_in()
    token = next(cookie.value for cookie in daemon.client.session.cookie_jar)
    announced = await raw(
        daemon.client.port,
        f"PUT /boot/x HTTP/1.1\r\nHost: {daemon.address}\r\nCookie: bty-token={token}\r\nContent-Length: 10000001\r\n\r\n".encode(),
        until=b"}",
    )

    async def endless():
        for _ in range(200):
            yield bytes(100_000)

    try:
        chunked, _ = await daemon.call("PUT", "/boot/x", data=endless())
    except OSError:  # the daemon hung up while we were still sending
        chunked = 413

    assert announced.startswith(b"HTTP/1.1 413")
    assert chunked == 413
    await eventually(lambda: names(daemon.boot_dir) == ["vmlinuz"])


@pytest.mark.parametrize("head", ["Content-Length: 5000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4c4b40\r\n"])
async def test_an_upload_that_breaks_off_leaves_nothing(daemon, head):
    """A client that goes away in the middle leaves neither the file nor a part of it, and the older file stays."""
    await daemon.log_in()
    token = next(cookie.value for cookie in daemon.client.session.cookie_jar)
    _, writer = await asyncio.open_connection("127.0.0.1", daemon.client.port)
    writer.write(f"PUT /boot/vmlinuz HTTP/1.1\r\nHost: x\r\nCookie: bty-token={token}\r\n{head}".encode() + bytes(1_000_000))
    await writer.drain()
    await eventually(lambda: len(names(daemon.boot_dir)) == 2, "the partial file")
    writer.close()
    await eventually(lambda: names(daemon.boot_dir) == ["vmlinuz"], "its removal")

    assert (await fetch(daemon))[2] == CONTENT
    assert await daemon.events(kind="netboot.artifact.uploaded") == []


async def test_a_part_is_not_served(daemon):
    """What an upload has stored so far cannot be fetched under any name."""
    await daemon.log_in()
    gate = asyncio.Event()

    async def slow():
        yield bytes(100)
        await gate.wait()

    upload = asyncio.create_task(daemon.call("PUT", "/boot/slow", data=slow()))
    await eventually(lambda: len(names(daemon.boot_dir)) == 2, "the partial file")
    partial = next(name for name in names(daemon.boot_dir) if name != "vmlinuz")

    assert (await fetch(daemon, "slow"))[0] == 404
    assert (await fetch(daemon, partial))[0] == 400
    gate.set()
    assert (await upload)[0] == 200


async def test_two_uploads_of_one_name_do_not_mix(daemon):
    """The file is one of the two, whole."""
    await daemon.log_in()
    bodies = [bytes([value]) * 5_000_000 for value in (1, 2)]
    answers = await asyncio.gather(*(daemon.call("PUT", "/boot/twice", data=io.BytesIO(body)) for body in bodies))

    assert [status for status, _ in answers] == [200, 200]
    assert (daemon.boot_dir / "twice").read_bytes() in bodies


async def test_an_upload_onto_a_directory_is_refused(daemon):
    """A name that is a directory is 409, and no part stays."""
    await daemon.log_in()
    (daemon.boot_dir / "sub").mkdir()

    assert (await daemon.call("PUT", "/boot/sub", data=b"x"))[0] == 409
    await eventually(lambda: names(daemon.boot_dir) == ["sub", "vmlinuz"])


async def test_a_disk_that_takes_no_more_is_told(daemon):
    """A write that the system refuses is 503 with the reason, and no part stays."""
    await daemon.log_in()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, limits[1]))
    try:
        status, body = await daemon.call("PUT", "/boot/big", data=io.BytesIO(bytes(9_000_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert status == 503
    assert "big" in body["detail"]
    await eventually(lambda: names(daemon.boot_dir) == ["vmlinuz"])


async def test_parts_of_a_crashed_upload_are_swept(tmp_path: Path):
    """What a killed daemon left half written is gone at the next start, and nothing else is."""
    (tmp_path / ".0123.partial").write_bytes(b"x")
    (tmp_path / "vmlinuz").write_bytes(b"x")
    await BootFiles(tmp_path, None, max_bytes=1).prepare()

    assert names(tmp_path) == ["vmlinuz"]
