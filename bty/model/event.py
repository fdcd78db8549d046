"""The audit log's lines: what happened, to what, by whom, from where."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace


class Actor(StrEnum):
    """Who did it."""

    OPERATOR = "operator"
    SYSTEM = "system"
    PXE_CLIENT = "pxe-client"


class Subject(StrEnum):
    """What kind of thing it happened to."""

    MACHINE = "machine"
    CATALOG = "catalog"
    NETBOOT = "netboot"
    SETTINGS = "settings"
    AUTH = "auth"
    BACKUP = "backup"


class Kind(StrEnum):
    """What can happen. Recording takes other words too: the list is for readers."""

    MACHINE_DISCOVERED = "machine.discovered"
    MACHINE_CREATED = "machine.created"
    MACHINE_UPSERTED = "machine.upserted"
    MACHINE_RESET = "machine.reset"
    MACHINE_DELETED = "machine.deleted"
    MACHINE_FLASHED = "machine.flashed"
    MACHINE_FLASH_FAILED = "machine.flash.failed"
    MACHINE_CYCLE_MISMATCH = "machine.cycle.mismatch"
    MACHINE_SSH = "machine.ssh"
    MACHINE_INVENTORY = "machine.inventory"
    MACHINE_PROGRESS = "machine.progress"  # announced, never recorded
    EVENTS_ACKNOWLEDGED = "system.events.acknowledged"  # announced, never recorded
    PXE_OFFERED = "netboot.pxe.offered"
    PXE_PLAN = "netboot.pxe.plan"
    FLASHER_ARMED = "netboot.flasher.armed"
    ORPHAN = "pxe.client.orphan"
    ENTRY_ADDED = "catalog.entry.added"
    ENTRY_ADD_FAILED = "catalog.entry.add.failed"
    ENTRY_DELETED = "catalog.entry.deleted"
    ENTRY_MOVED = "catalog.entry.moved"
    ENTRIES_IMPORTED = "catalog.entries.imported"
    IMPORT_FAILED = "catalog.import.failed"
    CACHE_FAILED = "catalog.cache.failed"
    ARTIFACT_UPLOADED = "netboot.artifact.uploaded"
    ARTIFACT_DELETED = "netboot.artifact.deleted"
    ARTIFACTS_FETCHED = "netboot.artifacts.fetched"
    ARTIFACTS_FETCH_REQUESTED = "netboot.artifacts.fetch.requested"
    ARTIFACTS_FETCH_STARTED = "netboot.artifacts.fetch.started"
    ARTIFACTS_FETCH_CANCELLED = "netboot.artifacts.fetch.cancelled"
    ARTIFACTS_FETCH_FAILED = "netboot.artifacts.fetch.failed"
    SETTINGS_UPSTREAM_UPDATED = "settings.upstream.updated"
    SETTINGS_BACKUP_UPDATED = "settings.backup.updated"
    SETTINGS_CONFIG_UPDATED = "settings.config.updated"
    SETTINGS_CONFIG_FAILED = "settings.config.failed"
    BACKUP_CREATED = "backup.created"
    BACKUP_CREATE_REQUESTED = "backup.create.requested"
    BACKUP_CREATE_STARTED = "backup.create.started"
    BACKUP_CREATE_CANCELLED = "backup.create.cancelled"
    BACKUP_FAILED = "backup.failed"
    BACKUP_PRUNED = "backup.pruned"
    BACKUP_DELETED = "backup.deleted"
    BACKUP_IMPORTED = "backup.imported"
    LOGIN_SUCCEEDED = "auth.login.succeeded"
    LOGIN_FAILED = "auth.login.failed"
    LOGOUT = "auth.logout"
    TOKEN_CREATED = "auth.token.created"
    TOKEN_REVOKED = "auth.token.revoked"
    PASSWORD_CHANGED = "auth.password.changed"
    WEBHOOK_FAILED = "system.webhook.failed"
    SCHEMA_RESET = "system.schema.reset"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit log. `id` is 0 until the event is recorded."""

    ts: str
    kind: str
    summary: str
    subject_kind: str | None = None
    subject_id: str | None = None
    actor: str | None = None
    source_ip: str | None = None
    details: dict[str, Any] | None = None
    acknowledged: bool = False
    id: int = 0

    @property
    def is_failure(self) -> bool:
        """Tell whether the event counts against the fleet's health until somebody acknowledges it."""
        return self.kind.endswith("failed") or self.kind == Kind.SCHEMA_RESET

    def numbered(self, number: int) -> Event:
        """Return the event with the id that the log gave it."""
        return replace(self, id=number)

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        return {
            "id": self.id,
            "ts": self.ts,
            "kind": self.kind,
            "subject_kind": self.subject_kind,
            "subject_id": self.subject_id,
            "actor": self.actor,
            "source_ip": self.source_ip,
            "summary": self.summary,
            "details": self.details,
            "acknowledged": self.acknowledged,
        }
