"""What a machine gets to boot, and what its live environment is then told to do: pure decisions. Contract 1.2 and 3.3."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bty.model.catalog import Entry
from bty.model.machine import DEFAULT_DRIVE, BootMode, Machine
from bty.model.plan import Plan, PlanMode


class Script(StrEnum):
    """The scripts that there are; each is a template of that name."""

    LIVE = "live"
    FLASH = "flash"
    LOCAL_DISK = "local-disk"
    EXIT_FALLBACK = "exit-fallback"
    UNKNOWN = "unknown"


class CycleStep(StrEnum):
    """What serving the script does to the cycle."""

    OPEN = "open"  # unless one is open already
    KEEP = "keep"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The script that one contact gets. `details` go into the event, as the predecessor's do."""

    script: Script
    offer: str
    kind: str
    step: CycleStep = CycleStep.KEEP
    drive: str = DEFAULT_DRIVE
    details: dict[str, Any] = field(default_factory=dict)


def decide(machine: Machine, entry: Entry | None) -> Offer:
    """Return what *machine* boots at this contact; *entry* is the image it is bound to, if that exists."""
    mode = machine.mode
    match mode:
        case BootMode.TUI:
            return Offer(script=Script.LIVE, offer=mode, kind=mode, step=CycleStep.OPEN)
        case BootMode.INVENTORY if machine.is_completed:
            return _local_disk(machine, "bty-inventory-sanboot", CycleStep.CLEAR, after_inventory=True)
        case BootMode.INVENTORY:
            details = {"retry_after_armed_no_post": True} if machine.is_armed else {}
            return Offer(script=Script.LIVE, offer=mode, kind=mode, step=CycleStep.OPEN, details=details)
        case BootMode.IPXE_EXIT:
            return _local_disk(machine, mode, CycleStep.KEEP)
        case BootMode.FLASH_ALWAYS | BootMode.FLASH_ONCE if machine.bty_image_ref:
            return _decide_flash(machine, mode, entry)
        case _:
            return Offer(script=Script.UNKNOWN, offer="unknown", kind="unknown")


def _decide_flash(machine: Machine, mode: BootMode, entry: Entry | None) -> Offer:
    if entry is None or not machine.target_disk_serial:
        reason = "orphan_ref" if entry is None else "no_target_disk"
        details: dict[str, Any] = {"bty_image_ref": machine.bty_image_ref, "reason": reason}
        return Offer(script=Script.EXIT_FALLBACK, offer="exit-fallback", kind="exit-fallback", details=details)
    if machine.is_completed:
        step = CycleStep.CLEAR if mode is BootMode.FLASH_ALWAYS else CycleStep.KEEP
        return _local_disk(machine, f"{mode}-sanboot", step, sanboot_after_flash=True)
    details = {"bty_image_ref": machine.bty_image_ref, "image_name": entry.name, "target_disk_serial": machine.target_disk_serial}
    if machine.is_armed:
        details["retry_after_armed_no_done"] = True
    return Offer(script=Script.FLASH, offer=mode, kind=mode, step=CycleStep.OPEN, details=details)


def _local_disk(machine: Machine, kind: str, step: CycleStep, **details: bool) -> Offer:
    drive = machine.sanboot_drive or DEFAULT_DRIVE
    return Offer(script=Script.LOCAL_DISK, offer="sanboot", kind=kind, step=step, drive=drive, details={"sanboot_drive": drive, **details})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChoice:
    """What the live environment is to do, before anybody looked where the image lies."""

    plan: Plan
    kind: str


def choose_plan(machine: Machine, entry: Entry | None, *, catalog_url: str, max_attempts: int) -> PlanChoice:
    """Return what *machine* is to do once the live environment runs, whatever its cycle has seen."""
    mode = machine.mode
    match mode:
        case BootMode.TUI:
            return PlanChoice(plan=Plan(mode=PlanMode.INTERACTIVE, catalog=catalog_url), kind="plan:interactive:tui")
        case BootMode.INVENTORY:
            return PlanChoice(plan=Plan(mode=PlanMode.INVENTORY), kind="plan:inventory")
        case BootMode.FLASH_ALWAYS | BootMode.FLASH_ONCE if machine.bty_image_ref:
            return _choose_flash(machine, mode, entry, catalog_url=catalog_url, max_attempts=max_attempts)
        case _:
            return PlanChoice(plan=Plan(mode=PlanMode.EXIT), kind=f"plan:exit:{machine.boot_mode}")


def _choose_flash(machine: Machine, mode: BootMode, entry: Entry | None, *, catalog_url: str, max_attempts: int) -> PlanChoice:
    reason, why = "", "flash-unresolved"
    if entry is None or not entry.name:
        reason = "the image that this machine is bound to is no longer in the catalog"
    elif not machine.target_disk_serial:
        reason = "this machine has no target disk"
    elif machine.cycle_attempts >= max_attempts:
        said = f"; the last one: {machine.flash_error}" if machine.flash_error else ""
        reason, why = f"{machine.cycle_attempts} flash attempts failed in this cycle{said}", "attempts-exhausted"
    if entry is None or reason:
        return PlanChoice(plan=Plan(mode=PlanMode.INTERACTIVE, catalog=catalog_url, reason=reason), kind=f"plan:interactive:{why}")
    plan = Plan(
        mode=PlanMode.FLASH,
        target_disk_serial=machine.target_disk_serial,
        name=entry.name,
        ref=entry.bty_image_ref,
        format=entry.format,
        attempt=machine.cycle_attempts + 1,
        max_attempts=max_attempts,
    )
    return PlanChoice(plan=plan, kind=f"plan:flash:{mode}")
