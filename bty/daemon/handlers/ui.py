"""The web application: one document for all of its pages, only for who is logged in, and what that document loads."""

from __future__ import annotations

from aiohttp import hdrs, web

from bty.daemon.keys import FLEET
from bty.daemon.spa import Application, Asset, load_application
from bty.daemon.speech import HTML, speaks
from bty.errors import NotFound
from bty.units import parse_mac

PAGES = frozenset({"dashboard", "machines", "images", "netboot", "backups", "events", "settings", "account"})
# The address has the content's digest in it: what is there once never changes.
_FOREVER = "public, max-age=31536000, immutable"


@speaks(status=303)
async def root(request: web.Request) -> web.Response:
    """Go to the first page."""
    return web.Response(status=303, headers={hdrs.LOCATION: "/ui/dashboard"})


@speaks(reply=HTML)
async def page(request: web.Request) -> web.Response:
    """Return the document."""
    if request.match_info["page"] not in PAGES:
        raise NotFound("no such page")
    return _document(request)


@speaks(reply=HTML)
async def machine(request: web.Request) -> web.Response:
    """Return the document for the page of a machine; 404 with it where there is no such machine."""
    known = request.app[FLEET].find(parse_mac(request.match_info["mac"]))
    return _document(request, status=200 if known else 404)


@speaks(reply="*/*")
async def asset(request: web.Request) -> web.Response:
    """Return what the document loads. Raises `NotFound` for what another version had."""
    application = load_application()
    found = application.assets.get(request.match_info["name"])
    if found is None or request.match_info["build"] != application.build:
        raise NotFound("no such asset: reload the page")
    return _answer(request, found, application, caching=_FOREVER)


def _document(request: web.Request, status: int = 200) -> web.Response:
    application = load_application()
    return _answer(request, application.document, application, caching="no-cache", status=status)


def _answer(request: web.Request, asset: Asset, application: Application, *, caching: str, status: int = 200) -> web.Response:
    tag = f'"{application.build}"'
    headers = {hdrs.CACHE_CONTROL: caching, hdrs.ETAG: tag, hdrs.VARY: hdrs.ACCEPT_ENCODING}
    if status == 200 and tag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    body = asset.body
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        body, headers[hdrs.CONTENT_ENCODING] = asset.packed, "gzip"
    return web.Response(body=body, status=status, headers=headers, content_type=asset.content_type, charset="utf-8")
