"""The wizard's state machine while the server's plan is followed."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.wizard.events import (
    CancelFlash,
    DiskEnded,
    FindSources,
    FlashBegan,
    FlashEnded,
    FollowPlan,
    Key,
    PlanEnded,
    Quit,
    RetryAnnounced,
    StartFlash,
    Tick,
)
from bty.agent.wizard.state import Screen
from bty.model.plan import Receipt
from tests.support.wizard import IMAGES, SSD, Hands

RECEIPT = Receipt(source="/images/debian", target_path="/dev/sda", sha256="ab", verified=("wire",), image_bytes=124 << 20, seconds=62.0)
FAILED = replace(RECEIPT, error="the disk said no", error_code="write_failed")


def _unattended() -> Hands:
    return Hands(server="http://boot:8080", mac="52:54:00:11:22:33", locations=())


def _begin_attempt(hands: Hands, attempt: int = 1) -> Hands:
    return hands.event(FlashBegan(image=IMAGES[0], disks=(SSD,), at=100.0, attempt=attempt, of=3))


def test_with_server_and_mac_the_plan_is_followed() -> None:
    """No catalog is loaded meanwhile."""
    hands = _unattended()

    assert hands.effects == [FollowPlan()]
    assert "Asking the server" in hands.screen()


def test_an_unattended_flash_leaves_when_it_is_done() -> None:
    """The exit code is 0, whoever started us goes on from there; the last picture tells the rate of the whole."""
    hands = _begin_attempt(_unattended()).event(DiskEnded(0, RECEIPT, 160.0), FlashEnded(0))
    assert hands.state.screen is Screen.FLASH
    assert "2.0 MiB/s on average" in hands.screen()
    hands.event(PlanEnded(exit_code=0, mode="flash"))

    assert hands.effects[-1] == Quit(0)


def test_a_failed_attempt_is_followed_by_the_next_as_the_plan_says() -> None:
    """The reason stays on the screen, with the seconds that are left."""
    hands = _begin_attempt(_unattended()).event(DiskEnded(0, FAILED, 160.0), FlashEnded(14), RetryAnnounced(165.0, 2, 3), Tick(161.5))
    assert "next attempt begins in 4 s" in hands.screen()
    assert "the disk said no" in hands.screen()

    assert "attempt 2 of 3" in _begin_attempt(hands, 2).screen()


def test_after_the_last_attempt_the_machine_waits_with_the_reason() -> None:
    """Trying again by hand writes the same image to the same disk."""
    hands = _begin_attempt(_unattended(), 3).event(DiskEnded(0, FAILED, 160.0), FlashEnded(14))
    hands.event(PlanEnded(exit_code=14, mode="flash", text="no further attempt: 3 failed"))
    assert hands.state.screen is Screen.DONE
    assert "the disk said no" in hands.screen()
    assert "no further attempt" in hands.screen()
    hands.press("t")

    assert hands.effects[-1] == StartFlash(image=IMAGES[0], targets=(SSD,), disks=(), verify=False)


def test_an_interactive_plan_opens_the_wizard_with_the_servers_catalog() -> None:
    """And says why, where the plan does."""
    hands = _unattended().event(PlanEnded(exit_code=0, mode="interactive", text="3 attempts failed"))

    assert hands.effects[-1] == FindSources("http://boot:8080")
    assert hands.state.screen is Screen.IMAGES
    assert "3 attempts failed" in hands.screen()


def test_without_a_plan_it_is_asked_for_again_until_somebody_is_there() -> None:
    """After half a minute by itself; a key ends that, and `t` asks at once."""
    hands = _unattended().event(PlanEnded(exit_code=16, text="no plan: refused"), Tick(10.0))
    assert "no plan: refused" in hands.screen()
    assert "asked for again in 30 s" in hands.screen()
    hands.take_effects()
    assert hands.event(Tick(39.0)).effects == []
    assert hands.event(Tick(40.0)).take_effects() == [FollowPlan()]
    hands.event(PlanEnded(exit_code=16, text="no plan: refused"), Key("up"), Tick(50.0), Tick(500.0))
    assert hands.effects == []

    assert hands.press("t").effects == [FollowPlan()]


def test_whoever_does_not_want_to_wait_for_a_plan_chooses_by_hand() -> None:
    """The plan that comes too late changes nothing."""
    hands = _unattended()
    hands.take_effects()
    hands.press("i")
    assert hands.take_effects() == [CancelFlash(), FindSources("http://boot:8080")]
    hands.event(PlanEnded(exit_code=16, text="no plan"))

    assert (hands.state.screen, hands.effects) == (Screen.IMAGES, [])


def test_a_plan_to_do_nothing_leaves() -> None:
    """With 0: there is nothing to try again."""
    assert _unattended().event(PlanEnded(exit_code=0, mode="exit")).effects[-1] == Quit(0)
