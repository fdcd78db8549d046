"""Long work that ran when the daemon ended: told as failed after the next start, with what to do, and its leftovers gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bty.daemon import keys
from bty.errors import StoreFailed
from bty.services.jobs import INTERRUPTED, JobKind
from tests.support.api import Operator
from tests.support.daemon import make_config, running
from tests.support.process import daemon_process


@pytest.fixture
async def endless():
    """The address of a server whose files begin and never end."""
    leave = asyncio.Event()

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        await response.write(b"x" * 1000)
        await leave.wait()
        return response

    app = web.Application()
    app.router.add_get("/{tail:.*}", trickle)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
        leave.set()


async def eventually(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_fetch_that_the_daemon_did_not_survive_is_told(tmp_path: Path, endless: str, end: str) -> None:
    """Killed or stopped in mid-fetch, the next start lists the job as failed with its reason, records that, and leaves no partial file."""
    state = tmp_path / "state"
    state.mkdir()
    (left := state / "backups" / ".2026-01-01T00-00-00Z.partial").mkdir(parents=True)
    (left / "inventory.json").write_text("{")
    with daemon_process(state) as daemon:
        operator = await asyncio.to_thread(Operator, daemon.url)
        await asyncio.to_thread(operator.call, "PATCH", "/settings", {"upstream": {"netboot_repo": endless}})
        started = await asyncio.to_thread(operator.call, "POST", "/boot/releases", {"tag": "v1"})
        await eventually(lambda: list((state / "boot").glob(".*.partial")))
        await asyncio.to_thread(daemon.kill if end == "kill" else daemon.stop)
    with daemon_process(state) as daemon:
        operator = await asyncio.to_thread(Operator, daemon.url)
        (job,) = (await asyncio.to_thread(operator.call, "GET", "/jobs"))["items"]
        (fetch,) = (await asyncio.to_thread(operator.call, "GET", "/boot/releases"))["fetches"]
        events = await asyncio.to_thread(operator.events, "netboot.artifacts.fetch.failed")
        cancelled = await asyncio.to_thread(operator.events, "netboot.artifacts.fetch.cancelled")
        again = await asyncio.to_thread(operator.call, "POST", "/boot/releases", {"tag": "v1"})
        await asyncio.to_thread(operator.call, "DELETE", f"/jobs/{again['job']}")

    assert (job["id"], job["status"], job["error"]) == (started["job"], "failed", INTERRUPTED)
    assert (fetch["tag"], fetch["status"], len(fetch["artifacts"])) == ("v1", "failed", 4)
    assert [event["details"]["error"] for event in events] == [INTERRUPTED]
    assert cancelled == []
    assert again["job"] != job["id"]
    assert [path.name for room in ("boot", "backups") for path in (state / room).glob(".*.partial")] == []


async def test_jobs_that_ended_are_still_listed(tmp_path: Path) -> None:
    """After a restart a job that was done is there as it ended, and tells of no failure."""
    config = make_config(tmp_path / "state")
    async with running(config) as daemon:
        await daemon.log_in()
        await daemon.call("POST", "/workers/backups")
        await eventually(lambda: all(job.is_over for job in daemon.app[keys.JOBS].all()))
        before = (await daemon.call("GET", "/jobs"))[1]
        states = (await daemon.call("GET", "/workers/backups"))[1]
    async with running(config) as daemon:
        await daemon.log_in()
        assert (await daemon.call("GET", "/jobs"))[1] == before
        assert (await daemon.call("GET", "/workers/backups"))[1] == states
        assert await daemon.events(kind="backup.failed") == []

    assert before["items"][0]["status"] == "completed"


async def test_only_the_newest_jobs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten in memory is forgotten in the database too."""
    monkeypatch.setattr("bty.services.jobs.KEPT", 3)

    async def nothing(job):
        pass

    async with running(make_config(tmp_path / "state")) as daemon:
        jobs = daemon.app[keys.JOBS]
        for number in range(6):
            await jobs.start(JobKind.BACKUP, str(number), nothing)
            await eventually(lambda: all(job.is_over for job in jobs.all()))
        kept = [row["key"] for row in await daemon.app[keys.STORE].read("SELECT key FROM jobs ORDER BY rowid")]

    assert kept == [job.key for job in jobs.all()] == ["3", "4", "5"]


async def test_nothing_begins_that_cannot_be_kept(tmp_path: Path) -> None:
    """Where the database takes nothing, a job is refused and does not run."""
    ran = []

    async def note(job):
        ran.append(job)

    async with running(make_config(tmp_path / "state")) as daemon:
        jobs = daemon.app[keys.JOBS]
        await daemon.app[keys.STORE].write(("CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(FAIL, 'no room'); END", ()))
        with pytest.raises(StoreFailed):
            await jobs.start(JobKind.BACKUP, "x", note)

    assert (ran, jobs.all()) == ([], [])
