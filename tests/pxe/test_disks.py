"""The right disk is written, and no other. What disks hang on is a part of the rows of firmware and modes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pxe.harness import FLASHED_S, MAC, Site, assert_untouched
from tests.pxe.image import BootableImage, bootable_image
from tests.pxe.qemu import UEFI, Card
from tests.pxe.steps import FAILED, NEEDS, enter, flashed, login

pytestmark = [pytest.mark.needs(*NEEDS), pytest.mark.timeout(900)]


@pytest.mark.pxe(every_run=False)
def test_large_sectors(lab: Site) -> None:
    """A disk of 4096-byte sectors takes an image made for such disks, and boots it."""
    image = bootable_image(4096)
    drive = lab.drive(sector_bytes=4096)
    lab.bind(image)
    with lab.machine(drive, firmware=UEFI).power_on() as power:
        enter(lab, power)
        flashed(lab, power, image, drive)
        login(power)


@pytest.mark.pxe(every_run=False)
def test_the_first_disk_and_the_first_card_are_not_the_ones(lab: Site, image: BootableImage) -> None:
    """Of two disks the one with the bound serial is written, and boots as the operator set; of two cards the one that booted is used.

    The other disk stays as it is, though it is the first; the other card has no link and holds nothing up.
    """
    other, target = lab.drive("other", serial="OTHER"), lab.drive()
    cards = (Card(mac="52:54:00:11:22:32", tap=None), Card(mac=MAC, tap=lab.tap()))
    lab.bind(image)
    lab.operator.call("PATCH", f"/machines/{MAC}", {"sanboot_drive": "0x81"})
    with lab.machine(other, target, cards=cards).power_on() as power:
        power.control("set_link", name="card0", up=False)
        enter(lab, power)
        flashed(lab, power, image, target)
        login(power)
    assert_untouched(other)


@pytest.mark.pxe(every_run=False)
@pytest.mark.parametrize("looks", [{"size_bytes": 128 << 20}, {"sector_bytes": 4096}], ids=["too-small", "other-sectors"])
def test_a_disk_that_does_not_fit_is_refused(lab: Site, image: BootableImage, looks: dict[str, Any]) -> None:
    """A disk smaller than the image, or of other sectors than its partition table, is refused before the first write."""
    drive = lab.drive(**looks)
    lab.bind(image)
    with lab.machine(drive).power_on() as power:
        enter(lab, power)
        failure = lab.await_event(power, FAILED, FLASHED_S, stage="refused")
    assert failure["details"]["error_code"] == "disk_refused"
    assert_untouched(drive)
