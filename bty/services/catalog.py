"""The catalog of a running daemon: what images there are, and where each one's bytes are at this moment.

Every entry is in memory, so that a rack that powers on reads no table; every change is answered after its commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bty.errors import BtyError, Conflict, InvalidBody, InvalidInput, NotFound, SourceFailed
from bty.model.catalog import Entry, find_digest, has_credentials, parse_digest, print_manifest
from bty.model.event import Actor, Event, Kind, Subject
from bty.model.image import ImageFormat, detect_format, image_ref, is_tarball, source_basename
from bty.model.plan import Location
from bty.services.blocking import Blocking
from bty.services.cache import Cache, Flights
from bty.services.events import Events, build
from bty.sources.documents import fetch_document, fetch_length
from bty.sources.oras import ResolvedImage, repository, resolve
from bty.store import catalog as table
from bty.store.db import Store
from bty.units import MIB, utc_now

log = logging.getLogger(__name__)

DIGEST_LIST_MAX_BYTES = MIB
# At plan time a registry has this long, all in all; its answer counts for a minute, its silence a little shorter.
PLAN_RESOLVE_S = 5.0
PLAN_REQUEST_S = 2.0
RESOLVED_KEPT_S = 5.0
UNRESOLVED_KEPT_S = 15.0
_PARALLEL_FETCHES = 8
_LENGTH_TIMEOUT_S = 10.0
# One request to a registry while somebody waits for an image to be added; a registry that is gone costs five of them.
REGISTRY_TIMEOUT_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An image that somebody wants in the catalog."""

    image_url: str
    sha_url: str | None = None
    ref: str | None = None
    name: str | None = None
    sha256: str | None = None
    format: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, for the audit log."""

    actor: str = Actor.OPERATOR
    source_ip: str | None = None


@dataclass(frozen=True, slots=True)
class _Resolution:
    sha: str | None
    until: float


class Catalog:
    """The images. `load` it before use."""

    def __init__(self, store: Store, events: Events, cache: Cache) -> None:
        self.cache = cache
        self.blocking = Blocking(_PARALLEL_FETCHES)
        self._store = store
        self._events = events
        self._entries: dict[str, Entry] = {}
        self._by_src: dict[str, str] = {}
        self._tombstones: set[str] = set()
        self._resolved: dict[str, _Resolution] = {}
        self._flights: Flights[str, str | None] = Flights()
        self.changing = asyncio.Lock()  # whoever changes the catalog holds it

    async def load(self) -> None:
        """Read everything from the store. Raises `StoreFailed`."""
        self._tombstones = await table.list_tombstones(self._store)
        self._entries, self._by_src = {}, {}
        for entry in await table.list_entries(self._store):
            self._put(entry)

    async def close(self) -> None:
        """End the questions to registries that are under way."""
        await self._flights.cancel()

    def get(self, ref: str) -> Entry | None:
        """Return the entry with this ref."""
        return self._entries.get(ref)

    def entries(self) -> list[Entry]:
        """Return all entries in the order in which they were added."""
        return list(self._entries.values())

    def is_deleted(self, ref: str) -> bool:
        """Tell whether an operator deleted the image *ref*."""
        return ref in self._tombstones

    async def add(self, wish: Wish, caller: Caller) -> Entry:
        """Add one image, asking its source what can be known about it.

        Raises `InvalidInput` where it is malformed or its source does not answer as it must, `Conflict` where it is there.
        """
        ref = image_ref(wish.image_url)
        if wish.ref is not None and wish.ref != ref:
            raise invalid("ref", f"the ref of this image_url is {ref}")
        for field, url in (("image_url", wish.image_url), ("sha_url", wish.sha_url or "")):
            if has_credentials(url):
                raise invalid(field, "the URL holds credentials, which everybody who reads the catalog would see")
        self._check_new(ref, wish.image_url)
        try:
            entry = await self._describe(wish, ref)
        except (SourceFailed, InvalidInput) as error:
            await self._events.record(
                Kind.ENTRY_ADD_FAILED,
                f"{wish.image_url[:300]} was not added: {error}"[:1000],
                subject=(Subject.CATALOG, ref),
                actor=caller.actor,
                source_ip=caller.source_ip,
                details={"image_url": wish.image_url, "error": str(error)},
            )
            if isinstance(error, SourceFailed):
                raise InvalidInput(error.message, hint=error.hint) from error
            raise
        facts = {key: getattr(entry, key) for key in ("name", "bty_image_ref", "disk_image_sha", "format", "size_bytes")}
        event = build(
            Kind.ENTRY_ADDED,
            f"image {entry.name} added",
            subject=(Subject.CATALOG, ref),
            actor=caller.actor,
            source_ip=caller.source_ip,
            details=facts | ({"oras": True} if entry.is_oras else {}),
        )
        async with self.changing:
            self._check_new(ref, entry.src)
            await self._events.commit(table.insert(entry), event)
            self._put(entry)
        return entry

    async def delete(self, src: str, caller: Caller) -> None:
        """Delete the entry whose stored source is *src*, to the letter. Raises `NotFound`."""
        async with self.changing:
            ref = self._by_src.get(src)
            if ref is None:
                raise NotFound(f"no catalog entry has the source {src[:300]!r}")
            entry = self._entries[ref]
            event = build(
                Kind.ENTRY_DELETED,
                f"image {entry.name} deleted",
                subject=(Subject.CATALOG, ref),
                actor=caller.actor,
                source_ip=caller.source_ip,
                details={"src": src, "name": entry.name, "bty_image_ref": ref},
            )
            await self._events.commit(table.delete(ref), event)
            del self._entries[ref], self._by_src[src]
            self._resolved.pop(ref, None)
            self._tombstones.add(ref)
        await self.cache.release(src)

    async def insert(self, entries: Iterable[Entry], summarize: Callable[[list[Entry]], Event] | None = None) -> list[Entry]:
        """Add those of *entries* that are not there, in one unit with the event that *summarize* makes of them."""
        async with self.changing:
            fresh: dict[str, Entry] = {}
            for entry in entries:
                if entry.bty_image_ref not in self._entries and entry.src not in self._by_src:
                    fresh.setdefault(entry.bty_image_ref, entry)
            statements = [statement for entry in fresh.values() for statement in table.insert(entry)]
            added = list(fresh.values())
            events = [summarize(added)] if summarize else []
            if statements or events:
                await self._events.commit(statements, *events)
            for entry in added:
                self._put(entry)
        return added

    def take_in(self, entries: Iterable[Entry], buried: Iterable[str]) -> None:
        """Take over what was stored by whoever holds `changing`: images that came, and refs of images that stay deleted."""
        for entry in entries:
            self._put(entry)
        self._tombstones.update(buried)

    def deleted(self) -> set[str]:
        """Return the refs of the images that an operator deleted."""
        return set(self._tombstones)

    def contains(self, ref: str, src: str) -> bool:
        """Tell whether the image is there, by ref or by the letters of its source."""
        return ref in self._entries or src in self._by_src

    async def locate(self, entry: Entry, base_url: str) -> Location:
        """Return where the bytes of *entry* are now: at the cache when it has them, else at their origin.

        *base_url* is how the asking machine reaches this daemon. A rolling tag is resolved now; its digest is named
        whichever way the bytes travel. Waits for a registry or a cache for a few seconds at most and never fails.
        """
        sha = await self.current_digest(entry)
        cached = await self.cache.offer(entry.src, sha=sha, base_url=base_url)
        origin = entry.src if entry.is_oras else entry.resolved_src or entry.src
        decision = {
            "configured": self.cache.configured,
            "hit": cached is not None if self.cache.configured else None,
            "served_from": "withcache" if cached else "origin",
        }
        if cached:
            return Location(image=cached.address, origin=origin, sha=cached.sha, decision=decision)
        return Location(image=origin, sha=sha, decision=decision)

    async def current_digest(self, entry: Entry) -> str | None:
        """Return the digest that the image has now: for a tag what the registry says, or said last if it is silent."""
        entry = self._entries.get(entry.bty_image_ref, entry)
        if not entry.is_oras or ("@sha256:" in entry.src and entry.disk_image_sha):
            return entry.disk_image_sha
        known = self._resolved.get(entry.bty_image_ref)
        if known is not None and known.until > asyncio.get_running_loop().time():
            return known.sha
        return await self._flights.join(entry.bty_image_ref, lambda: self._resolve_now(entry))

    async def admit(self, src: str) -> tuple[Entry, str | None, bool] | None:
        """Return the entry, the digest and whether it is a current one, for bytes that our cache may hand out as *src*.

        That is the source of an entry, or a blob of its repository. None for everything else.
        """
        ref = self._by_src.get(src)
        if ref is not None:
            entry = self._entries[ref]
            return entry, await self.current_digest(entry), True
        _, mark, digest = src.partition("@sha256:")
        asked = repository(src) if mark else None
        if asked is None:
            return None
        found = [entry for entry in self._entries.values() if entry.is_oras and repository(entry.src) == asked]
        if not found:
            return None
        current = next((entry for entry in found if digest in (entry.disk_image_sha, self._known_digest(entry))), None)
        return current or found[0], digest, current is not None

    def manifest(self, base_url: str, *, unproved: bool = False) -> str:
        """Return the `catalog.toml` of what is here, with the addresses that a cache has for it; see `print_manifest`."""
        pairs = []
        for entry in self._entries.values():
            sha = self._known_digest(entry)
            listed = self.cache.listed(entry.src, sha=sha, base_url=base_url)
            pairs.append((replace(entry, disk_image_sha=sha), listed or entry.src))
        return print_manifest((pair for pair in pairs if not pair[1].startswith("file:")), unproved=unproved)

    def is_cached(self, entry: Entry, base_url: str) -> bool:
        """Tell whether our own cache has the image's bytes."""
        return self.cache.kind == "embedded" and self.cache.listed(entry.src, sha=self._known_digest(entry), base_url=base_url) is not None

    def _known_digest(self, entry: Entry) -> str | None:
        known = self._resolved.get(entry.bty_image_ref)
        return (known.sha if known else None) or entry.disk_image_sha

    def _put(self, entry: Entry) -> None:
        self._entries[entry.bty_image_ref] = entry
        self._by_src[entry.src] = entry.bty_image_ref
        self._tombstones.discard(entry.bty_image_ref)

    def _check_new(self, ref: str, src: str) -> None:
        if self.contains(ref, src):
            raise Conflict(f"the image is in the catalog already: {src[:300]}")

    async def _describe(self, wish: Wish, ref: str) -> Entry:
        """Return the entry for *wish*. Raises `SourceFailed`, `InvalidInput`."""
        entry = Entry(
            bty_image_ref=ref,
            src=wish.image_url,
            name=wish.name or "",
            added_at=utc_now(),
            disk_image_sha=parse_digest(wish.sha256) if wish.sha256 else None,
            format=wish.format,
            description=wish.description,
        )
        return await (self._describe_oras(entry) if entry.is_oras else self._describe_http(entry, wish.sha_url))

    async def _describe_oras(self, entry: Entry) -> Entry:
        found = await self.blocking.run(resolve, entry.src, timeout_s=REGISTRY_TIMEOUT_S)
        if entry.disk_image_sha not in (None, found.digest):
            raise InvalidInput(f"the registry has the digest {found.digest}, not {entry.disk_image_sha}")
        self._note(entry.bty_image_ref, found.digest, RESOLVED_KEPT_S)
        name = entry.name or found.title or source_basename(entry.src.partition("@")[0])
        return replace(completed(entry, found), name=name, format=entry.format or detect_format(found.title or "") or ImageFormat.IMG_GZ)

    async def _describe_http(self, entry: Entry, sha_url: str | None) -> Entry:
        basename = source_basename(entry.src)
        if not basename:
            raise invalid("image_url", "the URL's path names no file")
        if is_tarball(basename) and entry.format is None:
            raise invalid("image_url", f"{basename[:200]} is an archive of files, which cannot be flashed")
        digest = entry.disk_image_sha
        if sha_url:
            listed = await self.blocking.run(fetch_document, sha_url, max_bytes=DIGEST_LIST_MAX_BYTES)
            found = find_digest(listed.body.decode("utf-8", "replace"), basename)
            if digest not in (None, found):
                raise InvalidInput(f"{sha_url[:300]} names the digest {found}, not {digest}")
            digest = found
        try:
            size = await self.blocking.run(fetch_length, entry.src, timeout_s=_LENGTH_TIMEOUT_S)
        except (SourceFailed, InvalidInput) as error:
            log.info("catalog.length.unknown src=%s error=%s", entry.src, error)
            size = None
        return replace(
            entry,
            name=entry.name or basename,
            resolved_src=entry.src,
            disk_image_sha=digest,
            sha_url=sha_url,
            format=entry.format or detect_format(basename),
            size_bytes=size,
        )

    async def _resolve_now(self, entry: Entry) -> str | None:
        """Ask the registry, note and store what it says, and return the digest to name."""
        try:
            async with asyncio.timeout(PLAN_RESOLVE_S):
                found = await self.blocking.run(resolve, entry.src, timeout_s=PLAN_REQUEST_S)
        except (BtyError, TimeoutError) as error:
            log.warning("catalog.resolve.failed src=%s error=%s", entry.src, str(error) or "no answer in time")
            self._note(entry.bty_image_ref, self._known_digest(entry), UNRESOLVED_KEPT_S)
            return self._known_digest(entry)
        self._note(entry.bty_image_ref, found.digest, RESOLVED_KEPT_S)
        if found.digest != entry.disk_image_sha:
            await self._move(entry, found)
        return found.digest

    def _note(self, ref: str, sha: str | None, seconds: float) -> None:
        self._resolved[ref] = _Resolution(sha, asyncio.get_running_loop().time() + seconds)

    async def _move(self, entry: Entry, found: ResolvedImage) -> None:
        """Store where a tag points now, so that it is known also when the registry is silent after a restart."""
        event = build(
            Kind.ENTRY_MOVED,
            f"image {entry.name} has new bytes",
            subject=(Subject.CATALOG, entry.bty_image_ref),
            actor=Actor.SYSTEM,
            details={"src": entry.src, "from": entry.disk_image_sha, "to": found.digest},
        )
        async with self.changing:
            current = self._entries.get(entry.bty_image_ref)
            if current is None or current.disk_image_sha == found.digest:
                return
            moved = replace(current, disk_image_sha=found.digest, resolved_src=found.url, size_bytes=found.size_bytes or current.size_bytes)
            try:
                await self._events.commit(table.update(moved), *([event] if current.disk_image_sha else []))
            except BtyError as error:  # the digest is known in memory, which is what a plan needs
                log.warning("catalog.move.lost src=%s error=%s", entry.src, error)
            self._entries[moved.bty_image_ref] = moved


def completed(entry: Entry, found: ResolvedImage) -> Entry:
    """Return *entry* with what its registry says and its catalog did not."""
    return replace(
        entry,
        resolved_src=found.url,
        disk_image_sha=entry.disk_image_sha or found.digest,
        size_bytes=entry.size_bytes if entry.size_bytes is not None else found.size_bytes,
    )


def invalid(field: str, message: str) -> InvalidBody:
    """Return the error for one field of a body that the schema alone cannot judge."""
    return InvalidBody([{"loc": ["body", field], "msg": message, "type": "value_error"}])
