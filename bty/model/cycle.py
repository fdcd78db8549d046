"""One boot cycle: a chain opens it, a fetch arms it, a receipt completes it, the disk boot consumes it. Decisions A3, A4, B3.

Pure: each step takes a machine and returns the machine after it, or the same one where nothing changes.
"""

from __future__ import annotations

from enum import StrEnum
from hmac import compare_digest

from msgspec.structs import replace

from bty.model.boot import CycleStep
from bty.model.machine import BootMode, CycleState, Machine


class Claim(StrEnum):
    """What a post's token says about who sent it."""

    GENUINE = "genuine"
    UNVERIFIED = "unverified"  # no token: an older flasher
    WRONG = "wrong"


def serve(machine: Machine, step: CycleStep, *, token: str) -> Machine:
    """Return *machine* after a script was served. A chain served over an outstanding flash is a failed attempt: it crashed."""
    if step is CycleStep.CLEAR:
        return replace(machine, cycle=None, cycle_state=None, cycle_attempts=0, cycle_flashing=False)
    if step is not CycleStep.OPEN:
        return machine
    if machine.cycle_state in (None, CycleState.COMPLETED):
        return replace(machine, cycle=token, cycle_state=CycleState.OFFERED, cycle_attempts=0, cycle_flashing=False)
    if machine.is_armed and machine.cycle_flashing:
        return replace(machine, cycle_attempts=machine.cycle_attempts + 1, cycle_flashing=False)
    return machine


def arm(machine: Machine, *, token: str) -> Machine:
    """Return *machine* after it fetched the live environment; where no cycle is open, this opens one."""
    if machine.mode is None or not machine.mode.alternates or machine.is_armed or machine.is_completed:
        return machine
    return replace(machine, cycle=machine.cycle or token, cycle_state=CycleState.ARMED)


def open_token(machine: Machine) -> str | None:
    """Return the token of the cycle that is still to be completed."""
    return None if machine.is_completed else machine.cycle


def check(machine: Machine, token: str | None) -> Claim:
    """Return what *token* is worth."""
    if token is None:
        return Claim.UNVERIFIED
    genuine = machine.cycle is not None and compare_digest(token.encode(), machine.cycle.encode())
    return Claim.GENUINE if genuine else Claim.WRONG


def plan_flash(machine: Machine, *, token: str) -> Machine:
    """Return *machine* after a flash plan went out.

    A flasher that was not booted by a chain, from a stick for example, gets a cycle too, so that its receipt is verified.
    """
    if machine.cycle is None:
        machine = replace(machine, cycle=token, cycle_state=CycleState.OFFERED)
    return replace(machine, cycle_flashing=True)


def complete(machine: Machine, claim: Claim, *, by_flash: bool) -> Machine:
    """Return *machine* after a flash, or an inventory, succeeded.

    Each completes only a cycle of its own kind of mode. A post without token completes only a cycle whose live
    environment was fetched: otherwise it comes from elsewhere, and the machine has still to do its work.
    """
    mode = machine.mode
    fits = mode is BootMode.TUI or (mode is not None and mode.flashes) if by_flash else mode is BootMode.INVENTORY
    started = machine.is_armed or (machine.cycle_state is CycleState.OFFERED and (claim is Claim.GENUINE or mode is BootMode.TUI))
    return replace(machine, cycle_state=CycleState.COMPLETED) if fits and started else machine


def fail(machine: Machine) -> Machine:
    """Return *machine* after a flash of its open cycle failed."""
    if machine.cycle is None or machine.is_completed:
        return replace(machine, cycle_flashing=False)
    return replace(machine, cycle_attempts=machine.cycle_attempts + 1, cycle_flashing=False)
