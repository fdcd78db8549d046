"""The embedded cache to the network: blobs as withcache serves them, but only the catalog's, with ranges, by sendfile."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bty.daemon import keys
from bty.daemon.codec import no_content, reply
from bty.daemon.downloads import send_file
from bty.daemon.speech import BYTES, speaks
from bty.errors import NotFound
from bty.services.cache import decode_token
from bty.services.embedded_cache import EmbeddedCache


@speaks(reply=BYTES)
async def get_blob(request: web.Request) -> web.StreamResponse:
    """Serve a cached image, or answer 404 and have it fetched."""
    catalog = request.app[keys.CATALOG]
    admitted = await catalog.admit(decode_token(request.match_info["token"]))
    cache = catalog.cache
    if admitted is None or not isinstance(cache, EmbeddedCache):
        raise NotFound("no image of the catalog has this address")
    entry, sha, is_current = admitted
    opened = await cache.open(entry.src, sha=sha, fill=is_current)
    if opened is None:
        raise NotFound("not cached yet" if is_current else "not cached")
    blob, file = opened
    try:
        return await send_file(request, file, size=blob.size_bytes, etag=blob.sha256, headers={"X-Withcache-Sha256": blob.sha256})
    finally:
        file.close()


@speaks(reply=dict[str, Any])
async def describe_cache(request: web.Request) -> web.Response:
    """Tell what is cached, what is being fetched, and what failed."""
    return reply(await request.app[keys.CATALOG].cache.describe())


@speaks(status=204)
async def forget_blob(request: web.Request) -> web.Response:
    """Drop one cached image, or stop its fetch."""
    cache = request.app[keys.CATALOG].cache
    if not isinstance(cache, EmbeddedCache):
        raise NotFound("there is no embedded cache")
    await cache.forget(request.match_info["key"])
    return no_content()
