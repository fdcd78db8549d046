"""What an operator sets at run time: where artifacts and the catalog come from, and when backups are made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import msgspec

from bty.model.event import Actor, Event, Kind, Subject
from bty.services.events import Events, build
from bty.services.text import CatalogUrl, Repo, TagOrNone
from bty.store import settings as table
from bty.store.db import Statement, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """`netboot_repo` is `owner/name` at GitHub or an address below which `<tag>/<file>` lies; `catalog_url` may be empty."""

    netboot_repo: str = "safl/bty"
    netboot_tag: str = "latest"
    catalog_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """`cadence` is daily, weekly or manual; `last_run_at` is that of the last scheduled success."""

    enabled: bool = False
    cadence: str = "manual"
    retention_count: int = 7
    last_run_at: str | None = None


Unset = msgspec.UnsetType


class UpstreamChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What changes about where things come from; an empty word goes back to the default."""

    netboot_repo: Repo | Unset | None = msgspec.UNSET
    netboot_tag: TagOrNone | Unset | None = msgspec.UNSET
    catalog_url: CatalogUrl | Unset | None = msgspec.UNSET


class BackupChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What changes about the schedule of backups."""

    enabled: bool | Unset = msgspec.UNSET
    cadence: Literal["daily", "weekly", "manual"] | Unset = msgspec.UNSET
    retention_count: Annotated[int, msgspec.Meta(ge=1, le=1000)] | Unset = msgspec.UNSET


class SettingsChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /settings`, and the settings of a backup: what it leaves out stays."""

    upstream: UpstreamChange | Unset = msgspec.UNSET
    backup: BackupChange | Unset = msgspec.UNSET


def named(change: msgspec.Struct | Unset) -> dict[str, Any]:
    """Return what a change names."""
    if isinstance(change, Unset):
        return {}
    return {name: value for name, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET}


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What the settings become, how that is stored, and the names of what differs."""

    upstream: Upstream
    backup: Backup
    statements: list[Statement]
    names: list[str]


class Settings:
    """The settings, in memory and in the database."""

    def __init__(self, store: Store, events: Events) -> None:
        self.upstream = Upstream()
        self.backup = Backup()
        self.changing = asyncio.Lock()  # from `revise` to `take`, by whoever changes them
        self._store = store
        self._events = events

    @classmethod
    async def load(cls, store: Store, events: Events) -> Self:
        """Read the settings; a word that makes no sense counts as unset. Raises `StoreFailed`."""
        settings = cls(store, events)
        stored = await table.read_all(store)
        upstream = {key: stored[f"upstream.{key}"] for key in ("netboot_repo", "netboot_tag", "catalog_url") if f"upstream.{key}" in stored}
        settings.upstream = Upstream(**upstream)
        count, cadence = stored.get("backup.retention_count", ""), stored.get("backup.cadence", "manual")
        settings.backup = Backup(
            enabled=stored.get("backup.enabled") == "1",
            cadence=cadence if cadence in ("daily", "weekly") else "manual",
            retention_count=max(1, int(count)) if count.isdecimal() and len(count) < 6 else Backup().retention_count,
            last_run_at=stored.get("backup.last_run_at"),
        )
        return settings

    def overrides(self) -> dict[str, dict[str, Any]]:
        """Return what differs from the defaults, without what the program notes for itself."""
        groups = (("upstream", self.upstream, Upstream()), ("backup", self.backup, Backup(last_run_at=self.backup.last_run_at)))
        return {
            group: {name: getattr(now, name) for name in now.__dataclass_fields__ if getattr(now, name) != getattr(default, name)}
            for group, now, default in groups
        }

    def revise(self, change: SettingsChange) -> Revision:
        """Return what *change* would make of the settings; None or an empty word goes back to the default. Changes nothing."""
        upstream, backup = named(change.upstream), named(change.backup)
        values = {key: value or getattr(Upstream(), key) for key, value in upstream.items()}
        words = {key: ("1" if value else "0") if isinstance(value, bool) else str(value) for key, value in backup.items()}
        pairs: dict[str, str | None] = {f"upstream.{key}": value or None for key, value in upstream.items()}
        pairs |= {f"backup.{key}": value for key, value in words.items()}
        after = replace(self.upstream, **values), replace(self.backup, **backup)
        names = [
            f"{group}.{name}"
            for group, before, now in (("upstream", self.upstream, after[0]), ("backup", self.backup, after[1]))
            for name in _differing(before, now)
        ]
        return Revision(upstream=after[0], backup=after[1], statements=[table.put(key, value) for key, value in pairs.items()], names=names)

    def take(self, revision: Revision) -> None:
        """Take over a revision whose statements are durable."""
        self.upstream, self.backup = revision.upstream, revision.backup

    async def change(self, change: SettingsChange, *, ip: str) -> None:
        """Change what *change* names. Raises `StoreFailed`."""
        async with self.changing:
            await self._change(change, ip)

    async def _change(self, change: SettingsChange, ip: str) -> None:
        revision = self.revise(change)
        groups = (
            (Kind.SETTINGS_UPSTREAM_UPDATED, "upstream", self.upstream, revision.upstream),
            (Kind.SETTINGS_BACKUP_UPDATED, "backup", self.backup, revision.backup),
        )
        events = [_event(kind, what, before, after, ip) for kind, what, before, after in groups if before != after]
        if events:
            await self._events.commit(revision.statements, *events)
            self.take(revision)

    async def note_backup(self, at: str) -> None:
        """Remember when the schedule last succeeded. Raises `StoreFailed`."""
        async with self.changing:
            await self._store.write(table.put("backup.last_run_at", at))
            self.backup = replace(self.backup, last_run_at=at)


def _differing(before: Any, after: Any) -> list[str]:
    return [name for name in type(before).__dataclass_fields__ if getattr(before, name) != getattr(after, name)]


def _event(kind: Kind, what: str, before: Any, after: Any, ip: str) -> Event:
    names = _differing(before, after)
    details = {name: {"from": getattr(before, name), "to": getattr(after, name)} for name in names}
    summary = f"settings changed: {', '.join(names)}"
    return build(kind, summary, subject=(Subject.SETTINGS, what), actor=Actor.OPERATOR, source_ip=ip, details=details)
