"""Whatever order contacts, fetches, plans, receipts, edits and restarts come in, a half-written disk is never booted."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bty.errors import Conflict
from bty.model.boot import Script
from bty.model.catalog import Entry
from bty.model.machine import BootMode, Machine, edit
from bty.model.plan import PlanMode
from bty.services.events import Events
from bty.services.fleet import Fleet, Report
from bty.store import events as event_table
from bty.store import machines as machine_table
from bty.store.db import Store
from bty.units import utc_now

REF = "a" * 64
ENTRIES = {REF: Entry(bty_image_ref=REF, src="http://images.example/d.img", name="debian", added_at="")}
STEPS = st.sampled_from(
    [
        "contact",
        "contact",
        "contact",
        "fetch",
        "plan",
        "done",
        "done-again",
        "done-untokened",
        "done-stale",
        "failed",
        "inventory",
        "edit",
        "restart",
    ]
)


class Walk:
    """One machine on its way, and what an onlooker knows about it."""

    def __init__(self, store: Store, mac: str, mode: BootMode) -> None:
        self.store, self.mac, self.mode = store, mac, mode
        self.events = Events(store)
        self.token: str | None = None  # what the newest plan said
        self.stale = "of-another-cycle"
        self.flashed = False  # a success was acknowledged since the newest chain
        self.number = 0
        self.successes = 0
        self.serial = 0

    async def begin(self) -> None:
        await self.restart()
        now = utc_now()
        machine = Machine(mac=self.mac, boot_mode=self.mode, bty_image_ref=REF, target_disk_serial="S0", created_at=now, updated_at=now)
        await self.fleet.save([machine])

    async def restart(self) -> None:
        self.fleet = await Fleet.load(self.store, self.events, entry=ENTRIES.get)

    async def contact(self) -> None:
        before = self.fleet.get(self.mac).cycle
        _, offer = await self.fleet.contact(self.mac, ip="")
        if offer.script is Script.LOCAL_DISK:
            assert self.flashed, "a disk was booted that nobody had flashed"
            if self.mode is BootMode.FLASH_ALWAYS:
                self.flashed = False
        else:
            assert offer.script is Script.FLASH
            assert not self.flashed, "a flashed disk is flashed again before it was booted"
            if before and before != self.fleet.get(self.mac).cycle:
                self.stale = before

    async def fetch(self) -> None:
        await self.fleet.arm(self.mac, ip="")

    async def plan(self) -> None:
        plan = await self.fleet.plan(self.mac, ip="", base_url="http://h")
        self.token = plan.cycle
        assert plan.mode is not PlanMode.FLASH or plan.attempt in (1, 2, 3)

    async def _post(self, token: str | None, *, error: str | None = None, again: bool = False) -> None:
        machine = self.fleet.get(self.mac)
        self.number += 0 if again else 1
        receipt = {"target_path": f"/dev/{self.number}"} | ({"error": error} if error else {})
        try:
            await self.fleet.done(self.mac, ip="", receipt=receipt, token=token)
        except Conflict:
            assert token is not None
            assert token != machine.cycle
            return
        if error is None:
            self.flashed = self.flashed or token is not None or machine.is_armed

    async def done(self) -> None:
        if self.token:
            await self._post(self.token)

    async def done_again(self) -> None:
        if self.token:
            await self._post(self.token, again=True)

    async def done_untokened(self) -> None:
        await self._post(None)

    async def done_stale(self) -> None:
        flashed = self.flashed
        if self.stale != self.fleet.get(self.mac).cycle:
            await self._post(self.stale)
            assert self.flashed == flashed

    async def failed(self) -> None:
        await self._post(self.token, error="broken")

    async def inventory(self) -> None:
        await self.fleet.inventory(self.mac, ip="", report=Report(disks="[]", serials=(), count=0), token=None)

    async def edit(self) -> None:
        self.serial += 1
        machine = self.fleet.get(self.mac)
        self.stale = machine.cycle or self.stale
        await self.fleet.save([edit(machine, now=utc_now(), target_disk_serial=f"S{self.serial}")])
        self.flashed, self.token = False, None

    async def step(self, name: str) -> None:
        await getattr(self, name.replace("-", "_"))()
        stored = await machine_table.load(self.store, [self.mac])
        assert stored[self.mac] == self.fleet.get(self.mac), "memory and database differ"


def test_any_order(tmp_path: Path) -> None:
    """No order of events boots a disk that was not flashed in its cycle, or leaves memory and database apart."""
    numbers = count(1)
    with asyncio.Runner() as runner:
        store = runner.run(Store.open(tmp_path / "state.db"))

        @settings(max_examples=150, deadline=None)
        @given(mode=st.sampled_from([BootMode.FLASH_ALWAYS, BootMode.FLASH_ONCE]), steps=st.lists(STEPS, min_size=5, max_size=40))
        def walk(mode: BootMode, steps: list[str]) -> None:
            async def go() -> None:
                number = next(numbers)
                one = Walk(store, f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}", mode)
                await one.begin()
                for name in steps:
                    await one.step(name)

            runner.run(go())

        try:
            walk()
        finally:
            runner.run(store.close())


async def test_one_event_a_flash(tmp_path: Path) -> None:
    """Many flashers that repeat their receipts at once still give one event for each flash."""
    store = await Store.open(tmp_path / "state.db")
    one = Walk(store, "52:54:00:00:00:01", BootMode.FLASH_ALWAYS)
    await one.begin()
    for _ in range(3):
        await one.contact()
        await one.fetch()
        await one.plan()
        one.number += 1
        await asyncio.gather(*(one._post(one.token, again=True) for _ in range(10)))
        await one.contact()
    found = await event_table.list_events(store, filters={"kind": "machine.flashed"}, limit=50)
    await store.close()
    assert [event.details["target_path"] for event in found] == ["/dev/3", "/dev/2", "/dev/1"]
