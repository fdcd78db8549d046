"""Things as the API shows them, whichever route or message they are in. The OpenAPI document describes these types."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from bty.model.catalog import Entry, display_arch
from bty.model.event import Event
from bty.services.jobs import Job
from bty.services.live import Progress
from bty.services.machines import MachineView

_DISKS = {"type": ["array", "null"], "items": {"type": "object"}}
_OBJECT = {"type": ["object", "null"]}
Disks = Annotated[msgspec.Raw, msgspec.Meta(description="what the machine reported", extra_json_schema=_DISKS)]
Receipt = Annotated[msgspec.Raw, msgspec.Meta(description="the newest receipt", extra_json_schema=_OBJECT)]
_NULL = msgspec.Raw(b"null")


class MachineRow(msgspec.Struct, kw_only=True):
    """A machine. The token of its cycle is not part of it: who reads it could speak for the machine."""

    mac: str
    bty_image_ref: str | None
    labels: tuple[str, ...]
    discovered_at: str | None
    last_seen_at: str | None
    last_seen_ip: str | None
    boot_mode: str
    sanboot_drive: str | None
    last_flashed_at: str | None
    flashed_at: str | None
    known_disks_at: str | None
    target_disk_serial: str | None
    created_at: str
    updated_at: str
    boot_state: str
    cycle_state: str | None
    cycle_attempts: int
    flash_error: str | None
    uefi_local_boot: str | None
    known_disks: Disks
    last_flash: Receipt
    progress: Progress | None


class MachinePage(msgspec.Struct, kw_only=True):
    """A page of machines."""

    items: list[MachineRow]
    total: int
    page: int
    per_page: int


class EntryRow(msgspec.Struct, kw_only=True):
    """An image of the catalog."""

    bty_image_ref: str
    src: str
    resolved_src: str | None
    disk_image_sha: str | None
    name: str
    sha_url: str | None
    format: str | None
    size_bytes: int | None
    description: str | None
    added_at: str
    arch: str | msgspec.UnsetType | None = msgspec.UNSET


class EntryPage(msgspec.Struct, kw_only=True):
    """A page of images."""

    items: list[EntryRow]
    total: int
    page: int
    per_page: int


class EventList(msgspec.Struct, kw_only=True):
    """Events, newest first. `searched_to` is the id at which a search stopped looking before the page was full."""

    events: list[Event]
    searched_to: int | None = None


class JobRow(msgspec.Struct, kw_only=True):
    """Long work: how it stands, how far it has come, how it ended."""

    id: str
    kind: str
    key: str
    status: str
    bytes_done: int
    bytes_total: int | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    error: str | None
    details: dict[str, Any]


class Problem(msgspec.Struct, kw_only=True):
    """What every error answers: a sentence, or for 422 a list of `{loc, msg, type}`."""

    detail: str | list[dict[str, Any]]


_MACHINE = tuple(name for name in MachineRow.__struct_fields__ if name not in ("known_disks", "last_flash", "progress"))
_ENTRY = tuple(name for name in EntryRow.__struct_fields__ if name != "arch")


def machine_row(view: MachineView) -> MachineRow:
    """Return a machine as it is shown."""
    machine = view.machine
    return MachineRow(
        **{name: getattr(machine, name) for name in _MACHINE},
        known_disks=_raw(view.known_disks),
        last_flash=_raw(machine.last_flash),
        progress=view.progress,
    )


def entry_row(entry: Entry, *, with_arch: bool = True) -> EntryRow:
    """Return an image as it is shown; *with_arch* adds the architecture that its name may tell."""
    arch = display_arch(entry) if with_arch else msgspec.UNSET
    return EntryRow(**{name: getattr(entry, name) for name in _ENTRY}, arch=arch)


def job_row(job: Job) -> JobRow:
    """Return a job as it is shown at this moment."""
    return JobRow(**{name: getattr(job, name) for name in JobRow.__struct_fields__ if name != "details"}, details=dict(job.details))


def _raw(text: str | None) -> msgspec.Raw:
    return _NULL if text is None else msgspec.Raw(text.encode())
