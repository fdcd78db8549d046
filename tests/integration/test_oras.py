"""References to a real registry: which bytes they mean, and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import ssl
import urllib.error

import pytest
from aiohttp import web

from bty.errors import InvalidInput, SourceFailed
from bty.services.embedded_cache import EmbeddedCache
from bty.sources.documents import fetch_document, make_opener
from bty.sources.oras import check_reference, pick_layer, pin, resolve
from tests.support.origin import eventually
from tests.support.registry import NETBOOT, make_certificate, missing_programs, running_registry

pytestmark = pytest.mark.skipif(bool(missing_programs()), reason=f"needs {missing_programs()}")
PACKED = gzip.compress(b"a small disk" * 1000, mtime=0)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(autouse=True)
def trust(registry, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(registry.certificate))


def test_a_tag_is_resolved_to_its_disk_image_layer(registry):
    """A tag of nosi's layout gives the digest, the size and the name of its image, also beside a larger report."""
    digest = registry.push_disk_image("lab/debian", "1", PACKED)
    found = resolve(f"oras://{registry.host}/lab/debian:1", timeout_s=5)
    assert (found.digest, found.size_bytes, found.title) == (digest, len(PACKED), "disk.img.gz")
    assert found.url == f"https://{registry.host}/v2/lab/debian/blobs/sha256:{digest}"
    assert fetch_document(found.url, max_bytes=10**6, headers=found.headers).body == PACKED
    assert found.pinned == f"oras://{registry.host}/lab/debian@sha256:{digest}"


def test_a_tag_that_moved_gives_the_new_digest(registry):
    """A rolling tag is resolved anew each time."""
    src = f"oras://{registry.host}/lab/rolling:latest"
    registry.push_disk_image("lab/rolling", "latest", PACKED)
    first = resolve(src, timeout_s=5).digest
    second = registry.push_disk_image("lab/rolling", "latest", PACKED + b"\0")
    assert resolve(src, timeout_s=5).digest == second != first


def test_a_digest_may_be_that_of_the_blob_or_of_the_manifest(registry):
    """Both kinds of pinned reference lead to the same bytes."""
    digest = registry.push_disk_image("lab/pinned", "1", PACKED)
    manifest_digest = registry.push("lab/pinned", "2", [("application/vnd.nosi.disk-image.layer.v1+gzip", "d.img.gz", PACKED)])
    by_blob = resolve(pin(f"oras://{registry.host}/lab/pinned:1", digest), timeout_s=5)
    by_manifest = resolve(f"oras://{registry.host}/lab/pinned@{manifest_digest}", timeout_s=5)
    assert by_blob.digest == by_manifest.digest == digest
    assert by_blob.size_bytes == len(PACKED)


def test_a_netboot_bundle_is_refused(registry):
    """An artifact that is no disk image is refused by its type."""
    registry.push("lab/bundle", "1", [("application/vnd.nosi.netboot-bundle.layer.v1+tar+gzip", "b.tar.gz", PACKED)], artifact_type=NETBOOT)
    with pytest.raises(SourceFailed, match="netboot bundle"):
        resolve(f"oras://{registry.host}/lab/bundle:1", timeout_s=5)


def test_an_index_is_refused_by_name(registry):
    """A tag of several platforms is no image; the error says what to do."""
    media_type = "application/vnd.oci.image.index.v1+json"
    registry.push_manifest("lab/index", "1", {"schemaVersion": 2, "mediaType": media_type, "manifests": []})
    with pytest.raises(SourceFailed, match="index of several"):
        resolve(f"oras://{registry.host}/lab/index:1", timeout_s=5)


def test_an_unknown_tag_and_a_dead_registry_say_so(registry):
    """What the registry answered, or that it did not, is in the error."""
    with pytest.raises(SourceFailed, match="404"):
        resolve(f"oras://{registry.host}/lab/debian:nope", timeout_s=5)
    with pytest.raises(SourceFailed, match=r"^the registry 127\.0\.0\.1:9 cannot be reached: Connection refused$"):
        resolve("oras://127.0.0.1:9/lab/debian:1", timeout_s=1)


@pytest.mark.parametrize("src", ["oras://host/one:1", "oras://host/a/b", "oras://host/a/b@sha256:12", "oras://host/a/b:1/2", "http://a/b"])
def test_a_malformed_reference_is_refused(src):
    """A reference needs a host, an owner, a repository and a tag or a digest."""
    with pytest.raises(InvalidInput):
        check_reference(src)


@pytest.fixture
async def guarded(tmp_path, monkeypatch, aiohttp_server):
    """A registry that wants a token and keeps its blobs on another host, as the large ones do."""
    certificate, key = make_certificate(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    digest = hashlib.sha256(PACKED).hexdigest()
    seen: list[tuple[str, str | None]] = []
    layers = [{"mediaType": "application/vnd.nosi.disk-image.layer.v1+gzip", "size": len(PACKED), "digest": f"sha256:{digest}"}]

    async def storage(request: web.Request) -> web.Response:
        seen.append(("storage", request.headers.get("Authorization")))
        return web.Response(body=PACKED)

    async def registry(request: web.Request) -> web.Response:
        if request.path == "/token":
            assert request.query["scope"] == "repository:lab/disk:pull"
            return web.json_response({"token": "pull-token"})
        if request.headers.get("Authorization") != "Bearer pull-token":
            return web.Response(status=401)
        seen.append(("registry", request.path))
        if "/manifests/" in request.path:
            return web.json_response({"schemaVersion": 2, "layers": layers})
        raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{elsewhere.port}/signed")

    other, app = web.Application(), web.Application()
    other.router.add_get("/signed", storage)
    app.router.add_get("/{tail:.*}", registry)
    elsewhere = await aiohttp_server(other)
    server = await aiohttp_server(app, ssl=context)
    return f"oras://127.0.0.1:{server.port}/lab/disk:1", digest, seen


async def test_a_token_is_fetched_and_never_leaves_its_registry(guarded):
    """A registry that wants a token gets one, and the host that it redirects to gets none."""
    src, digest, seen = guarded
    found = await asyncio.to_thread(resolve, src, timeout_s=5)
    assert (found.digest, found.headers) == (digest, {"Authorization": "Bearer pull-token"})
    document = await asyncio.to_thread(fetch_document, found.url, max_bytes=10**6, headers=found.headers)
    assert (document.body, seen[-1]) == (PACKED, ("storage", None))


async def test_the_cache_fills_from_a_registry_that_wants_a_token(guarded, tmp_path):
    """The embedded cache fetches with a token too, and takes it to no other host."""
    src, digest, seen = guarded

    async def fail(source: str, reason: str) -> None:
        raise AssertionError(f"{source}: {reason}")

    cache = EmbeddedCache(tmp_path / "cache", on_failure=fail)
    await cache.start()
    try:
        assert await cache.offer(src, sha=digest, base_url="http://b") is None
        await eventually(lambda: cache.listed(src, sha=digest, base_url="http://b"), "the fill")
    finally:
        await cache.stop()
    assert seen[-1] == ("storage", None)


def layer(media_type: str, title: str, size: object = 5) -> dict[str, object]:
    return {"mediaType": media_type, "size": size, "digest": f"sha256:{'1' * 64}", "annotations": {"org.opencontainers.image.title": title}}


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"layers": []},
        {"layers": "no"},
        {"layers": [5]},
        {"artifactType": "application/vnd.nosi.wsl-rootfs.v1+gzip", "layers": [layer("x/y", "a.img")]},
        {"config": {"mediaType": "application/vnd.nosi.lxc-rootfs.v1+zstd"}, "layers": [layer("x/y", "a.img")]},
        {"layers": [layer("application/vnd.nosi.netboot-bundle.layer.v1+tar+gzip", "a")]},
        {"layers": [layer("application/gzip", "root.tar.gz")]},
        {"layers": [layer("application/vnd.oci.image.layer.v1.tar+gzip", "")]},
        {"layers": [{**layer("x/y", "a.img"), "digest": "md5:1"}]},
        {"layers": [layer("application/vnd.cncf.helm.chart.v1.tar+gzip", "")]},
    ],
)
def test_what_is_no_disk_image_is_refused(manifest):
    """Archives, container images, charts and nonsense never become an image."""
    with pytest.raises(SourceFailed):
        pick_layer(manifest, "oras://r/a/b:1")


def test_without_a_disk_image_layer_the_largest_is_taken():
    """An artifact of another publisher gives its largest file that is no side file, whatever its sizes are."""
    manifest = {"layers": [layer("x/y", "a.img.sha256", 9), layer("x/y", "a.img", 7), layer("x/y", "b", "many"), layer("x/y", "c", 3)]}
    assert pick_layer(manifest, "oras://r/a/b:1")["annotations"]["org.opencontainers.image.title"] == "a.img"


@pytest.mark.parametrize("url", ["file:///etc/hostname", "data:,x", "ftp://127.0.0.1/x"])
def test_the_opener_knows_http_only(url):
    """No local file and no other scheme can be opened."""
    with pytest.raises(urllib.error.URLError):
        make_opener().open(url)
