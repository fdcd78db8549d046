"""The artifacts that machines boot from: contract 1.1 and 1.3."""

from __future__ import annotations

import contextlib
from email.utils import formatdate
from urllib.parse import quote

import msgspec
from aiohttp import hdrs, web

from bty.daemon import keys
from bty.daemon.client import client_ip
from bty.daemon.codec import read_blocks, reply
from bty.daemon.downloads import send_file
from bty.daemon.speech import BYTES, speaks
from bty.errors import InvalidInput
from bty.units import parse_mac


class FromMachine(msgspec.Struct, kw_only=True):
    """The query of a boot artifact: which machine boots from it."""

    mac: str = ""


class Stored(msgspec.Struct, kw_only=True):
    """An artifact that was put into place."""

    name: str
    size_bytes: int
    path: str


@speaks(query=FromMachine, reply=BYTES)
async def get_file(request: web.Request) -> web.StreamResponse:
    """Serve an artifact; `?mac=` says which machine boots from it, and counts even where the file is missing."""
    with contextlib.suppress(InvalidInput):
        await request.app[keys.FLEET].arm(parse_mac(request.query.get("mac", "")), ip=client_ip(request))
    found = await request.app[keys.BOOT_FILES].open(request.match_info["name"])
    headers: dict[str, str] = {
        hdrs.CONTENT_DISPOSITION: f"attachment; filename*=utf-8''{quote(found.name, safe='')}",
        hdrs.LAST_MODIFIED: formatdate(found.modified_at, usegmt=True),
    }
    if found.name.isascii() and '"' not in found.name:
        headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{found.name}"'
    try:
        return await send_file(request, found.file, size=found.size_bytes, etag=found.etag, headers=headers)
    finally:
        found.file.close()


@speaks(body=BYTES, reply=Stored)
async def put_file(request: web.Request) -> web.Response:
    """Take an artifact."""
    stored = await request.app[keys.BOOT_FILES].receive(request.match_info["name"], read_blocks(request), ip=client_ip(request))
    return reply(Stored(**stored))
