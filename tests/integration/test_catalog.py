"""The catalog's use-cases over a real database, real servers and a real registry."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bty.errors import Conflict, InvalidBody, InvalidInput, NotFound, SourceFailed
from bty.model.image import image_ref
from bty.services import catalog as catalog_module
from bty.services import catalog_import
from bty.services.cache import NoCache
from bty.services.catalog import Caller, Catalog, Wish
from bty.services.catalog_import import complete, import_catalog, seed
from bty.services.embedded_cache import EmbeddedCache
from bty.services.events import Events
from bty.store.db import Store
from bty.store.events import list_events
from tests.support.origin import Origin, eventually
from tests.support.registry import NETBOOT, missing_programs, running_registry

BASE = "http://bty.lab:8080"
CALLER = Caller(source_ip="192.0.2.7")
PACKED = gzip.compress(b"a disk" * 10_000, mtime=0)
needs_registry = pytest.mark.skipif(bool(missing_programs()), reason=f"needs {missing_programs()}")


@dataclass
class Room:
    catalog: Catalog
    events: Events
    store: Store

    async def kinds(self) -> list[str]:
        return [event.kind for event in reversed(await list_events(self.store, limit=100))]

    async def last(self):
        return (await list_events(self.store, limit=1))[0]


@asynccontextmanager
async def opened(directory: Path, *, embedded: bool = False):
    store = await Store.open(directory / "state.db")
    events = Events(store)

    async def note(src: str, reason: str) -> None:
        await events.record("catalog.cache.failed", reason)

    cache = EmbeddedCache(directory / "cache", on_failure=note) if embedded else NoCache()
    await cache.start()
    catalog = Catalog(store, events, cache)
    await catalog.load()
    try:
        yield Room(catalog, events, store)
    finally:
        await catalog.close()
        await cache.stop()
        await store.close()


@pytest.fixture
async def room(tmp_path):
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def origin(aiohttp_server):
    made = Origin()
    server = await aiohttp_server(made.app())
    made.url = f"http://127.0.0.1:{server.port}"
    return made


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def trusted(registry, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(registry.certificate))
    return registry


async def test_an_http_image_is_added_with_what_its_server_says(room, origin):
    """Name, format, size and ref come from the URL and a HEAD; the event holds them; the entry survives a reload."""
    src, _ = origin.put("/images/disk-arm64.img.gz", PACKED)
    entry = await room.catalog.add(Wish(image_url=src), CALLER)
    assert (entry.name, entry.format, entry.size_bytes, entry.resolved_src) == ("disk-arm64.img.gz", "img.gz", len(PACKED), src)
    assert entry.disk_image_sha is None
    event = await room.last()
    assert (event.kind, event.subject_id, event.source_ip) == ("catalog.entry.added", image_ref(src), "192.0.2.7")
    await room.catalog.load()
    assert room.catalog.entries() == [entry]


async def test_a_digest_comes_from_a_list_or_from_the_caller(room, origin):
    """The digest of the list beside the image, and the one that the caller gives, are stored."""
    src, sha = origin.put("/disk.img", b"raw")
    listed, _ = origin.put("/SHA256SUMS", f"{'0' * 64}  other.img\n{sha} *disk.img\n".encode())
    assert (await room.catalog.add(Wish(image_url=src, sha_url=listed), CALLER)).disk_image_sha == sha
    other = await room.catalog.add(
        Wish(image_url=f"{src}?v=2", sha256=sha.upper(), name="Mine", format="qcow2", description="text"), CALLER
    )
    assert (other.disk_image_sha, other.name, other.format, other.description) == (sha, "Mine", "qcow2", "text")


async def test_a_list_that_does_not_fit_refuses_the_image(room, origin):
    """Without the promised digest nothing is added, and the log says why."""
    src, _ = origin.put("/disk.img", b"raw")
    listed, _ = origin.put("/SHA256SUMS", b"nonsense")
    with pytest.raises(InvalidInput, match="sha256"):
        await room.catalog.add(Wish(image_url=src, sha_url=listed), CALLER)
    with pytest.raises(InvalidInput, match="404"):
        await room.catalog.add(Wish(image_url=src, sha_url=f"{origin.url}/none"), CALLER)
    assert room.catalog.entries() == []
    assert await room.kinds() == ["catalog.entry.add.failed"] * 2


async def test_the_same_image_is_not_added_twice(room, origin):
    """The same source, or another spelling of it, is a conflict; also when both come at once."""
    src, _ = origin.put("/disk.img", b"raw")
    answers = await asyncio.gather(*(room.catalog.add(Wish(image_url=src), CALLER) for _ in range(5)), return_exceptions=True)
    assert [isinstance(answer, Conflict) for answer in answers].count(True) == 4
    with pytest.raises(Conflict):
        await room.catalog.add(Wish(image_url=src.replace("http://", "HTTP://")), CALLER)
    assert len(room.catalog.entries()) == 1


@pytest.mark.parametrize(
    "wish", [Wish(image_url="http://h/a.img", ref="0" * 64), Wish(image_url="http://h/"), Wish(image_url="http://h/a.tar.gz")]
)
async def test_what_the_schema_cannot_see_is_refused_by_field(room, wish):
    """A wrong ref, a URL without a file and an archive are refused with the field they are in."""
    with pytest.raises(InvalidBody):
        await room.catalog.add(wish, CALLER)


async def test_a_deleted_image_stays_deleted_until_it_is_added_by_hand(tmp_path, origin):
    """The manifest on the disk never brings a deleted image back over a restart; adding it does."""
    src, _ = origin.put("/disk.img", b"raw")
    manifest = tmp_path / "catalog.toml"
    manifest.write_text(f'version = 1\n[[images]]\nname = "disk"\nsrc = "{src}"\n')
    async with opened(tmp_path) as room:
        assert await seed(room.catalog, manifest) == 1
        assert room.catalog.entries()[0].resolved_src == src
        assert await seed(room.catalog, manifest) == 0
        await room.catalog.delete(src, CALLER)
        with pytest.raises(NotFound):
            await room.catalog.delete(src, CALLER)
    async with opened(tmp_path) as room:
        assert await seed(room.catalog, manifest) == 0
        assert room.catalog.entries() == []
        await room.catalog.add(Wish(image_url=src), CALLER)
        assert await room.kinds() == ["catalog.entry.deleted", "catalog.entry.added"]
    async with opened(tmp_path) as room:
        assert await seed(room.catalog, manifest) == 0
        assert len(room.catalog.entries()) == 1


@pytest.mark.parametrize("content", ["version = 2", "not toml [", '[[images]]\nname = "x"'])
async def test_a_malformed_manifest_does_not_stop_the_start(room, tmp_path, content):
    """A manifest that cannot be read, or is not there, adds nothing."""
    path = tmp_path / "catalog.toml"
    assert await seed(room.catalog, path) == 0
    path.write_text(content)
    assert await seed(room.catalog, path) == 0


@needs_registry
async def test_an_oras_image_is_added_by_its_layer(room, trusted):
    """Name, digest and size are those of the disk image's layer."""
    digest = trusted.push_disk_image("lab/add", "1", PACKED, title="debian-13.img.gz")
    entry = await room.catalog.add(Wish(image_url=f"oras://{trusted.host}/lab/add:1"), CALLER)
    assert (entry.name, entry.disk_image_sha, entry.size_bytes, entry.format) == ("debian-13.img.gz", digest, len(PACKED), "img.gz")
    assert entry.resolved_src == f"https://{trusted.host}/v2/lab/add/blobs/sha256:{digest}"
    assert (await room.last()).details["oras"] is True
    with pytest.raises(InvalidInput, match="404"):
        await room.catalog.add(Wish(image_url=f"oras://{trusted.host}/lab/add:2"), CALLER)


@needs_registry
async def test_an_import_says_what_became_of_each_image(room, trusted, origin):
    """New images come in, known ones are skipped, archives and bundles are left out, an unknown tag is kept without a digest."""
    digest = trusted.push_disk_image("lab/imported", "1", PACKED)
    layer = [("application/vnd.nosi.netboot-bundle.layer.v1+tar+gzip", "b.tar.gz", PACKED)]
    trusted.push("lab/imported-netboot", "1", layer, artifact_type=NETBOOT)
    known, _ = origin.put("/known.img", b"raw")
    await room.catalog.add(Wish(image_url=known), CALLER)
    host = f"oras://{trusted.host}/lab"
    images = [
        ("good", f"{host}/imported:1", "img.gz"),
        ("later", f"{host}/imported:2", "img.gz"),
        ("bundle", f"{host}/imported-netboot:1", "tar.gz"),
        ("disguised", f"{host}/imported-netboot:1", "img.gz"),
        ("known", known, "img"),
        ("web", "http://127.0.0.1:9/web.img.xz", "img.xz"),
    ]
    text = "version = 1\n" + "".join(f'[[images]]\nname = "{name}"\nsrc = "{src}"\nformat = "{form}"\n' for name, src, form in images)
    source, _ = origin.put("/catalog.toml", text.encode())
    result = await import_catalog(room.catalog, source, CALLER)
    assert (result["source"], result["imported"], result["skipped"]) == (source, 3, 3)
    assert sorted(error["name"] for error in result["errors"]) == ["bundle", "disguised", "later"]
    assert "oras (kept without sha): " in next(error["error"] for error in result["errors"] if error["name"] == "later")
    by_name = {entry.name: entry for entry in room.catalog.entries()}
    assert by_name["good"].disk_image_sha == digest
    assert (by_name["later"].disk_image_sha, by_name["later"].resolved_src) == (None, None)
    event = await room.last()
    assert (event.kind, event.subject_id, event.details["imported"]) == ("catalog.entries.imported", source, 3)
    trusted.push_disk_image("lab/imported", "2", PACKED)
    await complete(room.catalog)
    assert next(entry for entry in room.catalog.entries() if entry.name == "later").disk_image_sha == digest


async def test_a_silent_registry_is_asked_once_an_import(room, origin, monkeypatch):
    """Fifteen images of a registry that is down cost one patience, not fifteen, and are kept without a digest."""
    asked = []
    monkeypatch.setattr(catalog_import, "resolve", lambda src, **_: asked.append(src) or silence(src))
    text = "version = 1\n" + "".join(f'[[images]]\nname = "{n}"\nsrc = "oras://r.lab/a/b{n}:1"\n' for n in range(15))
    source, _ = origin.put("/catalog.toml", text.encode())
    result = await import_catalog(room.catalog, source, CALLER)
    assert (result["imported"], len(result["errors"])) == (15, 15)
    assert len(asked) <= 4


def silence(src: str) -> None:
    raise SourceFailed(f"{src}: no answer")


@needs_registry
async def test_a_catalog_can_lie_in_a_registry(room, trusted):
    """A catalog is read from the layer of an artifact."""
    content = b'version = 1\n[[images]]\nname = "a"\nsrc = "http://h/a.img"\n'
    trusted.push("lab/catalog", "1", [("application/toml", "catalog.toml", content)], artifact_type="application/toml")
    assert (await import_catalog(room.catalog, f"oras://{trusted.host}/lab/catalog:1", CALLER))["imported"] == 1


@pytest.mark.parametrize("source", ["/etc/hostname", "file:///etc/hostname", "relative.toml", "ftp://h/c.toml", "", "http://", "oras://x"])
async def test_a_request_of_the_web_never_reads_a_file(room, source):
    """Only http, https and oras are sources of a catalog for the web."""
    with pytest.raises(InvalidInput):
        await import_catalog(room.catalog, source, CALLER)
    assert await room.kinds() == []


async def test_the_command_line_reads_a_file(room, tmp_path):
    """A path, plain or as file://, is a source for the command line."""
    path = tmp_path / "mine.toml"
    path.write_text('version = 1\n[[images]]\nname = "a"\nsrc = "http://h/a.img"\n')
    assert (await import_catalog(room.catalog, str(path), CALLER, paths=True))["imported"] == 1
    assert (await import_catalog(room.catalog, path.as_uri(), CALLER, paths=True))["skipped"] == 1
    with pytest.raises(InvalidInput, match="No such file"):
        await import_catalog(room.catalog, str(tmp_path / "none"), CALLER, paths=True)


async def test_a_catalog_has_bounds(room, origin):
    """Too large, redirected for ever and redirected to a file are refused."""
    source, _ = origin.put("/large.toml", b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(InvalidInput, match="larger than"):
        await import_catalog(room.catalog, source, CALLER)


async def test_an_image_is_located_at_its_origin_without_a_cache(room, origin):
    """Without a cache the plan names the origin, and says so."""
    src, sha = origin.put("/disk.img", b"raw")
    entry = await room.catalog.add(Wish(image_url=src, sha256=sha), CALLER)
    location = await room.catalog.locate(entry, BASE)
    assert (location.image, location.origin, location.sha) == (src, None, sha)
    assert location.decision == {"configured": False, "hit": None, "served_from": "origin"}


async def located_in_cache(room: Room, entry, timeout_s: float = 20.0):
    deadline = time.monotonic() + timeout_s
    while (location := await room.catalog.locate(entry, BASE)).decision["hit"] is False:
        assert time.monotonic() < deadline, await room.catalog.cache.describe()
        await asyncio.sleep(0.05)
    return location


async def test_an_image_moves_from_its_origin_to_the_cache(tmp_path, origin):
    """Cold names the origin and starts the fill; warm names the cache first and the origin to go on at."""
    async with opened(tmp_path, embedded=True) as room:
        src, sha = origin.put("/disk.img", b"raw" * 1000)
        entry = await room.catalog.add(Wish(image_url=src, sha256=sha), CALLER)
        cold = await room.catalog.locate(entry, BASE)
        assert (cold.image, cold.origin, cold.decision) == (src, None, {"configured": True, "hit": False, "served_from": "origin"})
        warm = await located_in_cache(room, entry)
        assert warm.image.startswith(f"{BASE}/b/")
        assert (warm.origin, warm.sha, warm.decision["served_from"]) == (src, sha, "withcache")
        assert f'src = "{warm.image}"' in room.catalog.manifest(BASE)


async def test_a_mismatch_is_an_event(tmp_path, origin):
    """Bytes that are not the promised ones stay out of the cache, and an event says so."""
    async with opened(tmp_path, embedded=True) as room:
        src, _ = origin.put("/disk.img", b"raw" * 1000)
        entry = await room.catalog.add(Wish(image_url=src, sha256="1" * 64), CALLER)
        await room.catalog.locate(entry, BASE)
        fills = room.catalog.cache._fills
        await eventually(lambda: any(fill.state == "failed" for fill in fills.values()), "the failure")
        assert (await room.catalog.locate(entry, BASE)).image == src
        deadline = time.monotonic() + 20
        while (await room.kinds())[-1] != "catalog.cache.failed":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


@needs_registry
async def test_a_rolling_tag_is_named_by_the_digest_of_the_plan(tmp_path, trusted, monkeypatch):
    """The plan names what the tag means now; the cache follows; a silent registry leaves the last digest, over a restart too."""
    monkeypatch.setattr(catalog_module, "RESOLVED_KEPT_S", 0.0)
    first = trusted.push_disk_image("lab/roll", "latest", PACKED)
    src = f"oras://{trusted.host}/lab/roll:latest"
    async with opened(tmp_path, embedded=True) as room:
        entry = await room.catalog.add(Wish(image_url=src), CALLER)
        assert (await located_in_cache(room, entry)).sha == first
        second = trusted.push_disk_image("lab/roll", "latest", PACKED + b"\0")
        moved = await room.catalog.locate(entry, BASE)
        assert (moved.image, moved.sha, moved.decision["hit"]) == (src, second, False)
        warm = await located_in_cache(room, entry)
        assert (warm.sha, warm.origin) == (second, src)
        assert (await room.kinds()).count("catalog.entry.moved") == 1
    trusted.stop()
    try:
        async with opened(tmp_path, embedded=True) as room:
            entry = room.catalog.entries()[0]
            assert entry.disk_image_sha == second
            location = await room.catalog.locate(entry, BASE)
            assert (location.sha, location.decision["hit"]) == (second, True)
            ask, asked = catalog_module.resolve, []
            monkeypatch.setattr(catalog_module, "resolve", lambda src, **how: (asked.append(src), ask(src, **how))[1])
            await asyncio.gather(*(room.catalog.locate(entry, BASE) for _ in range(100)))
            assert asked == []  # a registry that was silent is not asked again for each machine of a rack
    finally:
        trusted.start()


@needs_registry
async def test_a_storm_asks_the_registry_once(room, trusted, monkeypatch):
    """A hundred plans at once resolve a tag once."""
    trusted.push_disk_image("lab/storm", "1", PACKED)
    entry = await room.catalog.add(Wish(image_url=f"oras://{trusted.host}/lab/storm:1"), CALLER)
    room.catalog._resolved.clear()
    asked = 0
    resolve = catalog_module.resolve

    def counted(*args, **kwargs):
        nonlocal asked
        asked += 1
        return resolve(*args, **kwargs)

    monkeypatch.setattr(catalog_module, "resolve", counted)
    locations = await asyncio.gather(*(room.catalog.locate(entry, BASE) for _ in range(100)))
    assert {location.sha for location in locations} == {hashlib.sha256(PACKED).hexdigest()}
    assert asked == 1


@needs_registry
async def test_only_catalogued_sources_are_admitted(room, trusted, origin):
    """The cache hands out sources of entries and blobs of their repositories, and nothing else."""
    digest = trusted.push_disk_image("lab/admit", "1", PACKED)
    src = f"oras://{trusted.host}/lab/admit:1"
    await room.catalog.add(Wish(image_url=src), CALLER)
    pinned = f"oras://{trusted.host}/lab/admit@sha256:"
    admitted = await room.catalog.admit(src)
    assert admitted is not None
    assert admitted[1:] == (digest, True)
    assert (await room.catalog.admit(pinned + digest))[1:] == (digest, True)
    assert (await room.catalog.admit(pinned + "0" * 64))[1:] == ("0" * 64, False)
    for other in ("file:///etc/passwd", f"oras://{trusted.host}/lab/other@sha256:{digest}", origin.url + "/disk.img", ""):
        assert await room.catalog.admit(other) is None
