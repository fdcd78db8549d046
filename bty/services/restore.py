"""What taking a bundle in does: decided from what is in it and what is there, as statements of one unit and one event.

Nothing that is restored writes a disk by itself. A machine that would, at its next boot, comes back bound as it was but in the mode
that only reports its hardware; the operator gives it its mode back. One whose single flash is done stays as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bty.model.catalog import Entry
from bty.model.event import Actor, Event, Kind, Subject
from bty.model.machine import BootMode, Machine, edit
from bty.services.bundle import Contents, Held
from bty.services.events import build
from bty.services.settings import Revision, Settings
from bty.store import catalog, machines
from bty.store.db import Statement
from bty.units import plural, utc_now

_NAMED_MAX = 200  # machines that the event names


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """A key of the configuration that was set where the bundle was made, and has another value here."""

    key: str
    value: str | bool | int | list[str]
    here: str | bool | int | list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was restored. `held` wait for the operator in the mode `bty-inventory`; with `armed` they flash at their next boot.

    `images_kept` are images of the bundle that were there already and stayed as they are. `configuration` is only told: no import
    changes the configuration.
    """

    version: int
    machines: int
    images: int
    images_kept: int
    settings: list[str]
    configuration: list[Differing]
    armed: bool
    held: list[Held]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """One import: what to store, what memory then takes over, and what to tell."""

    machines: list[Machine]
    entries: list[Entry]
    buried: list[str]
    revision: Revision
    statements: list[Statement]
    event: Event
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What is there before: settings, images, machines, and the values of the configuration by key."""

    settings: Settings
    entries: Collection[Entry]
    machines: Iterable[Machine]
    configuration: Mapping[str, Any]


def plan(found: Contents, present: Present, *, armed: bool, ip: str | None) -> Restoration:
    """Return what taking *found* in means where *present* is there. Changes nothing."""
    known = present.entries
    refs, sources = {entry.bty_image_ref for entry in known}, {entry.src for entry in known}
    fresh = [entry for entry in found.entries if entry.bty_image_ref not in refs and entry.src not in sources]
    buried = sorted(set(found.deleted) - refs - {entry.bty_image_ref for entry in fresh})
    revision = present.settings.revise(found.settings)
    own = [machine for machine, _ in found.machines]
    woken = [] if armed else _woken(present.machines, {machine.mac for machine in own}, {entry.bty_image_ref for entry in fresh})
    held = found.held + [Held.of(machine) for machine in woken]
    waiting = [edit(machine, now=utc_now(), boot_mode=BootMode.INVENTORY) for machine in woken]
    statements = machines.restore(found.machines)
    statements += [machines.upsert(machine) for machine in waiting]
    statements += [statement for entry in fresh for statement in catalog.insert(entry)]
    statements += [catalog.bury(ref) for ref in buried]
    statements += revision.statements
    outcome = Outcome(
        version=found.version,
        machines=len(found.machines),
        images=len(fresh),
        images_kept=len(found.entries) - len(fresh),
        settings=revision.names,
        configuration=[
            Differing(key=key, value=value, here=present.configuration[key])
            for key, value in found.configuration.items()
            if key in present.configuration and present.configuration[key] != value
        ],
        armed=armed and bool(held),
        held=held,
    )
    return Restoration(
        machines=own + waiting,
        entries=fresh,
        buried=buried,
        revision=revision,
        statements=statements,
        event=_event(outcome, ip),
        outcome=outcome,
    )


def _woken(present: Iterable[Machine], restored: Container[str], fresh: Container[str]) -> list[Machine]:
    """Return the machines that are not part of the bundle and would be flashed because their image comes back with it."""
    return [
        machine
        for machine in present
        if machine.mac not in restored
        and machine.mode
        and machine.mode.flashes
        and machine.bty_image_ref in fresh
        and not machine.is_completed
    ]


def summarize(outcome: Outcome) -> str:
    """Return in one sentence what was restored and what the operator is to do next."""
    kept = f" ({outcome.images_kept} were there)" if outcome.images_kept else ""
    parts = [plural(outcome.machines, "machine"), plural(outcome.images, "image") + kept, plural(len(outcome.settings), "setting")]
    said = f"imported {', '.join(parts)}"
    if outcome.held and outcome.armed:
        return f"{said}; {plural(len(outcome.held), 'machine')} will be flashed at the next boot"
    if outcome.held:
        return f"{said}; {plural(len(outcome.held), 'machine')} that would be flashed wait in bty-inventory"
    return said


def _event(outcome: Outcome, ip: str | None) -> Event:
    details = {
        "version": outcome.version,
        "machines": outcome.machines,
        "images": outcome.images,
        "images_kept": outcome.images_kept,
        "settings": outcome.settings,
        "configuration_differs": [differing.key for differing in outcome.configuration],
        "armed": outcome.armed,
        "held": dict(Counter(held.boot_mode for held in outcome.held)),
        "held_machines": {held.mac: held.boot_mode for held in outcome.held[:_NAMED_MAX]},
    }
    return build(
        Kind.BACKUP_IMPORTED, summarize(outcome), subject=(Subject.BACKUP, "import"), actor=Actor.OPERATOR, source_ip=ip, details=details
    )
