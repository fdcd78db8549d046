"""Whatever firmware a machine has, it gets from an empty disk to the login prompt of the flashed system."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pxe.harness import MAC, SCRIPT_S, Site
from tests.pxe.image import BootableImage
from tests.pxe.qemu import BIOS, UEFI, UEFI_HTTP, Machine
from tests.pxe.steps import ARMED, FLASHED, NEEDS, enter, flashed, login, offers

pytestmark = [pytest.mark.needs(*NEEDS), pytest.mark.timeout(900)]


def _flash_and_boot(site: Site, image: BootableImage, machine: Machine) -> None:
    """From an empty disk to the login prompt."""
    site.bind(image)
    with machine.power_on() as power:
        enter(site, power)
        flashed(site, power, image, machine.drives[0])
        login(power)
        assert "bty: flash complete; rebooting" in power.said
    assert offers(site) == ["bty-flash-once", "bty-flash-once-sanboot"]


def _boot_again(site: Site, machine: Machine, times: int) -> None:
    """Later power-ons boot the disk and nothing else."""
    for _ in range(times):
        with machine.power_on() as power:
            login(power)
            assert "bty: entered" not in power.said
    assert offers(site)[2:] == ["bty-flash-once-sanboot"] * times
    assert len(site.events(ARMED)) == 1
    assert len(site.events(FLASHED)) == 1


@pytest.mark.pxe
def test_bios_by_the_rom_of_the_card(lab: Site, image: BootableImage) -> None:
    """BIOS, iPXE in the card's ROM, flash-once over four power cycles: an empty disk is flashed, then boots each time."""
    machine = lab.machine()
    _flash_and_boot(lab, image, machine)
    _boot_again(lab, machine, 3)


@pytest.mark.pxe
def test_uefi_by_tftp(lab: Site, image: BootableImage) -> None:
    """UEFI PXE fetches iPXE by TFTP; the local disk is started by the GRUB that the daemon serves."""
    machine = lab.machine(firmware=UEFI)
    _flash_and_boot(lab, image, machine)
    _boot_again(lab, machine, 1)
    assert lab.sent_by_tftp("snponly.efi")


@pytest.mark.pxe(every_run=False)
def test_bios_by_undionly(lab: Site, image: BootableImage) -> None:
    """BIOS through `undionly.kpxe` by TFTP, onto a SATA disk. The ROM here is iPXE too, and is given what another's would get."""
    machine = lab.machine(lab.drive(bus="sata"))
    lab.serve_dhcp(autoexec_ipxe="undionly.kpxe")
    lab.bind(image)
    with machine.power_on() as power:
        power.until(lambda: lab.sent_by_tftp("undionly.kpxe"), "undionly.kpxe fetched", SCRIPT_S, stage="undionly")
        lab.serve_dhcp()
        enter(lab, power)
        assert "UNDI" in power.said
        flashed(lab, power, image, machine.drives[0])
        login(power)


@pytest.mark.pxe(every_run=False)
def test_uefi_by_ipxe_with_drivers_of_its_own(lab: Site, image: BootableImage) -> None:
    """UEFI PXE through `ipxe.efi`, onto a SATA disk."""
    lab.serve_dhcp(snponly_efi="ipxe.efi")
    _flash_and_boot(lab, image, lab.machine(lab.drive(bus="sata"), firmware=UEFI))
    assert lab.sent_by_tftp("ipxe.efi")


@pytest.mark.pxe(every_run=False)
def test_uefi_by_http(lab: Site, image: BootableImage) -> None:
    """UEFI HTTP boot fetches iPXE from the daemon, onto an NVMe disk."""
    _flash_and_boot(lab, image, lab.machine(lab.drive(bus="nvme"), firmware=UEFI_HTTP))
    assert "Start HTTP Boot over IPv4" in (lab.folder / "serial-1.log").read_text(errors="replace")
    assert not lab.sent_by_tftp("snponly.efi")


@pytest.mark.pxe(every_run=False)
@pytest.mark.parametrize("firmware", [BIOS, UEFI])
def test_proxy_dhcp(build_site: Callable[..., Site], image: BootableImage, firmware: str) -> None:
    """A foreign server gives the address, our proxyDHCP says what to boot; the disk is a SCSI disk."""
    site = build_site(dhcp="proxy")
    site.serve_foreign_dhcp()
    _flash_and_boot(site, image, site.machine(site.drive(bus="scsi"), firmware=firmware))


@pytest.mark.pxe(every_run=False)
def test_uefi_without_a_system_on_the_disk(lab: Site) -> None:
    """A machine that is to boot an empty disk says so and goes back to its firmware, which tries what else it has."""
    lab.operator.bind(MAC, None, None, "ipxe-exit")
    with lab.machine(firmware=UEFI).power_on() as power:
        power.wait("bty: no EFI loader on any local disk", SCRIPT_S, stage="told")
        power.wait("BdsDxe: failed to start", SCRIPT_S)
        power.wait(">>Start PXE over IPv6", SCRIPT_S, stage="next entry")
    assert offers(lab) == ["ipxe-exit"]
