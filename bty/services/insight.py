"""Why a machine does what it does: what it would boot now and after that, and how far its cycle has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bty.model.boot import choose_plan
from bty.model.foresee import Step, foresee, serve
from bty.model.machine import Machine
from bty.model.timeline import Moment, Timeline, trace
from bty.services.events import Events
from bty.services.fleet import Fleet
from bty.units import utc_now

_EVENTS = 200  # of one machine: more than a cycle has, even one that was tried very often


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """A machine, the contacts that are to be expected, the present one first, and the plan of the present one."""

    machine: Machine
    steps: list[Step]
    plan: dict[str, Any]


class Insights:
    """Answers questions about single machines; changes nothing."""

    def __init__(self, fleet: Fleet, events: Events) -> None:
        self._fleet = fleet
        self._events = events

    def explain(self, mac: str, *, base_url: str) -> Insight:
        """Return what a machine would get now. Raises `NotFound`."""
        machine = self._fleet.get(mac)
        entry, most = self._fleet.bound_entry(machine), self._fleet.rules.max_attempts
        steps = foresee(machine, entry, max_attempts=most)
        served = serve(machine, steps[0].offer.step)
        choice = choose_plan(served, entry, catalog_url=f"{base_url}/catalog.toml", max_attempts=most)
        return Insight(machine=machine, steps=steps, plan=choice.plan.to_json())

    async def timeline(self, mac: str) -> Timeline:
        """Return how far the newest cycle of a machine has come. Raises `NotFound`, `StoreFailed`."""
        machine = self._fleet.get(mac)
        found = await self._events.find(filters={"subject_kind": "machine", "subject_id": mac}, limit=_EVENTS)
        said = self._fleet.live.progress(mac)
        moment = Moment(stage=said.stage, bytes=said.bytes, total=said.total, trouble=said.trouble, at=said.at) if said else None
        return trace(machine, reversed(found), moment, now=utc_now())
