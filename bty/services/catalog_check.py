"""Whether an image could be had now: at its origin, and from the cache. A dead origin is an answer, not an error."""

from __future__ import annotations

from dataclasses import dataclass

from bty.errors import BtyError, NotFound
from bty.model.catalog import Entry
from bty.model.image import detect_format
from bty.services.catalog import REGISTRY_TIMEOUT_S, Catalog
from bty.sources.documents import fetch_length
from bty.sources.oras import resolve
from bty.units import utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the origin says; `error` where it is not reachable."""

    reachable: bool
    size_bytes: int | None = None
    format: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """What the cache says: whether it has the bytes, and else that it was told to fetch them (`warmed`)."""

    configured: bool
    hit: bool | None = None
    warmed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image that was looked for."""

    src: str
    origin: Origin
    withcache: Cached
    checked_at: str


async def check(catalog: Catalog, src: str, *, base_url: str) -> Found:
    """Look for the bytes of the entry with the source *src*. Raises `NotFound` where no entry has it."""
    entry = next((entry for entry in catalog.entries() if entry.src == src), None)
    if entry is None:
        raise NotFound(f"no catalog entry has the source {src[:300]!r}")
    origin = await _ask_origin(catalog, entry)
    cached = Cached(configured=False)
    if catalog.cache.configured:
        sha = await catalog.current_digest(entry)
        hit = await catalog.cache.offer(entry.src, sha=sha, base_url=base_url) is not None
        cached = Cached(configured=True, hit=hit, warmed=not hit)
    return Found(src=src, origin=origin, withcache=cached, checked_at=utc_now())


async def _ask_origin(catalog: Catalog, entry: Entry) -> Origin:
    try:
        if entry.is_oras:
            found = await catalog.blocking.run(resolve, entry.src, timeout_s=REGISTRY_TIMEOUT_S)
            size, name = found.size_bytes, found.title or entry.name
        else:
            size, name = await catalog.blocking.run(fetch_length, entry.src, timeout_s=10.0), entry.src.partition("?")[0]
    except BtyError as error:
        return Origin(reachable=False, error=str(error))
    return Origin(reachable=True, size_bytes=size, format=detect_format(name) or entry.format)
