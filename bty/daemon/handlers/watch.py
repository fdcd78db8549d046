"""For those who watch the daemon: Prometheus, and whoever looks after the webhooks."""

from __future__ import annotations

import msgspec
from aiohttp import web

from bty.daemon import keys
from bty.daemon.codec import reply
from bty.daemon.speech import TEXT, speaks
from bty.store.webhooks import DeadLetter


class HookRow(msgspec.Struct, kw_only=True):
    """A webhook: of its address only the host; how many events wait, were delivered, and which nobody took."""

    host: str
    events: list[str]
    signed: bool
    waiting: int
    delivered: int
    dead: list[DeadLetter]


class HookList(msgspec.Struct, kw_only=True):
    """The webhooks, as they are configured."""

    items: list[HookRow]


class Letters(msgspec.Struct, kw_only=True):
    """How many dead letters it was about."""

    count: int


@speaks(reply=TEXT)
async def metrics(request: web.Request) -> web.Response:
    """Return the numbers in Prometheus' text form."""
    fleet, events = request.app[keys.FLEET], request.app[keys.EVENTS]
    text = request.app[keys.METRICS].render(
        fleet.machines(),
        flashing=len(fleet.live.flashing()),
        images=len(request.app[keys.CATALOG].entries()),
        open_failures=await events.count_open_failures(),
        clients=request.app[keys.STREAM].clients,
    )
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


@speaks(reply=HookList)
async def webhooks(request: web.Request) -> web.Response:
    """List the webhooks and how they go."""
    return reply(HookList(items=[HookRow(**hook) for hook in await request.app[keys.WEBHOOKS].describe()]))


@speaks(reply=Letters)
async def retry_letters(request: web.Request) -> web.Response:
    """Have every dead letter sent once more."""
    return reply(Letters(count=await request.app[keys.WEBHOOKS].send_again()))


@speaks(reply=Letters)
async def drop_letters(request: web.Request) -> web.Response:
    """Forget every dead letter."""
    return reply(Letters(count=await request.app[keys.WEBHOOKS].drop_dead()))
