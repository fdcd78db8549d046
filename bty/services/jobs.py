"""Long work: each a job with a state, a progress and an end, which an operator can look at and cancel.

A job is kept from before it is answered for. One that had not ended when the daemon did is told as failed after the next start, with
what to do: nothing is taken up in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from bty.errors import BtyError, NotFound, StoreFailed
from bty.model.event import Actor, Kind, Subject
from bty.services.events import Events, build
from bty.store import jobs as table
from bty.store.db import Store
from bty.units import utc_now

log = logging.getLogger(__name__)

KEPT = 100
INTERRUPTED = "the daemon ended before it was done; start it again"
TELL_EVERY_S = 1.0


class JobState(StrEnum):
    """How a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class JobKind(StrEnum):
    """What jobs there are."""

    BACKUP = "backup"
    RELEASE = "release"
    CATALOG = "catalog"


@dataclass(slots=True, kw_only=True)
class Job:
    """One piece of work. `details` is what its kind wants to show."""

    id: str
    kind: JobKind
    key: str
    status: JobState = JobState.QUEUED
    bytes_done: int = 0
    bytes_total: int | None = None
    created_at: str = field(default_factory=utc_now)
    started_at: str | None = None
    finished_at: str | None = None
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will happen."""
        return self.status in (JobState.COMPLETED, JobState.CANCELLED, JobState.FAILED)


# What tells of a job that failed: the kind of the event, its subject, its words.
_FAILURES = {
    JobKind.BACKUP: (Kind.BACKUP_FAILED, Subject.BACKUP, "backup {key}"),
    JobKind.RELEASE: (Kind.ARTIFACTS_FETCH_FAILED, Subject.NETBOOT, "the fetch of release {key}"),
    JobKind.CATALOG: (Kind.IMPORT_FAILED, Subject.CATALOG, "importing the catalog {key}"),
}

Work = Callable[[Job], Awaitable[None]]
Tell = Callable[[Job], None]


def _nobody(job: Job) -> None:
    """Nobody listens."""


class Jobs:
    """All jobs, the newest last. `load` them before use."""

    def __init__(self, store: Store, events: Events) -> None:
        self.on_change: Tell = _nobody
        self.is_closing = False
        self._store = store
        self._events = events
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots: dict[JobKind, asyncio.Semaphore] = {}
        self._told: dict[str, float] = {}

    async def load(self) -> None:
        """Read the jobs of earlier runs; those that never ended failed, which an event says of each. Raises `StoreFailed`."""
        for record in await table.list_jobs(self._store):
            if record.kind in set(JobKind):
                self._jobs[record.id] = _job(record)
        for job in self._jobs.values():
            if not job.is_over:
                job.status, job.error, job.finished_at = JobState.FAILED, INTERRUPTED, utc_now()
                kind, subject, what = _FAILURES[job.kind]
                event = build(
                    kind,
                    f"{what.format(key=job.key[:200])} failed: {INTERRUPTED}",
                    subject=(subject, job.key[:1000]),
                    actor=Actor.SYSTEM,
                    details={"error": INTERRUPTED},
                )
                await self._events.commit([table.upsert(_record(job))], event)

    def limit(self, kind: JobKind, at_once: int) -> None:
        """Run at most *at_once* jobs of a kind at a time; otherwise one."""
        self._slots[kind] = asyncio.Semaphore(at_once)

    def all(self, kind: JobKind | None = None) -> list[Job]:
        """Return the jobs, those of one kind where it is named."""
        return [job for job in self._jobs.values() if kind is None or job.kind is kind]

    def get(self, job_id: str) -> Job:
        """Return one job. Raises `NotFound`."""
        if job_id not in self._jobs:
            raise NotFound(f"no job {job_id[:40]}")
        return self._jobs[job_id]

    def active(self, kind: JobKind, key: str) -> Job | None:
        """Return the job that does this already."""
        return next((job for job in self._jobs.values() if job.kind is kind and job.key == key and not job.is_over), None)

    async def start(self, kind: JobKind, key: str, work: Work, **details: Any) -> Job:
        """Begin *work* beside everything else and return its job. Raises `StoreFailed`, and then nothing has begun."""
        job = Job(id=secrets.token_hex(8), kind=kind, key=key, details=details)
        self._jobs[job.id] = job  # before anything is waited for, so that nobody else begins the same
        try:
            await self._store.write(table.upsert(_record(job)), table.forget(self._forget_old()))
        except BaseException:  # whoever asked may have gone meanwhile, too: nothing has begun, and the reason goes on
            self._jobs.pop(job.id, None)
            raise
        if not job.is_over:
            task = asyncio.create_task(self._run(job, work), name=f"{kind} {key}")
            self._tasks[job.id] = task
            task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
            self.on_change(job)
        return job

    async def cancel(self, job: Job) -> Job:
        """End a job and return it; one that is over stays as it is."""
        if task := self._tasks.get(job.id):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if not job.is_over:  # it never began
            await self._end(job, JobState.CANCELLED)
        return job

    def tell(self, job: Job) -> None:
        """Let listeners know of a progress, once a second at most."""
        now = time.monotonic()
        if now - self._told.get(job.id, 0.0) >= TELL_EVERY_S:
            self._told[job.id] = now
            self.on_change(job)

    async def close(self) -> None:
        """End everything. What has not come to its end stays kept as running, so that the next start tells of it."""
        self.is_closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, job: Job, work: Work) -> None:
        async with self._slots.setdefault(job.kind, asyncio.Semaphore(1)):
            job.status, job.started_at = JobState.RUNNING, utc_now()
            self.on_change(job)
            try:
                await work(job)
            except asyncio.CancelledError:
                if not self.is_closing:
                    await self._end(job, JobState.CANCELLED)
                raise
            except BtyError as error:
                await self._end(job, JobState.FAILED, str(error))
            except Exception as error:
                log.exception("job.broken kind=%s key=%s", job.kind, job.key)
                await self._end(job, JobState.FAILED, f"internal error: {type(error).__name__}")
            else:
                await self._end(job, JobState.COMPLETED)

    async def _end(self, job: Job, status: JobState, error: str | None = None) -> None:
        job.status, job.error, job.finished_at = status, error, utc_now()
        self._told.pop(job.id, None)
        self.on_change(job)
        try:
            await self._store.write(table.upsert(_record(job)))
        except StoreFailed as failure:  # the next start will call it interrupted
            log.error("job.end.lost kind=%s key=%s: %s", job.kind, job.key, failure)

    def _forget_old(self) -> list[str]:
        over = [job.id for job in self._jobs.values() if job.is_over]
        gone = over[: max(0, len(self._jobs) - KEPT)]
        for job_id in gone:
            del self._jobs[job_id]
        return gone


def _record(job: Job) -> table.JobRecord:
    fields = {name: getattr(job, name) for name in Job.__dataclass_fields__ if name != "details"}
    return table.JobRecord(**fields, details=msgspec.json.encode(job.details).decode())


def _job(record: table.JobRecord) -> Job:
    fields = {name: getattr(record, name) for name in Job.__dataclass_fields__ if name not in ("kind", "status", "details")}
    return Job(**fields, kind=JobKind(record.kind), status=JobState(record.status), details=record.parsed_details)
