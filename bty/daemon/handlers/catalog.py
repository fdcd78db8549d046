"""The operator's catalog: contract 1.7."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from aiohttp import hdrs, web

from bty.daemon import keys
from bty.daemon.client import base_url, client_ip
from bty.daemon.codec import no_content, read_body, read_json, reply
from bty.daemon.query import Direction, PageNumber, PerPage, Words, is_asked, read_query
from bty.daemon.rows import EntryPage, EntryRow, JobRow, entry_row, job_row
from bty.daemon.speech import TOML, speaks
from bty.errors import Conflict, InvalidInput
from bty.model.catalog import parse_manifest
from bty.model.image import ImageFormat
from bty.services.catalog import Caller, Wish
from bty.services.catalog_check import Found, check
from bty.services.catalog_import import UPLOAD, Progress, Work, import_catalog, import_manifest
from bty.services.catalog_pages import Filter, Query, Sort, cut_page
from bty.services.text import Digest, HttpUrl, Line, Ref, Url
from bty.units import MIB

UPLOAD_MAX_BYTES = MIB


class AddEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /catalog/entries`."""

    image_url: Url
    sha_url: HttpUrl | None = None
    ref: Ref | None = None
    name: Line | None = None
    sha256: Digest | None = None
    format: ImageFormat | None = None
    description: Line | None = None


class Added(msgspec.Struct, kw_only=True):
    """What became of an image that was added."""

    src: str
    bty_image_ref: str
    disk_image_sha: str | None
    name: str
    sha_url: str | None
    format: str | None
    size_bytes: int | None
    added_at: str


class EntryQuery(msgspec.Struct, kw_only=True):
    """The query of `GET /catalog/entries`; without any of it all entries come."""

    q: Words = ""
    filter: Filter | None = None
    sort: Sort = Sort.ADDED
    dir: Direction = Direction.ASCENDING
    page: PageNumber = 1
    per_page: PerPage = 50


class AtSource(msgspec.Struct, kw_only=True):
    """The query that names an entry by its stored source, to the letter."""

    src: str


class FromSource(msgspec.Struct, kw_only=True):
    """The query that names where a catalog lies: http, https or oras."""

    source: str


class Source(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /catalog/entries/check`: the stored source of an entry."""

    src: Annotated[str, msgspec.Meta(max_length=4096)]


class Refused(msgspec.Struct, kw_only=True):
    """What is wrong with one image of a catalog."""

    name: str
    error: str


class Imported(msgspec.Struct, kw_only=True):
    """What became of an import."""

    source: str
    imported: int
    skipped: int
    errors: list[Refused]


@speaks(body=AddEntry, reply=Added, status=201)
async def add_entry(request: web.Request) -> web.Response:
    """Add one image."""
    body = await read_json(request, AddEntry)
    entry = await request.app[keys.CATALOG].add(Wish(**msgspec.structs.asdict(body)), _caller(request))
    return reply(Added(**{name: getattr(entry, name) for name in Added.__struct_fields__}), status=201)


@speaks(query=EntryQuery, reply=EntryPage | list[EntryRow])
async def list_entries(request: web.Request) -> web.Response:
    """List all entries in the order in which they were added; with a query about pages, one page of them."""
    entries = request.app[keys.CATALOG].entries()
    if not is_asked(request, EntryQuery):
        return reply([entry_row(entry, with_arch=False) for entry in entries])
    query = _page_query(request)
    found, total = cut_page(entries, query)
    items = [entry_row(entry) for entry in found]
    return reply(EntryPage(items=items, total=total, page=query.page, per_page=query.per_page))


@speaks(query=AtSource, status=204)
async def delete_entry(request: web.Request) -> web.Response:
    """Delete the entry with the source `?src=`; no manifest brings it back."""
    await request.app[keys.CATALOG].delete(read_query(request, AtSource).src, _caller(request))
    return no_content()


@speaks(query=FromSource, reply=Imported, later=JobRow)
async def import_entries(request: web.Request) -> web.Response:
    """Import the catalog at `?source=`: http, https or oras."""
    return await _import_from(request, read_query(request, FromSource).source)


@speaks(body=Source, reply=Found)
async def check_entry(request: web.Request) -> web.Response:
    """Ask the origin of an image whether it can be had, and the cache, which fetches it where it lacks it."""
    body = await read_json(request, Source)
    return reply(await check(request.app[keys.CATALOG], body.src, base_url=base_url(request)))


@speaks(body=TOML, reply=Imported, later=JobRow)
async def upload(request: web.Request) -> web.Response:
    """Import the `catalog.toml` that is the body."""
    content = await read_body(request, UPLOAD_MAX_BYTES)
    if not content.strip():
        raise InvalidInput("the catalog is empty", hint="send the file itself as the body")
    manifest = await asyncio.to_thread(parse_manifest, content)
    catalog, caller = request.app[keys.CATALOG], _caller(request)
    return await _now_or_later(request, UPLOAD, lambda progress: import_manifest(catalog, manifest, UPLOAD, caller, progress=progress))


@speaks(reply=Imported, later=JobRow)
async def fetch(request: web.Request) -> web.Response:
    """Import the catalog that the settings name."""
    url = request.app[keys.SETTINGS].upstream.catalog_url
    if not url:
        raise Conflict("no catalog is set", hint="PATCH /settings with upstream.catalog_url")
    return await _import_from(request, url)


async def _import_from(request: web.Request, source: str) -> web.Response:
    catalog, caller = request.app[keys.CATALOG], _caller(request)
    return await _now_or_later(request, source, lambda progress: import_catalog(catalog, source, caller, progress=progress))


async def _now_or_later(request: web.Request, source: str, work: Work) -> web.Response:
    """Import and answer what became of it, or where the client prefers that answer with the job that imports. RFC 7240."""
    if "respond-async" not in request.headers.get("Prefer", "").lower():
        return reply(await work(Progress()))
    job = await request.app[keys.IMPORTS].start(source, work, _caller(request))
    headers = {hdrs.LOCATION: f"/jobs/{job.id}", "Preference-Applied": "respond-async"}
    return reply(job_row(job), status=202, headers=headers)


def _caller(request: web.Request) -> Caller:
    return Caller(source_ip=client_ip(request))


def _page_query(request: web.Request) -> Query:
    asked = read_query(request, EntryQuery)
    return Query(
        text=asked.q.strip(),
        filter=asked.filter,
        sort=asked.sort,
        descending=asked.dir is Direction.DESCENDING,
        page=asked.page,
        per_page=asked.per_page,
    )
