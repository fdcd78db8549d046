"""The audit log: contract 1.5, with a search, and with many marked at once."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web

from bty.daemon import keys
from bty.daemon.codec import read_json, reply
from bty.daemon.query import NUMBER_MAX, RowId, Words, read_query
from bty.daemon.rows import EventList
from bty.daemon.speech import speaks
from bty.errors import NotFound
from bty.services.events import Query
from bty.units import KIB

_LIMIT_DEFAULT, _LIMIT_MAX = 50, 500
_IDS_MAX = 10_000
MANY_MAX_BYTES = 256 * KIB

Exact = Annotated[str, msgspec.Meta(max_length=4096)]


class EventQuery(msgspec.Struct, kw_only=True):
    """The query of `GET /events`. `failed`, whatever it says, asks for failures only; `before_id` goes on where a page ended."""

    q: Words = ""
    kind: Exact = ""
    subject_kind: Exact = ""
    subject_id: Exact = ""
    actor: Exact = ""
    source_ip: Exact = ""
    failed: str = ""
    unacknowledged: str = ""
    before_id: RowId | None = None
    limit: Annotated[int, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)] = _LIMIT_DEFAULT


class Acknowledge(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /events/acknowledge`: events by their ids, or all failures that are open."""

    ids: Annotated[list[RowId], msgspec.Meta(max_length=_IDS_MAX)] | None = None
    open_failures: bool = False
    acknowledged: bool = True

    def __post_init__(self) -> None:
        if (self.ids is None) != self.open_failures or (self.open_failures and not self.acknowledged):
            raise ValueError("either `ids`, or `open_failures`, which can only be acknowledged, is needed")


class Acknowledged(msgspec.Struct, kw_only=True):
    """What became of one event."""

    id: int
    acknowledged: bool


class Updated(msgspec.Struct, kw_only=True):
    """How many events were marked."""

    updated: int
    acknowledged: bool


@speaks(query=EventQuery, reply=EventList)
async def list_events(request: web.Request) -> web.Response:
    """List events, newest first. With `q` the newest ones are searched; `searched_to`, where it is not null, goes on as `before_id`."""
    asked = read_query(request, EventQuery)
    exact = {name: getattr(asked, name) for name in ("kind", "subject_kind", "subject_id", "actor", "source_ip")}
    found, searched_to = await request.app[keys.EVENTS].search(
        Query(
            text=asked.q.strip(),
            exact={name: value for name, value in exact.items() if value},
            failed=bool(asked.failed),
            unacknowledged=bool(asked.unacknowledged),
            before_id=asked.before_id,
            limit=min(max(asked.limit, 1), _LIMIT_MAX),
        )
    )
    return reply(EventList(events=found, searched_to=searched_to))


@speaks(reply=Acknowledged)
async def acknowledge(request: web.Request) -> web.Response:
    """Mark one event as seen."""
    text = request.match_info["id"]
    event_id = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    if not await request.app[keys.EVENTS].acknowledge([event_id]):
        raise NotFound(f"no event {text[:20]}")
    return reply(Acknowledged(id=event_id, acknowledged=True))


@speaks(body=Acknowledge, reply=Updated)
async def acknowledge_many(request: web.Request) -> web.Response:
    """Mark many events as seen, or as new again; ids that there are not are passed over."""
    body = await read_json(request, Acknowledge, MANY_MAX_BYTES)
    events = request.app[keys.EVENTS]
    if body.ids is None:
        updated = await events.acknowledge_failures()
    else:
        updated = await events.acknowledge(body.ids, acknowledged=body.acknowledged)
    return reply(Updated(updated=updated, acknowledged=body.acknowledged))
