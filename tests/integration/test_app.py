"""What every answer of the daemon has in common."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import socket
import sqlite3
import subprocess
import threading
import time
import traceback

import pytest

from bty import __version__
from bty.daemon import codec, keys
from bty.daemon.routes import ROUTES
from bty.services.events import Events
from bty.services.password import hash_password
from tests.support.daemon import make_config, raw, running
from tests.support.origin import eventually

MAC = "52:54:00:00:00:01"


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as made:
        yield made


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/healthz", 200), ("GET", "/nix", 404), ("POST", "/healthz", 405), ("GET", "/machines", 401), ("GET", "/", 303),
     ("GET", "/ui/login", 200), ("GET", "/pxe/nix", 400), ("GET", "/boot/nix", 404), ("GET", "/boot/file", 200),
     ("GET", f"/pxe/{MAC}", 200)],
)  # fmt: skip
async def test_every_answer_is_guarded(daemon, method, path, status):
    """Pages, files, scripts, errors: each carries the policy against foreign scripts and frames, and no version of the server."""
    (daemon.boot_dir / "file").write_bytes(b"x")
    answer = await daemon.client.request(method, path, allow_redirects=False)

    assert answer.status == status
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Server"] == "bty"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nix", 404), ("DELETE", "/healthz", 405), ("GET", "/machines", 401), ("GET", "/pxe/nix", 400), ("GET", "/boot/nix", 404),
     ("POST", f"/pxe/{MAC}/done", 404), ("POST", f"/pxe/{MAC}/inventory", 422), ("BREW", "/healthz", 400), ("GET", "/%00", 404)],
)  # fmt: skip
async def test_every_error_has_a_detail(daemon, method, path, status):
    """Whatever goes wrong, the body is JSON with a detail."""
    answer = await daemon.client.request(method, path)

    assert (answer.status, answer.content_type) == (status, "application/json")
    assert (await answer.json())["detail"]


async def test_a_wrong_method_tells_the_right_ones(daemon):
    """405 carries Allow."""
    answer = await daemon.client.delete("/healthz")

    assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_it_says_what_it_is(daemon):
    """/healthz, /version and / answer without a login."""
    assert await daemon.call("GET", "/healthz") == (200, {"status": "ok"})
    assert await daemon.call("GET", "/version") == (200, {"version": __version__})
    answer = await daemon.client.get("/", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/ui/login")


async def test_a_bug_is_an_internal_error_logged_once(tmp_path, caplog, monkeypatch):
    """What nobody expected is 500 without any of its words, and one log line with the traceback."""

    async def broken(self: Events, query: object) -> list:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(Events, "search", broken)
    async with running(make_config(tmp_path / "state")) as daemon:
        await daemon.log_in()
        assert await daemon.call("GET", "/events") == (500, {"detail": "internal error"})
    failures = [record for record in caplog.records if record.exc_info]

    assert len(failures) == 1
    assert "the secret inside" in str(failures[0].exc_info)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method in ("POST", "PUT", "PATCH")], ids=lambda route: route.path)
async def test_a_body_over_its_cap_is_refused_before_it_is_read(daemon, route):
    """An announced length over the cap of its route is 413 although not one byte of the body came, and nothing invites it."""
    await daemon.log_in()
    token = next(iter(daemon.client.session.cookie_jar)).value
    cap = route.max_body(daemon.app[keys.CONFIG]) if callable(route.max_body) else route.max_body
    path = route.path.replace("{mac}", MAC).replace("{name}", "x").replace("{id}", "1").replace("{key}", "x")
    head = f"{route.method} {path} HTTP/1.1\r\nHost: x\r\nCookie: bty-token={token}\r\nContent-Length: {cap + 1}\r\n"
    answer = await raw(daemon.client.port, f"{head}Expect: 100-continue\r\n\r\n".encode(), until=b"}")

    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"detail"' in answer


async def test_a_chunked_body_over_its_cap_is_refused_in_the_middle(daemon):
    """A body of unknown length is 413 as soon as it passes the cap, and the connection ends."""
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    head = f"POST /pxe/{MAC}/done HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = await raw(daemon.client.port, head + chunk * 5, until=b"}")

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"Connection: close" in answer


async def test_a_body_is_asked_for_when_it_may_come(daemon):
    """Expect: 100-continue is answered for a body that is taken, and another expectation is 417."""
    head = f"POST /pxe/{MAC}/done HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    invited = await raw(daemon.client.port, f"{head}Expect: 100-continue\r\n\r\n{{}}".encode(), until=b"}")
    odd = await raw(daemon.client.port, f"{head}Expect: tea\r\n\r\n{{}}".encode(), until=b"}")

    assert invited.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404")
    assert odd.startswith(b"HTTP/1.1 417")


LOGIN = b"POST /auth/login HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", LOGIN + b"Bad\x00Header: y\r\n\r\n", LOGIN + b"Content-Length: -5\r\n\r\n",
     LOGIN + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", LOGIN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
     LOGIN + b"X: " + b"a" * 100_000 + b"\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
    ids=["no-http", "version", "nul", "negative", "two-lengths", "chunk", "long-header", "long-line"],
)  # fmt: skip
async def test_what_is_no_request_is_400(daemon, request_bytes):
    """Broken requests are answered with 400 and a detail, and the daemon goes on."""
    answer = await raw(daemon.client.port, request_bytes, until=b"}")

    assert answer.split(b" ")[1] in (b"400", b"431", b"505"), answer
    assert b'{"detail"' in answer
    assert (await daemon.call("GET", "/healthz"))[0] == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "nonsense"])
async def test_a_packed_body_is_not_unpacked(daemon, encoding):
    """A body with a content encoding is 415, so that a few kilobytes never become gigabytes."""
    bomb = gzip.compress(bytes(10_000_000))
    headers = {"Content-Encoding": encoding}
    answer = await daemon.call("POST", f"/pxe/{MAC}/done", data=bomb, headers=headers)

    assert answer == (415, {"detail": "a packed body is not taken: send it as it is"})


@pytest.mark.parametrize("body", [b"", b"2\r\n{}\r\n", b"2\r\n{}zz\r\n"], ids=["nothing", "a part", "no chunk"])
@pytest.mark.parametrize("route", [f"POST /pxe/{MAC}/done", "PUT /boot/x"])
async def test_a_body_that_does_not_come_ends(daemon, monkeypatch, caplog, body, route):
    """A client that stops in the middle of its body, or goes on with nonsense, is answered with 408 and not waited for; nothing stays."""
    await daemon.log_in()
    token = next(iter(daemon.client.session.cookie_jar)).value
    monkeypatch.setattr(codec, "BODY_IDLE_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.client.port)
    head = f"{route} HTTP/1.1\r\nHost: x\r\nCookie: bty-token={token}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    writer.write(head.encode())
    assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
    writer.write(body)
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"}")
    writer.close()
    await writer.wait_closed()

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"Connection: close" in answer
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    await eventually(lambda: list(daemon.boot_dir.iterdir()) == [], "the removal of the part")


async def test_a_client_that_goes_away_disturbs_nobody(daemon, caplog):
    """Clients that send half a request and leave, a hundred of them, cost no error and no answer of others."""

    async def rude() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", daemon.client.port)
        writer.write(f"POST /pxe/{MAC}/inventory HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{{".encode())
        await writer.drain()
        writer.close()

    await asyncio.gather(*(rude() for _ in range(100)))

    assert (await daemon.call("GET", "/healthz"))[0] == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# Everything in the standard library that waits for a disk, a process or a processor-second.
BLOCKING = (
    *((os, name) for name in ("open", "stat", "lstat", "fsync", "rename", "replace", "unlink", "mkdir", "scandir", "listdir", "readlink")),
    (io, "open"), (hashlib, "scrypt"), (time, "sleep"), (socket, "getaddrinfo"), (sqlite3, "connect"), (subprocess, "Popen"),
)  # fmt: skip


async def test_nothing_blocks_the_loop(tmp_path, monkeypatch):
    """Files that come and go, hashed passwords, lists and reports: none of it touches a disk or hashes on the event loop's thread."""
    here, found = threading.get_ident(), set()
    digest = hash_password("sesame")
    config = make_config(tmp_path / "state", f"[admin]\npassword_hash = '{digest}'\n")

    def watched(name, original):
        def call(*arguments, **options):
            if threading.get_ident() == here:
                # Not extract_stack: it reads the sources, and would find itself.
                ours = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_stack(None)]
                found.update(f"{name} in {path}:{line}" for path, line in ours if "/bty/" in path and "/tests/" not in path)
            return original(*arguments, **options)

        return call

    async with running(config) as daemon:
        for module, name in BLOCKING:
            monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
        await daemon.log_in("sesame")
        assert (await daemon.call("PUT", "/boot/file", data=io.BytesIO(bytes(900_000))))[0] == 200
        for method, path, body in (
            ("GET", "/boot/file", None), ("GET", f"/boot/nix?mac={MAC}", None), ("PUT", f"/machines/{MAC}", {}),
            ("GET", f"/pxe/{MAC}", None),
            ("GET", f"/pxe/{MAC}/plan", None), ("POST", f"/pxe/{MAC}/inventory", {"disks": [], "lshw": ["x" * 99_000]}),
            ("GET", "/machines", None), ("GET", "/machines?q=x", None), ("GET", "/events", None), ("GET", "/images", None),
            ("GET", "/catalog.toml", None), ("GET", "/cache", None), ("GET", "/ui/login", None), ("DELETE", f"/machines/{MAC}", None),
        ):  # fmt: skip
            assert (await daemon.call(method, path, json=body))[0] < 500
        monkeypatch.undo()

    assert found == set()
