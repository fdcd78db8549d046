"""The tables `webhooks` and `webhook_dead_letters`, and the events that a webhook still has to be told of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bty.model.event import Event, Kind
from bty.store.db import Statement, Store
from bty.store.events import read_event

DEAD_KEPT = 100  # letters a webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that a webhook did not take. `at` is when the event happened; `again` that it will be sent once more."""

    event_id: int
    kind: str
    at: str
    reason: str
    again: bool = False
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a webhook is, and how many events it has taken."""

    cursor: int
    delivered: int = 0


async def marks(store: Store) -> dict[str, Mark]:
    """Return how far each webhook is."""
    rows = await store.read("SELECT hook, cursor, delivered FROM webhooks")
    return {row["hook"]: Mark(cursor=row["cursor"], delivered=row["delivered"]) for row in rows}


async def newest_event(store: Store) -> int:
    """Return the id of the newest event, 0 where there is none."""
    return int((await store.read("SELECT coalesce(max(id), 0) FROM events"))[0][0])


def begin(hook: str, cursor: int) -> Statement:
    """Return the statement that has a webhook told of what comes after the event *cursor*; one that is known goes on where it was."""
    return "INSERT OR IGNORE INTO webhooks (hook, cursor) VALUES (?, ?)", (hook, cursor)


def forget(hook: str) -> Statement:
    """Return the statement that forgets a webhook and its dead letters."""
    return "DELETE FROM webhooks WHERE hook = ?", (hook,)


def advance(hook: str, mark: Mark) -> Statement:
    """Return the statement that notes how far a webhook is."""
    return "UPDATE webhooks SET cursor = ?, delivered = ? WHERE hook = ?", (mark.cursor, mark.delivered, hook)


async def waiting(store: Store, cursor: int, kinds: Sequence[str], limit: int) -> list[Event]:
    """Return the oldest events after *cursor* whose kind is one of the GLOB patterns *kinds*."""
    where, params = _wanted(cursor, kinds)
    rows = await store.read(f"SELECT * FROM events WHERE {where} ORDER BY id LIMIT ?", (*params, limit))  # noqa: S608 - constants
    return [read_event(row) for row in rows]


async def count_waiting(store: Store, cursor: int, kinds: Sequence[str]) -> int:
    """Return how many events `waiting` would return without a limit."""
    where, params = _wanted(cursor, kinds)
    return int((await store.read(f"SELECT count(*) FROM events WHERE {where}", params))[0][0])  # noqa: S608 - constants


async def event(store: Store, event_id: int) -> Event | None:
    """Return one event, None where it is gone."""
    rows = await store.read("SELECT * FROM events WHERE id = ?", (event_id,))
    return read_event(rows[0]) if rows else None


async def dead_letters(store: Store, hook: str) -> list[DeadLetter]:
    """Return what a webhook did not take, the oldest first."""
    rows = await store.read("SELECT id, event_id, kind, at, reason, again FROM webhook_dead_letters WHERE hook = ? ORDER BY id", (hook,))
    return [DeadLetter(**dict(row) | {"again": bool(row["again"])}) for row in rows]


async def next_again(store: Store, hook: str) -> DeadLetter | None:
    """Return the oldest letter that is to be sent once more."""
    return next((letter for letter in await dead_letters(store, hook) if letter.again), None)


def bury(hook: str, letters: Collection[DeadLetter]) -> list[Statement]:
    """Return the statements that keep dead letters, and of them all only the newest."""
    insert = "INSERT INTO webhook_dead_letters (hook, event_id, kind, at, reason) VALUES (?, ?, ?, ?, ?)"
    newest = "SELECT id FROM webhook_dead_letters WHERE hook = ? ORDER BY id DESC LIMIT ?"
    return [
        *((insert, (hook, letter.event_id, letter.kind, letter.at, letter.reason)) for letter in letters),
        (f"DELETE FROM webhook_dead_letters WHERE hook = ? AND id NOT IN ({newest})", (hook, hook, DEAD_KEPT)),  # noqa: S608 - a constant
    ]


def settle(letter: DeadLetter, reason: str | None) -> Statement:
    """Return the statement that takes a letter away that was taken at last, or has it dead again for *reason*."""
    if reason is None:
        return "DELETE FROM webhook_dead_letters WHERE id = ?", (letter.id,)
    return "UPDATE webhook_dead_letters SET again = 0, reason = ? WHERE id = ?", (reason, letter.id)


def give_rest(hook: str) -> Statement:
    """Return the statement that has no letter of a webhook sent once more."""
    return "UPDATE webhook_dead_letters SET again = 0 WHERE hook = ?", (hook,)


async def count_dead(store: Store) -> int:
    """Return how many dead letters there are, of all webhooks."""
    return int((await store.read("SELECT count(*) FROM webhook_dead_letters"))[0][0])


async def newest_reason(store: Store) -> str:
    """Return why the newest dead letter was not taken, nothing where there is none."""
    rows = await store.read("SELECT reason FROM webhook_dead_letters ORDER BY id DESC LIMIT 1")
    return str(rows[0][0]) if rows else ""


def send_again() -> Statement:
    """Return the statement that has every dead letter sent once more."""
    return "UPDATE webhook_dead_letters SET again = 1", ()


def drop_all() -> Statement:
    """Return the statement that forgets every dead letter."""
    return "DELETE FROM webhook_dead_letters", ()


def _wanted(cursor: int, kinds: Sequence[str]) -> tuple[str, tuple[int | str, ...]]:
    """Return the condition for events to tell of; the failure of a webhook is none, or it would never end."""
    globs = " OR ".join(["kind GLOB ?"] * len(kinds)) or "0"
    return f"id > ? AND kind <> ? AND ({globs})", (cursor, Kind.WEBHOOK_FAILED.value, *kinds)
