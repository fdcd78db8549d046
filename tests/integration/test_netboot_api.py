"""The boot directory as an operator fills it: listed, deleted, seeded, fetched from a release; and the catalog's ways in."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bty import __version__
from bty.daemon import keys
from bty.daemon.scripts import ARTIFACTS
from bty.model.catalog import Entry
from bty.units import utc_now
from tests.support.daemon import make_config, running

FILES = {f"{ARTIFACTS}.{suffix}": suffix.encode() * 1000 for suffix in ("vmlinuz", "initrd", "squashfs")}
LISTING = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in FILES.items())
CATALOG = 'version = 1\n[[images]]\nname = "one"\nsrc = "http://127.0.0.1:9/one.img"\n'


class Upstream:
    """A server of releases whose files can be changed, held up or lost."""

    def __init__(self) -> None:
        self.files = {**FILES, f"{ARTIFACTS}.sha256": LISTING.encode()}
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []

    async def get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked.append(f"{request.match_info['tag']}/{name}")
        if name.endswith("squashfs"):
            await self.gate.wait()
        if name not in self.files:
            raise web.HTTPNotFound
        return web.Response(body=self.files[name])


@pytest.fixture
async def upstream():
    made = Upstream()
    app = web.Application()
    app.router.add_get("/{tag}/{name}", made.get)
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made
        made.gate.set()


@pytest.fixture
async def daemon(tmp_path, upstream):
    async with running(make_config(tmp_path / "state")) as made:
        await made.log_in()
        status, body = await made.call("PATCH", "/settings", json={"upstream": {"netboot_repo": upstream.url}})
        assert status == 200, body
        yield made


async def settle(daemon, tag="latest") -> dict:
    deadline = time.monotonic() + 20
    while True:
        fetches = (await daemon.call("GET", "/boot/releases"))[1]["fetches"]
        state = [fetch for fetch in fetches if fetch["tag"] == tag][-1]
        if state["status"] not in ("queued", "running"):
            return state
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def kinds(events) -> list[str]:
    return [event["kind"].removeprefix("netboot.artifacts.") for event in reversed(events) if event["kind"].startswith("netboot.artifacts")]


async def test_a_release_is_fetched_and_proved(daemon, upstream):
    """All files come, their digests are compared, and then they are what machines boot; `latest` is the version that runs."""
    status, state = await daemon.call("POST", "/boot/releases", json={"tag": "latest"})
    assert (status, state["tag"], state["base_url"]) == (202, "latest", f"{upstream.url}/v{__version__}")
    state = await settle(daemon)
    listed = (await daemon.call("GET", "/boot"))[1]

    assert (state["status"], state["error"]) == ("completed", None)
    assert {artifact["status"] for artifact in state["artifacts"]} == {"completed"}
    assert state["bytes_done"] == state["bytes_total"] == sum(map(len, upstream.files.values()))
    assert listed["missing"] == []
    assert {item["name"]: item["sha256"] for item in listed["items"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in upstream.files.items()
    }
    for name, content in FILES.items():
        assert await (await daemon.client.get(f"/boot/{name}")).read() == content
    assert kinds(await daemon.events()) == ["fetch.requested", "fetch.started", "fetched"]


@pytest.mark.parametrize("mistake", ["changed", "missing", "unlisted", "no list", "bad list"])
async def test_a_release_that_is_not_what_was_promised_is_not_taken(daemon, upstream, mistake):
    """Where one file is wrong or missing nothing is put into place and nothing is left; the failure says why."""
    name, listing = f"{ARTIFACTS}.initrd", f"{ARTIFACTS}.sha256"
    if mistake == "changed":
        upstream.files[name] += b"x"
    elif mistake == "missing":
        del upstream.files[name]
    elif mistake == "unlisted":
        upstream.files[listing] = LISTING.replace("initrd", "other").encode()
    elif mistake == "no list":
        del upstream.files[listing]
    else:
        upstream.files[listing] = b"<html>  not a list\n"
    await daemon.call("POST", "/boot/releases", json={})
    state = await settle(daemon)

    assert state["status"] == "failed"
    assert state["error"]
    assert list(daemon.boot_dir.iterdir()) == []
    assert kinds(await daemon.events()) == ["fetch.requested", "fetch.started", "fetch.failed"]
    upstream.files = {**FILES, listing: LISTING.encode()}
    await daemon.call("POST", "/boot/releases", json={})
    assert (await settle(daemon))["status"] == "completed"


async def test_a_fetch_is_joined_and_cancelled(daemon, upstream):
    """Asking twice is one job; cancelling it leaves nothing behind; what is over stays as it is."""
    upstream.gate.clear()
    first = (await daemon.call("POST", "/boot/releases", json={"tag": "v1"}))[1]
    second = (await daemon.call("POST", "/boot/releases", json={"tag": "v1"}))[1]
    deadline = time.monotonic() + 10
    while not any(asked.endswith("squashfs") for asked in upstream.asked):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    status, state = await daemon.call("DELETE", "/boot/releases/v1")

    assert first["job"] == second["job"]
    assert (status, state["status"]) == (200, "cancelled")
    assert list(daemon.boot_dir.iterdir()) == []
    assert (await daemon.call("DELETE", "/boot/releases/v1"))[1]["status"] == "cancelled"
    assert kinds(await daemon.events())[-1] == "fetch.cancelled"
    assert (await daemon.call("DELETE", "/boot/releases/v2"))[0] == 404
    assert (await daemon.call("DELETE", "/boot/releases/a%20b"))[0] == 422


@pytest.mark.parametrize("body", [{"tag": ""}, {"tag": "a/b"}, {"tag": "a\n"}, {"tag": 1}, {"x": 1}])
async def test_a_malformed_tag_is_422(daemon, body):
    """A tag is a word of an address, nothing more."""
    assert (await daemon.call("POST", "/boot/releases", json=body))[0] == 422


async def test_a_file_is_deleted(daemon):
    """It is gone, with an event; a second time it is not found, and no name leads out of the directory."""
    (daemon.boot_dir / "extra").write_bytes(b"x")
    assert (await daemon.call("DELETE", "/boot/extra"))[0] == 204
    assert (await daemon.call("DELETE", "/boot/extra"))[0] == 404
    assert (await daemon.call("DELETE", "/boot/..%2fstate.db"))[0] == 400
    assert (await daemon.events())[0]["kind"] == "netboot.artifact.deleted"


async def test_the_directory_is_seeded(tmp_path, monkeypatch):
    """At its start a daemon takes from the seed what it lacks, and leaves alone what it has."""
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "a").write_bytes(b"new a")
    (seed / "b").write_bytes(b"new b")
    (seed / ".hidden").write_bytes(b"x")
    monkeypatch.setenv("BTY_BOOT_SEED_DIR", str(seed))
    config = make_config(tmp_path / "state")
    config.paths.boot_dir.mkdir()
    (config.paths.boot_dir / "b").write_bytes(b"old b")
    async with running(config) as daemon:
        await daemon.log_in()
        assert [item["name"] for item in (await daemon.call("GET", "/boot"))[1]["items"]] == ["a", "b"]
        assert (config.paths.boot_dir / "a").read_bytes() == b"new a"
        assert (config.paths.boot_dir / "b").read_bytes() == b"old b"


async def test_a_catalog_is_uploaded(daemon):
    """The body is the file; what is no catalog is refused with its mistake."""
    assert (await daemon.call("POST", "/catalog/upload", data=CATALOG.encode()))[1]["imported"] == 1
    assert (await daemon.call("POST", "/catalog/upload", data=CATALOG.encode()))[1]["skipped"] == 1
    for content in (b"", b"  \n", b"version = 2", b"\xff"):
        status, body = await daemon.call("POST", "/catalog/upload", data=content)
        assert (status, bool(body["detail"])) == (400, True)
    assert (await daemon.call("POST", "/catalog/upload", data=io.BytesIO(b"#" * ((1 << 20) + 1))))[0] == 413


async def test_the_catalog_that_is_set_is_fetched(daemon, upstream):
    """Without one set the answer says what to do; with one it is imported."""
    status, body = await daemon.call("POST", "/catalog/fetch")
    assert (status, "PATCH /settings" in body["detail"]) == (409, True)
    upstream.files["catalog.toml"] = CATALOG.encode()
    await daemon.call("PATCH", "/settings", json={"upstream": {"catalog_url": f"{upstream.url}/v1/catalog.toml"}})

    assert (await daemon.call("POST", "/catalog/fetch"))[1]["imported"] == 1


async def test_an_image_is_checked(daemon, upstream):
    """A living origin tells size and format, a dead one why; an unknown source is 404."""
    upstream.files["d.img.gz"] = b"x" * 7
    living = Entry(bty_image_ref="a" * 64, src=f"{upstream.url}/v1/d.img.gz", name="a", added_at=utc_now())
    dead = Entry(bty_image_ref="b" * 64, src="http://127.0.0.1:9/b.img", name="b", added_at=utc_now())
    await daemon.app[keys.CATALOG].insert([living, dead])
    found = (await daemon.call("POST", "/catalog/entries/check", json={"src": living.src}))[1]
    lost = (await daemon.call("POST", "/catalog/entries/check", json={"src": dead.src}))[1]

    assert found["origin"] == {"reachable": True, "size_bytes": 7, "format": "img.gz", "error": None}
    assert found["withcache"]["configured"] is False
    assert (lost["origin"]["reachable"], bool(lost["origin"]["error"])) == (False, True)
    assert (await daemon.call("POST", "/catalog/entries/check", json={"src": "http://x/"}))[0] == 404
