"""Recording what happens, and telling those who listen once it is durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bty.model.event import Actor, Event, Kind
from bty.store import events as table
from bty.store.db import Statement, Store
from bty.store.events import Query
from bty.units import utc_now

__all__ = ["Events", "Query", "build"]

Listener = Callable[[Event], None]


def build(
    kind: str,
    summary: str,
    *,
    subject: tuple[str, str] | None = None,
    actor: str | None = None,
    source_ip: str | None = None,
    details: dict[str, Any] | None = None,
) -> Event:
    """Return an event of this moment; *subject* is its kind and id."""
    subject_kind, subject_id = subject or (None, None)
    return Event(
        ts=utc_now(),
        kind=kind,
        summary=summary,
        subject_kind=subject_kind,
        subject_id=subject_id,
        actor=actor,
        source_ip=source_ip,
        details=details,
    )


class Events:
    """The audit log of a running daemon."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* with each event from now on, in the order of their ids; call what this returns to stop it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def record(
        self,
        kind: str,
        summary: str,
        *,
        subject: tuple[str, str] | None = None,
        actor: str | None = None,
        source_ip: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> Event:
        """Record one event by itself and return it with its id. Raises `StoreFailed`."""
        event = build(kind, summary, subject=subject, actor=actor, source_ip=source_ip, details=details)
        return (await self.commit([], event))[0]

    async def commit(self, statements: list[Statement], *events: Event) -> list[Event]:
        """Make statements and events durable as one unit, then tell the listeners. Raises `StoreFailed`."""
        ids = await self._store.write(*statements, *map(table.insert, events))
        recorded = [event.numbered(number) for event, number in zip(events, ids, strict=True)]
        for event in recorded:
            self.announce(event)
        return recorded

    def announce(self, event: Event) -> None:
        """Tell the listeners without recording anything: for what is true only for a moment."""
        for listener in tuple(self._listeners):
            listener(event)

    async def find(self, *, filters: dict[str, str] | None = None, limit: int) -> list[Event]:
        """Return the newest events. *filters* are exact matches by column. Raises `StoreFailed`."""
        return (await self.search(Query(exact=filters or {}, limit=limit)))[0]

    async def search(self, query: Query) -> tuple[list[Event], int | None]:
        """Return events, newest first, and where a search for text stopped looking before it had enough. Raises `StoreFailed`."""
        return await table.search(self._store, query)

    async def acknowledge(self, ids: Sequence[int], *, acknowledged: bool = True) -> int:
        """Mark events as seen, or as new again, and return how many of *ids* there are. Raises `StoreFailed`."""
        found = await table.acknowledge(self._store, ids, acknowledged=acknowledged)
        if found:
            self._tell_marked(list(ids), acknowledged, found)
        return found

    async def acknowledge_failures(self) -> int:
        """Mark every open failure as seen and return how many there were. Raises `StoreFailed`."""
        found = await table.acknowledge_failures(self._store)
        if found:
            self._tell_marked(None, True, found)
        return found

    async def count_open_failures(self) -> int:
        """Return how many failures nobody has acknowledged. Raises `StoreFailed`."""
        return await table.count_open_failures(self._store)

    async def prune(self, *, retention_days: int, max_rows: int) -> int:
        """Delete what is too old or too much and return how many events went. Raises `StoreFailed`."""
        return await table.prune(self._store, retention_days=retention_days, max_rows=max_rows)

    def _tell_marked(self, ids: list[int] | None, acknowledged: bool, count: int) -> None:
        details = {"ids": ids, "acknowledged": acknowledged}
        self.announce(build(Kind.EVENTS_ACKNOWLEDGED, f"{count} events were marked", actor=Actor.OPERATOR, details=details))
