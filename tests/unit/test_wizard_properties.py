"""Whatever is pressed and whatever happens meanwhile, in any order: what always holds of the wizard."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bty.agent.wizard.events import (
    Click,
    ContentsRead,
    DiskEnded,
    DisksListed,
    Event,
    FlashBegan,
    FlashEnded,
    FlashMoved,
    ImageProbed,
    Key,
    Paste,
    PlanEnded,
    Quit,
    Reboot,
    Resize,
    RetryAnnounced,
    Said,
    SourcesFound,
    StartFlash,
    Tick,
    Told,
)
from bty.agent.wizard.frame import paint
from bty.agent.wizard.look import Look
from bty.agent.wizard.state import Overlay, Screen, confirm_word
from bty.host.contents import Contents
from bty.model.disk import refusals
from bty.model.plan import Receipt
from bty.model.progress import Progress, Stage
from tests.support.wizard import DISKS, IMAGES, LOCAL, NVME, REMOTE, SSD, Hands, image

UNHURRIED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a loaded machine is no failure
RECEIPT = Receipt(source="x", target_path="/dev/sda", seconds=1.0)
NAMES = ["up", "down", "pageup", "pagedown", "home", "end", "left", "right", "enter", "escape", "backspace", "delete", "tab"]
LETTERS = [*"abcdiklnqrstvxyL/?0123459 ", "space", "ctrl-c", "ctrl-d", "ctrl-l", "ctrl-u", "ctrl-z", "f1"]
keys = st.sampled_from([*NAMES, *LETTERS, "345A", "0042", "flash"]).flatmap(
    lambda name: st.just([Key(name)] if name in NAMES or name in LETTERS else [Key(letter) for letter in name] + [Key("enter")])
)
progresses = st.builds(
    Progress,
    stage=st.sampled_from(Stage),
    read=st.integers(0, 2**40),
    read_total=st.none() | st.integers(0, 2**40),
    done=st.integers(0, 2**40),
    done_total=st.none() | st.integers(0, 2**40),
    retries=st.integers(0, 9),
    trouble=st.none() | st.text(min_size=1),
)
times = st.floats(0, 10**6)
happenings: st.SearchStrategy[Event] = st.one_of(
    st.builds(Click, st.integers(0, 5)),
    st.builds(Paste, st.text()),
    st.builds(Resize, st.integers(20, 200), st.integers(8, 60)),
    st.just(SourcesFound((LOCAL, REMOTE))),
    st.sampled_from([DisksListed(DISKS), DisksListed(()), DisksListed((), "lsblk failed")]),
    st.sampled_from([ContentsRead(SSD.path, Contents()), ContentsRead(SSD.path, None, "blkid failed")]),
    st.sampled_from([ImageProbed(IMAGES[0].src, 7), ImageProbed(IMAGES[0].src, None, "gone"), ImageProbed("/elsewhere", 7)]),
    st.builds(FlashBegan, image=st.just(IMAGES[0]), disks=st.sampled_from([(SSD,), (SSD, NVME)]), at=times),
    st.builds(FlashMoved, st.just(0), progresses, st.floats(0, 1e12), times),
    st.builds(DiskEnded, st.just(0), st.sampled_from([RECEIPT, replace(RECEIPT, error="no", error_code="x")]), times),
    st.builds(FlashEnded, st.sampled_from([0, 14])),
    st.builds(RetryAnnounced, times, st.none() | st.integers(1, 3), st.none() | st.just(3)),
    st.builds(PlanEnded, exit_code=st.sampled_from([0, 14, 16]), mode=st.sampled_from(["", "flash", "interactive"]), text=st.text()),
    st.builds(Said, st.text()),
    st.builds(Told, st.text()),
    st.builds(Tick, times),
)
scripts = st.lists(keys | happenings.map(lambda event: [event]), max_size=60)


def _begin(unattended: bool) -> Hands:
    return Hands(server="http://boot", mac="52:54:00:11:22:33", locations=()) if unattended else Hands().loaded()


@given(scripts, st.booleans())
@UNHURRIED
def test_no_order_of_events_breaks_it(script: list[list[Event]], unattended: bool) -> None:
    """Every state has a picture that fits its terminal, and the next event finds a state that it can be."""
    hands = _begin(unattended)
    for events in script:
        hands.event(*events)
        frame = paint(hands.state, Look())
        assert len(frame.lines) == hands.state.size.rows


@given(scripts)
@UNHURRIED
def test_no_flash_begins_but_from_a_confirmation_or_a_retry(script: list[list[Event]]) -> None:
    """The disks are free, and the last thing typed was the end of a serial, or `t` after a failure."""
    hands = _begin(False).event(DisksListed(DISKS))
    for events in script:
        for event in events:
            before = hands.state
            hands.take_effects()
            hands.event(event)
            for effect in hands.take_effects():
                if isinstance(effect, StartFlash):
                    assert not any(refusals(disk, DISKS) for disk in effect.targets)
                    if before.screen is Screen.CONFIRM:
                        assert event == Key("enter")
                        assert before.confirm.text.strip() == confirm_word(before.targets[-1])
                    else:
                        assert (before.screen, event) == (Screen.DONE, Key("t"))
                if isinstance(effect, Reboot):
                    assert before.overlay is Overlay.ASK_REBOOT
                if isinstance(effect, Quit) and isinstance(event, Key):
                    assert before.overlay is Overlay.ASK_QUIT or before.screen is Screen.DONE


@given(st.lists(st.integers(0, 400), max_size=30))
@UNHURRIED
def test_esc_leads_to_the_first_screen_from_every_list(moves: list[int]) -> None:
    """And to no other place, however far one went."""
    hands = Hands().loaded(images=tuple(image(f"{number}.img") for number in range(30)))
    for move in moves:
        hands.press(("down", "up", "enter", "space", "pagedown")[move % 5])
        if hands.state.disks is None:
            hands.event(DisksListed(DISKS))
    for _ in range(5):
        hands.press("escape")

    assert hands.state.screen is Screen.SOURCES
