"""The fleet: every machine in memory, what the network boot asks of it, and the cycle that follows.

A request decides on memory, changes it and queues the write without waiting in between; then it waits for the commit.
So two requests never decide on the same state, and what was answered is durable. Where a commit fails, the machines
that it would have changed are read again from the database.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from msgspec.structs import replace

from bty.errors import Conflict, NotFound, StoreFailed
from bty.model import cycle
from bty.model.boot import Offer, PlanChoice, choose_plan, decide
from bty.model.catalog import Entry
from bty.model.cycle import Claim
from bty.model.event import Actor, Event, Kind, Subject
from bty.model.machine import BootMode, Machine, discover
from bty.model.plan import Location, Plan, PlanMode
from bty.services.events import Events, build
from bty.services.live import Live, Progress
from bty.store import machines as table
from bty.store.db import Statement, Store
from bty.units import plural, utc_now

FindEntry = Callable[[str], Entry | None]
Locate = Callable[[Entry, str], Awaitable[Location]]


async def locate_at_origin(entry: Entry, base_url: str) -> Location:
    """Return the location of an image where there is no cache: its source."""
    return Location(image=entry.src, sha=entry.disk_image_sha)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator's configuration says about flashing."""

    max_attempts: int = 3
    verify: bool = False
    require_cycle_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The hardware that a machine reports, checked and packed as it is stored."""

    disks: str
    serials: tuple[str, ...]
    count: int
    lshw: str | None = None
    lshw_too_large: bool = False


class Fleet:
    """All machines."""

    def __init__(
        self,
        store: Store,
        events: Events,
        machines: dict[str, Machine],
        *,
        entry: FindEntry,
        locate: Locate = locate_at_origin,
        rules: Rules,
    ) -> None:
        self.live = Live()
        self._store = store
        self._events = events
        self._machines = machines
        self._entry = entry
        self._locate = locate
        self.rules = rules
        self._mismatched: dict[str, str] = {}
        self.on_change: Callable[[Sequence[str]], None] = _ignore

    @classmethod
    async def load(
        cls, store: Store, events: Events, *, entry: FindEntry, locate: Locate = locate_at_origin, rules: Rules | None = None
    ) -> Self:
        """Read all machines. *entry* finds a catalog entry by its ref, *locate* tells where its bytes lie. Raises `StoreFailed`."""
        return cls(store, events, await table.load(store), entry=entry, locate=locate, rules=rules or Rules())

    # --- the operator's side: look up, then `save` without awaiting in between ---------------------------------------

    def find(self, mac: str) -> Machine | None:
        """Return the machine with this MAC, if there is one."""
        return self._machines.get(mac)

    def get(self, mac: str) -> Machine:
        """Return the machine with this MAC. Raises `NotFound`."""
        machine = self._machines.get(mac)
        if machine is None:
            raise NotFound(f"no machine record for {mac}")
        return machine

    def machines(self) -> list[Machine]:
        """Return all machines, by MAC."""
        return [self._machines[mac] for mac in sorted(self._machines)]

    def bound_entry(self, machine: Machine) -> Entry | None:
        """Return the image that *machine* is bound to, if it is in the catalog."""
        return self._entry(machine.bty_image_ref) if machine.bty_image_ref else None

    async def save(self, machines: Iterable[Machine], *events: Event, more: Sequence[Statement] = ()) -> None:
        """Store machines, with their labels, then *more*, and record *events*, as one unit. Raises `StoreFailed`."""
        changed = list(machines)
        statements: list[Statement] = []
        for machine in changed:
            statements.append(table.upsert(machine))
            before = self._machines.get(machine.mac)
            if before is None or before.labels != machine.labels:
                statements += table.replace_labels(machine)
        await self._commit(changed, *events, statements=[*statements, *more])

    async def restore(self, machines: Sequence[Machine], event: Event, statements: list[Statement]) -> None:
        """Take over machines that *statements* store, with the event, as one unit. Raises `StoreFailed` where nothing was changed."""
        await self._commit(machines, event, statements=statements)

    async def remove(self, macs: Sequence[str], *events: Event) -> None:
        """Delete machines and record *events*, as one unit. Raises `NotFound` before anything happened, or `StoreFailed`."""
        for mac in macs:
            self.get(mac)
        for mac in macs:
            del self._machines[mac]
            self.live.forget(mac)
            self._mismatched.pop(mac, None)
        try:
            await self._events.commit([table.delete(mac) for mac in macs], *events)
        except StoreFailed:
            await self._reload(macs)
            raise
        self.on_change(macs)

    # --- the machine's side ------------------------------------------------------------------------------------------

    async def contact(self, mac: str, *, ip: str) -> tuple[Machine, Offer]:
        """Return what a machine that asks for its script gets; an unknown one is recorded first. Raises `StoreFailed`."""
        machine, events = self._seen(mac, ip)
        offer = decide(machine, self.bound_entry(machine))
        machine = cycle.serve(machine, offer.step, token=secrets.token_urlsafe(24))
        details = {"boot_mode": machine.boot_mode, "offer": offer.offer, **offer.details, "offer_kind": offer.kind}
        events.append(_event(Kind.PXE_OFFERED, f"offered {offer.kind} to {mac}", mac, ip=ip, details=details))
        self.live.end_progress(mac)
        await self._store_machine(machine, *events)
        return machine, offer

    async def arm(self, mac: str, *, ip: str) -> None:
        """Note that a machine fetches its live environment; an unknown one is left alone. Raises `StoreFailed`."""
        machine = self._machines.get(mac)
        if machine is None:
            return
        armed = cycle.arm(replace(machine, last_seen_at=utc_now(), last_seen_ip=ip), token=secrets.token_urlsafe(24))
        events = []
        if armed.is_armed and not machine.is_armed:
            armed = replace(armed, updated_at=utc_now())
            events.append(_event(Kind.FLASHER_ARMED, f"{mac} fetches the live environment", mac))
        await self._store_machine(armed, *events)

    async def plan(self, mac: str, *, ip: str, base_url: str) -> Plan:
        """Return what the live environment of a machine is to do. Raises `StoreFailed`, or what locating the image raises."""
        where = f"{base_url}/catalog.toml"
        located: tuple[str, Location] | None = None
        while True:  # the only wait before the decision: where the image lies. What changed meanwhile is looked at again
            machine, events = self._seen(mac, ip)
            entry = self.bound_entry(machine)
            choice = choose_plan(machine, entry, catalog_url=where, max_attempts=self.rules.max_attempts)
            if choice.plan.mode is not PlanMode.FLASH or entry is None or (located and located[0] == entry.bty_image_ref):
                break
            located = (entry.bty_image_ref, await self._locate(entry, base_url))
        if choice.plan.mode is PlanMode.FLASH:
            machine = cycle.plan_flash(machine, token=secrets.token_urlsafe(24))
        plan = self._complete_plan(choice, machine, located[1] if located else None)
        details: dict[str, Any] = {"plan": plan.mode.value, "boot_mode": machine.boot_mode, "offer_kind": choice.kind}
        if plan.reason:
            details["reason"] = plan.reason
        if plan.mode is PlanMode.FLASH and located and located[1].decision:
            details["withcache"] = located[1].decision
        events.append(_event(Kind.PXE_PLAN, f"planned {plan.mode} for {mac}", mac, ip=ip, details=details))
        await self._store_machine(machine, *events)
        return plan

    async def done(self, mac: str, *, ip: str, receipt: dict[str, Any], token: str | None) -> None:
        """Take the receipt of a flash; one with `error` is a failed attempt. A repeated one is taken and changes nothing.

        Raises `NotFound`, `Conflict` where the token is not that of the cycle, `StoreFailed`.
        """
        machine = await self._known(mac, ip, {"signal": "done"})
        claim = await self._check(machine, token, signal="done", ip=ip)
        self.live.end_progress(mac)
        if _is_repeat(machine, receipt):
            return await self._confirm(mac, receipt)
        now = utc_now()
        unverified = {"unverified": True} if claim is Claim.UNVERIFIED else {}
        newest = json.dumps({**receipt, **unverified, "at": now}, separators=(",", ":"), sort_keys=True)
        machine = replace(machine, last_seen_at=now, last_seen_ip=ip, updated_at=now, last_flash=newest)
        error = receipt.get("error")
        if error:
            machine = replace(cycle.fail(machine), flash_error=error)
            kind, summary = Kind.MACHINE_FLASH_FAILED, f"flashing {mac} failed: {error}"
        else:
            flashed = cycle.complete(machine, claim, by_flash=True)
            machine = replace(flashed, last_flashed_at=now, flashed_at=now, cycle_attempts=0, cycle_flashing=False, flash_error=None)
            kind, summary = Kind.MACHINE_FLASHED, f"{mac} was flashed{_of_what(receipt)}"
        await self._store_machine(machine, _event(kind, summary, mac, ip=ip, details={**receipt, **unverified} or None))
        return None

    async def inventory(self, mac: str, *, ip: str, report: Report, token: str | None) -> None:
        """Take a machine's report of its hardware. Raises `NotFound`, `Conflict` (see `done`), `StoreFailed`."""
        machine = await self._known(mac, ip, {"signal": "inventory", "disk_count": report.count})
        claim = await self._check(machine, token, signal="inventory", ip=ip)
        now = utc_now()
        machine = replace(machine, last_seen_at=now, last_seen_ip=ip, updated_at=now, known_disks_at=now)
        machine = cycle.complete(machine, claim, by_flash=False)
        details: dict[str, Any] = {"count": report.count, "serials": list(report.serials), "lshw": report.lshw is not None}
        if claim is Claim.UNVERIFIED:
            details["unverified"] = True
        skipped = "; its lshw report was too large and is not kept" if report.lshw_too_large else ""
        event = _event(Kind.MACHINE_INVENTORY, f"{mac} reported {plural(report.count, 'disk')}{skipped}", mac, ip=ip, details=details)
        hardware = table.upsert_hardware(mac, disks=report.disks, lshw=report.lshw, now=now)
        await self._commit([machine], event, statements=[table.upsert(machine), *hardware])

    async def progress(self, mac: str, *, ip: str, progress: Progress, token: str | None) -> None:
        """Take word of how far a flash has come; one that comes after the end is dropped. Raises `NotFound`, `Conflict` (see `done`)."""
        machine = self.get(mac)
        await self._check(machine, token, signal="progress", ip=ip)
        if machine.is_completed and machine.mode is not BootMode.TUI:  # in the wizard one flash may follow another
            return
        self.live.set_progress(mac, progress)
        self._events.announce(_event(Kind.MACHINE_PROGRESS, f"{mac}: {progress.stage}", mac, ip=ip, details=progress.to_json()))

    async def log(self, mac: str, *, ip: str, lines: Iterable[str], token: str | None) -> None:
        """Take lines of a live environment's log. Raises `NotFound`, `Conflict` (see `done`)."""
        await self._check(self.get(mac), token, signal="log", ip=ip)
        self.live.add_log(mac, lines)

    async def admit(self, mac: str, *, ip: str, token: str | None, what: str) -> None:
        """Record that the live environment of an open cycle is told who may log in. Raises `NotFound`, `Conflict`, `StoreFailed`."""
        machine = self.get(mac)
        await self._check(machine, token or "", signal="ssh", ip=ip)
        if cycle.open_token(machine) is None:
            raise Conflict(f"the cycle of {mac} is over: nothing is handed out any more")
        await self._events.commit([], _event(Kind.MACHINE_SSH, f"{mac} may be logged in to by ssh: {what}", mac, ip=ip))

    # --- within -------------------------------------------------------------------------------------------------------

    def _seen(self, mac: str, ip: str) -> tuple[Machine, list[Event]]:
        """Return the machine as this contact leaves it, and the event of its discovery where it is new. Changes nothing."""
        now = utc_now()
        machine = self._machines.get(mac)
        if machine is not None:
            return replace(machine, last_seen_at=now, last_seen_ip=ip, updated_at=now, discovered_at=machine.discovered_at or now), []
        machine = discover(mac, ip=ip, now=now)
        details: dict[str, Any] = {
            "bty_image_ref": None,
            "boot_mode": machine.boot_mode,
            "sanboot_drive": None,
            "labels": [],
            "target_disk_serial": None,
        }
        return machine, [_event(Kind.MACHINE_DISCOVERED, f"{mac} was seen for the first time", mac, ip=ip, details=details)]

    def _complete_plan(self, choice: PlanChoice, machine: Machine, location: Location | None) -> Plan:
        token = cycle.open_token(machine)
        if choice.plan.mode is not PlanMode.FLASH or location is None:
            return dataclasses.replace(choice.plan, cycle=token)
        return dataclasses.replace(
            choice.plan, cycle=token, image=location.image, origin=location.origin, disk_image_sha=location.sha, verify=self.rules.verify
        )

    async def _known(self, mac: str, ip: str, details: dict[str, Any]) -> Machine:
        machine = self._machines.get(mac)
        if machine is None:
            await self._events.commit(
                [], _event(Kind.ORPHAN, f"{mac} sent {details['signal']} but has no record", mac, ip=ip, details=details)
            )
            raise NotFound(f"no machine record for {mac}")
        return machine

    async def _check(self, machine: Machine, token: str | None, *, signal: str, ip: str) -> Claim:
        """Return what the token is worth. A wrong one is recorded, though one that is sent over and over only once."""
        claim = cycle.check(machine, token)
        if claim is Claim.UNVERIFIED and self.rules.require_cycle_token:
            raise Conflict(f"{signal} of {machine.mac} needs the token of its cycle", hint="[security] require_cycle_token is on")
        if claim is Claim.WRONG and token is not None:
            if self._mismatched.get(machine.mac) != token:
                self._mismatched[machine.mac] = token
                summary = f"{machine.mac} sent {signal} with a token that is not of its open cycle"
                await self._events.commit([], _event(Kind.MACHINE_CYCLE_MISMATCH, summary, machine.mac, ip=ip, details={"signal": signal}))
            raise Conflict(f"the cycle token of this {signal} is not that of the open cycle of {machine.mac}")
        return claim

    async def _confirm(self, mac: str, receipt: dict[str, Any]) -> None:
        """Return once the first of a repeated receipt is durable. Raises `StoreFailed` where it could not be stored."""
        await self._store.write()
        stored = (await table.load(self._store, [mac])).get(mac)
        if stored is None or not _is_repeat(stored, receipt):
            raise StoreFailed(f"the receipt of {mac} could not be stored", hint="send it again")

    async def _store_machine(self, machine: Machine, *events: Event) -> None:
        await self._commit([machine], *events, statements=[table.upsert(machine)])

    async def _commit(self, machines: Sequence[Machine], *events: Event, statements: list[Statement]) -> None:
        for machine in machines:
            self._machines[machine.mac] = machine
        try:
            await self._events.commit(statements, *events)
        except StoreFailed:
            await self._reload([machine.mac for machine in machines])
            raise
        self.on_change([machine.mac for machine in machines])

    async def _reload(self, macs: Sequence[str]) -> None:
        """Take machines from the database again, but those that a later request has changed: its own commit decides on them."""
        await self._store.write()
        before = {mac: self._machines.get(mac) for mac in macs}
        stored = await table.load(self._store, macs)
        for mac in macs:
            if self._machines.get(mac) is not before[mac]:
                continue
            if mac in stored:
                self._machines[mac] = stored[mac]
            else:
                self._machines.pop(mac, None)


def _ignore(macs: Sequence[str]) -> None:
    """Nobody listens."""


def _is_repeat(machine: Machine, receipt: dict[str, Any]) -> bool:
    """Tell whether *receipt* is one that was taken already and whose answer got lost: no plan went out since, and nothing differs."""
    newest = machine.receipt
    if machine.cycle_flashing or newest is None:
        return False
    if receipt.get("error"):
        return receipt == {key: value for key, value in newest.items() if key not in ("at", "unverified")}
    # The predecessor's flasher says nothing of its flash, or less than the whole.
    return machine.is_completed and not newest.get("error") and all(newest.get(key) == value for key, value in receipt.items())


def _of_what(receipt: dict[str, Any]) -> str:
    name, target = receipt.get("name") or receipt.get("source"), receipt.get("target_path")
    return (f" with {name}" if name else "") + (f" on {target}" if target else "")


def _event(kind: Kind, summary: str, mac: str, *, ip: str | None = None, details: dict[str, Any] | None = None) -> Event:
    return build(kind, summary, subject=(Subject.MACHINE, mac), actor=Actor.PXE_CLIENT, source_ip=ip, details=details)
