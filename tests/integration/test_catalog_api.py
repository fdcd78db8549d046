"""The catalog and the embedded cache over HTTP, against the whole daemon."""

from __future__ import annotations

import asyncio
import random
import tomllib
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from withcache import client as withcache_client
from yarl import URL

from bty.daemon import keys
from bty.daemon.app import create_app
from bty.daemon.downloads import parse_range
from bty.model.image import image_ref
from bty.services.cache import encode_token
from bty.services.cache_files import blob_key
from bty.services.config import Config, Paths, Withcache
from tests.support.origin import Origin, eventually

IMAGE = random.Random(5).randbytes(2_500_000)


@asynccontextmanager
async def daemon(directory: Path, *, embedded: bool = False):
    paths = Paths(
        state_dir=directory, boot_dir=directory / "boot", backup_dir=directory / "backups", catalog_file=directory / "catalog.toml"
    )
    config = Config(paths=paths, withcache=Withcache(embedded=embedded))
    config = replace(config, admin=replace(config.admin, password="let me in"))
    async with TestClient(TestServer(create_app(config))) as client:
        await client.post("/auth/login", json={"password": "let me in"})
        yield client


@pytest.fixture
async def client(tmp_path):
    async with daemon(tmp_path) as running:
        yield running


@pytest.fixture
async def caching(tmp_path):
    async with daemon(tmp_path, embedded=True) as running:
        yield running


@pytest.fixture
async def origin(aiohttp_server):
    made = Origin()
    server = await aiohttp_server(made.app())
    made.url = f"http://127.0.0.1:{server.port}"
    return made


async def add(client, **body):
    response = await client.post("/catalog/entries", json=body)
    assert response.status == 201, await response.text()
    return await response.json()


async def test_an_image_is_added_listed_and_deleted(client, origin):
    """The three answers have the documented fields; what is deleted is gone."""
    src, sha = origin.put("/disk-amd64.img", IMAGE)
    added = await add(client, image_url=src, sha256=sha)
    assert set(added) == {"src", "bty_image_ref", "disk_image_sha", "name", "sha_url", "format", "size_bytes", "added_at"}
    assert (added["bty_image_ref"], added["size_bytes"], added["format"]) == (image_ref(src), len(IMAGE), "img")
    (listed,) = await (await client.get("/catalog/entries")).json()
    assert set(listed) == set(added) | {"resolved_src", "description"}
    (image,) = await (await client.get("/images")).json()
    assert image == {
        "name": "disk-amd64.img",
        "format": "img",
        "size_bytes": len(IMAGE),
        "url": src,
        "ref": image_ref(src),
        "sha_short": sha[:12],
        "cached": False,
        "arch": "x86_64",
    }
    assert (await client.delete("/catalog/entries", params={"src": src})).status == 204
    assert (await client.delete("/catalog/entries", params={"src": src})).status == 404
    assert await (await client.get("/images")).json() == []


async def test_the_catalog_comes_in_pages(client, origin):
    """With a query the answer is one page, searched, filtered and sorted; a wrong parameter is 422."""
    names = ["b.img", "a.img.gz", "c-arm64.qcow2"]
    for name in names:
        await add(client, image_url=origin.put(f"/{name}", IMAGE)[0], name=name)

    async def ask(**params):
        page = await (await client.get("/catalog/entries", params=params)).json()
        return [item["name"] for item in page["items"]], page["total"]

    assert await ask(sort="name") == (["a.img.gz", "b.img", "c-arm64.qcow2"], 3)
    assert await ask(sort="name", dir="desc", per_page="2", page="2") == (["a.img.gz"], 3)
    assert await ask(q="ARM64") == (["c-arm64.qcow2"], 1)
    assert await ask(filter="oras") == ([], 0)
    assert await ask(page="9") == ([], 3)
    for wrong in ({"page": "0"}, {"per_page": "x"}, {"sort": "nothing"}, {"dir": "up"}, {"filter": "y"}):
        assert (await client.get("/catalog/entries", params=wrong)).status == 422


async def test_the_printed_catalog_holds_what_can_be_checked(client, origin):
    """`/catalog.toml` names images with a digest, and only those; `?all=1` adds the others, without one."""
    src, sha = origin.put("/disk.img", IMAGE)
    await add(client, image_url=src, sha256=sha, name='a "name"')
    await add(client, image_url=f"{src}?v=2")
    response = await client.get("/catalog.toml")
    text = await response.text()
    assert response.content_type == "application/toml"
    assert text.startswith("version = 1\n")
    proved = {"name": 'a "name"', "src": src, "sha256": sha, "format": "img", "size_bytes": len(IMAGE)}
    assert tomllib.loads(text)["images"] == [proved]
    everything = tomllib.loads(await (await client.get("/catalog.toml?all=1")).text())["images"]
    assert everything == [proved, {"name": "disk.img", "src": f"{src}?v=2", "format": "img"}]
    assert await (await client.get("/catalog.toml?all=0")).text() == text
    assert (await client.get("/catalog.toml?all=x")).status == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"image_url": 5}', 422),
        (b'{"image_url": "ftp://h/a.img"}', 422),
        (b'{"image_url": "http:///a.img"}', 422),
        (b'{"image_url": "file:///etc/passwd"}', 422),
        (b'{"image_url": "http://h/a.img\\n"}', 422),
        (b'{"image_url": "oras://host"}', 422),
        (b'{"image_url": "oras://host/one:1"}', 400),
        (b'{"image_url": "http://h/a.img", "extra": 1}', 422),
        (b'{"image_url": "http://h/a.img", "ref": "zz"}', 422),
        (b'{"image_url": "http://h/a.img", "ref": "' + b"0" * 64 + b'"}', 422),
        (b'{"image_url": "http://h/a.img", "sha_url": "oras://h/a/b:1"}', 422),
        (b'{"image_url": "http://h/a.img", "sha256": "12"}', 422),
        (b'{"image_url": "http://h/a.img", "format": "iso"}', 422),
        (b'{"image_url": "http://h/a.img", "name": " "}', 422),
        (b'{"image_url": "http://h/a.img", "name": "a\\u0000b"}', 422),
        (b'{"image_url": "http://h/"}', 422),
        (b'{"image_url": "http://user:word@h/a.img"}', 422),
        (b'{"image_url": "http://h/a.tar.gz"}', 422),
        (b'{"image_url": "http://h/' + b"a" * 70_000 + b'"}', 413),
        (b'{"image_url": "http://127.0.0.1:9/a.img", "sha_url": "http://127.0.0.1:9/s"}', 400),
    ],
)
async def test_a_wrong_body_is_refused_with_its_status(client, body, status):
    """Every mistake has its status and a detail, and changes nothing."""
    response = await client.post("/catalog/entries", data=body, headers={"Content-Type": "application/json"})
    assert response.status == status
    assert (await response.json())["detail"]
    assert await (await client.get("/catalog/entries")).json() == []


async def test_a_duplicate_is_a_conflict(client, origin):
    """Adding an image twice is 409."""
    src, _ = origin.put("/disk.img", IMAGE)
    await add(client, image_url=src)
    assert (await client.post("/catalog/entries", json={"image_url": src})).status == 409


async def test_a_catalog_is_imported_from_a_url_and_never_from_a_path(client, origin, tmp_path):
    """An import answers with its counts; a path of this machine, a missing or a broken source is 400 or 422."""
    text = b'version = 1\n[[images]]\nname = "a"\nsrc = "http://h/a.img"\n'
    source, _ = origin.put("/catalog.toml", text)
    response = await client.post("/catalog/import", params={"source": source})
    assert await response.json() == {"source": source, "imported": 1, "skipped": 0, "errors": []}
    (tmp_path / "local.toml").write_bytes(text)
    for bad in (str(tmp_path / "local.toml"), f"file://{tmp_path}/local.toml", f"{origin.url}/none", "http://127.0.0.1:9/c.toml"):
        assert (await client.post("/catalog/import", params={"source": bad})).status == 400
    assert (await client.post("/catalog/import")).status == 422
    assert (await client.delete("/catalog/entries")).status == 422


async def test_a_manifest_on_the_disk_is_there_from_the_start(tmp_path):
    """The state directory's catalog is seeded before the first request."""
    (tmp_path / "catalog.toml").write_text('version = 1\n[[images]]\nname = "a"\nsrc = "http://h/a.img"\n')
    async with daemon(tmp_path) as client:
        assert [image["name"] for image in await (await client.get("/images")).json()] == ["a"]


async def warmed(client, origin, path="/disk.img") -> tuple[str, str, str]:
    """Catalogue an image, ask for its blob until it is there, and return source, digest and the blob's path."""
    src, sha = origin.put(path, IMAGE)
    await add(client, image_url=src, sha256=sha)
    blob = f"/b/{encode_token(src)}/disk.img"
    deadline = asyncio.get_running_loop().time() + 20
    while (await client.head(blob)).status != 200:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    return src, sha, blob


async def test_a_cold_blob_is_404_and_is_fetched(caching, origin):
    """A miss answers as withcache does, and the next question finds the bytes, with digest, length and ETag."""
    src, sha = origin.put("/disk.img", IMAGE)
    await add(caching, image_url=src, sha256=sha)
    assert (await caching.get(f"/b/{encode_token(src)}/x")).status == 404
    await eventually(lambda: origin.asked["GET /disk.img"], "the fill")
    blob = f"/b/{encode_token(src)}/whatever"
    deadline = asyncio.get_running_loop().time() + 20
    while (response := await caching.get(blob)).status != 200:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    assert await response.read() == IMAGE
    assert (response.headers["X-Withcache-Sha256"], response.headers["ETag"]) == (sha, f'"{sha}"')
    assert (response.headers["Accept-Ranges"], response.content_length) == ("bytes", len(IMAGE))
    assert (await (await caching.get("/images")).json())[0]["cached"] is True


async def test_a_blob_is_served_by_range(caching, origin):
    """Ranges of every kind give their bytes; what does not fit is 416; another ETag gives everything."""
    _, sha, blob = await warmed(caching, origin)
    size = len(IMAGE)

    async def ask(value: str, **headers: str):
        response = await caching.get(blob, headers={"Range": value, **headers})
        return response, await response.read()

    for value, first, last in (("bytes=0-0", 0, 0), ("bytes=1000000-", 1_000_000, size - 1), ("bytes=-5", size - 5, size - 1)):
        response, body = await ask(value)
        assert (response.status, response.headers["Content-Range"]) == (206, f"bytes {first}-{last}/{size}")
        assert body == IMAGE[first : last + 1]
    response, body = await ask("bytes=5-9", **{"If-Range": f'"{sha}"'})
    assert (response.status, body) == (206, IMAGE[5:10])
    response, body = await ask("bytes=5-9", **{"If-Range": '"other"'})
    assert (response.status, body) == (200, IMAGE)
    for value in (f"bytes={size}-", "bytes=9-5", "bytes=-0", "bytes=x", "lines=1-2", "bytes=" + "9" * 30 + "-"):
        response, _ = await ask(value)
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert (await caching.get(blob, headers={"If-None-Match": f'"{sha}"'})).status == 304
    head = await caching.head(blob, headers={"Range": "bytes=0-9"})
    assert (head.status, head.content_length) == (206, 10)
    assert await (await caching.get(blob, headers={"Accept-Encoding": "gzip"})).read() == IMAGE


async def test_a_stock_withcache_client_works(caching, origin):
    """withcache's own client finds a cached image at the daemon, and gets None for one that is not."""
    src, _, blob = await warmed(caching, origin)
    base = str(caching.make_url("/"))
    assert await asyncio.to_thread(withcache_client.serve_url, base, src) == str(caching.make_url(blob))
    assert await asyncio.to_thread(withcache_client.is_cached, base, f"{src}?other") is False


async def test_a_plan_names_the_cache_first_and_the_origin_behind_it(caching, origin):
    """A machine's plan goes through the cache once it is warm; the event says where the bytes come from."""
    src, sha = origin.put("/disk.img", IMAGE)
    added = await add(caching, image_url=src, sha256=sha)
    settings = {"boot_mode": "bty-flash-always", "bty_image_ref": added["bty_image_ref"], "target_disk_serial": "S1"}
    assert (await caching.put("/machines/02-00-00-00-00-01", json=settings)).status == 200
    plan_path = "/pxe/02:00:00:00:00:01/plan"
    cold = await (await caching.get(plan_path)).json()
    assert (cold["mode"], cold["image"], cold["disk_image_sha"]) == ("flash", src, sha)
    deadline = asyncio.get_running_loop().time() + 20
    while (plan := await (await caching.get(plan_path)).json())["image"] == src:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    assert (plan["origin"], plan["disk_image_sha"]) == (src, sha)
    assert await (await caching.get(URL(plan["image"]).path)).read() == IMAGE
    events = (await (await caching.get("/events", params={"kind": "netboot.pxe.plan"})).json())["events"]
    assert events[0]["details"]["withcache"] == {"configured": True, "hit": True, "served_from": "withcache"}
    assert events[-1]["details"]["withcache"] == {"configured": True, "hit": False, "served_from": "origin"}


async def test_only_the_catalog_is_served(caching, tmp_path):
    """A local file, a source that is not catalogued and a malformed token are refused, and nothing is fetched for them."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for src in (secret.as_uri(), "http://127.0.0.1:9/a.img", "data:,x", "oras://r.io/a/b@sha256:" + "0" * 64):
        assert (await caching.get(f"/b/{encode_token(src)}/x")).status == 404
    for token in ("%20", "a=", "_w", "..%2f..%2fetc"):
        assert (await caching.get(URL(f"/b/{token}/x", encoded=True))).status in (400, 404)
    assert (await (await caching.get("/cache")).json())["fills"] == []


async def test_the_cache_can_be_looked_at_and_emptied(caching, origin):
    """The operator sees what is cached and drops one; then it is a miss again."""
    src, sha, blob = await warmed(caching, origin)
    listing = await (await caching.get("/cache")).json()
    assert (listing["kind"], listing["running"], listing["size_bytes"]) == ("embedded", True, len(IMAGE))
    assert [(item["key"], item["sha256"]) for item in listing["blobs"]] == [(blob_key(src), sha)]
    assert (await caching.delete(f"/cache/{blob_key(src)}")).status == 204
    assert (await caching.delete(f"/cache/{'0' * 64}")).status == 404
    assert (await caching.head(blob)).status == 404


async def test_without_an_embedded_cache_there_are_no_blobs(client, origin):
    """A daemon without its own cache says so."""
    src, _ = origin.put("/disk.img", IMAGE)
    await add(client, image_url=src)
    assert (await client.get(f"/b/{encode_token(src)}/x")).status == 404
    assert await (await client.get("/cache")).json() == {"kind": "none"}
    assert (await client.delete(f"/cache/{'0' * 64}")).status == 404


async def test_a_reader_that_leaves_does_no_harm(caching, origin):
    """A client that closes in mid-blob leaves the daemon serving the next."""
    _, _, blob = await warmed(caching, origin)
    response = await caching.get(blob)
    await response.content.read(10)
    response.close()
    assert await (await caching.get(blob)).read() == IMAGE
    assert caching.server.app[keys.CATALOG].cache.child_pid


@pytest.mark.parametrize(
    ("text", "size", "found"),
    [
        ("bytes=0-", 1, (0, 1)),
        ("bytes=0-99", 10, (0, 10)),
        ("bytes=-99", 10, (0, 10)),
        ("bytes=10-", 10, None),
        ("bytes=-5", 0, None),
        ("bytes=0-", 0, None),
        ("bytes=-", 10, None),
        ("bytes 0-1", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("bytes=٣-٤", 10, None),
    ],
)
def test_a_range_is_read_strictly(text, size, found):
    """A range is met within the object's size, or not at all."""
    assert parse_range(text, size) == found
