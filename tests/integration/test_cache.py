"""The embedded cache: filled by a child, proved by us, found again, and never in the way."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import random
import select
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from withcache.server import Store as WithcacheStore

from bty.errors import InvalidInput, NotFound
from bty.services import embedded_cache
from bty.services.cache import ExternalCache, Hit, NoCache, blob_address, decode_token, encode_token
from bty.services.cache_files import blob_key
from bty.services.embedded_cache import EmbeddedCache
from tests.support.origin import Origin, eventually
from tests.support.registry import missing_programs, running_registry

BASE = "http://bty.lab:8080"
IMAGE = random.Random(3).randbytes(3_000_000)


@pytest.fixture
async def origin(aiohttp_server):
    made = Origin()
    server = await aiohttp_server(made.app())
    made.url = f"http://127.0.0.1:{server.port}"
    return made


@asynccontextmanager
async def embedded(root: Path):
    failures: list[tuple[str, str]] = []

    async def note(src: str, reason: str) -> None:
        failures.append((src, reason))

    cache = EmbeddedCache(root, on_failure=note)
    cache.failures = failures
    await cache.start()
    try:
        yield cache
    finally:
        await cache.stop()


@pytest.fixture
async def cache(tmp_path):
    async with embedded(tmp_path / "cache") as running:
        yield running


async def warm(cache: EmbeddedCache, src: str, sha: str | None) -> str:
    """Ask until the cache has it, and return its address."""
    deadline = asyncio.get_running_loop().time() + 20
    while (hit := await cache.offer(src, sha=sha, base_url=BASE)) is None:
        assert asyncio.get_running_loop().time() < deadline, await cache.describe()
        await asyncio.sleep(0.05)
    assert sha in (None, hit.sha)
    return hit.address


async def read(cache: EmbeddedCache, src: str, sha: str | None) -> bytes | None:
    opened = await cache.open(src, sha=sha)
    if opened is None:
        return None
    with opened[1] as file:
        return file.read()


async def test_cold_is_a_miss_that_fills_and_warm_is_a_hit(cache, origin):
    """The first question is a miss and starts one fill; then the address is ours and the bytes are the origin's."""
    src, sha = origin.put("/a/disk.img", IMAGE)
    assert await cache.offer(src, sha=sha, base_url=BASE) is None
    assert await warm(cache, src, sha) == f"{BASE}/b/{encode_token(src)}/disk.img"
    assert await read(cache, src, sha) == IMAGE
    assert origin.asked["GET /a/disk.img"] == 1
    listing = await cache.describe()
    assert [(blob["src"], blob["sha256"], blob["size_bytes"]) for blob in listing["blobs"]] == [(src, sha, len(IMAGE))]
    assert listing["fills"] == []


async def test_many_questions_make_one_fill(cache, origin):
    """A rack that asks at once makes the cache fetch once; the fill is seen while it runs."""
    src, sha = origin.put("/disk.img", IMAGE)
    origin.gate = asyncio.Event()
    answers = await asyncio.gather(*(cache.offer(src, sha=sha, base_url=BASE) for _ in range(200)))
    assert set(answers) == {None}
    await eventually(lambda: origin.asked["GET /disk.img"], "the fill")
    fills = (await cache.describe())["fills"]
    assert [fill["src"] for fill in fills] == [src]
    origin.gate.set()
    await warm(cache, src, sha)
    assert origin.asked["GET /disk.img"] == 1


async def test_the_query_is_part_of_what_is_cached(cache, origin):
    """Two versions that differ only in their query are two objects."""
    one, sha_one = origin.put("/disk.img?v=1", b"one" * 1000)
    two, sha_two = origin.put("/disk.img?v=2", b"two" * 1000)
    await asyncio.gather(warm(cache, one, sha_one), warm(cache, two, sha_two))
    assert (await read(cache, one, sha_one), await read(cache, two, sha_two)) == (b"one" * 1000, b"two" * 1000)


async def test_wrong_bytes_are_dropped_and_reported_once(cache, origin):
    """Bytes with another digest than promised never become a hit, leave nothing on the disk, and are not fetched in a loop."""
    src, _ = origin.put("/disk.img", IMAGE)
    promised = "0" * 64
    await cache.offer(src, sha=promised, base_url=BASE)
    await eventually(lambda: cache.failures, "the failure")
    assert cache.failures[0][0] == src
    assert promised in cache.failures[0][1]
    assert await cache.offer(src, sha=promised, base_url=BASE) is None
    assert await read(cache, src, promised) is None
    assert list((cache.files.root / "blobs").iterdir()) == []
    fill = (await cache.describe())["fills"][0]
    assert (fill["state"], fill["failures"], origin.asked["GET /disk.img"]) == ("failed", 1, 1)


async def test_a_missing_object_is_a_failure_with_its_reason(cache, origin):
    """What the origin answered is what the operator reads."""
    src = f"{origin.url}/nothing.img"
    await cache.offer(src, sha=None, base_url=BASE)
    await eventually(lambda: cache.failures, "the failure")
    assert "404" in cache.failures[0][1]


async def test_a_broken_fill_is_continued(cache, origin):
    """An origin that cuts the stream is asked for the rest, and the joined bytes are proved."""
    src, sha = origin.put("/disk.img", IMAGE)
    origin.cut_at = 1_000_000
    await warm(cache, src, sha)
    assert await read(cache, src, sha) == IMAGE
    assert origin.asked["GET /disk.img"] == 2


async def test_a_new_digest_of_the_same_source_replaces_the_blob(cache, origin):
    """When the catalog wants other bytes of the same address, the old ones are a miss and are fetched anew."""
    src, sha = origin.put("/disk.img", IMAGE)
    await warm(cache, src, sha)
    _, new_sha = origin.put("/disk.img", b"new" + IMAGE)
    assert await cache.offer(src, sha=new_sha, base_url=BASE) is None
    await warm(cache, src, new_sha)
    assert await read(cache, src, new_sha) == b"new" + IMAGE


async def test_without_a_digest_the_bytes_are_kept_as_they_came(cache, origin):
    """An image whose digest nobody promised is cached, and its digest is known from then on."""
    src, sha = origin.put("/disk.img", IMAGE)
    await warm(cache, src, None)
    opened = await cache.open(src, sha=None)
    assert opened is not None
    opened[1].close()
    assert opened[0].sha256 == sha


async def test_without_a_digest_a_new_version_is_seen(cache, origin, monkeypatch):
    """An origin that publishes anew under the same address is believed at the next plan; when it is silent, the blob serves."""
    monkeypatch.setattr(embedded_cache, "_VERSION_KEPT_S", 0.0)
    src, _ = origin.put("/latest.img", IMAGE)
    await warm(cache, src, None)
    origin.put("/latest.img", b"new" + IMAGE)
    assert await cache.offer(src, sha=None, base_url=BASE) is None
    await warm(cache, src, None)
    assert await read(cache, src, None) == b"new" + IMAGE
    origin.broken = True
    hit = await cache.offer(src, sha=None, base_url=BASE)
    assert hit is not None
    assert hit.sha == hashlib.sha256(b"new" + IMAGE).hexdigest()


async def test_without_digest_and_version_nothing_is_cached(cache, origin):
    """An object of which nobody can say whether it is still the same always comes from its origin."""
    origin.versioned = False
    src, _ = origin.put("/disk.img", IMAGE)
    assert await cache.offer(src, sha=None, base_url=BASE) is None
    fills = cache._fills
    await eventually(lambda: fills[blob_key(src)].state == "failed", "the refusal")
    assert "version" in (await cache.describe())["fills"][0]["error"]
    assert (origin.asked["GET /disk.img"], cache.failures) == (0, [])


async def test_a_released_image_leaves_the_disk(cache, origin):
    """What the catalog holds no more takes no room."""
    src, sha = origin.put("/disk.img", IMAGE)
    await warm(cache, src, sha)
    await cache.release(src)
    assert list((cache.files.root / "blobs").iterdir()) == []


async def test_a_killed_child_is_replaced_and_blobs_are_served_meanwhile(cache, origin):
    """Without its child the cache still serves; the child comes back and fills again."""
    src, sha = origin.put("/disk.img", IMAGE)
    await warm(cache, src, sha)
    first = cache.child_pid
    assert first
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: cache.child_pid != first, "the end of the child")
    assert await read(cache, src, sha) == IMAGE
    other, other_sha = origin.put("/other.img", b"x" * 5000)
    await warm(cache, other, other_sha)
    assert cache.child_pid not in (None, first)


async def test_a_child_killed_in_a_fill_fills_again(cache, origin):
    """A fill that dies with its child is begun anew without anybody asking."""
    src, sha = origin.put("/disk.img", IMAGE)
    origin.gate = asyncio.Event()
    await cache.offer(src, sha=sha, base_url=BASE)
    await eventually(lambda: origin.asked["GET /disk.img"], "the fill")
    assert cache.child_pid
    os.kill(cache.child_pid, signal.SIGKILL)
    origin.gate.set()
    await warm(cache, src, sha)
    assert list((cache.files.root / "tmp").iterdir()) == []


async def test_a_restart_keeps_what_is_cached(tmp_path, origin):
    """After a restart the blob is a hit at once, without being read or fetched again."""
    src, sha = origin.put("/disk.img", IMAGE)
    async with embedded(tmp_path) as cache:
        await warm(cache, src, sha)
    async with embedded(tmp_path) as cache:
        assert await cache.offer(src, sha=sha, base_url=BASE)
        assert await read(cache, src, sha) == IMAGE
    assert origin.asked["GET /disk.img"] == 1


async def test_a_changed_blob_is_a_miss(tmp_path, origin):
    """A blob that somebody touched while we were away is fetched again."""
    src, sha = origin.put("/disk.img", IMAGE)
    async with embedded(tmp_path) as cache:
        await warm(cache, src, sha)
    path = tmp_path / "blobs" / blob_key(src)
    path.write_bytes(b"evil" + path.read_bytes()[4:])
    async with embedded(tmp_path) as cache:
        assert await read(cache, src, sha) is None
        await warm(cache, src, sha)
        assert await read(cache, src, sha) == IMAGE


async def test_a_blob_can_be_forgotten(cache, origin):
    """Forgetting removes the file; the next question fills again; forgetting nothing is an error."""
    src, sha = origin.put("/disk.img", IMAGE)
    await warm(cache, src, sha)
    await cache.forget(blob_key(src))
    assert list((cache.files.root / "blobs").iterdir()) == []
    assert await cache.offer(src, sha=sha, base_url=BASE) is None
    await warm(cache, src, sha)
    with pytest.raises(NotFound):
        await cache.forget("0" * 64)


async def test_the_child_serves_its_daemon_only(cache, origin):
    """Who does not know the secret gets nothing, and no local file is ever read."""
    secret_file = cache.files.root / "secret.txt"
    secret_file.write_text("secret")
    src = secret_file.as_uri()
    assert cache._socket is not None
    port = cache._socket.getsockname()[1]
    async with aiohttp.ClientSession() as stranger, stranger.get(f"http://127.0.0.1:{port}/fills") as response:
        assert response.status == 403
    await cache.offer(src, sha="0" * 64, base_url=BASE)
    await eventually(lambda: cache.failures, "the refusal")
    assert "not an http address" in cache.failures[0][1]
    assert list((cache.files.root / "blobs").iterdir()) == []


def test_a_killed_daemon_leaves_no_child(tmp_path):
    """The child ends with its daemon, even when that is killed."""
    program = (
        "import asyncio, os, sys\nfrom pathlib import Path\nfrom bty.services.embedded_cache import EmbeddedCache\n"
        "async def note(*_): pass\n"
        "async def main():\n"
        "    cache = EmbeddedCache(Path(sys.argv[1]), on_failure=note)\n    await cache.start()\n"
        "    while not cache.child_pid: await asyncio.sleep(0.01)\n"
        "    print(cache.child_pid, flush=True)\n    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout
        child = os.pidfd_open(int(daemon.stdout.readline()))
        daemon.kill()
    try:
        assert select.select([child], [], [], 10)[0], "the child outlived its daemon"
    finally:
        os.close(child)


@pytest.mark.skipif(bool(missing_programs()), reason=f"needs {missing_programs()}")
async def test_a_rolling_tag_is_kept_by_its_digest(tmp_path, monkeypatch):
    """A tag's blob is named by its digest; when the tag has moved, the new one is filled and the old one goes."""
    with running_registry(tmp_path / "registry") as registry:
        monkeypatch.setenv("SSL_CERT_FILE", str(registry.certificate))
        src = f"oras://{registry.host}/lab/debian:latest"
        first = registry.push_disk_image("lab/debian", "latest", gzip.compress(IMAGE))
        async with embedded(tmp_path / "cache") as cache:
            assert await cache.offer(src, sha=None, base_url=BASE) is None
            address = await warm(cache, src, first)
            assert decode_token(address.split("/b/")[1].split("/")[0]) == f"oras://{registry.host}/lab/debian@sha256:{first}"
            second = registry.push_disk_image("lab/debian", "latest", gzip.compress(b"2" + IMAGE))
            old = await cache.offer(src, sha=first, base_url=BASE)
            assert old is not None
            assert old.address == address
            await warm(cache, src, second)
            assert gzip.decompress(await read(cache, src, second) or b"") == b"2" + IMAGE
            await eventually(lambda: len(list((cache.files.root / "blobs").iterdir())) == 1, "the end of the old blob")


@pytest.mark.parametrize(
    "src", ["http://Host/a.img", "https://u:p@h:8443/a//b.img?x=1&y=/z#f", "oras://r.io/a/b@sha256:" + "1" * 64, "http://h/ü.img"]
)
def test_the_blob_is_where_withcache_puts_it(src, tmp_path):
    """The name of the blob's file is withcache's."""
    store = WithcacheStore(str(tmp_path), keep_query=True)
    assert blob_key(src) == store.key_of(store.normalize(src))
    assert decode_token(encode_token(src)) == src


@pytest.mark.parametrize("token", ["", "*", "a" * 9000, "_w", "a=b", "aGk=", "\n"])
def test_a_nonsense_token_is_refused(token):
    """Only the URL-safe alphabet without padding, holding UTF-8, is a token."""
    with pytest.raises(InvalidInput):
        decode_token(token)


@asynccontextmanager
async def external(url: str):
    cache = ExternalCache(url)
    await cache.start()
    try:
        yield cache
    finally:
        await cache.stop()


async def test_an_external_cache_is_asked_once_for_a_storm(aiohttp_server):
    """200 questions at once are one HEAD; a hit with another digest than wanted is a miss."""
    asked = 0

    async def head(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(headers={"X-Withcache-Sha256": "1" * 64})

    app = web.Application()
    app.router.add_head("/b/{token}/{name}", head)
    server = await aiohttp_server(app)
    url = f"http://127.0.0.1:{server.port}"
    src = "http://origin/disk.img"
    async with external(url + "/") as cache:
        answers = await asyncio.gather(*(cache.offer(src, sha="1" * 64, base_url=BASE) for _ in range(200)))
        assert set(answers) == {Hit(blob_address(url, src), "1" * 64)}
        assert await cache.offer(src, sha="2" * 64, base_url=BASE) is None
        assert await cache.offer(src, sha=None, base_url=BASE) == Hit(blob_address(url, src), None)
        assert asked == 1


async def test_a_dead_external_cache_is_not_asked_again_at_once(unused_tcp_port):
    """A cache that does not answer is a miss, and is left alone for a while."""
    async with external(f"127.0.0.1:{unused_tcp_port}") as cache:
        assert await cache.offer("http://o/a.img", sha=None, base_url=BASE) is None
        began = asyncio.get_running_loop().time()
        for number in range(100):
            assert await cache.offer(f"http://o/{number}.img", sha=None, base_url=BASE) is None
        assert asyncio.get_running_loop().time() - began < 0.5
        assert (await cache.describe())["reachable"] is False


async def test_without_a_cache_everything_is_a_miss():
    """No cache offers nothing and lists nothing."""
    cache = NoCache()
    await cache.start()
    assert (await cache.offer("http://a/b", sha=None, base_url=BASE), cache.listed("http://a/b", sha=None, base_url=BASE)) == (None, None)
    assert await cache.describe() == {"kind": "none"}
    await cache.stop()


async def test_the_child_finds_what_we_find_wherever_that_came_from(monkeypatch, tmp_path, origin):
    """A zipapp has its libraries on a path of its own, which a PYTHONPATH with another copy of bty must not hide."""
    monkeypatch.syspath_prepend(str(tmp_path / "libraries"))
    async with embedded(tmp_path / "cache") as cache:
        src, sha = origin.put("/a/disk.img", IMAGE)
        await warm(cache, src, sha)
        environment = Path(f"/proc/{cache._child.pid}/environ")
        told = (await asyncio.to_thread(environment.read_bytes)).split(b"\0")
    (paths,) = [entry.removeprefix(b"PYTHONPATH=").decode() for entry in told if entry.startswith(b"PYTHONPATH=")]
    assert str(tmp_path / "libraries") in paths.split(os.pathsep)
