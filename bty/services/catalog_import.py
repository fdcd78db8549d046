"""Catalogs from elsewhere: read from a path, a URL or a registry, and taken into ours, at once or as a job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bty.errors import BtyError, InvalidInput, SourceFailed
from bty.model.catalog import Entry, Manifest, ManifestImage, is_http, is_oras, parse_manifest
from bty.model.event import Event, Kind, Subject
from bty.services.catalog import REGISTRY_TIMEOUT_S, Caller, Catalog, completed
from bty.services.events import Events, build
from bty.services.jobs import Job, JobKind, Jobs
from bty.sources.catalogs import read_catalog, read_file
from bty.sources.documents import HttpStatus
from bty.sources.oras import NotAnImage, check_reference, resolve
from bty.units import plural, utc_now

log = logging.getLogger(__name__)

UPLOAD = "upload"  # the source of a catalog that was sent along
NAMED_MAX = 500  # images that a job names of each kind, since it is kept and told to everybody who listens
_PARALLEL_RESOLVES = 4


def _nobody() -> None:
    """Nobody watches."""


@dataclass(slots=True)
class Progress:
    """How far an import has come, image by image, and at its end what became of each. `tell` is called after each."""

    tell: Callable[[], None] = _nobody
    done: int = 0
    total: int | None = None
    imported: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        """Note an image that does not come into the catalog."""
        self.skipped.append({"name": name, "reason": reason})

    def step(self, count: int = 1) -> None:
        """Note that so many more images were looked at."""
        self.done += count
        self.tell()


Work = Callable[[Progress], Awaitable[dict[str, Any]]]


class CatalogImports:
    """Imports that somebody does not want to wait for."""

    def __init__(self, events: Events, jobs: Jobs) -> None:
        self._events = events
        self._jobs = jobs

    async def start(self, source: str, work: Work, caller: Caller) -> Job:
        """Begin an import, or return the job that imports this source already. Raises `StoreFailed`."""

        async def run(job: Job) -> None:
            progress = Progress()

            def tell() -> None:
                job.details |= {"done": progress.done, "total": progress.total}
                self._jobs.tell(job)

            progress.tell = tell
            try:
                result = await work(progress)
            except BtyError as error:
                await self._note_failure(source, str(error), caller)
                raise
            job.details["result"] = {
                **result,
                "errors": result["errors"][:NAMED_MAX],
                "imported_names": progress.imported[:NAMED_MAX],
                "skipped_names": progress.skipped[:NAMED_MAX],
            }

        same = self._jobs.active(JobKind.CATALOG, source) if source != UPLOAD else None
        return same or await self._jobs.start(JobKind.CATALOG, source, run, done=0, total=None, result=None)

    async def _note_failure(self, source: str, reason: str, caller: Caller) -> None:
        await self._events.record(
            Kind.IMPORT_FAILED,
            f"importing the catalog {source[:300]} failed: {reason}"[:1000],
            subject=(Subject.CATALOG, source[:1000]),
            actor=caller.actor,
            source_ip=caller.source_ip,
            details={"source": source, "error": reason},
        )


async def import_catalog(
    catalog: Catalog, source: str, caller: Caller, *, paths: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Take the images of the catalog at *source* into ours and say what became of each.

    Only with *paths*, which no request of the web sets, may the source be a file of this machine.
    Raises `InvalidInput` where the source cannot be had or is no catalog.
    """
    if not (paths or is_http(source) or is_oras(source)):
        raise InvalidInput(
            f"not a source of catalogs: {source[:200]!r}", hint="http://, https:// or oras://; files are read by the command line only"
        )
    try:
        content = await catalog.blocking.run(read_catalog, source)
    except SourceFailed as error:
        raise InvalidInput(error.message, hint=error.hint) from error
    return await import_manifest(catalog, parse_manifest(content), source, caller, progress=progress)


async def import_manifest(
    catalog: Catalog, manifest: Manifest, source: str, caller: Caller, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Take the images of *manifest* into the catalog, in one unit with one event. Those that are there stay as they are.

    Cancelled before that unit, nothing was imported; once it has begun, it is finished.
    """
    progress = progress or Progress()
    errors = [{"name": name, "error": reason} for name, reason in manifest.unusable]
    skipped = len(manifest.unusable)
    slots = asyncio.Semaphore(_PARALLEL_RESOLVES)
    wanted = [image for image in manifest.images if not catalog.contains(image.bty_image_ref, image.src)]
    skipped += len(manifest.images) - len(wanted)
    progress.total = len(manifest.images) + len(manifest.unusable)
    for name, reason in manifest.unusable:
        progress.skip(name, reason)
    for image in manifest.images:
        if catalog.contains(image.bty_image_ref, image.src):
            progress.skip(image.name, "it is in the catalog already")
    progress.step(skipped)

    silent: dict[str, str] = {}

    async def prepare(image: ManifestImage) -> Entry | None:
        async with slots:
            entry, error = await _prepare(catalog, image, silent)
        if error:
            errors.append({"name": image.name, "error": error})
        if entry is None:
            progress.skip(image.name, error or "")
        progress.step()
        return entry

    prepared = await asyncio.gather(*map(prepare, wanted))
    entries = [entry for entry in prepared if entry]
    result: dict[str, Any] = {"source": source, "imported": 0, "skipped": 0, "errors": errors}

    def summarize(added: list[Entry]) -> Event:
        result.update(imported=len(added), skipped=skipped + len(wanted) - len(added))
        progress.imported = [entry.name for entry in added]
        return build(
            Kind.ENTRIES_IMPORTED,
            f"{plural(len(added), 'image')} imported, {result['skipped']} skipped, {plural(len(errors), 'error')}",
            subject=(Subject.CATALOG, source[:1000]),
            actor=caller.actor,
            source_ip=caller.source_ip,
            details=dict(result),
        )

    await _finish(catalog.insert(entries, summarize))
    return result


async def _finish(work: Awaitable[Any]) -> None:
    """Await *work* to its end, also where we are cancelled meanwhile: what is stored has to get into memory, too."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def seed(catalog: Catalog, path: Path) -> int:
    """Add the images of the manifest at *path* that are neither there nor deleted; return how many. Asks no registry.

    What a registry must say is asked for later, by the first plan or by `complete`. A missing file is nothing to do,
    a malformed one is logged and left alone.
    """
    try:
        content = await asyncio.to_thread(read_file, path)
        manifest = parse_manifest(content)
    except FileNotFoundError:
        return 0
    except (OSError, InvalidInput) as error:
        log.warning("catalog.seed.failed path=%s error=%s", path, error)
        return 0
    for name, reason in manifest.unusable:
        log.info("catalog.seed.skipped name=%s reason=%s", name, reason)
    entries = [_entry(image) for image in manifest.images if not catalog.is_deleted(image.bty_image_ref) and _is_usable(image)]
    return len(await catalog.insert(entries))


async def complete(catalog: Catalog) -> None:
    """Ask the registries about every entry that lacks a digest, a few at a time."""
    slots = asyncio.Semaphore(_PARALLEL_RESOLVES)

    async def one(entry: Entry) -> None:
        async with slots:
            await catalog.current_digest(entry)

    await asyncio.gather(*(one(entry) for entry in catalog.entries() if entry.is_oras and not entry.disk_image_sha))


async def _prepare(catalog: Catalog, image: ManifestImage, silent: dict[str, str]) -> tuple[Entry | None, str | None]:
    """Return the entry for an image of a manifest, and what is wrong with it.

    *silent* holds the registries that did not answer, each with its error: they are asked once an import, not once an image.
    """
    entry = _entry(image)
    if not entry.is_oras:
        return entry, None
    host = image.src.partition("://")[2].partition("/")[0].lower()
    error: BtyError | str | None = silent.get(host)
    if error is None:
        try:
            found = await catalog.blocking.run(resolve, entry.src, timeout_s=REGISTRY_TIMEOUT_S)
            return completed(entry, found), None
        except (NotAnImage, InvalidInput) as refused:
            return None, str(refused)
        except BtyError as failed:
            error = failed
            if not isinstance(failed, HttpStatus):
                silent[host] = str(failed)
    return entry, f"oras (kept without sha): {error}" if not entry.disk_image_sha else f"oras (kept): {error}"


def _is_usable(image: ManifestImage) -> bool:
    try:
        return not is_oras(image.src) or bool(check_reference(image.src))
    except InvalidInput as error:
        log.warning("catalog.seed.skipped name=%s reason=%s", image.name, error)
        return False


def _entry(image: ManifestImage) -> Entry:
    return image.to_entry(added_at=utc_now(), resolved_src=None if is_oras(image.src) else image.src)
