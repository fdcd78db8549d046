"""What machines say while they work is bounded: in lines, in length, and in all."""

import pytest

from bty.services import live
from bty.services.live import Live, Tail


def test_log_keeps_the_newest_lines() -> None:
    """The last 200 lines stay, in order."""
    said = Live()
    said.add_log("a", (str(n) for n in range(150)))
    said.add_log("a", (str(n) for n in range(150, 300)))
    assert said.log("a").lines == [str(n) for n in range(100, 300)]


def test_lines_are_cut_and_cleaned() -> None:
    """A line has at most 1000 characters and no control character but the tab."""
    said = Live()
    said.add_log("a", ["\x1b[2Jx\ty\x00\x9b\u2028", "z" * 5000])
    assert said.log("a").lines == ["\ufffd[2Jx\ty\ufffd\ufffd\ufffd", "z" * 1000]


def test_all_logs_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all logs are too much, those that were silent longest are forgotten."""
    monkeypatch.setattr(live, "LOGS_MAX_CHARS", 100)
    said = Live()
    for mac in ("a", "b", "c"):
        said.add_log(mac, ["x" * 40])
    said.add_log("b", ["y"])
    said.add_log("d", ["x" * 40])
    assert [mac for mac in "abcd" if said.log(mac).lines] == ["b", "d"]


def test_forgetting_a_machine_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of a deleted machine no longer counts."""
    monkeypatch.setattr(live, "LOGS_MAX_CHARS", 100)
    said = Live()
    for mac in ("a", "b"):
        said.add_log(mac, ["x" * 50])
    said.forget("b")
    said.forget("never-there")
    said.add_log("c", ["x" * 50])
    assert [mac for mac in "abc" if said.log(mac).lines] == ["a", "c"]


def test_only_what_came_since_is_told() -> None:
    """Lines after a number come alone; a number that is too old, or of another log, gives the whole."""
    said = Live()
    said.add_log("a", ["1", "2"])
    first = said.log("a")
    said.add_log("b", ["x"])
    said.add_log("a", ["3"])
    assert (first.upto, first.whole) == (2, True)
    assert said.log("a", first.upto) == Tail(lines=["3"], upto=3, whole=False)
    assert said.log("a", 3) == Tail(lines=[], upto=3, whole=False)
    assert said.log("a", 99).lines == ["1", "2", "3"]
    said.add_log("a", map(str, range(4, 300)))
    assert said.log("a", 3) == Tail(lines=[str(n) for n in range(100, 300)], upto=203, whole=True)


def test_a_log_that_was_forgotten_goes_on_with_numbers_it_never_had() -> None:
    """Who knew a machine's log before it was forgotten gets the new one whole."""
    said = Live()
    said.add_log("a", ["1", "2", "3"])
    upto = said.log("a").upto
    said.forget("a")
    said.add_log("a", ["new 1", "new 2", "new 3", "new 4"])
    assert said.log("a", upto) == Tail(lines=["new 1", "new 2", "new 3", "new 4"], upto=upto + 4, whole=True)


def test_who_reads_a_log_is_told_once_that_it_grew() -> None:
    """The first lines after a reading are told, further ones not before the next reading, and those of others never."""
    said, told = Live(), []
    said.on_log = lambda mac, upto: told.append((mac, upto))
    said.add_log("a", ["unread"])
    said.log("a")
    said.add_log("a", [])
    said.add_log("b", ["unread"])
    said.add_log("a", ["2", "3"])
    said.add_log("a", ["4"])
    assert told == [("a", 3)]
    said.log("a")
    said.add_log("a", ["5"])
    assert told == [("a", 3), ("a", 5)]
