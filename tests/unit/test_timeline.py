"""What a timeline says of its stages, in the words that a page shows as lines of their own."""

from __future__ import annotations

import pytest

from bty.model.event import Event, Kind
from bty.model.machine import BootMode, Machine
from bty.model.timeline import Moment, Stage, State, trace

AT = "2026-01-01T12:00:00.000000+00:00"
MACHINE = Machine(mac="52:54:00:00:00:01", boot_mode=BootMode.FLASH_ONCE, created_at=AT, updated_at=AT)


def told(*events: Event, moment: Moment | None = None) -> dict[Stage, str]:
    line = trace(MACHINE, events, moment, now=AT)
    return {stage: entry.detail for stage, entry in line.entries.items()}


def event(kind: Kind, **details: object) -> Event:
    return Event(ts=AT, kind=kind, summary="", details=details)


@pytest.mark.parametrize(("count", "words"), [(0, "0 disks"), (1, "1 disk"), (2, "2 disks")])
def test_disks_are_counted(count: int, words: str) -> None:
    """A report of one disk is told in the singular."""
    assert told(event(Kind.MACHINE_INVENTORY, count=count))[Stage.INVENTORY] == words


@pytest.mark.parametrize(
    ("done", "total", "words"), [(0, None, ""), (3 << 20, None, "3.0 MiB"), (0, 4 << 20, "0 %"), (3 << 20, 4 << 20, "75 %")]
)
def test_a_running_stage_tells_how_far_it_is(done: int, total: int | None, words: str) -> None:
    """Percent where the total is known, else an amount, and nothing before there is one."""
    found = told(moment=Moment(stage="write", bytes=done, total=total, at=AT))

    assert (found[Stage.DOWNLOAD], found[Stage.WRITE]) == (words, words)


@pytest.mark.parametrize(
    ("flasher", "states"),
    [
        ("open", (State.RUNNING, State.PENDING, State.PENDING)),
        ("write", (State.RUNNING, State.RUNNING, State.PENDING)),
        ("verify", (State.DONE, State.DONE, State.RUNNING)),
        ("finish", (State.DONE, State.DONE, State.SKIPPED)),
    ],
)
def test_what_a_running_flash_has_behind_it_is_done(flasher: str, states: tuple[State, ...]) -> None:
    """Once the disk is read back it was written, though the receipt is still to come."""
    entries = trace(MACHINE, [], Moment(stage=flasher, bytes=1, total=2, at=AT), now=AT).entries

    assert tuple(entries[stage].state for stage in (Stage.DOWNLOAD, Stage.WRITE, Stage.VERIFY)) == states


def test_a_flash_tells_what_it_proved() -> None:
    """The proofs of a flash are whole lines."""
    assert told(event(Kind.MACHINE_FLASHED, verified=["wire"]))[Stage.DOWNLOAD] == "Digest as promised"
    found = told(event(Kind.MACHINE_FLASHED))
    assert (found[Stage.DOWNLOAD], found[Stage.VERIFY]) == ("No digest was promised", "Not asked for")
