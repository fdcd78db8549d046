"""The boot directory and the releases that fill it: contract 1.3."""

from __future__ import annotations

from datetime import datetime

import msgspec
from aiohttp import web

from bty.daemon import keys
from bty.daemon.client import client_ip
from bty.daemon.codec import no_content, read_json, reply
from bty.daemon.speech import speaks
from bty.errors import InvalidBody
from bty.services.boot_list import Listed
from bty.services.jobs import Job, JobKind
from bty.services.releases import Artifact
from bty.services.text import Tag, explain


class Release(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /boot/releases`."""

    tag: Tag = "latest"


class ReleaseState(msgspec.Struct, kw_only=True):
    """A fetch of a release; times are seconds since 1970, `job` is its id in `GET /jobs`."""

    job: str
    tag: str
    status: str
    bytes_done: int
    bytes_total: int | None
    artifact: str | None
    started_at: float | None
    finished_at: float | None
    error: str | None
    base_url: str
    artifacts: list[Artifact]


class ReleaseStates(msgspec.Struct, kw_only=True):
    """The newest fetch of each release."""

    boot_root: str
    max_parallel: int
    fetches: list[ReleaseState]


class BootDirectory(msgspec.Struct, kw_only=True):
    """What machines can boot; `missing` are those files that they need and that are not there."""

    boot_root: str
    items: list[Listed]
    missing: list[str]


@speaks(reply=BootDirectory)
async def list_files(request: web.Request) -> web.Response:
    """List the boot directory."""
    files = request.app[keys.BOOT_LIST]
    items = await files.listed()
    missing = sorted(set(files.required) - {item.name for item in items})
    return reply(BootDirectory(boot_root=str(files.root), items=items, missing=missing))


@speaks(status=204)
async def delete_file(request: web.Request) -> web.Response:
    """Take a file out of the boot directory."""
    await request.app[keys.BOOT_LIST].delete(request.match_info["name"], ip=client_ip(request))
    return no_content()


@speaks(reply=ReleaseStates)
async def list_releases(request: web.Request) -> web.Response:
    """List the newest fetch of each release."""
    newest = {job.key: job for job in request.app[keys.JOBS].all(JobKind.RELEASE)}
    found = [_state(job) for job in newest.values()]
    return reply(ReleaseStates(boot_root=str(request.app[keys.RELEASES].root), max_parallel=1, fetches=found))


@speaks(body=Release, reply=ReleaseState, status=202)
async def fetch_release(request: web.Request) -> web.Response:
    """Begin to fetch a release; one that is being fetched already is that job."""
    body = await read_json(request, Release)
    return reply(_state(await request.app[keys.RELEASES].start(body.tag, ip=client_ip(request))), status=202)


@speaks(reply=ReleaseState)
async def cancel_release(request: web.Request) -> web.Response:
    """End the fetch of a release; one that is over stays as it is."""
    try:
        tag = msgspec.convert(request.match_info["tag"], Tag)
    except msgspec.ValidationError as error:
        raise InvalidBody([{"loc": ["path", "tag"], "msg": explain(str(error)), "type": "value_error"}]) from error
    return reply(_state(await request.app[keys.RELEASES].cancel(tag, ip=client_ip(request))))


def _state(job: Job) -> ReleaseState:
    return ReleaseState(
        job=job.id,
        tag=job.key,
        status=job.status,
        bytes_done=job.bytes_done,
        bytes_total=job.bytes_total,
        started_at=_seconds(job.started_at),
        finished_at=_seconds(job.finished_at),
        error=job.error,
        artifact=job.details["artifact"],
        base_url=job.details["base_url"],
        artifacts=msgspec.convert(job.details["artifacts"], list[Artifact]),
    )


def _seconds(moment: str | None) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if moment else None
