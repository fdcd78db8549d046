"""What the operator wants of a machine is what each power-on does."""

from __future__ import annotations

import pytest

from tests.pxe.harness import ENTERED_S, MAC, SCRIPT_S, SERIAL, Site, assert_untouched
from tests.pxe.image import BootableImage
from tests.pxe.steps import FLASHED, INVENTORY, NEEDS, OFFERED, enter, flashed, login, offers

pytestmark = [pytest.mark.needs(*NEEDS), pytest.mark.timeout(1200)]


@pytest.mark.pxe
def test_an_unknown_machine_tells_what_it_is(lab: Site) -> None:
    """A machine that nobody announced appears with its disks, writes nothing and goes on to its local disk."""
    drive = lab.drive()
    with lab.machine(drive).power_on() as power:
        enter(lab, power)
        lab.await_event(power, INVENTORY, ENTERED_S, stage="inventory")
        lab.await_event(power, OFFERED, ENTERED_S + SCRIPT_S, count=2, stage="script again")
    known = lab.operator.call("GET", f"/machines/{MAC}")
    assert [disk["serial"] for disk in known["known_disks"]] == [SERIAL]
    assert offers(lab) == ["bty-inventory", "bty-inventory-sanboot"]
    assert_untouched(drive)


@pytest.mark.pxe(every_run=False)
def test_flash_always_over_four_power_cycles(lab: Site, image: BootableImage) -> None:
    """Each power-on flashes, then boots what was flashed; the disk is an NVMe disk."""
    drive = lab.drive(bus="nvme")
    machine = lab.machine(drive)
    lab.bind(image, "bty-flash-always")
    for _ in range(4):
        with machine.power_on() as power:
            enter(lab, power)
            flashed(lab, power, image, drive)
            login(power)
    assert offers(lab) == ["bty-flash-always", "bty-flash-always-sanboot"] * 4
    assert len(lab.events(FLASHED)) == 4


@pytest.mark.pxe(every_run=False)
def test_without_a_serial_the_machine_goes_on(lab: Site, image: BootableImage) -> None:
    """A machine whose target disk nobody named is told so and is not flashed."""
    drive = lab.drive()
    lab.bind(image, serial=None)
    with lab.machine(drive).power_on() as power:
        lab.await_event(power, OFFERED, SCRIPT_S, stage="script")
        power.wait("cannot flash", SCRIPT_S)
    assert offers(lab) == ["exit-fallback"]
    assert_untouched(drive)
