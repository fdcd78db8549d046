"""Which script a machine gets: the whole table of contract 3.3, with completions that belong to one cycle."""

from typing import Any

import pytest

from bty.model.boot import CycleStep, Script, choose_plan, decide
from bty.model.catalog import Entry
from bty.model.machine import BootMode, CycleState, Machine
from bty.model.plan import PlanMode

REF = "a" * 64
ENTRY = Entry(
    bty_image_ref=REF, src="http://images/d.img.gz", name="debian", added_at="2026-01-01", format="img.gz", disk_image_sha="b" * 64
)
ALWAYS, ONCE, TUI, INVENTORY, EXIT = (
    BootMode.FLASH_ALWAYS, BootMode.FLASH_ONCE, BootMode.TUI, BootMode.INVENTORY, BootMode.IPXE_EXIT,
)  # fmt: skip
OFFERED, ARMED, COMPLETED = CycleState.OFFERED, CycleState.ARMED, CycleState.COMPLETED
BOUND = {"bty_image_ref": REF, "target_disk_serial": "S1"}
FLASH_DETAILS = {"bty_image_ref": REF, "image_name": "debian", "target_disk_serial": "S1"}


def machine(mode: str, **fields: Any) -> Machine:
    return Machine(mac="52:54:00:00:00:01", boot_mode=mode, created_at="", updated_at="", **fields)


TABLE: list[tuple] = []


def row(mode: str, state: CycleState | None, entry: Entry | None, fields: dict, expected: tuple) -> None:
    TABLE.append((mode, state, entry, fields, *expected))


# A completion that an earlier cycle left behind (last_flashed_at, known_disks_at) never counts: only the state does.
OLD = {"last_flashed_at": "2020-01-01", "known_disks_at": "2020-01-01"}
for leftovers in ({}, OLD):
    for state in (None, OFFERED, ARMED, COMPLETED):
        row(TUI, state, ENTRY, {**BOUND, **leftovers}, (Script.LIVE, "bty-tui", "bty-tui", CycleStep.OPEN, {}))
        row(
            EXIT,
            state,
            ENTRY,
            {**BOUND, **leftovers},
            (Script.LOCAL_DISK, "sanboot", "ipxe-exit", CycleStep.KEEP, {"sanboot_drive": "0x80"}),
        )
        for mode in (ALWAYS, ONCE):
            reasons = (
                (None, BOUND, "orphan_ref"),
                (None, {"bty_image_ref": REF}, "orphan_ref"),
                (ENTRY, {"bty_image_ref": REF}, "no_target_disk"),
            )
            for entry, bound, reason in reasons:
                details = {"bty_image_ref": REF, "reason": reason}
                row(
                    mode,
                    state,
                    entry,
                    {**bound, **leftovers},
                    (Script.EXIT_FALLBACK, "exit-fallback", "exit-fallback", CycleStep.KEEP, details),
                )
            row(mode, state, None, {"target_disk_serial": "S1", **leftovers}, (Script.UNKNOWN, "unknown", "unknown", CycleStep.KEEP, {}))
        row("bty-of-tomorrow", state, ENTRY, {**BOUND, **leftovers}, (Script.UNKNOWN, "unknown", "unknown", CycleStep.KEEP, {}))
    for mode in (ALWAYS, ONCE):
        for state in (None, OFFERED):
            row(mode, state, ENTRY, {**BOUND, **leftovers}, (Script.FLASH, mode, mode, CycleStep.OPEN, FLASH_DETAILS))
        retry = {**FLASH_DETAILS, "retry_after_armed_no_done": True}
        row(mode, ARMED, ENTRY, {**BOUND, **leftovers}, (Script.FLASH, mode, mode, CycleStep.OPEN, retry))
    flashed = {"sanboot_drive": "0x80", "sanboot_after_flash": True}
    row(
        ALWAYS,
        COMPLETED,
        ENTRY,
        {**BOUND, **leftovers},
        (Script.LOCAL_DISK, "sanboot", "bty-flash-always-sanboot", CycleStep.CLEAR, flashed),
    )
    row(ONCE, COMPLETED, ENTRY, {**BOUND, **leftovers}, (Script.LOCAL_DISK, "sanboot", "bty-flash-once-sanboot", CycleStep.KEEP, flashed))
    for state in (None, OFFERED):
        row(INVENTORY, state, None, leftovers, (Script.LIVE, INVENTORY, INVENTORY, CycleStep.OPEN, {}))
    row(INVENTORY, ARMED, None, leftovers, (Script.LIVE, INVENTORY, INVENTORY, CycleStep.OPEN, {"retry_after_armed_no_post": True}))
    inventoried = {"sanboot_drive": "0x81", "after_inventory": True}
    row(
        INVENTORY, COMPLETED, None, {"sanboot_drive": "0x81", **leftovers},
        (Script.LOCAL_DISK, "sanboot", "bty-inventory-sanboot", CycleStep.CLEAR, inventoried),
    )  # fmt: skip


@pytest.mark.parametrize(("mode", "state", "entry", "fields", "script", "offer", "kind", "step", "details"), TABLE)
def test_decision_table(mode, state, entry, fields, script, offer, kind, step, details) -> None:
    """Each row of the table gives its script, its words for the event, and its step of the cycle."""
    decided = decide(machine(mode, cycle="t" if state else None, cycle_state=state, **fields), entry)
    assert (decided.script, decided.offer, decided.kind, decided.step, decided.details) == (script, offer, kind, step, details)


def plan_of(subject: Machine, entry: Entry | None = ENTRY) -> tuple:
    choice = choose_plan(subject, entry, catalog_url="http://h/catalog.toml", max_attempts=3)
    return choice.plan.mode, choice.kind, choice.plan.catalog


@pytest.mark.parametrize("state", [None, OFFERED, ARMED, COMPLETED])
def test_plans(state) -> None:
    """The plan follows mode, image and disk, and never looks at the cycle's state."""
    interactive = (PlanMode.INTERACTIVE, "plan:interactive:flash-unresolved", "http://h/catalog.toml")
    for mode in (ALWAYS, ONCE):
        assert plan_of(machine(mode, cycle_state=state, **BOUND)) == (PlanMode.FLASH, f"plan:flash:{mode}", None)
        assert plan_of(machine(mode, cycle_state=state, **BOUND), None) == interactive
        assert plan_of(machine(mode, cycle_state=state, bty_image_ref=REF)) == interactive
        assert plan_of(machine(mode, cycle_state=state)) == (PlanMode.EXIT, f"plan:exit:{mode}", None)
    assert plan_of(machine(TUI, cycle_state=state)) == (PlanMode.INTERACTIVE, "plan:interactive:tui", "http://h/catalog.toml")
    assert plan_of(machine(INVENTORY, cycle_state=state)) == (PlanMode.INVENTORY, "plan:inventory", None)
    assert plan_of(machine(EXIT, cycle_state=state)) == (PlanMode.EXIT, "plan:exit:ipxe-exit", None)
    assert plan_of(machine("bty-of-tomorrow", cycle_state=state)) == (PlanMode.EXIT, "plan:exit:bty-of-tomorrow", None)


def test_flash_plan_counts_attempts_until_they_are_used_up() -> None:
    """A plan names its attempt; when the attempts are used up the wizard waits, and says why."""
    second = choose_plan(machine(ONCE, cycle_attempts=1, **BOUND), ENTRY, catalog_url="u", max_attempts=3).plan
    assert (second.attempt, second.max_attempts, second.ref, second.name, second.format) == (2, 3, REF, "debian", "img.gz")
    used_up = choose_plan(machine(ONCE, cycle_attempts=3, flash_error="no such disk", **BOUND), ENTRY, catalog_url="u", max_attempts=3)
    assert (used_up.plan.mode, used_up.kind) == (PlanMode.INTERACTIVE, "plan:interactive:attempts-exhausted")
    assert "3 flash attempts failed" in used_up.plan.reason
    assert "no such disk" in used_up.plan.reason
