"""Long work, and the backups, which are some of it: contract 1.4."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from aiohttp import hdrs, web

from bty.daemon import keys
from bty.daemon.client import client_ip
from bty.daemon.codec import decode, read_body, reply
from bty.daemon.downloads import send_file
from bty.daemon.query import read_query
from bty.daemon.rows import JobRow, job_row
from bty.daemon.speech import speaks
from bty.errors import NotFound, TooLarge
from bty.services.backups import StoredBackup
from bty.services.jobs import Job, JobKind
from bty.services.restore import Outcome
from bty.units import MIB

IMPORT_MAX_BYTES = 64 * MIB


class JobList(msgspec.Struct, kw_only=True):
    """Jobs, the oldest first."""

    items: list[JobRow]


class StartBackup(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /workers/backups`."""

    trigger: Literal["manual", "scheduled"] = "manual"


class BackupState(msgspec.Struct, kw_only=True):
    """A backup that is made, as the predecessor shows it; times are seconds since 1970."""

    backup_id: str
    status: str
    started_at: float | None
    finished_at: float | None
    machines: int
    bytes_done: int
    dest_path: str
    trigger: str
    error: str | None


class BackupStates(msgspec.Struct, kw_only=True):
    """The newest backups that were made."""

    backups_root: str
    max_parallel: int
    backups: list[BackupState]


class StoredList(msgspec.Struct, kw_only=True):
    """The bundles on the disk, the newest first."""

    backups_root: str
    items: list[StoredBackup]


class Deleted(msgspec.Struct, kw_only=True):
    """A bundle that is gone."""

    backup_id: str
    bytes_on_disk: int


class ImportQuery(msgspec.Struct, kw_only=True):
    """The query of an import: with `arm=1` machines that were to be flashed will be, at their next boot."""

    arm: Literal["", "0", "1"] = ""


@speaks(reply=JobList)
async def list_jobs(request: web.Request) -> web.Response:
    """List the newest jobs, those of earlier runs too."""
    return reply(JobList(items=[job_row(job) for job in request.app[keys.JOBS].all()]))


@speaks(reply=JobRow)
async def get_job(request: web.Request) -> web.Response:
    """Return one job."""
    return reply(job_row(request.app[keys.JOBS].get(request.match_info["id"])))


@speaks(reply=JobRow)
async def cancel_job(request: web.Request) -> web.Response:
    """End a job; one that is over stays as it is."""
    jobs = request.app[keys.JOBS]
    return reply(job_row(await jobs.cancel(jobs.get(request.match_info["id"]))))


@speaks(reply=BackupStates)
async def list_backup_jobs(request: web.Request) -> web.Response:
    """List the newest backups that were made."""
    found = [_state(job) for job in request.app[keys.JOBS].all(JobKind.BACKUP)]
    most = request.app[keys.CONFIG].tuning.backup_max_parallel
    return reply(BackupStates(backups_root=str(request.app[keys.BACKUPS].root), max_parallel=most, backups=found))


@speaks(body=StartBackup, reply=BackupState, status=202)
async def start_backup(request: web.Request) -> web.Response:
    """Begin a backup."""
    body = await read_body(request)
    trigger = (decode(body, StartBackup) if body else StartBackup()).trigger
    ip = None if trigger == "scheduled" else client_ip(request)
    return reply(_state(await request.app[keys.BACKUPS].start(trigger=trigger, ip=ip)), status=202)


@speaks(reply=BackupState)
async def cancel_backup(request: web.Request) -> web.Response:
    """End a backup that is being made."""
    jobs, backup_id = request.app[keys.JOBS], request.match_info["id"]
    job = next((job for job in jobs.all(JobKind.BACKUP) if job.key == backup_id), None)
    if job is None:
        raise NotFound(f"no backup {backup_id[:40]!r} was made lately", hint="GET /backups lists those on the disk")
    return reply(_state(await jobs.cancel(job)))


@speaks(reply=StoredList)
async def list_backups(request: web.Request) -> web.Response:
    """List the bundles on the disk."""
    backups = request.app[keys.BACKUPS]
    return reply(StoredList(backups_root=str(backups.root), items=await backups.stored()))


@speaks(reply=dict[str, Any])
async def download_backup(request: web.Request) -> web.StreamResponse:
    """Return a bundle."""
    backup_id = request.match_info["id"]
    file, size = await request.app[keys.BACKUPS].open(backup_id)
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: "application/json", hdrs.CONTENT_DISPOSITION: f'attachment; filename="{backup_id}.json"'}
    try:
        return await send_file(request, file, size=size, etag=backup_id, headers=headers)
    finally:
        file.close()


@speaks(reply=Deleted)
async def delete_backup(request: web.Request) -> web.Response:
    """Delete a bundle."""
    backup_id = request.match_info["id"]
    return reply(Deleted(backup_id=backup_id, bytes_on_disk=await request.app[keys.BACKUPS].delete(backup_id)))


@speaks(body=dict[str, Any], query=ImportQuery, reply=Outcome)
async def import_backup(request: web.Request) -> web.Response:
    """Take a bundle in, all of it or nothing; machines that would be flashed wait for the operator."""
    arm = read_query(request, ImportQuery).arm == "1"
    try:
        content = await read_body(request, IMPORT_MAX_BYTES)
    except TooLarge as error:
        raise TooLarge(error.message, hint="stop the daemon and run `bty.pyz web import FILE`, which takes a bundle of any size") from error
    return reply(await request.app[keys.BACKUPS].restore(content, arm=arm, ip=client_ip(request)))


def _state(job: Job) -> BackupState:
    return BackupState(
        backup_id=job.key,
        status=job.status,
        started_at=_seconds(job.started_at),
        finished_at=_seconds(job.finished_at),
        machines=job.details["machines"],
        bytes_done=job.bytes_done,
        dest_path=job.details["dest_path"],
        trigger=job.details["trigger"],
        error=job.error,
    )


def _seconds(moment: str | None) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if moment else None
