"""What every row does: from power-on to the flashed disk, and from there to the login prompt."""

from __future__ import annotations

from typing import Any

from tests.pxe.harness import ENTERED_S, FLASHED_S, LOGIN_S, SCRIPT_S, Site, assert_flashed
from tests.pxe.image import LOGIN_PROMPT, PROGRAMS, BootableImage
from tests.pxe.qemu import Drive, Power

NEEDS = ("qemu-system-x86_64", "dnsmasq", "nginx", "ip", "nsenter", *PROGRAMS)
OFFERED, ARMED, FLASHED, FAILED, INVENTORY = (
    "netboot.pxe.offered",
    "netboot.flasher.armed",
    "machine.flashed",
    "machine.flash.failed",
    "machine.inventory",
)


def enter(site: Site, power: Power, *, script_s: float = SCRIPT_S) -> None:
    """Follow the machine into the live environment."""
    offers, entered = len(site.events(OFFERED)), power.said.count("bty: entered")
    site.await_event(power, OFFERED, script_s, stage="script", count=offers + 1)
    power.wait("Linux version", ENTERED_S, stage="kernel")
    power.wait("bty: entered", ENTERED_S, stage="entered", count=entered + 1)


def flashed(site: Site, power: Power, image: BootableImage, drive: Drive, *, timeout_s: float = FLASHED_S) -> dict[str, Any]:
    """Wait for the receipt, hold the machine, compare its disk with the image, and return the receipt."""
    before = len(site.events(FLASHED))
    receipt = site.await_event(power, FLASHED, timeout_s, stage="flashed", count=before + 1)["details"]
    with power.paused():
        assert_flashed(image, drive)
    assert "wire" in receipt["verified"]
    assert receipt["target_serial"] == drive.serial
    return dict(receipt)


def login(power: Power, *, count: int = 1, timeout_s: float = LOGIN_S) -> None:
    """Wait for the login prompt of the flashed system."""
    power.wait(LOGIN_PROMPT, timeout_s, stage="login", count=count)


def offers(site: Site) -> list[str]:
    """Return what the daemon offered, oldest first."""
    return [event["details"]["offer_kind"] for event in reversed(site.events(OFFERED))]


def written_bytes(drive: Drive) -> int:
    """Return how much of the disk has been written so far."""
    return drive.path.stat().st_blocks * 512


def assert_unbootable(drive: Drive) -> None:
    """The first MiB of a disk whose flash did not end well is empty."""
    with drive.path.open("rb") as file:
        assert not any(file.read(1 << 20)), "a disk that is not whole looks bootable"
