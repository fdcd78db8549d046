"""What anybody on the network may know about the images: contract 1.1."""

from __future__ import annotations

import msgspec
from aiohttp import web

from bty.daemon import keys
from bty.daemon.client import base_url
from bty.daemon.codec import reply
from bty.daemon.query import read_query
from bty.daemon.speech import TOML, speaks
from bty.model.catalog import Entry, display_arch
from bty.services.catalog import Catalog


class Image(msgspec.Struct, kw_only=True):
    """An image as anybody may know it: `format` is empty and `size_bytes` 0 where they are not known."""

    name: str
    format: str
    size_bytes: int
    url: str
    ref: str
    sha_short: str | None
    cached: bool
    arch: str | None


class Extent(msgspec.Struct, kw_only=True):
    """The query of the catalog: whether images without a digest are in it too."""

    all: bool = False


@speaks(reply=list[Image])
async def list_images(request: web.Request) -> web.Response:
    """List the images."""
    catalog = request.app[keys.CATALOG]
    base = base_url(request)
    return reply([_image(entry, catalog, base) for entry in catalog.entries()])


@speaks(query=Extent, reply=TOML)
async def get_manifest(request: web.Request) -> web.Response:
    """Return the catalog as it travels; `?all=1` adds the images without a digest."""
    text = request.app[keys.CATALOG].manifest(base_url(request), unproved=read_query(request, Extent).all)
    return web.Response(text=text, content_type="application/toml", charset="utf-8")


def _image(entry: Entry, catalog: Catalog, base: str) -> Image:
    return Image(
        name=entry.name,
        format=entry.format or "",
        size_bytes=entry.size_bytes or 0,
        url=entry.src,
        ref=entry.bty_image_ref,
        sha_short=entry.disk_image_sha[:12] if entry.disk_image_sha else None,
        cached=catalog.is_cached(entry, base),
        arch=display_arch(entry),
    )
