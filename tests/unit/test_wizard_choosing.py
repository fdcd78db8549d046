"""The wizard's state machine up to the disk: what each key and each event does, without a terminal."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.choices import DEFAULT_CATALOG
from bty.agent.wizard.events import (
    DisksListed,
    FindSources,
    ListDisks,
    LoadSource,
    ReadContents,
    SourcesFound,
)
from bty.agent.wizard.state import Screen, SourceStatus
from bty.model.plan import Receipt
from tests.support.wizard import DISKS, IMAGES, LOCAL, NAMELESS, NVME, REMOTE, SSD, SYSTEM, Hands, image

RECEIPT = Receipt(source="/images/debian", target_path="/dev/sda", sha256="ab", verified=("wire",), seconds=62.0)
FAILED = replace(RECEIPT, error="the disk said no", error_code="write_failed")


def test_a_start_loads_the_chosen_catalogs_and_shows_the_images() -> None:
    """Where a catalog is named the first screen is skipped; each catalog is loaded at once."""
    hands = Hands(locations=(LOCAL, REMOTE))

    assert hands.state.screen is Screen.IMAGES
    assert hands.effects == [LoadSource(LOCAL), LoadSource(REMOTE)]


def test_a_start_without_catalogs_asks_where_images_come_from() -> None:
    """Nothing is loaded that nobody asked for."""
    hands = Hands(locations=())

    assert (hands.state.screen, hands.effects) == (Screen.SOURCES, [])


def test_what_this_machine_offers_is_found_and_loaded_beside_the_screen() -> None:
    """All but the default catalog; a place that was named already is not loaded twice."""
    hands = Hands(locations=(LOCAL,)).event(SourcesFound((LOCAL, "stick:BTY_IMAGES", DEFAULT_CATALOG)))

    assert hands.effects == [LoadSource(LOCAL), LoadSource("stick:BTY_IMAGES")]
    assert [source.chosen for source in hands.state.sources] == [True, True, False]
    assert hands.state.screen is Screen.IMAGES


def test_a_machine_that_offers_nothing_asks_where_images_come_from() -> None:
    """Also where looking for it failed, which is told."""
    hands = Hands(locations=()).event(SourcesFound((DEFAULT_CATALOG,), "lsblk: not there"))

    assert (hands.state.screen, hands.effects) == (Screen.SOURCES, [])
    assert "lsblk: not there" in hands.screen()


def test_the_default_catalog_is_loaded_when_somebody_asks_for_it() -> None:
    """`d` adds it, chosen."""
    hands = Hands(locations=()).press("d")

    assert hands.effects == [LoadSource(DEFAULT_CATALOG)]
    assert [source.chosen for source in hands.state.sources] == [True]


def test_a_typed_address_keeps_its_case() -> None:
    """Contract 9.3 says which mistake that was."""
    hands = Hands(locations=()).press("a").type("https://Host/CaseD/catalog.toml").press("enter")

    assert hands.effects == [LoadSource("https://Host/CaseD/catalog.toml")]


def test_letters_of_an_address_are_not_commands() -> None:
    """`q` within an address quits nothing; Esc forgets the address."""
    hands = Hands(locations=()).press("a").type("q?l b").press("escape")

    assert (hands.effects, hands.state.overlay, hands.state.prompt) == ([], None, None)


def test_an_address_can_be_pasted() -> None:
    """A paste begins an address where none is being typed; line ends are dropped."""
    hands = Hands(locations=()).paste("  oras://Reg.example/Cat:1\n").press("enter")

    assert hands.effects == [LoadSource("oras://Reg.example/Cat:1")]


def test_a_catalog_that_fails_can_be_loaded_again_while_the_others_work() -> None:
    """The error stays to be read, and the images of the other catalog are there."""
    hands = Hands(locations=(LOCAL, REMOTE)).loaded().loaded(REMOTE, (), "404 Not Found")
    assert hands.state.images == IMAGES
    assert hands.state.sources[1].status is SourceStatus.FAILED
    assert "404 Not Found" in hands.screen()
    hands.take_effects()
    hands.press("b", "down", "r")

    assert hands.take_effects() == [LoadSource(REMOTE), FindSources(None)]
    assert hands.loaded(REMOTE, (image("more.img"),)).state.images == (*IMAGES, image("more.img"))


def test_of_two_catalogs_with_one_image_the_one_that_promises_a_digest_counts() -> None:
    """Whatever came first; the image keeps its place in the list."""
    plain = (image("a.img", src="https://host/a.img"), image("b.img", src="https://host/b.img"))
    proved = image("A", src="https://HOST/a.img", sha256="ab" * 32)
    hands = Hands(locations=("https://one/", "https://two/")).loaded("https://one/", plain).loaded("https://two/", (proved,))

    assert hands.state.images == (proved, plain[1])
    rolling = image("c", src="oras://host/c:latest")
    hands = Hands(locations=("https://one/", "https://two/")).loaded("https://one/", (rolling,))
    hands.loaded("https://two/", (image("c", src="oras://host/c:latest", sha256="ab" * 32),))
    assert hands.state.images == (rolling,)  # its registry tells a digest, and a newer one


def test_an_image_without_a_digest_is_marked_in_the_list() -> None:
    """One from a registry has the digest that the registry tells."""
    sources = {"a.img": "https://host/a.img", "b.img": "oras://host/b:1", "c.img": "https://host/c.img"}
    images = tuple(image(name, src=src, sha256="ab" * 32 if name == "c.img" else None) for name, src in sources.items())
    hands = Hands().loaded(images=images)
    rows = [line.split() for line in hands.screen().splitlines() if ".img" in line]

    assert [row[-3] for row in rows[:3]] == ["none", "registry", "sha256"]
    assert "no digest is promised" in hands.screen()
    assert "the registry tells its digest" in hands.press("down").screen()
    assert f"sha256 {'ab' * 32}" in hands.press("down").screen()


def test_a_catalog_with_mistakes_shows_what_is_right_of_it() -> None:
    """Images came, and so did an error: it counts as loaded, and the error is told."""
    hands = Hands().loaded(error="1 left out: no name")

    assert hands.state.sources[0].status is SourceStatus.LOADED
    assert "1 left out" in hands.screen()


def test_a_catalog_that_is_left_out_takes_its_images_along() -> None:
    """Space leaves it out, Space takes it in again, and nothing is loaded twice."""
    hands = Hands().loaded().press("b", "space")
    assert hands.state.images == ()
    hands.take_effects()

    assert hands.press("space").state.images == IMAGES
    assert hands.effects == []


def test_without_any_catalog_one_cannot_go_on() -> None:
    """It says what to do instead."""
    hands = Hands().press("b", "space", "enter")

    assert hands.state.screen is Screen.SOURCES
    assert "at least one" in hands.state.message


def test_local_only_leaves_out_what_is_remote() -> None:
    """`l` on the first screen."""
    hands = Hands(locations=(LOCAL, REMOTE)).press("b", "l")

    assert [source.chosen for source in hands.state.sources] == [True, False]
    assert hands.state.screen is Screen.IMAGES


def test_the_same_address_in_two_catalogs_is_one_image() -> None:
    """Two spellings of one URL have one ref; the first stays."""
    one, two = (image(name, src=src) for name, src in (("a", "https://host/x.img"), ("b", "https://HOST:443/x.img")))
    hands = Hands(locations=(LOCAL, REMOTE)).loaded(LOCAL, (one,)).loaded(REMOTE, (two,))

    assert hands.state.images == (one,)


def test_a_filter_keeps_what_has_all_its_words() -> None:
    """The list follows each letter; Enter then keeps the filter, and Esc drops it."""
    hands = Hands().loaded().press("/").type("img fed")
    assert "fedora" in hands.screen()
    assert "debian" not in hands.screen()
    hands.press("enter")
    assert "filter: img fed" in hands.screen()
    hands.press("escape")

    assert hands.state.screen is Screen.IMAGES
    assert "debian" in hands.screen()


def test_escape_is_one_step_back_everywhere() -> None:
    """From the confirmation to the first screen: text, filter, then screen after screen."""
    hands = Hands().at_disks().press("enter").type("12")
    passed = []
    for _ in range(4):
        hands.press("escape")
        passed.append((hands.state.screen, hands.state.confirm.text))

    assert passed == [(Screen.CONFIRM, ""), (Screen.DISKS, ""), (Screen.IMAGES, ""), (Screen.SOURCES, "")]


def test_moving_stays_in_the_list() -> None:
    """Arrows, pages, ends, and numbers that are not there."""
    hands = Hands().loaded(images=tuple(image(f"{number}.img") for number in range(40)))
    at = [
        hands.press(*keys.split()).state.image_pick.cursor
        for keys in ("up", "down", "pagedown", "end", "pageup", "home", "1 2", "x", "9 9")
    ]

    assert at == [0, 1, 11 + 1, 39, 28, 0, 11, 11, 8]


def test_choosing_an_image_lists_the_disks() -> None:
    """And what is on each free one is looked at."""
    hands = Hands().loaded()
    hands.take_effects()
    hands.press("2", "enter")
    assert hands.state.image == IMAGES[1]
    assert hands.take_effects() == [ListDisks()]
    hands.event(DisksListed(DISKS))

    assert hands.effects == [ReadContents(disk.path) for disk in (SSD, NVME, NAMELESS)]


def test_a_refused_disk_is_shown_with_its_reason_and_cannot_be_chosen() -> None:
    """Neither by Enter nor by a mark."""
    hands = Hands().at_disks().press("end", "enter")
    assert hands.state.screen is Screen.DISKS
    assert hands.state.message == "/dev/vda is refused: /dev/vda1 holds the running system"
    hands.press("space")

    assert hands.state.marked == frozenset()
    assert "Refused: /dev/vda1 holds the running system" in hands.screen()


def test_the_cursor_begins_on_a_disk_that_may_be_chosen() -> None:
    """A refused one may well be the first."""
    assert Hands().at_disks((SYSTEM, SSD)).state.disk_pick.cursor == 1


def test_disks_that_cannot_be_listed_can_be_listed_again() -> None:
    """The error is on the screen, `r` tries again."""
    hands = Hands().loaded().press("enter").event(DisksListed((), "lsblk: not there"))
    assert "lsblk: not there" in hands.screen()
    hands.take_effects()

    assert hands.press("r").effects == [ListDisks()]
