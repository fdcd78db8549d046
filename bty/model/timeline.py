"""Where a machine's boot cycle stands: its stages with their times, the one at which it stopped, and the usual causes. Pure.

Made from the machine's events since the cycle began, and from the progress that it reports while it flashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bty.model.event import Event, Kind
from bty.model.machine import BootMode, Machine
from bty.units import format_bytes, plural


class Stage(StrEnum):
    """The stages of a cycle, in order."""

    SCRIPT = "script"
    KERNEL = "kernel"
    INVENTORY = "inventory"
    PLAN = "plan"
    DOWNLOAD = "download"
    WRITE = "write"
    VERIFY = "verify"
    DONE = "done"
    DISK = "disk"


class State(StrEnum):
    """How a stage stands. `skipped` is one that the mode does not have, or that a later one proves although nobody told of it."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a machine says about a flash that runs: the flasher's stage, bytes, why nothing moves where nothing does, and when."""

    stage: str
    bytes: int
    total: int | None
    trouble: str | None = None
    at: str


@dataclass(slots=True, kw_only=True)
class Entry:
    """One stage of one cycle."""

    stage: Stage
    state: State = State.PENDING
    at: str | None = None
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        return {"stage": self.stage, "state": self.state, "at": self.at, "detail": self.detail}


@dataclass(slots=True, kw_only=True)
class Timeline:
    """A cycle. `stopped` is the stage at which it failed, or at which nothing was heard for too long."""

    entries: dict[Stage, Entry]
    began_at: str | None = None
    attempts: int = 0
    stopped: Stage | None = None
    since: str | None = None
    reason: str = ""
    causes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        stopped = {"stage": self.stopped, "since": self.since, "reason": self.reason, "causes": list(self.causes)}
        return {
            "began_at": self.began_at,
            "attempts": self.attempts,
            "stages": [entry.to_json() for entry in self.entries.values()],
            "stopped": stopped if self.stopped else None,
        }


# For how many seconds the next stage may be silent before it counts as stopped; with what usually is the cause then.
# A self-test of memory and disks controllers takes minutes on servers; a plan waits for the network of the live environment.
_PATIENCE_S: dict[Stage, int] = {
    Stage.KERNEL: 120,
    Stage.PLAN: 300,
    Stage.INVENTORY: 300,
    Stage.DOWNLOAD: 120,
    Stage.WRITE: 120,
    Stage.VERIFY: 300,
    Stage.DONE: 300,
    Stage.DISK: 900,
}
CAUSES: dict[Stage, tuple[str, ...]] = {
    Stage.KERNEL: (
        "the boot directory lacks the kernel or the initrd: see the page Network boot",
        "the machine cannot reach this daemon over HTTP, though TFTP works: a firewall, or another network",
        "iPXE has no driver for this network card",
    ),
    Stage.PLAN: (
        "the live environment found no network: the wrong port has the cable, or DHCP is slow there",
        "the kernel did not start: too little memory (2 GiB are needed), or Secure Boot refused it",
        "the console shows more: the log of the machine ends where it stopped",
    ),
    Stage.INVENTORY: (
        "the live environment found no network",
        "a disk does not answer and holds up the listing",
    ),
    Stage.DOWNLOAD: (
        "the image's source, or the cache, does not answer from the machine's network",
        "the digest of the image is not the promised one",
    ),
    Stage.WRITE: (
        "the target disk fails, is too small, or is read-only",
        "the disk is in use: mounted, or part of an array or a volume group",
    ),
    Stage.VERIFY: ("the disk does not give back what was written: it, its cable or its controller is bad",),
    Stage.DONE: (
        "the machine was switched off, or lost the network, before it could send its receipt",
        "the receipt was refused: look for machine.cycle.mismatch in the events",
    ),
    Stage.DISK: (
        "the machine does not boot from the network first: the firmware's boot order was changed",
        "the machine is off, or hangs in its firmware",
    ),
}
_STOPPED_BY = {
    "fetch_failed": Stage.DOWNLOAD,
    "integrity_failed": Stage.DOWNLOAD,
    "readback_failed": Stage.VERIFY,
    "write_failed": Stage.WRITE,
    "no_such_disk": Stage.WRITE,
    "disk_refused": Stage.WRITE,
}
_OF_FLASH = (Stage.DOWNLOAD, Stage.WRITE, Stage.VERIFY, Stage.DONE)
_RUNNING = {
    "open": (Stage.DOWNLOAD,),
    "write": (Stage.DOWNLOAD, Stage.WRITE),
    "verify": (Stage.VERIFY,),
    "finish": (Stage.DONE,),
}
_RECORDED = (Kind.MACHINE_CREATED, Kind.MACHINE_DISCOVERED)
_POLICY = ("boot_mode", "bty_image_ref", "target_disk_serial")


def trace(machine: Machine, events: Iterable[Event], moment: Moment | None, *, now: str) -> Timeline:
    """Return the newest cycle of *machine*. *events* are its own, oldest first; *moment* is the flash that runs."""
    line = _fresh(machine)
    is_over = True
    policy: tuple[str | None, ...] | None = None
    failure: Event | None = None  # stands until a flash is done, or all begins anew
    for event in events:
        before, policy = policy, _policy(event) or policy
        if _begins_anew(event, machine, before, policy):
            line, is_over, failure = _fresh(machine), True, None
        elif event.kind == Kind.PXE_OFFERED:
            is_live = _is_live(event)
            if is_live and is_over:
                line, is_over = _fresh(machine), False
                line.began_at = event.ts
            elif not is_live and line.began_at is None:
                line = _fresh(machine)  # only a boot of the disk
            is_over = _offered(line, event, is_live=is_live) or is_over
        elif event.kind == Kind.PXE_PLAN:
            if line.entries[Stage.DISK].state is State.DONE and _is_flash(event):
                line = _fresh(machine)  # run by hand, after the disk had booted
            _plan(line, event, failure if machine.mode and machine.mode.flashes else None)
        else:
            _note(line, event)
            if event.kind in (Kind.MACHINE_FLASHED, Kind.MACHINE_FLASH_FAILED):
                failure = event if event.kind == Kind.MACHINE_FLASH_FAILED else None
    if moment is not None and line.stopped is None:
        _run(line, moment)
    _close_gaps(line)
    if line.stopped is None and line.began_at is not None:
        _find_silence(line, moment, now)
    return line


def _fresh(machine: Machine) -> Timeline:
    mode = machine.mode
    if mode is BootMode.INVENTORY:
        absent: tuple[Stage, ...] = _OF_FLASH
    elif mode is BootMode.IPXE_EXIT or mode is None:
        absent = tuple(stage for stage in Stage if stage not in (Stage.SCRIPT, Stage.DISK))
    else:
        absent = ()
    entries = {stage: Entry(stage=stage, state=State.SKIPPED if stage in absent else State.PENDING) for stage in Stage}
    return Timeline(entries=entries)


def _policy(event: Event) -> tuple[str | None, ...] | None:
    """Return what a machine is bound to from this event on, None where the event does not tell."""
    if event.kind not in (*_RECORDED, Kind.MACHINE_UPSERTED):
        return None
    return tuple((event.details or {}).get(name) or None for name in _POLICY)


def _begins_anew(event: Event, machine: Machine, before: tuple[str | None, ...] | None, policy: tuple[str | None, ...] | None) -> bool:
    """Tell whether nothing counts any longer that the machine did before: a reset, a new record, another mode, image or disk."""
    if event.kind == Kind.MACHINE_UPSERTED:
        return before != policy if before else machine.cycle is None  # what it was bound to before is longer ago than the events
    return event.kind == Kind.MACHINE_RESET or event.kind in _RECORDED


def _is_flash(event: Event) -> bool:
    return (event.details or {}).get("plan") == "flash"


def _is_live(event: Event) -> bool:
    return str((event.details or {}).get("offer", "")).startswith("bty-")


def _offered(line: Timeline, event: Event, *, is_live: bool) -> bool:
    """Note a script that was served; tell whether the cycle is over with it."""
    kind = str((event.details or {}).get("offer_kind", ""))
    if not is_live:
        if line.began_at is None:
            _set(line, Stage.SCRIPT, event.ts, kind)
        _set(line, Stage.DISK, event.ts, kind)
        return True
    if line.entries[Stage.SCRIPT].state is State.DONE:  # the same chain once more: what came after the first is void
        line.attempts += 1
        for stage in (Stage.PLAN, *_OF_FLASH):
            if line.entries[stage].state is not State.SKIPPED:
                line.entries[stage] = Entry(stage=stage)
        line.stopped = None
    _set(line, Stage.SCRIPT, event.ts, kind)
    return False


def _plan(line: Timeline, event: Event, failure: Event | None) -> None:
    """Note a plan. One to flash is another attempt; after any other the machine still stands where its flash failed."""
    details = event.details or {}
    if _is_flash(event):
        line.entries |= {stage: Entry(stage=stage) for stage in _OF_FLASH}
    line.stopped = None
    _set(line, Stage.PLAN, event.ts, str(details.get("reason") or details.get("plan") or ""))
    if failure and not _is_flash(event):
        _fail(line, failure)


def _note(line: Timeline, event: Event) -> None:
    details = event.details or {}
    if event.kind == Kind.FLASHER_ARMED:
        _set(line, Stage.KERNEL, event.ts)
    elif event.kind == Kind.MACHINE_INVENTORY:
        _set(line, Stage.INVENTORY, event.ts, plural(int(details.get("count") or 0), "disk"))
    elif event.kind == Kind.MACHINE_FLASHED:
        verified = details.get("verified") or ()
        for stage in _OF_FLASH:
            _set(line, stage, event.ts)
        line.entries[Stage.DOWNLOAD].detail = "Digest as promised" if "wire" in verified else "No digest was promised"
        line.entries[Stage.DONE].detail = str(details.get("name") or details.get("source") or "")
        if "readback" not in verified:
            line.entries[Stage.VERIFY] = Entry(stage=Stage.VERIFY, state=State.SKIPPED, detail="Not asked for")
        line.stopped = None
    elif event.kind == Kind.MACHINE_FLASH_FAILED:
        _fail(line, event)


def _fail(line: Timeline, event: Event) -> None:
    details = event.details or {}
    stage = _STOPPED_BY.get(str(details.get("error_code")), Stage.WRITE)
    line.entries[stage] = Entry(stage=stage, state=State.FAILED, at=event.ts, detail=str(details.get("error") or ""))
    if stage is not Stage.DOWNLOAD and details.get("bytes_read"):
        line.entries[Stage.DOWNLOAD].state = State.DONE
    line.stopped, line.since, line.reason, line.causes = stage, event.ts, str(details.get("error") or ""), CAUSES[stage]


def _run(line: Timeline, moment: Moment) -> None:
    share = f"{moment.bytes * 100 // moment.total} %" if moment.total else format_bytes(moment.bytes) if moment.bytes else ""
    detail = ", ".join(filter(None, (share, moment.trouble and f"waiting: {moment.trouble}")))
    running = _RUNNING.get(moment.stage, (Stage.WRITE,))
    if moment.stage in ("verify", "finish"):  # only what was written can be read back
        for stage in (Stage.DOWNLOAD, Stage.WRITE):
            line.entries[stage].state = State.DONE
    for stage in running:
        line.entries[stage] = Entry(stage=stage, state=State.RUNNING, at=moment.at, detail=detail)


def _close_gaps(line: Timeline) -> None:
    """Mark what lies before a stage that was reached: it happened, though nobody told when."""
    reached = [stage for stage, entry in line.entries.items() if entry.state in (State.DONE, State.RUNNING, State.FAILED)]
    for stage, entry in line.entries.items():
        if reached and entry.state is State.PENDING and list(Stage).index(stage) < list(Stage).index(reached[-1]):
            entry.state = State.SKIPPED


def _find_silence(line: Timeline, moment: Moment | None, now: str) -> None:
    last = max([entry.at for entry in line.entries.values() if entry.at] + ([moment.at] if moment else []), default=None)
    running = [stage for stage, entry in line.entries.items() if entry.state is State.RUNNING]
    waiting = running[-1:] or [stage for stage, entry in line.entries.items() if entry.state is State.PENDING][:1]
    if last is None or not waiting or waiting[0] not in _PATIENCE_S:
        return
    stage, silent_s = waiting[0], (datetime.fromisoformat(now) - datetime.fromisoformat(last)).total_seconds()
    if silent_s > _PATIENCE_S[stage]:
        line.stopped, line.since, line.causes = stage, last, CAUSES[stage]
        line.reason = f"nothing was heard for {silent_s:.0f} s"


def _set(line: Timeline, stage: Stage, at: str, detail: str = "") -> None:
    line.entries[stage] = Entry(stage=stage, state=State.DONE, at=at, detail=detail)
