"""The wizard's state machine from the confirmation to the receipt, and what is the same on every screen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bty.agent.wizard.events import (
    CancelFlash,
    Click,
    ContentsRead,
    DiskEnded,
    DisksListed,
    FlashEnded,
    FlashMoved,
    ImageProbed,
    OpenShell,
    ProbeImage,
    Quit,
    Reboot,
    Repaint,
    Resize,
    Said,
    StartFlash,
    Suspend,
    Told,
)
from bty.agent.wizard.state import Overlay, Screen
from bty.agent.wizard.update import update
from bty.host.contents import Contents, Part
from bty.model.plan import Receipt
from bty.model.progress import Progress, Stage
from bty.units import MIB
from tests.support.wizard import DISKS, IMAGES, NAMELESS, NVME, SSD, Hands, image

RECEIPT = Receipt(source="/images/debian", target_path="/dev/sda", sha256="ab", verified=("wire",), seconds=62.0)
FAILED = replace(RECEIPT, error="the disk said no", error_code="write_failed")


def test_what_is_on_the_disk_is_shown_before_it_is_lost() -> None:
    """Partitions, file systems and labels stand in the confirmation."""
    parts = (Part(path="/dev/sda1", size_bytes=512 * MIB, kind="vfat", label="EFI"), Part(path="/dev/sda2", size_bytes=0, kind="ext4"))
    hands = Hands().at_disks().event(ContentsRead(SSD.path, Contents(table="gpt", parts=parts))).press("enter")
    screen = hands.screen()

    assert '/dev/sda1 512.0 MiB vfat "EFI"' in screen
    assert "/dev/sda2 0 B ext4" in screen
    assert "Fast SSD" in screen
    assert "S3Z9NB0K12345A" in screen


@pytest.mark.parametrize("typed", ["", "2345a", "345a", "345", "S3Z9NB0K12345A", "y", "flash"])
def test_nothing_but_the_end_of_the_serial_starts_a_flash(typed: str) -> None:
    """To the letter, and typed: Enter alone, `y`, or another case of it start nothing."""
    hands = Hands().at_disks().press("enter")
    hands.take_effects()
    hands.type(typed).press("enter")

    assert (hands.state.screen, hands.effects) == (Screen.CONFIRM, [])
    assert hands.state.message


def test_the_end_of_the_serial_starts_the_flash() -> None:
    """With what was chosen, and with the list that the disk came from."""
    hands = Hands().at_disks().press("v", "enter")
    hands.take_effects()
    hands.type("345A").press("enter")

    assert hands.effects == [StartFlash(image=IMAGES[0], targets=(SSD,), disks=DISKS, verify=True)]
    assert hands.state.screen is Screen.FLASH


def test_a_paste_confirms_nothing() -> None:
    """What is to be typed by hand must not come from a clipboard."""
    hands = Hands().at_disks().press("enter").paste("345A").press("enter")

    assert hands.state.screen is Screen.CONFIRM


def test_a_disk_without_serial_is_confirmed_by_a_word() -> None:
    """The word is `flash`."""
    hands = Hands().at_disks((NAMELESS,)).press("enter").type("flash").press("enter")

    assert hands.effects[-1] == StartFlash(image=IMAGES[0], targets=(NAMELESS,), disks=(NAMELESS,), verify=False)


@pytest.mark.parametrize(("serial", "word"), [("1 234", "234"), ("AB", "AB"), ("123日本", "flash"), ("    ", "flash"), (None, "flash")])
def test_what_is_asked_for_can_be_typed(serial: str | None, word: str) -> None:
    """Whatever the serial is made of."""
    hands = Hands().at_disks((replace(SSD, serial=serial),)).press("enter").type(word).press("enter")

    assert hands.state.screen is Screen.FLASH


def test_several_disks_are_confirmed_one_by_one() -> None:
    """Each with its own serial, in the order of the list."""
    hands = Hands().at_disks().press("space", "space", "enter")
    assert "disk 1 of 2" in hands.screen()
    hands.type("345A").press("enter")
    assert hands.state.screen is Screen.CONFIRM
    assert "disk 2 of 2" in hands.screen()
    hands.type("0042").press("enter")

    assert hands.effects[-1] == StartFlash(image=IMAGES[0], targets=(SSD, NVME), disks=DISKS, verify=False)


def test_an_image_that_is_larger_than_the_disk_is_said_to_be() -> None:
    """Before the engine refuses it."""
    hands = Hands().loaded(images=(image("big.img", format="img", size_bytes=900 * 1024 * MIB),))

    assert "will be refused" in hands.press("enter").event(DisksListed((SSD,))).press("enter").screen()


def test_an_image_is_asked_for_before_its_disk_is_confirmed() -> None:
    """What its server says now about its size counts more than what the catalog said."""
    hands = Hands().loaded(images=(image("big.img", format="img", size_bytes=None),))
    hands.press("enter").event(DisksListed((SSD,)))
    hands.take_effects()
    hands.press("enter")
    assert ProbeImage(hands.state.images[0]) in hands.effects
    assert "asking for it" in hands.screen()

    screen = hands.event(ImageProbed("/images/big.img", 900 * 1024 * MIB)).screen()
    assert "big.img, 900.0 GiB" in screen
    assert "will be refused" in screen


def test_an_empty_image_is_said_to_be() -> None:
    """Its server's word counts, though the catalog said something else."""
    screen = Hands().at_disks().press("enter").event(ImageProbed(IMAGES[0].src, 0)).screen()

    assert "The image is empty." in screen
    assert f"{IMAGES[0].name}, 0 B" in screen


def test_an_image_that_cannot_be_had_is_said_to_be_and_may_be_tried_all_the_same() -> None:
    """It may be there a moment later; the answer for another image means nothing here."""
    hands = Hands().at_disks().press("enter").event(ImageProbed("/images/other", None, "gone"))
    assert "cannot be had" not in hands.screen()
    hands.event(ImageProbed(IMAGES[0].src, None, "the server says 404"))

    assert "The image cannot be had now: the server says 404" in hands.screen()
    assert hands.type("345A").press("enter").state.screen is Screen.FLASH


def _moved(done: int, at: float, **facts: object) -> FlashMoved:
    return FlashMoved(0, Progress(**{"stage": Stage.WRITE, "done": done * MIB, "done_total": 1000 * MIB, **facts}), 50.0 * MIB, at)


def test_progress_is_shown_with_rate_and_time_left() -> None:
    """Bars, how far, how fast, how long."""
    screen = Hands().flashing().event(_moved(250, 105.0, read=100 * MIB, read_total=400 * MIB)).screen()

    assert " 25 %  250.0 MiB of 1000.0 MiB" in screen
    assert " 25 %  100.0 MiB of 400.0 MiB" in screen
    assert "50.0 MiB/s   0:05 passed   0:15 left" in screen


def test_the_time_left_is_told_by_the_download_where_the_size_is_unknown() -> None:
    """A compressed image of unknown size."""
    moved = _moved(200, 105.0, done_total=None, read=100 * MIB, read_total=400 * MIB)

    assert "0:12 left" in Hands().flashing().event(moved).screen()


def test_stages_and_reconnects_are_logged() -> None:
    """Each once."""
    hands = Hands().flashing().event(_moved(1, 101.0), _moved(2, 102.0), _moved(3, 103.0, retries=1))

    assert [line for line in hands.state.log if "/dev/sda:" in line] == [
        "/dev/sda: writing",
        "/dev/sda: the connection broke; asked again from 0 B",
    ]


def test_why_nothing_moves_is_shown_and_logged() -> None:
    """In the words of the source, as long as it is so."""
    refused = "10.0.0.1: Connection refused"
    hands = Hands().flashing().event(_moved(1, 101.0), _moved(1, 102.0, retries=1, trouble=refused, last_break=refused))
    assert "writing, waiting: 10.0.0.1: Connection refused" in hands.screen()
    assert hands.state.log[-1] == "/dev/sda: 10.0.0.1: Connection refused; asked again from 0 B"

    assert "waiting" not in hands.event(_moved(2, 103.0, retries=1, last_break=refused)).screen()


def test_a_flash_is_cancelled_after_a_question_only() -> None:
    """Esc or Ctrl-C ask; any no goes on; y stops."""
    hands = Hands().flashing()
    hands.take_effects()
    hands.press("escape", "n", "ctrl-c", "escape", "q", "enter")
    assert hands.effects == []
    assert hands.state.overlay is Overlay.ASK_CANCEL
    hands.press("y")

    assert hands.effects == [CancelFlash()]
    assert "Cancelling" in hands.screen()


def test_a_question_whose_flash_has_ended_goes_away() -> None:
    """Whoever types y a moment too late cancels nothing and starts nothing."""
    hands = Hands().flashing().press("c").event(DiskEnded(0, RECEIPT, 160.0), FlashEnded(0))

    assert (hands.state.screen, hands.state.overlay) == (Screen.DONE, None)


def test_the_log_and_the_help_lie_over_a_screen_and_go_away() -> None:
    """Keys meanwhile go to them, not to the screen below."""
    hands = Hands().flashing().event(Said("a line of the log")).press("l")
    assert "a line of the log" in hands.screen()
    hands.press("up", "pagedown", "escape", "?")
    assert "Keys: Flash" in hands.screen()
    hands.press("c")
    assert hands.state.overlay is Overlay.HELP

    assert hands.press("escape").state.overlay is None


def test_the_receipt_stands_at_the_end() -> None:
    """What was written, and how it was proved."""
    screen = Hands().flashing().event(DiskEnded(0, RECEIPT, 160.0), FlashEnded(0)).screen()

    assert "Done: the disk is flashed" in screen
    assert "digest as promised" in screen


def test_a_reboot_comes_after_a_question() -> None:
    """Enter asks, and Enter twice reboots nothing; the flasher itself stays until the machine goes down."""
    hands = Hands().flashing().event(DiskEnded(0, RECEIPT, 160.0), FlashEnded(0))
    hands.take_effects()
    hands.press("enter")
    assert hands.effects == []

    assert hands.press("enter").effects == []
    assert hands.press("y").effects == [Reboot()]


def test_a_failure_keeps_its_reason_and_offers_what_can_be_done() -> None:
    """Again, another disk, another image, a shell; and leaving tells it by the exit code."""
    hands = Hands().flashing().event(DiskEnded(0, FAILED, 160.0), FlashEnded(14))
    hands.take_effects()
    assert "failed: /dev/sda: the disk said no" in hands.screen()
    assert hands.press("s").take_effects() == [OpenShell()]
    again = Hands().flashing().event(DiskEnded(0, FAILED, 160.0), FlashEnded(14)).press("t")
    assert again.effects[-1] == StartFlash(image=IMAGES[0], targets=(SSD,), disks=DISKS, verify=False)
    assert hands.press("i").state.screen is Screen.IMAGES
    other = Hands().flashing().event(DiskEnded(0, FAILED, 160.0), FlashEnded(14))
    assert other.press("d").state.screen is Screen.DISKS
    leaving = Hands().flashing().event(DiskEnded(0, FAILED, 160.0), FlashEnded(14)).press("q")

    assert leaving.effects[-1] == Quit(14)


def test_of_several_disks_those_that_failed_are_tried_again() -> None:
    """The others are done."""
    hands = Hands().flashing(SSD, NVME).event(DiskEnded(0, FAILED, 160.0), DiskEnded(1, RECEIPT, 170.0), FlashEnded(14))
    assert "Failed: 1 of 2 disks" in hands.screen()
    hands.press("t")

    assert hands.effects[-1] == StartFlash(image=IMAGES[0], targets=(SSD,), disks=DISKS, verify=False)


def test_keys_that_are_the_same_everywhere() -> None:
    """Ctrl-L repaints, Ctrl-Z suspends, Ctrl-C asks before it leaves."""
    hands = Hands().loaded()
    hands.take_effects()
    assert hands.press("ctrl-l", "ctrl-z").take_effects() == [Repaint(), Suspend()]
    hands.press("ctrl-c")
    assert hands.state.overlay is Overlay.ASK_QUIT

    assert hands.press("y").effects == [Quit(0)]


def test_a_click_moves_and_a_second_one_chooses() -> None:
    """On an image; on a catalog a click is its check box."""
    hands = Hands().loaded().event(Click(1))
    assert (hands.state.screen, hands.state.image_pick.cursor) == (Screen.IMAGES, 1)
    assert hands.event(Click(1)).state.image == IMAGES[1]
    sources = Hands().loaded().press("b").event(Click(0))

    assert sources.state.sources[0].chosen is False


def test_what_fails_beside_the_screen_is_shown_until_the_next_key() -> None:
    """And stays in the log."""
    hands = Hands().loaded().event(Told("cannot reboot: no systemd"))
    assert "cannot reboot: no systemd" in hands.screen()
    hands.press("down")

    assert "cannot reboot: no systemd" not in hands.screen()
    assert hands.state.log[-1] == "cannot reboot: no systemd"


def test_an_event_of_a_flash_that_is_not_shown_changes_nothing() -> None:
    """A late one, for example."""
    state = Hands().loaded().state

    assert update(state, _moved(1, 1.0)) == (state, ())


def test_the_size_is_part_of_the_state() -> None:
    """A resize is an event like any other."""
    assert Hands().event(Resize(132, 43)).state.size.columns == 132
