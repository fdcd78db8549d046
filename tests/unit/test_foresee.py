"""What is foreseen for a machine is what then happens."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bty.model.catalog import Entry
from bty.model.foresee import foresee
from bty.model.machine import BootMode, CycleState, Machine

ENTRY = Entry(bty_image_ref="a" * 64, src="http://images.example/d.img", name="debian", added_at="t")


def machine(mode: str, **fields: object) -> Machine:
    values = {"bty_image_ref": ENTRY.bty_image_ref, "target_disk_serial": "S1", **fields}
    return Machine(mac="52:54:00:00:00:01", boot_mode=mode, created_at="t", updated_at="t", **values)


def kinds(found: Machine, entry: Entry | None = ENTRY) -> list[str]:
    return [step.offer.kind for step in foresee(found, entry, max_attempts=3)]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("ipxe-exit", ["ipxe-exit"]),
        ("bty-tui", ["bty-tui", "bty-tui"]),
        ("bty-flash-once", ["bty-flash-once", "bty-flash-once-sanboot"]),
        ("bty-flash-always", ["bty-flash-always", "bty-flash-always-sanboot", "bty-flash-always", "bty-flash-always-sanboot"]),
        ("bty-inventory", ["bty-inventory", "bty-inventory-sanboot", "bty-inventory", "bty-inventory-sanboot"]),
        ("something-new", ["unknown"]),
    ],
)
def test_each_mode_is_foreseen(mode: str, expected: list[str]) -> None:
    """The contacts of a machine follow its mode, up to the one that repeats."""
    found = kinds(machine(mode))

    assert found in (expected, expected[:1])


def test_a_flashed_machine_boots_its_disk_for_good() -> None:
    """A machine that is to be flashed once and was boots its disk at every further contact, and the answer says so."""
    (step,) = foresee(machine(BootMode.FLASH_ONCE, cycle="t", cycle_state=CycleState.COMPLETED), ENTRY, max_attempts=3)

    assert step.repeats
    assert "the disk is flashed, and stays so" in step.rule


@pytest.mark.parametrize(
    ("fields", "entry", "words"),
    [
        ({}, None, "not in the catalog"),
        ({"target_disk_serial": None}, ENTRY, "no target disk is set"),
        ({"bty_image_ref": None}, None, "no image is set"),
        ({"cycle": "t", "cycle_state": CycleState.ARMED}, ENTRY, "no receipt has come yet"),
        ({"cycle": "t", "cycle_state": CycleState.ARMED, "cycle_attempts": 2}, ENTRY, "2 of at most 3 attempts failed"),
        ({"cycle": "t", "cycle_state": CycleState.ARMED, "cycle_attempts": 3}, ENTRY, "waits for a person"),
        (
            {"cycle": "t", "cycle_state": CycleState.ARMED, "cycle_attempts": 1, "cycle_flashing": True},
            ENTRY,
            "A boot now makes it failed attempt 2 of at most 3 and starts the live environment again",
        ),
        (
            {"cycle": "t", "cycle_state": CycleState.ARMED, "cycle_attempts": 2, "cycle_flashing": True},
            ENTRY,
            "A boot now makes it failed attempt 3 of at most 3: the live environment starts and waits for a person",
        ),
        ({}, ENTRY, "flashes debian onto the disk with the serial S1"),
    ],
)
def test_the_rule_says_what_is_missing_or_why_again(fields: dict[str, object], entry: Entry | None, words: str) -> None:
    """The sentence for a machine that is to be flashed names what keeps it from that, or what happened already."""
    step = foresee(machine(BootMode.FLASH_ALWAYS, **fields), entry, max_attempts=3)[0]

    assert words in step.rule


def test_no_flash_is_promised_once_a_contact_uses_the_attempts_up() -> None:
    """A flash that crashed is counted by the contact that comes now: after the last attempt what follows is up to a person."""
    crashed = {"cycle": "t", "cycle_state": CycleState.ARMED, "cycle_flashing": True}
    then = [foresee(machine(BootMode.FLASH_ONCE, cycle_attempts=attempts, **crashed), ENTRY, max_attempts=3)[0].then for attempts in (1, 2)]

    assert then == ["if the flash succeeds", "if a person flashes the disk"]


def test_nothing_is_changed_by_looking() -> None:
    """The machine that is looked at stays as it is."""
    found = machine(BootMode.FLASH_ALWAYS)
    before = replace(found)
    foresee(found, ENTRY, max_attempts=3)

    assert found == before
