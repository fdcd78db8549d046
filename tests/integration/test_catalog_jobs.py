"""Catalogs imported as jobs: how far they are, what became of each image, and an end in the middle that imports nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bty.daemon import keys
from bty.errors import SourceFailed
from bty.services import catalog_import
from tests.support.daemon import Daemon, make_config, running
from tests.support.sse import listening

LATER = {"Prefer": "respond-async"}
TEXT = (
    'version = 1\n[[images]]\nname = "plain"\nsrc = "http://127.0.0.1:9/a.img"\n'
    '[[images]]\nname = "tar"\nsrc = "http://127.0.0.1:9/a.tar.gz"\nformat = "tar.gz"\n'
)
REGISTRY = "".join(f'[[images]]\nname = "r{n}"\nsrc = "oras://r.lab/a/b{n}:1"\n' for n in range(3))


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as made:
        await made.log_in()
        yield made


@pytest.fixture
async def origin():
    """A server with `/catalog.toml`, `/none.toml` that is no catalog, and `/silent.toml` that never answers."""
    leave = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/silent.toml":
            await leave.wait()
        return web.Response(text=TEXT if request.path == "/catalog.toml" else "nothing")

    app = web.Application()
    app.router.add_get("/{name}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
        leave.set()


@pytest.fixture
def gate(monkeypatch):
    """Registries that say nothing until the gate is opened."""
    opened = threading.Event()

    def wait(src: str, **_: Any) -> None:
        assert opened.wait(20)
        raise SourceFailed(f"{src}: no answer")

    monkeypatch.setattr(catalog_import, "resolve", wait)
    yield opened
    opened.set()


async def job_once(daemon: Daemon, job_id: str, *states: str, **details: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while True:
        job = (await daemon.call("GET", f"/jobs/{job_id}"))[1]
        if job["status"] in states and job["details"] | details == job["details"]:
            return dict(job)
        assert time.monotonic() < deadline, job
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["import", "fetch", "upload"])
async def test_each_way_to_import_can_be_a_job(daemon, origin, way):
    """Asked to, the daemon answers at once with a job; at its end the job says what became of each image."""
    await daemon.call("PATCH", "/settings", json={"upstream": {"catalog_url": f"{origin}/catalog.toml"}})
    path = f"/catalog/{way}" + (f"?source={origin}/catalog.toml" if way == "import" else "")
    async with listening(daemon) as listener:
        async with daemon.client.post(path, headers=LATER, data=TEXT if way == "upload" else None) as answer:
            started = await answer.json()
        assert (answer.status, answer.headers["Location"]) == (202, f"/jobs/{started['id']}")
        assert answer.headers["Preference-Applied"] == "respond-async"
        await listener.until("job", status="completed")
    job = await job_once(daemon, started["id"], "completed")
    source = "upload" if way == "upload" else f"{origin}/catalog.toml"

    assert (job["kind"], job["key"], job["details"]["done"], job["details"]["total"]) == ("catalog", source, 2, 2)
    result = job["details"]["result"]
    assert (result["imported"], result["skipped"], result["imported_names"]) == (1, 1, ["plain"])
    assert [(one["name"], "archive" in one["reason"]) for one in result["skipped_names"]] == [("tar", True)]
    assert [error["name"] for error in result["errors"]] == ["tar"]
    assert [entry["name"] for entry in (await daemon.call("GET", "/catalog/entries"))[1]] == ["plain"]
    again = (await daemon.call("POST", path, headers=LATER, data=TEXT if way == "upload" else None))[1]
    result = (await job_once(daemon, again["id"], "completed"))["details"]["result"]
    assert {"name": "plain", "reason": "it is in the catalog already"} in result["skipped_names"]


async def test_an_answer_at_once_stays_as_it_was(daemon, origin):
    """Without the preference the answer is what became of the import, and there is no job."""
    status, body = await daemon.call("POST", f"/catalog/import?source={origin}/catalog.toml")

    assert (status, sorted(body)) == (200, ["errors", "imported", "skipped", "source"])
    assert (await daemon.call("GET", "/jobs"))[1]["items"] == []


async def test_how_far_it_is_and_an_end_in_the_middle(daemon, gate):
    """A running import counts its images; cancelled, none of them came into the catalog."""
    started = (await daemon.call("POST", "/catalog/upload", headers=LATER, data=TEXT + REGISTRY))[1]
    await job_once(daemon, started["id"], "running", done=2, total=5)
    status, job = await daemon.call("DELETE", f"/jobs/{started['id']}")

    assert (status, job["status"], job["details"]["result"]) == (200, "cancelled", None)
    assert (await daemon.call("GET", "/catalog/entries"))[1] == []
    assert await daemon.events(kind="catalog.entries.imported") == []


async def test_an_import_goes_on_to_its_end(daemon, gate):
    """Images whose registry is silent are kept, each with its error, and the job comes to its end."""
    started = (await daemon.call("POST", "/catalog/upload", headers=LATER, data=TEXT + REGISTRY))[1]
    await job_once(daemon, started["id"], "running", done=2)
    gate.set()
    job = await job_once(daemon, started["id"], "completed", done=5, total=5)

    assert sorted(job["details"]["result"]["imported_names"]) == ["plain", "r0", "r1", "r2"]
    assert len(job["details"]["result"]["errors"]) == 4


async def test_what_fails_says_why(daemon, origin):
    """A source that is no catalog has the job fail with the reason, which the log of events keeps; a wrong word is answered at once."""
    started = (await daemon.call("POST", f"/catalog/import?source={origin}/none.toml", headers=LATER))[1]
    job = await job_once(daemon, started["id"], "failed")
    (event,) = await daemon.events(kind="catalog.import.failed")

    assert "not TOML" in job["error"]
    assert event["details"] == {"source": f"{origin}/none.toml", "error": job["error"]}
    assert (await daemon.call("POST", "/catalog/upload", headers=LATER, data="x"))[0] == 400


async def test_a_source_that_never_answers_is_asked_once_and_cancelled(daemon, origin):
    """While a source is being imported a second wish for it is the same job; an upload is another one; both can be ended."""
    first = (await daemon.call("POST", f"/catalog/import?source={origin}/silent.toml", headers=LATER))[1]
    second = (await daemon.call("POST", f"/catalog/import?source={origin}/silent.toml", headers=LATER))[1]
    uploads = [(await daemon.call("POST", "/catalog/upload", headers=LATER, data=TEXT))[1] for _ in range(2)]

    assert first["id"] == second["id"]
    assert len({first["id"], *(upload["id"] for upload in uploads)}) == 3
    assert (await daemon.call("DELETE", f"/jobs/{first['id']}"))[1]["status"] == "cancelled"
    for upload in uploads:
        await job_once(daemon, upload["id"], "completed")
    assert len(daemon.app[keys.CATALOG].entries()) == 1
