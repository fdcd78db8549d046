"""The tables `machines`, `machine_labels` and `machine_hardware`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from bty.model.machine import FIELDS, CycleState, Machine
from bty.store.batch import Commuting, Statement
from bty.store.db import Store

_COLUMNS = tuple(name for name in FIELDS if name != "labels")
_values = attrgetter(*_COLUMNS)
_UPSERT = Commuting(
    f"INSERT INTO machines ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT (mac) DO UPDATE SET "  # noqa: S608 - our names
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "mac")
)
_UPSERT_DISKS = "INSERT INTO machine_hardware (mac, disks) VALUES (?, ?) ON CONFLICT (mac) DO UPDATE SET disks = excluded.disks"
_UPSERT_LSHW = (
    "INSERT INTO machine_hardware (mac, lshw, lshw_at) VALUES (?, ?, ?)"
    " ON CONFLICT (mac) DO UPDATE SET lshw = excluded.lshw, lshw_at = excluded.lshw_at"
)
_LABEL = Commuting("INSERT OR IGNORE INTO machine_labels (mac, label) VALUES (?, ?)")
_HARDWARE = Commuting("INSERT INTO machine_hardware (mac, disks, lshw, lshw_at) VALUES (?, ?, ?, ?)")
_IN = "mac IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a machine last said about itself: JSON as it is stored."""

    disks: str | None = None
    lshw: str | None = None
    lshw_at: str | None = None


_NOTHING_KNOWN = Hardware()


def upsert(machine: Machine) -> Statement:
    """Return the statement that stores *machine* without its labels."""
    return _UPSERT, _values(machine)


def replace_labels(machine: Machine) -> list[Statement]:
    """Return the statements that store the labels of *machine*."""
    insert = "INSERT OR IGNORE INTO machine_labels (mac, label) VALUES (?, ?)"
    return [("DELETE FROM machine_labels WHERE mac = ?", (machine.mac,)), *((insert, (machine.mac, label)) for label in machine.labels)]


def upsert_hardware(mac: str, *, disks: str | None, lshw: str | None, now: str) -> list[Statement]:
    """Return the statements that store what is not None and leave the rest as it was."""
    statements: list[Statement] = []
    if disks is not None:
        statements.append((_UPSERT_DISKS, (mac, disks)))
    if lshw is not None:
        statements.append((_UPSERT_LSHW, (mac, lshw, now)))
    return statements


def restore(machines: Sequence[tuple[Machine, Hardware]]) -> list[Statement]:
    """Return the statements that store machines in the place of those with their MACs: all of them, their labels, their hardware."""
    macs = json.dumps([machine.mac for machine, _ in machines])
    return [
        *(upsert(machine) for machine, _ in machines),
        (f"DELETE FROM machine_labels WHERE {_IN}", (macs,)),  # noqa: S608 - a constant
        (f"DELETE FROM machine_hardware WHERE {_IN}", (macs,)),  # noqa: S608 - a constant
        *((_LABEL, (machine.mac, label)) for machine, _ in machines for label in machine.labels),
        *((_HARDWARE, (machine.mac, known.disks, known.lshw, known.lshw_at)) for machine, known in machines if known != _NOTHING_KNOWN),
    ]


def delete(mac: str) -> Statement:
    """Return the statement that removes a machine, its labels and its hardware."""
    return "DELETE FROM machines WHERE mac = ?", (mac,)


async def load(store: Store, macs: Iterable[str] | None = None) -> dict[str, Machine]:
    """Return all machines by MAC, or those of *macs* that exist."""
    where, params = ("", ()) if macs is None else (" WHERE mac IN (SELECT value FROM json_each(?))", (json.dumps(list(macs)),))
    labels: dict[str, list[str]] = {}
    for row in await store.read(f"SELECT mac, label FROM machine_labels{where} ORDER BY label", params):  # noqa: S608 - constants
        labels.setdefault(row["mac"], []).append(row["label"])
    rows = await store.read(f"SELECT * FROM machines{where} ORDER BY mac", params)  # noqa: S608 - constants
    return {row["mac"]: _machine(row, tuple(labels.get(row["mac"], ()))) for row in rows}


async def read_hardware(store: Store, mac: str) -> Hardware:
    """Return what is known of one machine's hardware."""
    rows = await store.read("SELECT disks, lshw, lshw_at FROM machine_hardware WHERE mac = ?", (mac,))
    return Hardware(**dict(rows[0])) if rows else Hardware()


async def read_hardware_of(store: Store, macs: Iterable[str]) -> dict[str, Hardware]:
    """Return what is known of the hardware of those of *macs* that reported any."""
    sql = "SELECT mac, disks, lshw, lshw_at FROM machine_hardware WHERE mac IN (SELECT value FROM json_each(?))"
    rows = await store.read(sql, (json.dumps(list(macs)),))
    return {row["mac"]: Hardware(disks=row["disks"], lshw=row["lshw"], lshw_at=row["lshw_at"]) for row in rows}


async def read_disks(store: Store) -> dict[str, str]:
    """Return the disks of all machines that reported any, as JSON by MAC."""
    return {row["mac"]: row["disks"] for row in await store.read("SELECT mac, disks FROM machine_hardware WHERE disks IS NOT NULL")}


def _machine(row: sqlite3.Row, labels: tuple[str, ...]) -> Machine:
    values: dict[str, Any] = {name: row[name] for name in _COLUMNS}
    values["cycle_state"] = CycleState(row["cycle_state"]) if row["cycle_state"] in set(CycleState) else None
    values["cycle_flashing"] = bool(row["cycle_flashing"])
    return Machine(**values, labels=labels)
