"""What goes wrong on the way heals at the next try, or is told; a disk that is not whole is never booted."""

from __future__ import annotations

import time

import pytest

from tests.pxe.harness import ENTERED_S, FLASHED_S, SCRIPT_S, Site
from tests.pxe.image import LOGIN_PROMPT, BootableImage
from tests.pxe.steps import ARMED, FAILED, FLASHED, NEEDS, OFFERED, assert_unbootable, enter, flashed, login, offers, written_bytes

pytestmark = [pytest.mark.needs(*NEEDS), pytest.mark.timeout(900)]
_SOME = 24 << 20


@pytest.mark.pxe
def test_a_reset_in_mid_write_heals(lab: Site, image: BootableImage) -> None:
    """A machine that is reset while its disk is half written is flashed again, and boots only then."""
    drive = lab.drive()
    lab.bind(image, path="slow/")
    with lab.machine(drive).power_on() as power:
        enter(lab, power)
        power.until(lambda: written_bytes(drive) > _SOME, "some of the image on the disk", FLASHED_S)
        power.control("system_reset")
        assert_unbootable(drive)
        power.wait("bty: entered", SCRIPT_S + ENTERED_S, count=2, stage="entered again")
        flashed(lab, power, image, drive)
        login(power)
    assert offers(lab) == ["bty-flash-once", "bty-flash-once", "bty-flash-once-sanboot"]
    assert len(lab.events(FLASHED)) == 1


@pytest.mark.pxe(every_run=False)
def test_resets_in_mid_fetch_and_in_mid_verify_heal(lab: Site, image: BootableImage) -> None:
    """A reset on the way into the live environment, and one while the written disk is read back, each cost one boot and nothing else."""
    drive = lab.drive()
    assert lab.daemon
    assert lab.daemon.stop() == 0
    lab.start_daemon(BTY_FLASH_VERIFY="true")
    lab.bind(image)
    with lab.machine(drive).power_on() as power:
        lab.await_event(power, ARMED, SCRIPT_S + ENTERED_S)
        power.control("system_reset")
        enter(lab, power)
        power.slow_reads(4 << 20)
        power.until(lambda: lab.stage() == "verify", "the disk being read back", FLASHED_S, stage="verify")
        power.control("system_reset")
        power.slow_reads(0)
        assert lab.events(FLASHED) == []
        power.wait("bty: entered", SCRIPT_S + ENTERED_S, count=2, stage="entered again")
        assert "readback" in flashed(lab, power, image, drive)["verified"]
        login(power)
    assert offers(lab) == ["bty-flash-once"] * 3 + ["bty-flash-once-sanboot"]
    assert len(lab.events(FLASHED)) == 1


@pytest.mark.pxe(every_run=False)
def test_a_wrong_digest_is_tried_three_times(lab: Site, image: BootableImage) -> None:
    """Bytes that are not the promised ones are refused each time; then the machine waits and does not boot them."""
    drive = lab.drive()
    lab.bind(image, sha256="0" * 64)
    with lab.machine(drive).power_on() as power:
        enter(lab, power)
        failure = lab.await_event(power, FAILED, 3 * FLASHED_S, count=3, stage="failed thrice")
        power.wait("no further attempt", FLASHED_S)
    assert failure["details"]["error_code"] == "integrity_failed"
    assert lab.events(FLASHED) == []
    assert LOGIN_PROMPT not in power.said
    assert_unbootable(drive)


@pytest.mark.pxe(every_run=False)
def test_a_cut_of_twenty_seconds_is_outlived(lab: Site, image: BootableImage) -> None:
    """A network that is away for 20 s during the flash costs that time and nothing else."""
    drive = lab.drive()
    machine = lab.machine(drive)
    lab.bind(image, path="slow/")
    with machine.power_on() as power:
        enter(lab, power)
        power.until(lambda: written_bytes(drive) > _SOME, "some of the image on the disk", FLASHED_S)
        lab.cable(machine, plugged=False)
        back_at = time.monotonic() + 20
        power.until(lambda: time.monotonic() > back_at, "20 s", 30)
        lab.cable(machine, plugged=True)
        flashed(lab, power, image, drive, timeout_s=2 * FLASHED_S)
    assert len(lab.events(FLASHED)) == 1


@pytest.mark.pxe(every_run=False)
def test_a_daemon_that_comes_a_minute_later_and_goes_again(lab: Site, image: BootableImage) -> None:
    """A machine that is on before the daemon waits for it, though its disk is empty; so it does where the daemon dies after the script."""
    drive = lab.drive()
    lab.bind(image)
    assert lab.daemon
    assert lab.daemon.stop() == 0
    with lab.machine(drive).power_on() as power:
        power.wait("bty: the daemon does not answer, again in 5 seconds", SCRIPT_S)
        up_at = time.monotonic() + 60
        power.until(lambda: time.monotonic() > up_at, "a minute", 90)
        lab.start_daemon()
        lab.await_event(power, OFFERED, SCRIPT_S, stage="script")
        lab.daemon.kill()
        power.wait("bty: the live environment does not come, again in 5 seconds", SCRIPT_S)
        lab.start_daemon()
        power.wait("bty: entered", SCRIPT_S + ENTERED_S, stage="entered")
        flashed(lab, power, image, drive)
    assert offers(lab) == ["bty-flash-once"]
