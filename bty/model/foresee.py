"""What a machine will boot, contact by contact, if each goes well: the decision of `boot.decide`, played forward. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from bty.model import cycle
from bty.model.boot import CycleStep, Offer, Script, decide
from bty.model.catalog import Entry
from bty.model.cycle import Claim
from bty.model.machine import BootMode, Machine

CONTACTS = 4  # after which every mode repeats itself
_TOKEN = "foreseen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One contact. `rule` says why it gets its script, `then` what has to happen before the next one."""

    offer: Offer
    rule: str
    then: str
    repeats: bool = False


def foresee(machine: Machine, entry: Entry | None, *, max_attempts: int) -> list[Step]:
    """Return the contact that would come now and those after it, up to the one from which on all are the same."""
    steps: list[Step] = []
    while True:
        offer = decide(machine, entry)
        rule = explain(machine, offer, entry, max_attempts=max_attempts)
        served = serve(machine, offer.step)
        after = _succeed(served, offer)
        repeats = _standing(after) == _standing(machine)
        steps.append(Step(offer=offer, rule=rule, then=_then(served, offer, max_attempts), repeats=repeats))
        if repeats or len(steps) == CONTACTS:
            return steps
        machine = after


def serve(machine: Machine, step: CycleStep) -> Machine:
    """Return *machine* as the contact that *step* is of leaves it: one that comes after a flash crashed counts that one."""
    return cycle.serve(machine, step, token=_TOKEN)


def explain(machine: Machine, offer: Offer, entry: Entry | None, *, max_attempts: int) -> str:
    """Return in a sentence why *machine* gets *offer*."""
    mode, image = machine.boot_mode, entry.name if entry else ""
    match offer.script:
        case Script.EXIT_FALLBACK if offer.details.get("reason") == "orphan_ref":
            return f"The mode {mode} flashes, but the image that the machine is bound to is not in the catalog: the firmware goes on."
        case Script.EXIT_FALLBACK:
            return f"The mode {mode} flashes {image}, but no target disk is set: the firmware goes on."
        case Script.UNKNOWN if machine.mode is None:
            return f"The mode {mode} is unknown to this version: the local disk boots."
        case Script.UNKNOWN:
            return f"The mode {mode} flashes, but no image is set: the local disk boots."
        case Script.LIVE if machine.mode is BootMode.TUI:
            return f"The mode {mode} starts the live environment at every boot, where a person chooses."
        case Script.LIVE if machine.is_armed:
            return f"The mode {mode} wants the hardware reported, and no report has come yet: a boot now starts the live environment again."
        case Script.LIVE:
            return f"The mode {mode} wants the hardware reported: the live environment starts."
        case Script.FLASH:
            return _explain_flash(machine, image, max_attempts)
        case Script.LOCAL_DISK if machine.is_completed:
            done = "the disk is flashed" if machine.mode is not None and machine.mode.flashes else "the hardware is reported"
            once = ", and stays so until mode, image or disk is changed" if machine.mode is BootMode.FLASH_ONCE else ""
            return f"The mode {mode} boots the local disk, since {done}{once}."
        case Script.LOCAL_DISK:
            return f"The mode {mode} boots the local disk, always."


def _explain_flash(machine: Machine, image: str, max_attempts: int) -> str:
    what, failed = f"The mode {machine.boot_mode} flashes {image}", serve(machine, CycleStep.OPEN).cycle_attempts
    if failed > machine.cycle_attempts:
        counted = f"{what}, and no receipt has come yet. A boot now makes it failed attempt {failed} of at most {max_attempts}"
        if failed >= max_attempts:
            return f"{counted}: the live environment starts and waits for a person. A reset starts over."
        return f"{counted} and starts the live environment again."
    if failed >= max_attempts:
        return f"{what}, but {failed} attempts failed: the live environment starts and waits for a person. A reset starts over."
    if failed:
        return f"{what}; {failed} of at most {max_attempts} attempts failed: once more."
    if machine.is_armed:
        return f"{what}, and no receipt has come yet: a boot now starts the live environment again."
    return f"{what} onto the disk with the serial {machine.target_disk_serial}."


def _then(served: Machine, offer: Offer, max_attempts: int) -> str:
    match offer.script:
        case Script.FLASH if served.cycle_attempts >= max_attempts:
            return "if a person flashes the disk"
        case Script.FLASH:
            return "if the flash succeeds"
        case Script.LIVE if served.mode is BootMode.INVENTORY:
            return "if the report comes"
        case Script.LIVE:
            return "whatever the person does"
        case _:
            return "at the next boot from the network"


def _succeed(machine: Machine, offer: Offer) -> Machine:
    """Return *machine* after the live environment of *offer* did its work."""
    if offer.script not in (Script.LIVE, Script.FLASH) or machine.mode is BootMode.TUI:
        return machine
    armed = cycle.arm(machine, token=_TOKEN)
    done = cycle.complete(armed, Claim.GENUINE, by_flash=offer.script is Script.FLASH)
    return replace(done, cycle_attempts=0, cycle_flashing=False, flash_error=None)


def _standing(machine: Machine) -> tuple[object, ...]:
    state = None if machine.mode is BootMode.TUI else machine.cycle_state
    return (state, machine.cycle_attempts, machine.cycle_flashing)
