"""What an operator does with machines: look at them, bind them, delete them, one or many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bty.errors import Conflict, InvalidBody, NotFound
from bty.model.event import Actor, Event, Kind, Subject
from bty.model.machine import BootMode, LocalBoot, Machine, edit, start_over
from bty.services.events import build
from bty.services.fleet import Fleet
from bty.services.live import Progress, Tail
from bty.store import machine_lists
from bty.store import machines as table
from bty.store.db import Store
from bty.store.machine_lists import Filter, Query, Sort
from bty.units import utc_now

__all__ = ["Filter", "MachineView", "Machines", "Page", "Query", "Sort"]

_PROBLEMS_MAX = 50  # machines that an answer names: more than a person reads
_SLICE = 250  # machines between two looks at the rest of the world: a few milliseconds

# The operator's fields and what each is where nobody said anything.
DEFAULTS: Mapping[str, Any] = {
    "boot_mode": BootMode.IPXE_EXIT,
    "bty_image_ref": None,
    "labels": (),
    "sanboot_drive": None,
    "target_disk_serial": None,
    "uefi_local_boot": LocalBoot.CHAIN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineView:
    """A machine with what is not part of its row. `known_disks` is JSON as it was stored."""

    machine: Machine
    known_disks: str | None
    progress: Progress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of machines, and how many there are on all pages."""

    items: list[MachineView]
    total: int


class Machines:
    """The operator's side of the fleet."""

    def __init__(self, store: Store, fleet: Fleet) -> None:
        self._store = store
        self._fleet = fleet

    async def list_all(self) -> list[MachineView]:
        """Return every machine, by MAC."""
        disks = await table.read_disks(self._store)
        return [self._view(machine, disks) for machine in self._fleet.machines()]

    async def list_page(self, query: Query) -> Page:
        """Return one page of machines."""
        query = replace(query, flashing=self._fleet.live.flashing())
        macs, total = await machine_lists.list_macs(self._store, query)
        return Page(items=await self.views(macs), total=total)

    async def get(self, mac: str) -> MachineView:
        """Return one machine. Raises `NotFound`."""
        machine = self._fleet.get(mac)
        return self._view(machine, await machine_lists.read_disks_of(self._store, [mac]))

    async def views(self, macs: Sequence[str]) -> list[MachineView]:
        """Return those of *macs* that there are. Raises `StoreFailed`."""
        disks = await machine_lists.read_disks_of(self._store, macs)
        return [self._view(machine, disks) for mac in macs if (machine := self._fleet.find(mac))]

    async def hardware(self, mac: str) -> table.Hardware:
        """Return what a machine last said about its hardware. Raises `NotFound`."""
        self._fleet.get(mac)
        return await table.read_hardware(self._store, mac)

    def log(self, mac: str, after: int | None) -> Tail:
        """Return the last lines of a machine's live environment, or those that came *after* the one of that number. Raises `NotFound`."""
        self._fleet.get(mac)
        return self._fleet.live.log(mac, after)

    async def put(self, mac: str, fields: Mapping[str, Any], *, ip: str, only_new: bool = False) -> MachineView:
        """Replace all of the operator's fields; what *fields* leaves out gets its default. The machine is made where there is none.

        Raises `Conflict` where there is one and *only_new*, `StoreFailed`.
        """
        before = self._fleet.find(mac)
        if before and only_new:
            raise Conflict(f"there is a machine {mac} already")
        now = utc_now()
        wanted = {**DEFAULTS, **_normal(fields)}
        machine = edit(before, now=now, **wanted) if before else Machine(mac=mac, created_at=now, updated_at=now, **wanted)
        await self._fleet.save([machine], _event(Kind.MACHINE_UPSERTED if before else Kind.MACHINE_CREATED, machine, ip))
        return await self.get(mac)

    async def change(self, mac: str, fields: Mapping[str, Any], *, ip: str) -> MachineView:
        """Change only what *fields* names. Raises `NotFound`, `StoreFailed`."""
        await self._change({self._fleet.get(mac).mac: _normal(fields)}, ip)
        return await self.get(mac)

    async def change_many(
        self,
        fields: Mapping[str, Any],
        *,
        macs: Sequence[str] = (),
        label: str | None = None,
        each: Mapping[str, Mapping[str, Any]] | None = None,
        ip: str,
    ) -> list[str]:
        """Change what *fields* names on the machines *macs* and on those with *label*, and what *each* has by MAC on each; all or none.

        Returns the MACs of those that were changed. Raises `NotFound` where a MAC is unknown, `InvalidBody` that names the machines
        without the disk that *each* has for them, `StoreFailed`.
        """
        each = each or {}
        wanted = dict.fromkeys(self._choose(macs, label), _normal(fields))
        wanted.update({mac: {**wanted.get(mac, {}), **_normal(each[mac])} for mac in self._choose([*each], None)})
        await self._check_disks({mac: own["target_disk_serial"] for mac, own in each.items() if own.get("target_disk_serial")})
        return await self._change(wanted, ip)

    async def reset(self, mac: str, *, ip: str) -> MachineView:
        """Start a machine's work over: what it did, and what it failed at, no longer counts. Raises `NotFound`, `StoreFailed`."""
        await self.reset_many(macs=[mac], ip=ip)
        return await self.get(mac)

    async def reset_many(self, *, macs: Sequence[str] = (), label: str | None = None, ip: str) -> list[str]:
        """Start the work of the machines *macs* and of those with *label* over, all or none; return their MACs. Raises as `reset`."""

        def prepare(machine: Machine) -> tuple[Machine, Event]:
            summary = f"{machine.mac} starts over: its next boot does what its mode says"
            return start_over(machine, now=utc_now()), _done(Kind.MACHINE_RESET, machine.mac, summary, ip)

        return await self._save_each(self._choose(macs, label), prepare)

    async def delete(self, mac: str, *, ip: str) -> None:
        """Forget a machine. Raises `NotFound`, `StoreFailed`."""
        await self.delete_many(macs=[mac], ip=ip)

    async def delete_many(self, *, macs: Sequence[str] = (), label: str | None = None, ip: str) -> list[str]:
        """Forget the machines *macs* and those with *label*, all or none; return their MACs. Raises as `delete`."""
        chosen = self._choose(macs, label)
        events: list[Event] = []
        for start in range(0, len(chosen), _SLICE):
            events += [_done(Kind.MACHINE_DELETED, mac, f"{mac} was deleted", ip) for mac in chosen[start : start + _SLICE]]
            await asyncio.sleep(0)
        await self._fleet.remove(chosen, *events)
        return chosen

    def _choose(self, macs: Sequence[str], label: str | None) -> list[str]:
        """Return *macs* and those of the machines with *label*, each once. Raises `NotFound`."""
        labelled = [] if label is None else [machine.mac for machine in self._fleet.machines() if label in machine.labels]
        chosen = list(dict.fromkeys([*macs, *labelled]))
        unknown = [mac for mac in chosen if self._fleet.find(mac) is None]
        if unknown:
            raise NotFound(f"no machine record for {', '.join(unknown[:10])}{' and others' if len(unknown) > 10 else ''}")
        return chosen

    async def _check_disks(self, serials: Mapping[str, str]) -> None:
        """Raise `InvalidBody` where a machine, by its own report, does not have the disk with the serial that is meant for it."""
        if not serials:
            return
        reported = await machine_lists.read_disks_of(self._store, serials)
        problems = await asyncio.to_thread(_missing_disks, serials, reported)
        if problems:
            raise InvalidBody(problems)

    async def _change(self, wanted: Mapping[str, Mapping[str, Any]], ip: str) -> list[str]:
        """Change machines, by MAC what is wanted of each, as one unit and return the MACs of those that were changed."""

        def prepare(machine: Machine) -> tuple[Machine, Event]:
            edited = edit(machine, now=utc_now(), **wanted[machine.mac])
            return edited, _event(Kind.MACHINE_UPSERTED, edited, ip)

        return await self._save_each([mac for mac, fields in wanted.items() if fields], prepare)

    async def _save_each(self, macs: Sequence[str], prepare: Callable[[Machine], tuple[Machine, Event]]) -> list[str]:
        """Store what *prepare* makes of each machine, as one unit, and return the MACs of those that are still there."""
        machines = [machine for mac in macs if (machine := self._fleet.find(mac))]
        prepared: dict[str, tuple[Machine, Event]] = {}
        for start in range(0, len(machines), _SLICE):
            prepared.update((machine.mac, prepare(machine)) for machine in machines[start : start + _SLICE])
            await asyncio.sleep(0)  # ten thousand at once would hold up everybody else
        # From here to the queue nobody waits: what changed or went meanwhile is looked at again.
        for machine in machines:
            current = self._fleet.find(machine.mac)
            if current is None:
                del prepared[machine.mac]
            elif current is not machine:
                prepared[machine.mac] = prepare(current)
        if prepared:
            edited, events = zip(*prepared.values(), strict=True)
            await self._fleet.save(edited, *events)
        return list(prepared)

    def _view(self, machine: Machine, disks: Mapping[str, str]) -> MachineView:
        return MachineView(machine=machine, known_disks=disks.get(machine.mac), progress=self._fleet.live.progress(machine.mac))


def _missing_disks(serials: Mapping[str, str], reported: Mapping[str, str]) -> list[dict[str, object]]:
    """Return a problem for each machine whose report, JSON by MAC, does not have exactly one disk with its serial."""
    problems: list[dict[str, object]] = []
    for mac, text in reported.items():
        count = [disk.get("serial") for disk in json.loads(text)].count(serials[mac])
        if count != 1:
            what = f"{mac} reports {count or 'no'} disk{'s' * (count > 1)} with serial {serials[mac]}"
            problems.append({"loc": ["body", "each", mac, "target_disk_serial"], "msg": what, "type": "no_such_disk"})
    if len(problems) > _PROBLEMS_MAX:
        more = f"and so do {len(problems) - _PROBLEMS_MAX} machines more"
        problems = [*problems[:_PROBLEMS_MAX], {"loc": ["body", "each"], "msg": more, "type": "no_such_disk"}]
    return problems


def _normal(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return *fields* as they are stored: labels in order and once, an empty text as none."""
    wanted = {name: value or DEFAULTS[name] for name, value in fields.items()}
    if labels := wanted.get("labels"):
        wanted["labels"] = tuple(sorted(set(labels)))
    return wanted


def _done(kind: Kind, mac: str, summary: str, ip: str, details: dict[str, Any] | None = None) -> Event:
    return build(kind, summary, subject=(Subject.MACHINE, mac), actor=Actor.OPERATOR, source_ip=ip, details=details)


def _event(kind: Kind, machine: Machine, ip: str) -> Event:
    details = {name: getattr(machine, name) for name in DEFAULTS} | {"labels": list(machine.labels)}
    verb = "created" if kind is Kind.MACHINE_CREATED else "changed"
    return _done(kind, machine.mac, f"{machine.mac} was {verb}: {machine.boot_mode}", ip, details)
