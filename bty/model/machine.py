"""A machine as the operator means it and as the boot cycle has it."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

DEFAULT_DRIVE = "0x80"


class BootMode(StrEnum):
    """The operator's intent. The program never changes it."""

    IPXE_EXIT = "ipxe-exit"
    FLASH_ALWAYS = "bty-flash-always"
    FLASH_ONCE = "bty-flash-once"
    TUI = "bty-tui"
    INVENTORY = "bty-inventory"

    @property
    def flashes(self) -> bool:
        """Tell whether the mode writes a disk by itself."""
        return self in (BootMode.FLASH_ALWAYS, BootMode.FLASH_ONCE)

    @property
    def alternates(self) -> bool:
        """Tell whether the mode boots the live environment first and the disk after it."""
        return self.flashes or self is BootMode.INVENTORY


class LocalBoot(StrEnum):
    """How a script on UEFI has the local disk booted. Firmware differs in what it does once a network entry has ended."""

    CHAIN = "chain"  # find the disk's own loader and start it; where there is none, end with an error
    EXIT_NONZERO = "exit-nonzero"  # end with an error: the firmware goes on to its next boot entry
    EXIT = "exit"  # end without one: some firmware goes on, some opens its setup


class CycleState(StrEnum):
    """How far the open cycle has come: the chain was served, the live environment was fetched, its work is done."""

    OFFERED = "offered"
    ARMED = "armed"
    COMPLETED = "completed"


_MODES: dict[str, BootMode] = {str(mode): mode for mode in BootMode}


class Machine(msgspec.Struct, frozen=True, kw_only=True, gc=False):  # replaced at each request: a dataclass takes 20 times as long
    """One machine, field for field its row, and its labels in alphabetical order.

    `boot_mode` keeps a word that this version does not know; `mode` is None then. `cycle_flashing` says that a flash
    plan went out and no receipt came back yet. `last_flash` is the newest receipt as JSON, `flash_error` its error.
    `last_flashed_at` says that the present mode, image and disk are done; `flashed_at` is when the newest flash ended well, of whatever.
    """

    mac: str
    boot_mode: str
    created_at: str
    updated_at: str
    bty_image_ref: str | None = None
    target_disk_serial: str | None = None
    sanboot_drive: str | None = None
    uefi_local_boot: str = LocalBoot.CHAIN
    discovered_at: str | None = None
    last_seen_at: str | None = None
    last_seen_ip: str | None = None
    last_flashed_at: str | None = None
    flashed_at: str | None = None
    known_disks_at: str | None = None
    cycle: str | None = None
    cycle_state: CycleState | None = None
    cycle_attempts: int = 0
    cycle_flashing: bool = False
    last_flash: str | None = None
    flash_error: str | None = None
    labels: tuple[str, ...] = ()

    @property
    def mode(self) -> BootMode | None:
        """Return the boot mode, or None where this version does not know it."""
        return _MODES.get(self.boot_mode)

    @property
    def receipt(self) -> dict[str, Any] | None:
        """Return the newest receipt: what the flasher said, with `at` and where it applies `unverified`."""
        receipt: dict[str, Any] | None = json.loads(self.last_flash) if self.last_flash else None
        return receipt

    @property
    def is_armed(self) -> bool:
        """Tell whether the live environment of the open cycle was fetched and has not finished."""
        return self.cycle_state is CycleState.ARMED

    @property
    def is_completed(self) -> bool:
        """Tell whether the work of the open cycle is done and its disk boot still to come."""
        return self.cycle_state is CycleState.COMPLETED

    @property
    def boot_state(self) -> str:
        """Return in a few words where the machine stands, or nothing where its mode has no cycle."""
        mode = self.mode
        if mode is None or not mode.alternates:
            return ""
        flashes = mode.flashes
        if self.is_completed:
            return "flashed; booting disk" if flashes else "inventoried; booting disk"
        if flashes and self.flash_error is not None:
            return "flash failed"
        if self.is_armed:
            return f"live env running; awaiting {'flash' if flashes else 'inventory'}"
        return {BootMode.FLASH_ALWAYS: "ready to flash", BootMode.FLASH_ONCE: "pending flash"}.get(mode, "pending inventory")


FIELDS = Machine.__struct_fields__
_POLICY = ("boot_mode", "bty_image_ref", "target_disk_serial")
_FRESH: dict[str, Any] = {
    "cycle": None,
    "cycle_state": None,
    "cycle_attempts": 0,
    "cycle_flashing": False,
    "flash_error": None,
    "last_flashed_at": None,
    "known_disks_at": None,
}


def discover(mac: str, *, ip: str, now: str) -> Machine:
    """Return the record of a machine that was never seen: it reports its hardware and is not harmed."""
    return Machine(
        mac=mac, boot_mode=BootMode.INVENTORY, created_at=now, updated_at=now, discovered_at=now, last_seen_at=now, last_seen_ip=ip
    )


def edit(machine: Machine, *, now: str, **changes: Any) -> Machine:
    """Return *machine* with an operator's *changes*.

    A change of mode, image or disk starts everything over: the open cycle, what it completed and what it failed at.
    """
    edited = replace(machine, updated_at=now, **changes)
    if any((getattr(machine, name) or None) != (getattr(edited, name) or None) for name in _POLICY):
        edited = start_over(edited, now=now)
    return edited


def start_over(machine: Machine, *, now: str) -> Machine:
    """Return *machine* as if nothing had been done for its mode, image and disk yet: no cycle, no attempts, no failure."""
    return replace(machine, updated_at=now, **_FRESH)
