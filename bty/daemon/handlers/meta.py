"""What the daemon says about itself."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from bty import __version__
from bty.daemon import keys
from bty.daemon.codec import reply
from bty.daemon.speech import speaks


class Status(msgspec.Struct):
    """That the daemon runs."""

    status: str


class Version(msgspec.Struct):
    """The daemon's version."""

    version: str


@speaks(status=303)
async def root(request: web.Request) -> web.Response:
    """Send a browser to the web application."""
    return web.Response(status=303, headers={"Location": "/ui/login"})


@speaks(reply=Status)
async def healthz(request: web.Request) -> web.Response:
    """Tell that the daemon runs."""
    return reply(Status("ok"))


@speaks(reply=Version)
async def version(request: web.Request) -> web.Response:
    """Tell the version."""
    return reply(Version(__version__))


@speaks(reply=dict[str, Any])
async def openapi(request: web.Request) -> web.Response:
    """Describe the API."""
    return web.Response(body=await asyncio.to_thread(request.app[keys.OPENAPI]), content_type="application/json")
