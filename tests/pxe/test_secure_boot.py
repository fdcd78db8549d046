"""Secure Boot enforced: only signed loaders and kernels run, from an empty disk to the flashed system, and an unsigned one is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pxe.harness import LOGIN_S, MAC, NET_GRUB, SCRIPT_S, Site
from tests.pxe.image import LOGIN_PROMPT, SHIM, SIGNED_GRUB, BootableImage, bootable_image
from tests.pxe.qemu import UEFI_SECURE
from tests.pxe.steps import ARMED, FLASHED, NEEDS, enter, flashed, login, offers

# Firmware in system management mode checks every signature in emulation, shim's, GRUB's and the kernel's, and twice where a disk boots.
SECURE_SCRIPT_S, SECURE_LOGIN_S = 3 * SCRIPT_S, 3 * LOGIN_S
LOCKED = "Kernel is locked down from EFI Secure Boot"
pytestmark = [
    pytest.mark.needs(*NEEDS),
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not all(path.exists() for path in (SHIM, SIGNED_GRUB, NET_GRUB)), reason="not installed: shim-signed, grub-efi-amd64-signed"
    ),
]


@pytest.fixture
def signed() -> BootableImage:
    """An image whose loaders and kernel are Debian's signed ones."""
    return bootable_image(signed=True)


@pytest.fixture
def secure_lab(build_site: Callable[..., Site], signed: BootableImage) -> Site:
    """A site whose firmware gets shim."""
    return build_site(secure=True)


@pytest.mark.pxe
def test_secure_boot_from_an_empty_disk(secure_lab: Site, signed: BootableImage) -> None:
    """Shim, GRUB and kernel are signed all the way: an empty disk is flashed once, and every later power-on boots it."""
    drive = secure_lab.drive()
    machine = secure_lab.machine(drive, firmware=UEFI_SECURE)
    secure_lab.bind(signed)
    with machine.power_on() as power:
        enter(secure_lab, power, script_s=SECURE_SCRIPT_S)
        assert LOCKED in power.said
        flashed(secure_lab, power, signed, drive)
        login(power, timeout_s=SECURE_LOGIN_S)
        assert power.said.count(LOCKED) == 2, "the flashed system runs without Secure Boot"
        assert power.said.count("secureboot: Secure boot enabled") == 2
    assert offers(secure_lab) == ["bty-flash-once", "bty-flash-once-sanboot"]
    with machine.power_on() as power:
        login(power, timeout_s=SECURE_LOGIN_S)
        assert "bty: entered" not in power.said
    assert offers(secure_lab)[2:] == ["bty-flash-once-sanboot"]
    assert len(secure_lab.events(ARMED)) == 1
    assert len(secure_lab.events(FLASHED)) == 1


@pytest.mark.pxe(every_run=False)
def test_secure_boot_refuses_an_unsigned_loader(lab: Site) -> None:
    """The same firmware does not start Debian's iPXE, which nobody has signed: what the other row proves is enforced."""
    with lab.machine(firmware=UEFI_SECURE).power_on() as power:
        power.wait("NBP file downloaded successfully", SECURE_SCRIPT_S)
        power.wait("Access Denied", SECURE_SCRIPT_S, stage="refused")
    assert offers(lab) == []


@pytest.mark.pxe(every_run=False)
def test_secure_boot_with_a_daemon_that_comes_later(secure_lab: Site) -> None:
    """GRUB has its first script without the daemon, and asks for the machine's own until it comes."""
    secure_lab.operator.bind(MAC, None, None, "bty-inventory")
    assert secure_lab.daemon
    assert secure_lab.daemon.stop() == 0
    log = secure_lab.folder / "dnsmasq.log"
    with secure_lab.machine(firmware=UEFI_SECURE).power_on() as power:
        power.until(lambda: "/grub/grub.cfg to" in log.read_text(), "GRUB's first script", SECURE_SCRIPT_S, stage="first script")
        secure_lab.start_daemon()
        enter(secure_lab, power, script_s=SECURE_SCRIPT_S)
    assert offers(secure_lab) == ["bty-inventory"]


@pytest.mark.pxe(every_run=False)
def test_secure_boot_refuses_an_unsigned_system(secure_lab: Site, image: BootableImage) -> None:
    """A flashed system whose loader is not signed does not start; the machine says so and goes back to its firmware."""
    drive = secure_lab.drive()
    secure_lab.bind(image)
    with secure_lab.machine(drive, firmware=UEFI_SECURE).power_on() as power:
        enter(secure_lab, power, script_s=SECURE_SCRIPT_S)
        flashed(secure_lab, power, image, drive)
        power.wait("bty: no EFI loader on any local disk", SECURE_LOGIN_S, stage="refused")
        assert "bad shim signature" in power.said
        power.wait('starting Boot0000 "UiApp"', SECURE_SCRIPT_S, stage="setup")
    assert LOGIN_PROMPT not in power.said
    assert offers(secure_lab) == ["bty-flash-once", "bty-flash-once-sanboot"]
