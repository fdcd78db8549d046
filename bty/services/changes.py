"""What changed, newest last: each thing once, with the number of its last change. Whoever was away asks for what came since.

Only names are kept, not states: a machine that changed a thousand times is one entry, and who asks gets it as it is now.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from bty.model.event import Event, Kind, Subject

KEPT = 4096
"""Changes to go back: minutes of a lab, a second of a rack that powers on. About a megabyte, for events are kept whole."""


class Topic(StrEnum):
    """What can change; each is the name of a message of the event stream."""

    MACHINE = "machine"
    PROGRESS = "progress"
    EVENT = "event"
    ACKNOWLEDGED = "acknowledged"
    CATALOG = "catalog"
    JOB = "job"
    LOG = "log"  # not kept here: it is told at most once for each time that somebody reads a log


class Change(NamedTuple):  # two are made for each script that is served
    """One thing that changed: a machine by its MAC, an event by its id, an image by its ref. `number` orders all changes."""

    number: int
    topic: Topic
    key: str
    value: Any = None


class Changes:
    """The changes since the start of the daemon, as many as are kept."""

    def __init__(self, kept: int = KEPT) -> None:
        self.number = 0
        self._kept = kept
        self._floor = 0
        self._log: OrderedDict[tuple[Topic, str], Change] = OrderedDict()
        self._news = asyncio.Event()

    def put(self, topic: Topic, key: str, value: Any = None) -> None:
        """Note that something changed just now."""
        self.number += 1
        self._log.pop((topic, key), None)
        self._log[topic, key] = Change(self.number, topic, key, value)
        if len(self._log) > self._kept:
            self._floor = self._log.popitem(last=False)[1].number
        self._news.set()

    def since(self, number: int) -> list[Change] | None:
        """Return what changed after *number*, in order; None where that is no longer known, or never was."""
        if not self._floor <= number <= self.number:
            return None
        found: list[Change] = []
        for change in reversed(self._log.values()):
            if change.number <= number:
                break
            found.append(change)
        return found[::-1]

    async def wait(self, number: int) -> None:
        """Return once something changed after *number*."""
        while self.number <= number:
            self._news.clear()
            await self._news.wait()

    def machines(self, macs: Iterable[str]) -> None:
        """Note that machines changed, came or went."""
        for mac in macs:
            self.put(Topic.MACHINE, mac)

    def hear(self, event: Event) -> None:
        """Take an event of the audit log, or one that is only announced, for what it means."""
        subject = event.subject_id or ""
        if event.kind == Kind.MACHINE_PROGRESS:
            self.put(Topic.PROGRESS, subject, event.details)
        elif event.kind == Kind.EVENTS_ACKNOWLEDGED:
            self.put(Topic.ACKNOWLEDGED, str(self.number), event.details)
        elif event.id:
            self.put(Topic.EVENT, str(event.id), event)
            if event.subject_kind == Subject.CATALOG and event.kind in _OF_ONE_IMAGE:
                self.put(Topic.CATALOG, subject)
            elif event.kind in (Kind.ENTRIES_IMPORTED, Kind.BACKUP_IMPORTED):
                self.put(Topic.CATALOG, "")


_OF_ONE_IMAGE = frozenset({Kind.ENTRY_ADDED, Kind.ENTRY_DELETED, Kind.ENTRY_MOVED})
