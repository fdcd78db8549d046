"""What others are told: webhooks over a real socket, and numbers for Prometheus."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client.parser import text_string_to_metric_families

from bty.daemon import keys
from bty.errors import ConfigFailed
from bty.model.event import Kind
from bty.services import webhooks
from bty.store import webhooks as table
from bty.units import utc_now
from tests.support.api import Operator
from tests.support.daemon import make_config, running
from tests.support.process import daemon_process

MAC = "52:54:00:00:00:01"


class Receiver:
    """A server that takes posts, or answers what it is told to."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []

    async def take(self, request: web.Request) -> web.Response:
        self.posts.append((dict(request.headers), await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 200, headers={"Location": "/elsewhere"})

    @property
    def kinds(self) -> list[str]:
        return [headers["X-Bty-Event"] for headers, _ in self.posts]


@pytest.fixture
async def receiver():
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook/{secret}", made.take)
    app.router.add_post("/elsewhere", made.take)
    async with TestServer(app) as server:
        made.url = str(server.make_url("/hook/in-the-path"))
        yield made


@pytest.fixture
async def daemon(tmp_path, receiver, monkeypatch):
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.01, 0.01))
    hook = f'[[webhook]]\nurl = "{receiver.url}"\nevents = ["machine.*", "*failed"]\nsecret = "hush"\n'
    async with running(make_config(tmp_path / "state", hook)) as made:
        await made.log_in()
        yield made


async def eventually(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def described(daemon, claim: Callable[[dict], object]) -> dict:
    """What the API says of the one webhook, once *claim* holds for it."""
    deadline = time.monotonic() + 10
    while True:
        (hook,) = (await daemon.call("GET", "/webhooks"))[1]["items"]
        if claim(hook):
            return hook
        assert time.monotonic() < deadline, hook
        await asyncio.sleep(0.01)


async def test_events_are_posted_signed(daemon, receiver):
    """An event that was asked for arrives as GET /events shows it, with a signature over time and body; others do not."""
    await daemon.call("PUT", f"/machines/{MAC}", json={})
    await eventually(lambda: receiver.posts)
    headers, body = receiver.posts[0]
    event = (await daemon.events(kind="machine.created"))[0]

    assert msg(body) == event
    wanted = hmac.new(b"hush", headers["X-Bty-Timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Bty-Signature"] == f"sha256={wanted}"
    assert headers["X-Bty-Delivery"] == str(event["id"])
    assert receiver.kinds == ["machine.created"]


def msg(body: bytes) -> object:
    import json

    return json.loads(body)


async def test_a_post_is_repeated_until_it_is_taken(daemon, receiver):
    """A receiver that fails for a moment gets each event once it is back, in order."""
    receiver.answers = [500, 503]
    await daemon.call("PUT", f"/machines/{MAC}", json={})
    await daemon.call("DELETE", f"/machines/{MAC}")
    await eventually(lambda: len(receiver.posts) == 4)

    assert receiver.kinds == ["machine.created"] * 3 + ["machine.deleted"]
    hook = await described(daemon, lambda hook: hook["delivered"] == 2 and not hook["waiting"])
    assert hook["dead"] == []


@pytest.mark.parametrize(("answers", "reason", "posts"), [([500] * 3, "status 500", 3), ([404], "status 404", 1), ([307], "status 307", 1)])
async def test_what_nobody_took_is_a_dead_letter(daemon, receiver, answers, reason, posts):
    """After the last attempt, or a refusal, there is an event and a line of health, and neither shows the address or the secret."""
    receiver.answers = list(answers)
    await daemon.call("PUT", f"/machines/{MAC}", json={})
    hook = await described(daemon, lambda hook: hook["dead"])
    checks = {check["name"]: check for check in (await daemon.call("GET", "/health"))[1]["checks"]}

    assert len(receiver.posts) == posts
    assert (hook["dead"][0]["kind"], hook["dead"][0]["reason"]) == ("machine.created", reason)
    assert checks["webhooks"]["state"] == "failed"
    assert (await daemon.events(kind="system.webhook.failed"))[0]["details"]["error"] == reason
    said = str(hook) + str(checks) + str(await daemon.events()) + str((await daemon.call("GET", "/config"))[1])
    assert "hush" not in said
    assert "in-the-path" not in said


HOOK = '[[webhook]]\nurl = "{url}"\nevents = ["machine.*"]\n'


async def test_what_was_committed_is_delivered_however_the_daemon_ended(tmp_path, receiver):
    """Events of a daemon that was killed before they were taken come after the next start, in order, under the same delivery id."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "bty.toml").write_text(HOOK.format(url=receiver.url))
    receiver.answers = [503] * 1000
    with daemon_process(state) as daemon:
        operator = await asyncio.to_thread(Operator, daemon.url)
        for number in range(3):
            await asyncio.to_thread(operator.call, "PUT", f"/machines/52:54:00:00:00:{number:02x}", {})
        await eventually(lambda: receiver.posts)
        daemon.kill()
    refused, receiver.answers = receiver.posts[0][0]["X-Bty-Delivery"], []
    receiver.posts.clear()
    with daemon_process(state) as daemon:
        await eventually(lambda: len(receiver.posts) == 3)
        operator = await asyncio.to_thread(Operator, daemon.url)
        created = await asyncio.to_thread(operator.events, "machine.created")
        daemon.kill()
    delivered = [headers["X-Bty-Delivery"] for headers, _ in receiver.posts]
    with daemon_process(state) as daemon:
        operator = await asyncio.to_thread(Operator, daemon.url)
        await asyncio.to_thread(operator.call, "DELETE", "/machines/52:54:00:00:00:00")
        await eventually(lambda: receiver.kinds[-1] == "machine.deleted")

    assert delivered == [str(event["id"]) for event in reversed(created)]
    assert delivered[0] == refused
    assert set(receiver.kinds[:-1]) == {"machine.created"}  # the last one again at most, where the kill came before its note
    assert len(receiver.posts) <= 5


async def test_a_dead_letter_survives_and_is_sent_again(tmp_path, receiver, monkeypatch):
    """After a restart it is still known; asked for, it is sent once more, and then it and the line of health are gone."""
    monkeypatch.setattr(webhooks, "PAUSES_S", ())
    receiver.answers = [500]
    config = make_config(tmp_path / "state", HOOK.format(url=receiver.url))
    async with running(config) as daemon:
        await daemon.log_in()
        await daemon.call("PUT", f"/machines/{MAC}", json={})
        await described(daemon, lambda hook: hook["dead"])
    receiver.answers = [503]
    async with running(config) as daemon:
        await daemon.log_in()
        (hook,) = (await daemon.call("GET", "/webhooks"))[1]["items"]
        assert [letter["reason"] for letter in hook["dead"]] == ["status 500"]
        assert (await daemon.call("POST", "/webhooks/dead/retry"))[1] == {"count": 1}
        await described(daemon, lambda hook: [letter["reason"] for letter in hook["dead"]] == ["status 503"])
        await daemon.call("POST", "/webhooks/dead/retry")
        hook = await described(daemon, lambda hook: hook["delivered"] and not hook["dead"])
        checks = {check["name"]: check["state"] for check in (await daemon.call("GET", "/health"))[1]["checks"]}

    assert hook["delivered"] == 1
    assert checks["webhooks"] == "ok"
    assert [headers["X-Bty-Delivery"] for headers, _ in receiver.posts] == [receiver.posts[0][0]["X-Bty-Delivery"]] * 3


async def test_dead_letters_are_forgotten_on_demand(daemon, receiver):
    """An operator who does not want them any more has health clear again."""
    receiver.answers = [404]
    await daemon.call("PUT", f"/machines/{MAC}", json={})
    await described(daemon, lambda hook: hook["dead"])

    assert (await daemon.call("DELETE", "/webhooks/dead"))[1] == {"count": 1}
    assert (await daemon.call("GET", "/webhooks"))[1]["items"][0]["dead"] == []
    assert (await daemon.call("POST", "/webhooks/dead/retry"))[1] == {"count": 0}


async def test_too_many_are_given_up_the_oldest_first(tmp_path, receiver, monkeypatch):
    """Of a long absence only the newest events are sent; one event and the last of the dead letters tell of the others."""
    config = make_config(tmp_path / "state", HOOK.format(url=receiver.url))
    monkeypatch.setattr(webhooks, "WAITING_MAX", 5)
    kinds = ["machine.created"] * 20 + ["machine.deleted"]
    async with running(config):
        pass  # from now on it is known, and what happens while nothing runs waits for it
    with closing(sqlite3.connect(tmp_path / "state" / "state.db")) as db, db:
        db.executemany("INSERT INTO events (ts, kind, summary) VALUES (?, ?, '')", [(utc_now(), kind) for kind in kinds])
    async with running(config) as daemon:
        await daemon.log_in()
        hook = await described(daemon, lambda hook: hook["delivered"] == 5 and hook["dead"])
        (event,) = await daemon.events(kind="system.webhook.failed")

    assert len(receiver.posts) == 5
    assert len(hook["dead"]) == 16
    assert (event["details"]["events"], event["details"]["error"]) == (16, "too many events wait")


async def test_a_new_webhook_hears_of_what_happens_from_now_on(tmp_path, receiver):
    """What happened before it was configured is not sent, and one that is taken out of the configuration is forgotten."""
    state = tmp_path / "state"
    async with running(make_config(state)) as daemon:
        await daemon.log_in()
        await daemon.call("PUT", f"/machines/{MAC}", json={})
    for toml in (HOOK.format(url=receiver.url), "", HOOK.format(url=receiver.url)):
        async with running(make_config(state, toml)) as daemon:
            await daemon.log_in()
            await daemon.call("DELETE", f"/machines/{MAC}")
            await daemon.call("PUT", f"/machines/{MAC}", json={})
            if toml:
                await described(daemon, lambda hook: hook["waiting"] == 0)

    assert receiver.kinds == ["machine.deleted", "machine.created"] * 2


@pytest.mark.parametrize("wanted", ["*", "machine.*", "*failed", "machine.created", "*.*", "mach?ne.*", "[m]*", "machine*created"])
async def test_a_pattern_means_the_same_in_the_database(tmp_path, wanted):
    """The database finds exactly those kinds that the configuration's word means."""
    async with running(make_config(tmp_path / "state")) as daemon:
        store = daemon.app[keys.STORE]
        kinds = [*Kind, "mach?ne.x", "[m]x", "machine*created"]
        for kind in kinds:
            await daemon.app[keys.EVENTS].record(kind, "")
        found = {event.kind for event in await table.waiting(store, 0, [webhooks._glob(wanted)], 1000)}

    assert found == {str(kind) for kind in kinds if webhooks._matches(kind, wanted) and kind != Kind.WEBHOOK_FAILED}


@pytest.mark.parametrize(
    "toml",
    ['[webhook]\nurl = "http://x"', "[[webhook]]", '[[webhook]]\nurl = "ftp://x"', '[[webhook]]\nurl = "http://x"\nsecrets = "a"',
     '[[webhook]]\nurl = "http://x"\nevents = "all"'],
)  # fmt: skip
def test_a_malformed_webhook_ends_the_start(tmp_path, toml):
    """A mistake in the configuration is named before anything runs."""
    with pytest.raises(ConfigFailed, match="webhook"):
        make_config(tmp_path / "state", toml)


async def test_prometheus_reads_the_numbers(daemon):
    """The text parses; it counts events by kind, machines by mode, and how long flashes took."""
    await daemon.call("GET", f"/pxe/{MAC}")
    await daemon.call("POST", f"/pxe/{MAC}/done", json={"seconds": 12.5, "bytes_written": 1000})
    status, text = await daemon.call("GET", "/metrics")
    found = {
        (sample.name, *sample.labels.values()): sample.value for family in text_string_to_metric_families(text) for sample in family.samples
    }

    assert status == 200
    assert found["bty_events_total", "netboot.pxe.offered"] == 1
    assert found["bty_machines", "bty-inventory"] == 1
    assert found["bty_machines", "bty-flash-once"] == 0
    assert found["bty_flash_seconds_bucket", "20.0"] == 1
    assert found["bty_flash_written_bytes_total",] == 1000


async def test_the_numbers_need_a_login(daemon):
    """Numbers are the operator's; Prometheus sends an API token."""
    token = (await daemon.call("POST", "/tokens", json={"name": "prometheus"}))[1]["token"]
    daemon.client.session.cookie_jar.clear()

    assert (await daemon.call("GET", "/metrics"))[0] == 401
    assert (await daemon.call("GET", "/metrics", headers={"Authorization": f"Bearer {token}"}))[0] == 200
