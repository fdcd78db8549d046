"""Small documents over http: what is fetched, and what ends the patience."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from bty.errors import InvalidInput, SourceFailed
from bty.sources.documents import HttpStatus, fetch_document, fetch_length
from tests.support.listening import answering, trickle_headers


@pytest.fixture
async def url(aiohttp_server):
    seen: dict[str, str | None] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path
        seen[path] = request.headers.get("Authorization")
        if path.startswith("/hop/"):
            left = int(path.split("/")[2])
            raise web.HTTPFound(f"/hop/{left - 1}" if left else "/small")
        if path == "/elsewhere":
            raise web.HTTPFound(f"http://localhost:{request.url.port}/small")
        if path == "/to":
            raise web.HTTPFound(request.query["url"])
        if path == "/trickle":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(100):
                await response.write(b"x")
                await asyncio.sleep(0.05)
            return response
        if path == "/cut":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"only this")
            assert request.transport
            request.transport.close()
            return response
        if path == "/large":
            return web.Response(body=b"x" * 10_001)
        if path == "/small":
            return web.Response(text="hello")
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    server = await aiohttp_server(app)
    base = f"http://127.0.0.1:{server.port}"
    return base, seen


async def fetch(address: str, timeout_s: float = 5.0, headers: dict[str, str] | None = None) -> bytes:
    return (await asyncio.to_thread(fetch_document, address, max_bytes=10_000, timeout_s=timeout_s, headers=headers)).body


async def test_a_document_is_fetched_through_a_few_redirects(url):
    """A handful of redirects is followed, more are not."""
    base, _ = url
    assert await fetch(f"{base}/small") == b"hello"
    assert await fetch(f"{base}/hop/3") == b"hello"
    with pytest.raises(SourceFailed):
        await fetch(f"{base}/hop/30")


async def test_credentials_do_not_follow_to_another_host(url):
    """A bearer goes to the host that it was meant for, and nowhere else."""
    base, seen = url
    await fetch(f"{base}/hop/0", headers={"Authorization": "Bearer x"})
    assert seen["/small"] == "Bearer x"
    await fetch(f"{base}/elsewhere", headers={"Authorization": "Bearer x"})
    assert seen["/small"] is None


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "//127.0.0.1:9/x"])
async def test_a_redirect_leads_to_http_only(url, target):
    """No redirect leads to a file or another scheme, and one into nothing is a failure."""
    base, _ = url
    with pytest.raises(SourceFailed):
        await fetch(f"{base}/to?url={target}")


@pytest.fixture
def trickling_headers():
    """The address of a server whose answers have headers without an end."""
    with answering(trickle_headers) as base:
        yield base


async def test_time_and_size_are_bounded(url, trickling_headers):
    """A document that trickles, is too large, is cut off or is not there is a failure that says which."""
    base, _ = url
    for address in (f"{base}/trickle", trickling_headers):
        with pytest.raises(SourceFailed, match=r"not there in 0\.3 s"):
            await fetch(address, timeout_s=0.3)
    with pytest.raises(SourceFailed, match="larger than"):
        await fetch(f"{base}/large")
    with pytest.raises(SourceFailed, match="cut off"):
        await fetch(f"{base}/cut")
    with pytest.raises(HttpStatus, match="404"):
        await fetch(f"{base}/none")


@pytest.mark.parametrize(
    "address", ["file:///etc/hostname", "", "http://", "http://h:x/", "http://h/ü", "http://h/a b", "http://h/a\nb", "oras://h/a/b:1"]
)
def test_only_http_addresses_are_fetched(address):
    """Anything but a plain http or https address is refused before anything is opened."""
    with pytest.raises(InvalidInput):
        fetch_document(address, max_bytes=10)


async def test_a_length_is_asked_for_by_head(url):
    """The length comes from the headers alone."""
    base, _ = url
    assert await asyncio.to_thread(fetch_length, f"{base}/large") == 10_001
