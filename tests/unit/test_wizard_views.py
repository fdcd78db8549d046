"""The wizard's pictures: every screen and overlay at every size, and what they are made of."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from bty.agent.wizard.entry import Entry
from bty.agent.wizard.events import ContentsRead, DiskEnded, DisksListed, FlashEnded, FlashMoved, Said
from bty.agent.wizard.frame import paint
from bty.agent.wizard.look import Look
from bty.agent.wizard.samples import CELLS, Samples
from bty.agent.wizard.screens import SCREENS
from bty.agent.wizard.state import Overlay
from bty.agent.wizard.text import clean, fit, width, wrap
from bty.host.contents import Contents, Part
from bty.model.plan import Receipt
from bty.model.progress import Progress, Stage
from bty.units import MIB, format_seconds
from tests.support.wizard import DISKS, LOCAL, NVME, REMOTE, SSD, Hands, image

SIZES = [(80, 24), (132, 43), (40, 12), (20, 8), (300, 100)]
LOOKS = {"ascii": Look(), "unicode": Look(unicode=True, sparks=True)}
HOSTILE = "\x1b[2J\x9b31m\u202egnp.exe\nnew line\u0000 日本語 e\u0301"
PARTS = tuple(Part(path=f"/dev/sda{number}", size_bytes=number * MIB, kind="ext4", label=HOSTILE) for number in range(1, 40))
RECEIPT = Receipt(source="https://host/" + "x" * 300, target_path="/dev/sda", sha256="ab" * 32, error=HOSTILE * 20, notes=("a note",))


def _scenes() -> dict[str, Hands]:
    many = tuple(image(f"image-{number}.img", description=HOSTILE, source=HOSTILE) for number in range(60))
    moved = [
        FlashMoved(0, Progress(stage=Stage.WRITE, read=5, read_total=9, done=at * MIB, done_total=99 * MIB), 1e9, at) for at in range(1, 90)
    ]
    verify = FlashMoved(0, Progress(stage=Stage.VERIFY, done=5, done_total=9, retries=3), 1.0, 100.0)
    log = [Said(f"line {number} {HOSTILE}") for number in range(90)]
    done = (DiskEnded(0, RECEIPT, 99.0), FlashEnded(14))
    return {
        "no sources": Hands(locations=()),
        "sources": Hands(locations=(LOCAL, REMOTE)).loaded(REMOTE, (), HOSTILE * 9).press("b"),
        "address": Hands().press("b", "a").type("https://host/" + "long/" * 60),
        "loading": Hands(),
        "no images": Hands().loaded(images=()),
        "images": Hands(locations=(LOCAL, REMOTE)).loaded(images=many).loaded(REMOTE, (), HOSTILE * 9).press("end"),
        "hostile image": Hands().loaded(images=(image(HOSTILE * 5),)),
        "filter": Hands().loaded(images=many).press("/").type("image 5"),
        "nothing fits": Hands().loaded(images=many).press("/").type("zzz"),
        "disks": Hands().at_disks().press("space"),
        "no disks": Hands().at_disks(()),
        "disks that fail": Hands().loaded().press("enter").event(DisksListed((), HOSTILE * 5)),
        "many disks": Hands().at_disks(tuple(replace(SSD, path=f"/dev/sd{n}", serial=f"{HOSTILE}{n}") for n in range(70))).press("end"),
        "confirm": Hands().at_disks().event(ContentsRead(SSD.path, Contents(table="gpt", parts=PARTS))).press("enter").type("12"),
        "starting": Hands().at_disks().press("enter").type("345A").press("enter"),
        "asking": Hands(server="http://boot", mac="52:54:00:11:22:33"),
        "flash": Hands().flashing().event(*moved, *log),
        "verify": Hands().flashing().event(verify),
        "several": Hands().flashing(*(DISKS * 9)).event(*moved),
        "help": Hands().flashing().press("?"),
        "log": Hands().event(*log).press("b", "L", "up", "up"),
        "cancel": Hands().flashing().press("c"),
        "quit": Hands().press("q"),
        "done": Hands().flashing().event(*done),
        "some failed": Hands().flashing(SSD, NVME).event(*done),
    }


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_picture_fits_and_holds_nothing_that_a_terminal_obeys(size: tuple[int, int], look: str) -> None:
    """As many rows as there are, no column too many, no control characters; plain ASCII where the terminal has no more."""
    for name, hands in _scenes().items():
        frame = paint(hands.resized(*size).state, LOOKS[look])
        assert len(frame.lines) == size[1], name
        for line in frame.lines:
            text = "".join(part for _, part in line)
            assert width(text) <= size[0] - 1, (name, text)
            assert text.isprintable(), (name, text)
            assert look != "ascii" or text.isascii(), (name, text)
        if frame.cursor:
            assert frame.cursor[0] < size[1], name
            assert frame.cursor[1] < size[0], name
        assert all(row < size[1] for row in frame.targets), name


@pytest.mark.parametrize("name", list(_scenes()))
def test_the_keys_of_a_screen_are_told_by_its_help(name: str) -> None:
    """Every key that does something there is in the panel, by name and sentence; no key does two things."""
    hands = _scenes()[name]
    state = replace(hands.state, overlay=None)
    bindings = SCREENS[state.screen].bindings(state)
    hands.state = replace(state, overlay=Overlay.HELP)
    screen = hands.resized(160, 60).screen()

    assert all(binding.help in screen for binding in bindings)
    keys = [key for binding in bindings for key in binding.keys]
    assert len(keys) == len(set(keys))


def test_the_first_words_of_a_picture_are_where_one_is() -> None:
    """The place is marked by brackets, not by a colour alone."""
    assert "1.Catalog > [2.Image] > 3.Disk > 4.Flash > 5.Reboot" in Hands().screen()
    assert "[5.Reboot]" in _scenes()["done"].screen()


def test_what_was_chosen_stays_in_sight() -> None:
    """Image and disk, from when they are chosen on."""
    assert "Image debian-13.img.zst" in Hands().at_disks().screen()
    assert "Disk /dev/sda 500.0 GiB" in Hands().flashing().screen()
    assert "2 disks" in Hands().flashing(SSD, NVME).screen()


def test_of_many_disks_those_that_need_somebody_are_seen() -> None:
    """One row each, what failed first, and the rest is counted."""
    disks = tuple(replace(SSD, path=f"/dev/sd{number:02}", serial=f"S{number}") for number in range(30))
    writing = Progress(stage=Stage.WRITE, done=30 * MIB, done_total=60 * MIB)
    fine = replace(RECEIPT, error=None)
    hands = Hands().flashing(*disks).event(*[FlashMoved(number, writing, 1e6, 120.0) for number in range(30)])
    screen = hands.event(DiskEnded(29, RECEIPT, 121.0), DiskEnded(0, fine, 121.0)).screen()

    assert "and 16 more" in screen
    assert screen.index("/dev/sd29      FAILED") < screen.index("/dev/sd01")
    assert "/dev/sd00" not in screen
    assert "] 50 % 976.6 KiB/s writing" in " ".join(screen.split())

    held_up = replace(writing, trouble="the disk has not answered for 12 s")
    assert "50 % writing, waiting: the disk has not answered for 12 s" in " ".join(
        hands.event(FlashMoved(3, held_up, 0.0, 122.0)).screen().split()
    )


def test_a_list_turns_pages_so_that_a_move_changes_two_rows() -> None:
    """The cheapest thing a serial line can be asked for."""
    hands = Hands().loaded(images=tuple(image(f"{number}.img", src="/same") for number in range(9)))
    hands.state = replace(hands.state, images=tuple(image(f"{n}.img") for n in range(60)))
    before = hands.screen().splitlines()
    after = hands.press("down").screen().splitlines()
    changed = [row for row, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]

    assert changed == [5, 6, 17, 18]  # two items, and two lines that tell more about the one at the cursor


def test_a_spark_line_never_moves_and_rarely_changes_its_scale() -> None:
    """Old cells stay as they are while a new one is added; when all are full they are merged by twos."""
    look = LOOKS["unicode"]
    samples, pictures = Samples(), []
    for at in range(200):
        samples = samples.add(at * 100 * MIB, float(at))
        pictures.append(look.spark(samples.rates))

    assert all(len(picture) < CELLS for picture in pictures)
    longer = [(old, new) for old, new in pairwise(pictures) if len(new) >= len(old)]
    assert len(longer) >= len(pictures) - 4
    assert all(new.startswith(old) for old, new in longer)


def test_text_is_cut_and_filled_to_the_column() -> None:
    """Wide letters count two, combining marks none; what is cut says so."""
    assert fit("abc", 5) == "abc  "
    assert fit("abc", 5, right=True) == "  abc"
    assert fit("abcdef", 4) == "abc~"
    assert fit("日本語", 4) == "日~ "
    assert width("e\u0301日") == 3
    assert fit("abc", 0) == ""
    assert wrap("one two three four", 9, 2) == ["one two", "three fo~"]
    assert clean(HOSTILE, unicode=False).isascii()
    assert [format_seconds(value) for value in (-1, 7.9, 754, 3723, math.inf)] == ["0:00", "0:07", "12:34", "1:02:03", "99:59:59"]


def test_a_line_is_edited_as_lines_are() -> None:
    """Cursor, ends, both deletions, a word and all."""
    entry = Entry.of("one two").press("ctrl-w")
    assert entry == Entry("one ", 4)
    for key in ("left", "backspace", "home", "X", "delete", "right", "delete", "end", "!", "up"):
        entry = entry.press(key) or entry

    assert entry == Entry("Xn!", 3)
    assert entry.press("ctrl-u") == Entry()
    assert entry.press("up") is None
