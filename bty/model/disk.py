"""A disk as the machine knows it, and why it is refused. Pure: `host.disks` reads the facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bty.errors import DiskRefused, NoSuchDisk
from bty.units import format_bytes

_LISTED = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk. `in_use` are reasons, each a sentence part: `mounted at /boot`, `held by md0`."""

    path: str
    size_bytes: int
    device: str = ""  # major:minor, the kernel's own name
    logical_sector_bytes: int = 512
    serial: str | None = None
    wwn: str | None = None
    vendor: str | None = None
    model: str | None = None
    tran: str | None = None
    removable: bool = False
    readonly: bool = False
    by_id: tuple[str, ...] = ()
    in_use: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return what a person needs to recognise the disk: path, size, model, serial."""
        words = [
            self.path,
            format_bytes(self.size_bytes),
            self.model or self.vendor or "",
            f"serial {self.serial}" if self.serial else "no serial",
        ]
        return ", ".join(word for word in words if word)

    def to_json(self) -> dict[str, Any]:
        """Return the wire form of an inventory: the predecessor's keys, and ours behind them.

        Cut to what the daemon takes (contract 1.1), since one odd disk must not cost the whole report.
        """
        return {
            "path": self.path[:255],
            "size": format_bytes(self.size_bytes),
            "vendor": self.vendor and self.vendor[:64],
            "model": self.model and self.model[:128],
            "serial": self.serial and self.serial[:128],
            "tran": self.tran and self.tran[:32],
            "removable": self.removable,
            "readonly": self.readonly,
            "size_bytes": self.size_bytes,
            "logical_sector_bytes": self.logical_sector_bytes,
            "wwn": self.wwn and self.wwn[:128],
            "by_id": list(self.by_id[:_LISTED]),
            "in_use": list(self.in_use[:_LISTED]),
        }


def refusals(disk: Disk, disks: tuple[Disk, ...]) -> list[str]:
    """Return every reason why *disk*, one of *disks*, must not be written. Empty means that it may."""
    reasons = list(disk.in_use)
    if disk.readonly:
        reasons.append("read-only")
    if disk.size_bytes == 0:
        reasons.append("no medium")
    twins = [other.path for other in disks if disk.serial and other.serial == disk.serial and other.path != disk.path]
    if twins:
        reasons.append(f"same serial as {', '.join(twins)}")
    return reasons


def find_by_serial(serial: str, disks: tuple[Disk, ...]) -> Disk:
    """Return the one disk whose serial is *serial*, to the letter but for surrounding blanks.

    Raises `NoSuchDisk` where none has it, and `DiskRefused` where several have.
    """
    wanted = serial.strip()
    found = [disk for disk in disks if wanted and disk.serial == wanted]
    if not found:
        there = ", ".join(disk.describe() for disk in disks) or "none"
        raise NoSuchDisk(f"no disk has the serial {wanted!r}; disks here: {there}")
    if len(found) > 1:
        raise DiskRefused(
            f"{len(found)} disks have the serial {wanted!r}: {', '.join(disk.path for disk in found)}", hint="unplug one, or flash by path"
        )
    return found[0]
