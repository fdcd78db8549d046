"""The table `events`: inserted in any unit, listed by filter, acknowledged, pruned."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from bty.model.event import Event
from bty.store.batch import Numbered, Statement
from bty.store.db import Store, pattern

PRUNE_STEP = 2000  # rows a unit, so that contacts never wait long behind a clean-up
SEARCH_ROWS = 25_000  # that a search of text looks at, within some tens of milliseconds
_KEEP_FAILURES = 4  # unacknowledged failures stay this many times longer than the rest
_FOREVER_DAYS = 36_500  # a hundred years: no event is older, and reckoning with much more leaves the calendar

_INSERT = Numbered(
    "INSERT INTO events (ts, kind, subject_kind, subject_id, actor, source_ip, summary, details, acknowledged)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FAILURE = "(kind LIKE '%failed' OR kind = 'system.schema.reset')"
_encode = msgspec.json.Encoder(order="sorted").encode
_IDS = "(SELECT value FROM json_each(?))"
_MATCHING = (
    "(summary LIKE ? ESCAPE '\\' OR kind LIKE ? ESCAPE '\\' OR subject_kind LIKE ? ESCAPE '\\' OR subject_id LIKE ? ESCAPE '\\'"
    " OR actor LIKE ? ESCAPE '\\' OR source_ip LIKE ? ESCAPE '\\')"
)
_FILTERS = ("kind", "subject_kind", "subject_id", "actor", "source_ip")


def insert(event: Event) -> Statement:
    """Return the statement that records *event*, to be part of a unit."""
    details = None if event.details is None else _encode(event.details).decode()
    return _INSERT, (
        event.ts,
        event.kind,
        event.subject_kind,
        event.subject_id,
        event.actor,
        event.source_ip,
        event.summary,
        details,
        int(event.acknowledged),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One page of events, newest first. `exact` are matches by column; `text` is looked for in what a person reads."""

    text: str = ""
    exact: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False
    unacknowledged: bool = False
    before_id: int | None = None
    after_id: int | None = None
    limit: int = 50


async def list_events(store: Store, **query: Any) -> list[Event]:
    """Return events by the fields of a `Query`; `filters` are its `exact`."""
    exact = query.pop("filters", None) or {}
    return (await search(store, Query(exact=exact, **query)))[0]


async def search(store: Store, query: Query) -> tuple[list[Event], int | None]:
    """Return events, and for a search of text the id before which nothing was looked at, None where everything was.

    No index helps a search of text, so at most `SEARCH_ROWS` of the newest events are looked at each time.
    """
    clauses: list[str] = []
    params: list[str | int] = []
    for column in _FILTERS:
        if column in query.exact:
            clauses.append(f"{column} = ?")
            params.append(query.exact[column])
    if query.failed:
        clauses.append("kind LIKE '%failed'")
    if query.unacknowledged:
        clauses.append(f"acknowledged = 0 AND {_FAILURE}")
    if query.before_id is not None:
        clauses.append("id < ?")
        params.append(query.before_id)
    if query.after_id is not None:
        clauses.append("id > ?")
        params.append(query.after_id)
    oldest = 0
    if query.text:
        ((newest,),) = await store.read("SELECT coalesce(max(id), 0) FROM events")
        oldest = max(0, min(query.before_id or newest + 1, newest + 1) - SEARCH_ROWS)
        clauses += ["id >= ?", _MATCHING]
        params += [oldest, *[pattern(query.text)] * 6]
    where = f"WHERE {' AND '.join(clauses)} " if clauses else ""
    rows = await store.read(f"SELECT * FROM events {where}ORDER BY id DESC LIMIT ?", (*params, query.limit))  # noqa: S608 - column names are ours
    stopped_early = query.text and len(rows) < query.limit and oldest > 1
    return [read_event(row) for row in rows], oldest if stopped_early else None


async def acknowledge(store: Store, ids: Sequence[int], *, acknowledged: bool = True) -> int:
    """Mark events as seen (or unseen) and return how many of *ids* there are."""
    wanted = json.dumps(list(ids))
    (found,) = await store.read(f"SELECT count(*) FROM events WHERE id IN {_IDS}", (wanted,))  # noqa: S608 - a constant
    if found[0]:
        await store.write((f"UPDATE events SET acknowledged = ? WHERE id IN {_IDS}", (int(acknowledged), wanted)))  # noqa: S608 - a constant
    return int(found[0])


async def acknowledge_failures(store: Store) -> int:
    """Mark every open failure as seen and return how many there were."""
    count = await count_open_failures(store)
    if count:
        await store.write((f"UPDATE events SET acknowledged = 1 WHERE acknowledged = 0 AND {_FAILURE}", ()))  # noqa: S608 - a constant
    return count


async def count_open_failures(store: Store) -> int:
    """Return how many failures nobody has acknowledged."""
    rows = await store.read(f"SELECT count(*) FROM events WHERE acknowledged = 0 AND {_FAILURE}")  # noqa: S608 - a constant
    return int(rows[0][0])


async def prune(store: Store, *, retention_days: int, max_rows: int) -> int:
    """Delete events that are too old or too many and return how many went. Open failures outlive the rest."""
    now = datetime.now(UTC)
    deleted = 0
    for days, kept in ((retention_days, f"AND NOT (acknowledged = 0 AND {_FAILURE})"), (retention_days * _KEEP_FAILURES, "")):
        oldest = (now - timedelta(days=min(days, _FOREVER_DAYS))).isoformat(timespec="microseconds")
        deleted += await _prune(store, f"SELECT id FROM events WHERE ts < ? {kept} LIMIT ?", oldest)  # noqa: S608 - constants
    for kept in (f"WHERE NOT (acknowledged = 0 AND {_FAILURE})", ""):
        excess = int((await store.read("SELECT count(*) FROM events"))[0][0]) - max_rows
        while excess > 0:
            step = await _delete(store, f"SELECT id FROM events {kept} ORDER BY id LIMIT ?", (min(excess, PRUNE_STEP),))  # noqa: S608
            excess -= step
            deleted += step
            if not step:
                break
    return deleted


async def _prune(store: Store, doomed: str, *params: str) -> int:
    deleted = 0
    while step := await _delete(store, doomed, (*params, PRUNE_STEP)):
        deleted += step
    return deleted


async def _delete(store: Store, doomed: str, params: Sequence[str | int]) -> int:
    rows = await store.read(doomed, params)
    if rows:
        await store.write((f"DELETE FROM events WHERE id IN {_IDS}", (json.dumps([row["id"] for row in rows]),)))  # noqa: S608 - a constant
    return len(rows)


def read_event(row: sqlite3.Row) -> Event:
    """Return the event of a row of the table."""
    return Event(
        id=row["id"],
        ts=row["ts"],
        kind=row["kind"],
        subject_kind=row["subject_kind"],
        subject_id=row["subject_id"],
        actor=row["actor"],
        source_ip=row["source_ip"],
        summary=row["summary"],
        details=json.loads(row["details"]) if row["details"] else None,
        acknowledged=bool(row["acknowledged"]),
    )
