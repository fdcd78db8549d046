"""Backups: bundles on the disk, made by hand or by a schedule, pruned, handed out, and taken in again."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from bty.errors import BtyError, NotFound, StoreFailed
from bty.model.event import Actor, Kind, Subject
from bty.services import bundle, restore
from bty.services.catalog import Catalog
from bty.services.config_file import ConfigFile
from bty.services.events import Events, build
from bty.services.fleet import Fleet
from bty.services.jobs import Job, JobKind, Jobs
from bty.services.restore import Outcome
from bty.services.settings import Settings
from bty.store.db import Store
from bty.units import plural, utc_now

log = logging.getLogger(__name__)

FILE = "inventory.json"
ABOUT = "about.json"  # how much is in it, so that a list of backups need not read them
TICK_S = 60.0
_SLUG = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(?:-\d{1,4})?")
_EVERY = {"daily": timedelta(days=1), "weekly": timedelta(days=7)}
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBackup:
    """A bundle on the disk. How much is in it is not known (null) of one that an earlier version made."""

    backup_id: str
    bytes_on_disk: int
    created_at: str
    version: int | None = None
    machines: int | None = None
    images: int | None = None
    settings: int | None = None


class Backups:
    """The bundles below *root*."""

    def __init__(
        self,
        root: Path,
        *,
        store: Store,
        fleet: Fleet,
        catalog: Catalog,
        events: Events,
        jobs: Jobs,
        settings: Settings,
        config: ConfigFile,
    ) -> None:
        self.root = root
        self._store = store
        self._fleet = fleet
        self._catalog = catalog
        self._events = events
        self._jobs = jobs
        self._settings = settings
        self._config = config

    async def prepare(self) -> None:
        """Remove what backups left behind that a crash ended."""
        await asyncio.to_thread(self._sweep)

    async def start(self, *, trigger: str, ip: str | None) -> Job:
        """Begin a backup and return its job. Raises `StoreFailed`."""
        try:
            backup_id = await asyncio.to_thread(self._free_id)
        except OSError as error:
            raise StoreFailed(f"{error.filename or self.root}: {error.strerror}") from error
        actor = Actor.SYSTEM if trigger == "scheduled" else Actor.OPERATOR
        await self._record(Kind.BACKUP_CREATE_REQUESTED, f"backup {backup_id} was asked for", backup_id, actor=actor, ip=ip)
        return await self._jobs.start(
            JobKind.BACKUP, backup_id, self._make, trigger=trigger, machines=0, images=0, settings=0, dest_path=str(self.root / backup_id)
        )

    async def stored(self) -> list[StoredBackup]:
        """Return the bundles, the newest first."""
        return await asyncio.to_thread(self._list)

    async def open(self, backup_id: str) -> tuple[BinaryIO, int]:
        """Return the open file of a bundle and its size. Raises `NotFound`."""
        path = self._path(backup_id) / FILE
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except OSError:
            raise NotFound(f"no backup {backup_id[:40]}") from None
        return file, os.fstat(file.fileno()).st_size

    async def delete(self, backup_id: str) -> int:
        """Delete a bundle and return how large it was. Raises `NotFound`, `StoreFailed`."""
        size = await asyncio.to_thread(self._remove, backup_id)
        await self._record(Kind.BACKUP_DELETED, f"backup {backup_id} was deleted", backup_id, details={"bytes_on_disk": size})
        return size

    async def restore(self, content: bytes, *, arm: bool, ip: str) -> Outcome:
        """Take a bundle in, all of it or nothing, and return what was restored.

        Machines that would write a disk at their next boot wait in `bty-inventory` instead, unless *arm* is set.
        Raises `InvalidBody` before anything happened, `StoreFailed`.
        """
        found = await asyncio.to_thread(bundle.read, content, arm=arm, now=utc_now())
        async with self._catalog.changing, self._settings.changing:
            present = restore.Present(
                settings=self._settings,
                entries=self._catalog.entries(),
                machines=self._fleet.machines(),
                configuration=self._config.portable(),
            )
            wanted = restore.plan(found, present, armed=arm, ip=ip)
            await self._fleet.restore(wanted.machines, wanted.event, wanted.statements)
            self._catalog.take_in(wanted.entries, wanted.buried)
            self._settings.take(wanted.revision)
        return wanted.outcome

    async def keep_schedule(self) -> None:
        """Make a backup whenever one is due, until cancelled."""
        while True:
            try:
                if self.is_due(datetime.now(UTC)):
                    await self.start(trigger="scheduled", ip=None)
            except BtyError as error:
                log.error("backup.schedule.failed %s", error)
            await asyncio.sleep(TICK_S)

    def is_due(self, now: datetime) -> bool:
        """Tell whether the schedule wants a backup at *now*."""
        plan = self._settings.backup
        if not plan.enabled or plan.cadence not in _EVERY:
            return False
        if any(job.details.get("trigger") == "scheduled" and not job.is_over for job in self._jobs.all(JobKind.BACKUP)):
            return False
        try:
            last = datetime.fromisoformat(plan.last_run_at or "")
        except ValueError:
            return True
        return last.tzinfo is None or now - last >= _EVERY[plan.cadence]

    async def _make(self, job: Job) -> None:
        backup_id, trigger = job.key, job.details["trigger"]
        try:
            await self._record(Kind.BACKUP_CREATE_STARTED, f"backup {backup_id} began", backup_id)
            await self._write(job)
            counts = {name: job.details[name] for name in ("machines", "images", "settings")}
            has = ", ".join(plural(count, name.removesuffix("s")) for name, count in counts.items())
            facts = {**counts, "bytes": job.bytes_done, "trigger": trigger}
            await self._record(Kind.BACKUP_CREATED, f"backup {backup_id} has {has}", backup_id, details=facts)
            if trigger == "scheduled":
                await self._settings.note_backup(utc_now())
            await self._prune()
        except asyncio.CancelledError:
            with suppress(StoreFailed):
                if not self._jobs.is_closing:
                    await self._record(Kind.BACKUP_CREATE_CANCELLED, f"backup {backup_id} was cancelled", backup_id)
            raise
        except (BtyError, OSError) as error:
            reason = str(error) if isinstance(error, BtyError) else f"{error.filename or self.root}: {error.strerror}"
            await self._record(Kind.BACKUP_FAILED, f"backup {backup_id} failed: {reason}", backup_id, details={"error": reason})
            raise StoreFailed(reason) from error

    async def _write(self, job: Job) -> None:
        partial = self.root / f".{job.key}{_PARTIAL}"
        file = await _opened(partial)
        holding = bundle.Holding(
            machines=self._fleet.machines(),
            entries=self._catalog.entries(),
            deleted=self._catalog.deleted(),
            settings=self._settings.overrides(),
            configuration=self._config.chosen(),
        )
        job.details |= {**holding.counts, "machines": 0}
        try:
            await asyncio.to_thread(_note, partial, {"version": bundle.VERSION, **holding.counts})
            async for block, count in bundle.write(self._store, holding):
                await asyncio.to_thread(file.write, block)
                job.bytes_done += len(block)
                job.details["machines"] += count
                self._jobs.tell(job)
            await asyncio.to_thread(_finish, file, partial, self.root / job.key)
        finally:
            file.close()
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)

    async def _prune(self) -> None:
        for old in (await self.stored())[self._settings.backup.retention_count :]:
            await asyncio.to_thread(self._remove, old.backup_id)
            await self._record(Kind.BACKUP_PRUNED, f"backup {old.backup_id} was pruned", old.backup_id)

    def _sweep(self) -> None:
        for partial in self.root.glob(f".*{_PARTIAL}"):
            shutil.rmtree(partial, ignore_errors=True)

    def _free_id(self) -> str:
        slug = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        taken = {job.key for job in self._jobs.all(JobKind.BACKUP)}
        names = [slug, *(f"{slug}-{n}" for n in range(1, 1000))]
        return next(name for name in names if name not in taken and not (self.root / name).exists())

    def _path(self, backup_id: str) -> Path:
        if not _SLUG.fullmatch(backup_id):
            raise NotFound(f"no backup {backup_id[:40]!r}")
        return self.root / backup_id

    def _list(self) -> list[StoredBackup]:
        found = []
        for path in sorted(self.root.glob("*"), reverse=True) if self.root.is_dir() else []:
            if _SLUG.fullmatch(path.name) and (path / FILE).is_file():
                facts = (path / FILE).stat()
                made = datetime.fromtimestamp(facts.st_mtime, UTC).isoformat(timespec="microseconds")
                found.append(StoredBackup(backup_id=path.name, bytes_on_disk=facts.st_size, created_at=made, **_about(path)))
        return found

    def _remove(self, backup_id: str) -> int:
        path = self._path(backup_id)
        try:
            size = (path / FILE).stat().st_size
            shutil.rmtree(path)
        except FileNotFoundError:
            raise NotFound(f"no backup {backup_id}") from None
        except OSError as error:
            raise StoreFailed(f"{path}: {error.strerror}") from error
        return size

    async def _record(
        self,
        kind: Kind,
        summary: str,
        backup_id: str,
        *,
        actor: Actor | None = None,
        ip: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        who = actor or (Actor.OPERATOR if ip or kind is Kind.BACKUP_DELETED else Actor.SYSTEM)
        event = build(kind, summary, subject=(Subject.BACKUP, backup_id), actor=who, source_ip=ip, details=details)
        await self._events.commit([], event)


async def _opened(partial: Path) -> BinaryIO:
    """Return the file of a backup that begins. The thread that opens it cannot be cancelled: after a cancel it takes it away again."""
    thread = ThreadPoolExecutor(1, "backup")
    opening = thread.submit(_begin, partial)
    thread.shutdown(wait=False)
    try:
        return await asyncio.wrap_future(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(lambda _: _take_away(opening, partial))
        raise


def _take_away(opening: Future[BinaryIO], partial: Path) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
    shutil.rmtree(partial, ignore_errors=True)


def _begin(partial: Path) -> BinaryIO:
    partial.mkdir(parents=True)
    return (partial / FILE).open("xb")


def _note(partial: Path, about: dict[str, int]) -> None:
    (partial / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _about(path: Path) -> dict[str, int]:
    """Return what was noted about a bundle, nothing where that cannot be read."""
    try:
        noted = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    names = ("version", "machines", "images", "settings")
    return {name: noted[name] for name in names if isinstance(noted, dict) and isinstance(noted.get(name), int)}


def _finish(file: BinaryIO, partial: Path, final: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    partial.rename(final)
    directory = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
