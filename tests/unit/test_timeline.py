"""What a timeline says of its stages, in the words that a page shows as lines of their own."""

from __future__ import annotations

import pytest

from bty.model.event import Event, Kind
from bty.model.machine import BootMode, Machine
from bty.model.timeline import Moment, Stage, State, Timeline, trace

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


def test_a_running_stage_tells_why_nothing_moves() -> None:
    """Behind how far it is, where that is known."""
    moment = Moment(stage="write", bytes=1 << 20, total=4 << 20, trouble="Connection refused", at=AT)
    assert told(moment=moment)[Stage.DOWNLOAD] == "25 %, waiting: Connection refused"
    assert told(moment=Moment(stage="open", bytes=0, total=None, trouble="timed out", at=AT))[Stage.DOWNLOAD] == "waiting: timed out"


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


# --- what stands after a failure ----------------------------------------------------------------------------------------

FLASH = {"plan": "flash"}
GIVEN_UP = {"plan": "interactive", "reason": "3 flash attempts failed"}
BOUND = {"boot_mode": "bty-flash-once", "bty_image_ref": "a" * 64, "target_disk_serial": "S1", "labels": []}


def failure(at: str = AT, code: str = "write_failed") -> Event:
    return Event(ts=at, kind=Kind.MACHINE_FLASH_FAILED, summary="", details={"error": "it broke", "error_code": code, "bytes_read": 7})


def line_of(*events: Event) -> Timeline:
    return trace(MACHINE, events, None, now=AT)


def test_a_machine_that_waits_for_a_person_stopped_at_its_last_failure() -> None:
    """Run by hand, without a script: the plan that leaves it to a person is no other attempt, and the failure stands."""
    attempt = [event(Kind.PXE_PLAN, **FLASH), failure()]
    line = line_of(event(Kind.MACHINE_CREATED, **BOUND), *attempt, *attempt, *attempt, event(Kind.PXE_PLAN, **GIVEN_UP))

    assert (line.stopped, line.reason, line.since) == (Stage.WRITE, "it broke", AT)
    assert line.entries[Stage.WRITE].state is State.FAILED


def test_a_failure_stands_again_where_another_boot_brings_no_attempt() -> None:
    """Each boot of a machine that waits shows where it stopped once its plan says so; until then it may go on."""
    script = event(Kind.PXE_OFFERED, offer="bty-flash-once", offer_kind="bty-flash-once")
    boot = [script, event(Kind.FLASHER_ARMED)]
    before = [event(Kind.MACHINE_CREATED, **BOUND), *boot, event(Kind.PXE_PLAN, **FLASH), failure(code="readback_failed"), *boot]

    assert line_of(*before).stopped is None
    assert line_of(*before, event(Kind.PXE_PLAN, **FLASH)).stopped is None
    assert line_of(*before, event(Kind.PXE_PLAN, **GIVEN_UP)).stopped is Stage.VERIFY


def test_another_attempt_takes_the_failure_away() -> None:
    """What an attempt did is void with the plan of the next one, which may fail elsewhere."""
    first = [event(Kind.PXE_PLAN, **FLASH), failure(code="fetch_failed"), event(Kind.PXE_PLAN, **FLASH)]

    assert {line_of(*first).entries[stage].state for stage in (Stage.DOWNLOAD, Stage.WRITE)} == {State.PENDING}
    second = line_of(*first, failure())
    assert (second.entries[Stage.DOWNLOAD].state, second.entries[Stage.DOWNLOAD].detail) == (State.DONE, "")
    assert second.stopped is Stage.WRITE


@pytest.mark.parametrize("field", ["boot_mode", "bty_image_ref", "target_disk_serial"])
def test_a_new_binding_begins_anew(field: str) -> None:
    """Another mode, image or disk takes the old failure away, whether or not a script was ever served; labels do not."""
    before = [event(Kind.MACHINE_CREATED, **BOUND), event(Kind.PXE_PLAN, **FLASH), failure()]
    rebound = event(Kind.MACHINE_UPSERTED, **{**BOUND, field: "another"})
    labelled = event(Kind.MACHINE_UPSERTED, **{**BOUND, "labels": ["rack"]})

    assert {entry.state for entry in line_of(*before, rebound).entries.values()} == {State.PENDING}
    assert line_of(*before, rebound, event(Kind.PXE_PLAN, **GIVEN_UP)).stopped is None
    assert line_of(*before, labelled).stopped is Stage.WRITE


@pytest.mark.parametrize("anew", [Kind.MACHINE_RESET, Kind.MACHINE_CREATED])
def test_a_reset_and_a_new_record_begin_anew(anew: Kind) -> None:
    """What the machine of before did is not shown, a finished cycle neither."""
    flashed = [event(Kind.MACHINE_CREATED, **BOUND), event(Kind.PXE_PLAN, **FLASH), event(Kind.MACHINE_FLASHED)]

    assert {entry.state for entry in line_of(*flashed, event(anew, **BOUND)).entries.values()} == {State.PENDING}


def test_a_run_by_hand_after_a_boot_of_the_disk_is_another_cycle() -> None:
    """The disk that booted booted what was there before."""
    cycle = [
        event(Kind.PXE_OFFERED, offer="bty-flash-once", offer_kind="bty-flash-once"),
        event(Kind.PXE_PLAN, **FLASH),
        event(Kind.MACHINE_FLASHED),
        event(Kind.PXE_OFFERED, offer="sanboot", offer_kind="bty-flash-once-sanboot"),
    ]
    by_hand = line_of(*cycle, event(Kind.PXE_PLAN, **FLASH))

    assert [stage for stage, entry in by_hand.entries.items() if entry.state is State.DONE] == [Stage.PLAN]
