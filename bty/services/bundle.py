"""The bundle of a backup: one JSON file with what an operator would miss. How it is written, and how one is read again.

Version 4 is our own. The predecessor's version 3 (contract 13.4), which holds nothing but hardware, can be read. No secret is part of
a bundle, and no event, boot file or image.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

import msgspec

from bty import __version__
from bty.errors import BtyError, InvalidBody, InvalidInput
from bty.model.catalog import Entry, has_credentials, parse_digest
from bty.model.image import ImageFormat, image_ref
from bty.model.machine import BootMode, CycleState, LocalBoot, Machine
from bty.services.settings import SettingsChange
from bty.services.text import Drive, Labels, Ref, Short, explain
from bty.store import machines as table
from bty.store.db import Store
from bty.units import parse_mac, utc_now

VERSION = 4
PREDECESSORS = 3
_SLICE = 50  # machines a read: a megabyte each where lshw was thorough
_PROBLEMS_MAX = 20

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]  # no narrower than what a registry may have called an image
Record = TypeVar("Record")


class SavedMachine(msgspec.Struct, kw_only=True):
    """One machine; what comes after `hw_lshw_at` is only in our own bundles. `flash_done`: its one flash is behind it."""

    mac: str
    known_disks: list[dict[str, Any]] | str | None = None
    known_disks_at: Short | None = None
    hw_lshw: dict[str, Any] | list[Any] | str | None = None
    hw_lshw_at: Short | None = None
    boot_mode: BootMode | None = None
    bty_image_ref: Ref | None = None
    target_disk_serial: Short | None = None
    sanboot_drive: Drive | None = None
    uefi_local_boot: LocalBoot = LocalBoot.CHAIN
    labels: Labels = []
    flash_done: bool = False
    created_at: Short | None = None
    discovered_at: Short | None = None
    last_seen_at: Short | None = None
    last_seen_ip: Short | None = None
    last_flashed_at: Short | None = None
    flashed_at: Short | None = None
    last_flash: dict[str, Any] | None = None


class SavedImage(msgspec.Struct, kw_only=True):
    """One image of the catalog, field for field its row."""

    bty_image_ref: Ref
    src: Text
    name: Text
    added_at: Short
    resolved_src: Text | None = None
    disk_image_sha: str | None = None
    sha_url: Text | None = None
    format: ImageFormat | None = None
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    description: Text | None = None
    arch: Short | None = None


class _Version(msgspec.Struct):
    bty_export_version: int


class _Bundle(msgspec.Struct, kw_only=True):
    machines: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=100_000)]
    catalog: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=100_000)] = []
    deleted_images: Annotated[list[Ref], msgspec.Meta(max_length=1_000_000)] = []
    settings: SettingsChange = msgspec.field(default_factory=SettingsChange)
    configuration: dict[Short, str | bool | int | list[str]] = {}


class _Named(msgspec.Struct):
    """What a record that is wrong may still be called by."""

    mac: Any = None
    name: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a bundle is written from: all of it as it is at one moment, but for the hardware, which is read while it is written."""

    machines: Sequence[Machine]
    entries: Sequence[Entry]
    deleted: Iterable[str]
    settings: dict[str, dict[str, Any]]
    configuration: Mapping[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many machines, images and settings there are."""
        return {
            "machines": len(self.machines),
            "images": len(self.entries),
            "settings": sum(len(group) for group in self.settings.values()),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A machine that was to be flashed, and that a restored bundle has waiting instead."""

    mac: str
    boot_mode: str
    bty_image_ref: str | None
    target_disk_serial: str | None

    @classmethod
    def of(cls, machine: Machine) -> Self:
        """Return what is remembered of a machine that is to wait."""
        return cls(
            mac=machine.mac,
            boot_mode=machine.boot_mode,
            bty_image_ref=machine.bty_image_ref,
            target_disk_serial=machine.target_disk_serial,
        )


@dataclass(slots=True, kw_only=True)
class Contents:
    """What is in a bundle, checked. `held` are the machines of `machines` that would write a disk if they were as they were."""

    version: int
    machines: list[tuple[Machine, table.Hardware]] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    settings: SettingsChange = field(default_factory=SettingsChange)
    configuration: dict[str, str | bool | int | list[str]] = field(default_factory=dict)


async def write(store: Store, holding: Holding) -> AsyncIterator[tuple[bytes, int]]:
    """Yield the text of a bundle piece by piece, each with how many machines are in it. Raises `StoreFailed`."""
    head = {
        "bty_export_version": VERSION,
        "exported_at": utc_now(),
        "exported_by_bty_version": __version__,
        "settings": holding.settings,
        "configuration": holding.configuration,
        "deleted_images": sorted(holding.deleted),
    }
    yield msgspec.json.encode(head)[:-1] + b',"catalog":[' + _lines(holding.entries) + b'],"machines":[', 0
    comma = b""
    for start in range(0, len(holding.machines), _SLICE):
        piece = holding.machines[start : start + _SLICE]
        hardware = await table.read_hardware_of(store, [machine.mac for machine in piece])
        yield comma + _lines([_saved(machine, hardware.get(machine.mac, table.Hardware())) for machine in piece]), len(piece)
        comma = b","
    yield b"]}\n", 0


def read(content: bytes, *, arm: bool, now: str) -> Contents:
    """Return what is in a bundle; blocking where it is large.

    A machine that would write a disk at its next boot reports its hardware instead, bound as it was, unless *arm* is set.
    Raises `InvalidBody`, which names every record that is wrong.
    """
    try:
        version = msgspec.json.decode(content, type=_Version).bty_export_version
        if version not in (PREDECESSORS, VERSION):
            raise _wrong([(["bty_export_version"], f"the bundle has version {version}; {PREDECESSORS} and {VERSION} can be read")])
        bundle = msgspec.json.decode(content, type=_Bundle)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong([([], f"not a bundle: {explain(str(error))}")]) from error
    found, problems = Contents(version=version), _Problems()
    found.deleted, found.settings, found.configuration = bundle.deleted_images, bundle.settings, bundle.configuration
    for number, raw in enumerate(bundle.catalog):
        if saved := problems.decode(raw, SavedImage, "catalog", number):
            problems.take(found.entries, lambda saved=saved: _entry(saved), ("catalog", number, f"image {saved.name[:80]!r}"))
    for number, raw in enumerate(bundle.machines):
        if one := problems.decode(raw, SavedMachine, "machines", number):
            problems.take(
                found.machines,
                lambda one=one: _machine(one, arm=arm, now=now, held=found.held),
                ("machines", number, f"machine {one.mac[:32]}"),
            )
    problems.check_unique("machines", [machine.mac for machine, _ in found.machines], "machine")
    problems.check_unique("catalog", [entry.src for entry in found.entries], "image")
    if problems.found:
        raise _wrong(problems.found)
    return found


class _Problems:
    """What is wrong with the records of a bundle, each named."""

    def __init__(self) -> None:
        self.found: list[tuple[list[object], str]] = []

    def decode(self, raw: msgspec.Raw, kind: type[Record], where: str, number: int) -> Record | None:
        """Return the record, or None and note what is wrong with it."""
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._add([where, number], f"{_name(raw, where)}: {explain(str(error))}")
            return None

    def take(self, into: list[Any], make: Any, place: tuple[str, int, str]) -> None:
        """Add what *make* returns to *into*, or note what is wrong with it."""
        where, number, name = place
        try:
            into.append(make())
        except (BtyError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            self._add([where, number], f"{name}: {error}")

    def check_unique(self, where: str, names: list[str], what: str) -> None:
        """Note every name that occurs twice."""
        seen: set[str] = set()
        for number, name in enumerate(names):
            if name in seen:
                self._add([where, number], f"{what} {name[:200]} occurs twice")
            seen.add(name)

    def _add(self, place: list[object], message: str) -> None:
        if len(self.found) < _PROBLEMS_MAX:
            self.found.append((place, message))


def _name(raw: msgspec.Raw, where: str) -> str:
    try:
        named = msgspec.json.decode(raw, type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "a record"
    return f"machine {str(named.mac)[:32]}" if where == "machines" else f"image {str(named.name)[:80]!r}"


def _machine(saved: SavedMachine, *, arm: bool, now: str, held: list[Held]) -> tuple[Machine, table.Hardware]:
    mode = saved.boot_mode or BootMode.INVENTORY
    done = saved.flash_done and mode is BootMode.FLASH_ONCE
    machine = Machine(
        mac=parse_mac(saved.mac),
        boot_mode=mode,
        created_at=_moment(saved.created_at) or now,
        updated_at=now,
        bty_image_ref=saved.bty_image_ref,
        target_disk_serial=saved.target_disk_serial,
        sanboot_drive=saved.sanboot_drive,
        uefi_local_boot=saved.uefi_local_boot,
        discovered_at=_moment(saved.discovered_at),
        last_seen_at=_moment(saved.last_seen_at),
        last_seen_ip=saved.last_seen_ip,
        last_flashed_at=_moment(saved.last_flashed_at),
        flashed_at=_moment(saved.flashed_at or saved.last_flashed_at),
        last_flash=None if saved.last_flash is None else _text(saved.last_flash),
        known_disks_at=saved.known_disks_at,
        cycle_state=CycleState.COMPLETED if done else None,
        labels=tuple(sorted(set(saved.labels))),
    )
    if mode.flashes and not done:
        held.append(Held.of(machine))
        machine = machine if arm else msgspec.structs.replace(machine, boot_mode=BootMode.INVENTORY)
    disks = _text(saved.known_disks)
    if disks is not None:
        msgspec.json.decode(disks, type=list[dict[str, Any]])  # a text may hold anything
    return machine, table.Hardware(disks=disks, lshw=_text(saved.hw_lshw), lshw_at=saved.hw_lshw_at)


def _entry(saved: SavedImage) -> Entry:
    if image_ref(saved.src) != saved.bty_image_ref:
        raise InvalidInput("its ref is not the one that its source gives")
    if any(has_credentials(address) for address in (saved.src, saved.resolved_src or "", saved.sha_url or "")):
        raise InvalidInput("an address of it holds credentials, which everybody who reads the catalog would see")
    sha = parse_digest(saved.disk_image_sha) if saved.disk_image_sha else None
    return Entry(**msgspec.structs.asdict(saved) | {"disk_image_sha": sha, "added_at": _moment(saved.added_at)})


def _saved(machine: Machine, hardware: table.Hardware) -> dict[str, Any]:
    return {
        "mac": machine.mac,
        "known_disks": _raw(hardware.disks),
        "known_disks_at": machine.known_disks_at,
        "hw_lshw": _raw(hardware.lshw),
        "hw_lshw_at": hardware.lshw_at,
        "boot_mode": machine.boot_mode if machine.mode else None,
        "bty_image_ref": machine.bty_image_ref,
        "target_disk_serial": machine.target_disk_serial,
        "sanboot_drive": machine.sanboot_drive,
        "uefi_local_boot": machine.uefi_local_boot,
        "labels": machine.labels,
        "flash_done": machine.mode is BootMode.FLASH_ONCE and machine.is_completed,
        "created_at": machine.created_at,
        "discovered_at": machine.discovered_at,
        "last_seen_at": machine.last_seen_at,
        "last_seen_ip": machine.last_seen_ip,
        "last_flashed_at": machine.last_flashed_at,
        "flashed_at": machine.flashed_at,
        "last_flash": _raw(machine.last_flash),
    }


def _lines(records: Sequence[Any]) -> bytes:
    """Return JSON values, each on a line of its own, as the inside of an array."""
    return b"".join((b",\n" if number else b"\n") + msgspec.json.encode(record) for number, record in enumerate(records))


def _moment(text: str | None) -> str | None:
    """Return a time as it was written. Raises `ValueError` where it is none: it is sorted and reckoned with."""
    if text is not None and datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone")
    return text


def _text(value: Any) -> str | None:
    """Return JSON as it is stored; the predecessor sometimes wrote it as a text within."""
    said = msgspec.json.decode(value) if isinstance(value, str) else value
    return None if said is None else msgspec.json.encode(said, order="sorted").decode()


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())


def _wrong(problems: list[tuple[list[object], str]]) -> InvalidBody:
    return InvalidBody([{"loc": ["body", *place], "msg": message, "type": "value_error"} for place, message in problems])
