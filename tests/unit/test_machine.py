"""The boot cycle of one machine, step by step, without a daemon."""

from typing import Any

import pytest
from msgspec.structs import replace

from bty.model import cycle
from bty.model.boot import CycleStep
from bty.model.cycle import Claim
from bty.model.machine import BootMode, CycleState, Machine, discover, edit

NOW = "2026-01-01T00:00:00.000000+00:00"


def machine(mode: str = BootMode.FLASH_ALWAYS, **fields: Any) -> Machine:
    return Machine(mac="52:54:00:00:00:01", boot_mode=mode, created_at=NOW, updated_at=NOW, **fields)


def test_chain_opens_a_cycle_and_keeps_it() -> None:
    """The first chain gives the cycle a token; a chain served again inside the cycle keeps it."""
    offered = cycle.serve(machine(), CycleStep.OPEN, token="first")
    again = cycle.serve(offered, CycleStep.OPEN, token="second")
    armed = cycle.serve(cycle.arm(again, token="third"), CycleStep.OPEN, token="fourth")
    assert (offered.cycle, offered.cycle_state) == ("first", CycleState.OFFERED)
    assert (armed.cycle, armed.cycle_state, armed.cycle_attempts) == ("first", CycleState.ARMED, 0)


def test_chain_after_completion_opens_a_new_cycle() -> None:
    """A chain that follows a completed cycle is a new cycle with a new token."""
    fresh = cycle.serve(machine(BootMode.TUI, cycle="old", cycle_state=CycleState.COMPLETED), CycleStep.OPEN, token="new")
    assert (fresh.cycle, fresh.cycle_state) == ("new", CycleState.OFFERED)


def test_disk_boot_consumes_the_cycle() -> None:
    """Serving the disk leaves no cycle behind, so the next boot starts from nothing."""
    consumed = cycle.serve(machine(cycle="t", cycle_state=CycleState.COMPLETED, cycle_attempts=2), CycleStep.CLEAR, token="x")
    assert (consumed.cycle, consumed.cycle_state, consumed.cycle_attempts) == (None, None, 0)


def test_chain_over_an_outstanding_flash_is_a_crash_and_counts_once() -> None:
    """When the chain is served while a flash plan is outstanding, that attempt failed; firmware that asks twice counts once."""
    flashing = cycle.plan_flash(machine(cycle="t", cycle_state=CycleState.ARMED), token="x")
    once = cycle.serve(flashing, CycleStep.OPEN, token="x")
    twice = cycle.serve(once, CycleStep.OPEN, token="x")
    assert [once.cycle_attempts, twice.cycle_attempts, twice.cycle_flashing] == [1, 1, False]


def test_flash_plan_opens_a_cycle_only_where_there_is_none() -> None:
    """A flasher from a stick gets a token; the plan arms nothing and leaves open and completed cycles as they are."""
    opened = cycle.plan_flash(machine(), token="new")
    assert (opened.cycle, opened.cycle_state, cycle.open_token(opened)) == ("new", CycleState.OFFERED, "new")
    completed = cycle.plan_flash(machine(cycle="t", cycle_state=CycleState.COMPLETED), token="new")
    assert (completed.cycle, completed.cycle_state, cycle.open_token(completed)) == ("t", CycleState.COMPLETED, None)


@pytest.mark.parametrize("mode", [BootMode.TUI, BootMode.IPXE_EXIT, "bty-of-tomorrow"])
def test_only_alternating_modes_arm(mode: str) -> None:
    """Modes without a disk boot to come are not armed by a fetch."""
    assert cycle.arm(machine(mode, cycle="t", cycle_state=CycleState.OFFERED), token="x").cycle_state is CycleState.OFFERED


def test_fetch_without_a_chain_opens_an_armed_cycle() -> None:
    """A live environment that is fetched without an open cycle opens one; a completed one stays completed."""
    armed = cycle.arm(machine(), token="new")
    completed = cycle.arm(machine(cycle="t", cycle_state=CycleState.COMPLETED), token="new")
    assert (armed.cycle, armed.cycle_state) == ("new", CycleState.ARMED)
    assert (completed.cycle, completed.cycle_state) == ("t", CycleState.COMPLETED)


@pytest.mark.parametrize(
    ("mode", "state", "claim", "by_flash", "completes"),
    [
        (BootMode.FLASH_ALWAYS, CycleState.ARMED, Claim.GENUINE, True, True),
        (BootMode.FLASH_ONCE, CycleState.OFFERED, Claim.GENUINE, True, True),
        (BootMode.FLASH_ONCE, CycleState.ARMED, Claim.UNVERIFIED, True, True),
        (BootMode.FLASH_ONCE, CycleState.OFFERED, Claim.UNVERIFIED, True, False),
        (BootMode.FLASH_ONCE, CycleState.ARMED, Claim.GENUINE, False, False),
        (BootMode.INVENTORY, CycleState.ARMED, Claim.GENUINE, False, True),
        (BootMode.INVENTORY, CycleState.ARMED, Claim.UNVERIFIED, False, True),
        (BootMode.INVENTORY, CycleState.ARMED, Claim.GENUINE, True, False),
        (BootMode.TUI, CycleState.OFFERED, Claim.GENUINE, True, True),
        (BootMode.IPXE_EXIT, None, Claim.UNVERIFIED, True, False),
    ],
)
def test_what_completes_a_cycle(mode, state, claim, by_flash, completes) -> None:
    """A flash completes flash cycles, an inventory inventory cycles; without a token only what was fetched."""
    before = machine(mode, cycle="t" if state else None, cycle_state=state)
    assert cycle.complete(before, claim, by_flash=by_flash).is_completed is completes


def test_tokens() -> None:
    """The token of the cycle is genuine, none is unverified, any other is wrong, and so is any without a cycle."""
    subject = machine(cycle="right", cycle_state=CycleState.ARMED)
    assert [cycle.check(subject, token) for token in ("right", None, "wrong")] == [Claim.GENUINE, Claim.UNVERIFIED, Claim.WRONG]
    assert cycle.check(machine(), "right") is Claim.WRONG


@pytest.mark.parametrize("change", [{"boot_mode": BootMode.TUI}, {"bty_image_ref": "b" * 64}, {"target_disk_serial": "S2"}])
def test_policy_edits_start_over(change: dict) -> None:
    """A new mode, image or disk resets the cycle, its attempts, completions and error."""
    used = machine(
        bty_image_ref="a" * 64, target_disk_serial="S1", cycle="t", cycle_state=CycleState.COMPLETED, cycle_attempts=2, cycle_flashing=True,
        flash_error="e", last_flashed_at=NOW, known_disks_at=NOW, last_flash="{}",
    )  # fmt: skip
    fresh = edit(used, now=NOW, **change)
    left = (
        fresh.cycle,
        fresh.cycle_state,
        fresh.cycle_attempts,
        fresh.cycle_flashing,
        fresh.flash_error,
        fresh.last_flashed_at,
        fresh.known_disks_at,
    )
    assert left == (None, None, 0, False, None, None, None)
    assert fresh.last_flash == "{}"


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("a",)},
        {"sanboot_drive": "0x81"},
        {"uefi_local_boot": "exit"},
        {"target_disk_serial": ""},
        {"boot_mode": "bty-flash-always"},
    ],
)
def test_other_edits_reset_nothing(change: dict) -> None:
    """Labels, the BIOS drive, the same values again, and empty for absent leave the cycle alone."""
    edited = edit(machine(cycle="t", cycle_state=CycleState.COMPLETED, last_flashed_at=NOW), now=NOW, **change)
    assert (edited.cycle_state, edited.last_flashed_at) == (CycleState.COMPLETED, NOW)


def test_boot_state_words() -> None:
    """The words for a machine's state follow its mode and cycle."""
    words = {
        (mode, state): replace(machine(mode), cycle_state=state).boot_state
        for mode in (BootMode.FLASH_ONCE, BootMode.FLASH_ALWAYS, BootMode.INVENTORY, BootMode.TUI)
        for state in (None, CycleState.ARMED, CycleState.COMPLETED)
    }
    assert words[BootMode.FLASH_ONCE, None] == "pending flash"
    assert words[BootMode.FLASH_ALWAYS, None] == "ready to flash"
    assert words[BootMode.FLASH_ALWAYS, CycleState.ARMED] == "live env running; awaiting flash"
    assert words[BootMode.FLASH_ONCE, CycleState.COMPLETED] == "flashed; booting disk"
    assert words[BootMode.INVENTORY, None] == "pending inventory"
    assert words[BootMode.INVENTORY, CycleState.COMPLETED] == "inventoried; booting disk"
    assert words[BootMode.TUI, None] == ""
    assert machine(flash_error="e").boot_state == "flash failed"


def test_unseen_machine_is_not_harmed() -> None:
    """A machine that appears by itself reports its hardware and nothing else."""
    assert discover("52:54:00:00:00:01", ip="10.0.0.1", now=NOW).mode is BootMode.INVENTORY
