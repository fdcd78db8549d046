"""Why no bytes come and why a disk stands still, as long as they do."""

from __future__ import annotations

import http.client
import io
import time
from pathlib import Path

import pytest

from bty.flash import waits
from bty.flash.part import find_trouble
from bty.flash.readback import read_back
from bty.flash.waits import Waits
from bty.flash.writer import HEAD_BYTES, DiskWriter
from bty.host.console import tell
from bty.model.disk import Disk
from bty.sources.reasons import reason_of
from bty.sources.source import NoRanges
from bty.sources.spool import SpoolWhereNeeded
from bty.sources.trouble import SILENCE_S, Trouble
from bty.units import MIB


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_reason_stands_until_bytes_come(clock: Clock) -> None:
    """Also while the next connection is silent, whose silence counts from when the bytes were asked for."""
    trouble = Trouble()
    assert trouble.words() is None
    trouble.asked()
    clock.now += 1
    trouble.broke("Connection refused")
    assert trouble.words() == "Connection refused"
    trouble.asked()
    clock.now += 30
    assert trouble.words() == "Connection refused, no byte for 31 s"

    trouble.came()
    assert (trouble.words(), trouble.last_break) == (None, "Connection refused")


def test_a_silence_is_told_once_it_is_long(clock: Clock) -> None:
    """Only while a server is waited for: nobody asks one while the disk is busy."""
    trouble = Trouble()
    trouble.asked()
    clock.now += SILENCE_S - 0.1
    assert trouble.words() is None
    clock.now += 2.1
    assert trouble.words() == "no byte for 7 s"

    trouble.came()
    clock.now += 60
    assert trouble.words() is None


def test_what_is_read_again_is_no_silence(clock: Clock) -> None:
    """Bytes come, though none that are new; why the connection broke before is kept, and a silence meanwhile is one."""
    trouble = Trouble()
    trouble.asked()
    trouble.broke("reset")
    clock.now += 60
    trouble.goes_back("reading the first 2 MiB again")
    clock.now += 4
    trouble.moved()
    clock.now += 4
    assert (trouble.words(), trouble.last_break) == ("reading the first 2 MiB again", "reset")
    clock.now += 2
    assert trouble.words() == "reading the first 2 MiB again, no byte for 6 s"
    trouble.broke("timed out")
    assert trouble.words() == "timed out, no byte for 6 s"


def test_what_has_come_is_no_reason() -> None:
    """A body that was cut is an error that carries it."""
    assert reason_of(http.client.IncompleteRead(b"root:secret", 5)) == "the connection was closed too early"
    assert reason_of(ValueError(b"root:secret")) == "ValueError"


class StubPart:
    """A disk of a flash, as far as who holds whom up is concerned."""

    def __init__(self, path: str, trouble: str | None, *, is_in_step: bool = True) -> None:
        self.disk, self._trouble, self.is_in_step = Disk(path=path, size_bytes=1, device="8:0"), trouble, is_in_step

    @property
    def trouble(self) -> str | None:
        told, self._trouble = self._trouble, None  # it answers as soon as it has been asked about
        return told


def test_a_disk_holds_others_up_as_long_as_they_go_in_step() -> None:
    """Who has all of the image waits for nobody; a disk that answers just now is not told of."""
    assert find_trouble(StubPart("/dev/a", None), (StubPart("/dev/b", "silent"),)) == "/dev/b holds it up: silent"
    assert find_trouble(StubPart("/dev/a", "mute"), (StubPart("/dev/b", "silent"),)) == "mute"
    assert find_trouble(StubPart("/dev/a", None, is_in_step=False), (StubPart("/dev/b", "silent"),)) is None
    assert find_trouble(StubPart("/dev/a", None), (StubPart("/dev/b", "silent", is_in_step=False),)) is None


def test_a_disk_that_does_not_answer_is_told_of(clock: Clock) -> None:
    """The call that waits longest; one that may take its time is given it."""
    disk = Waits()
    with disk.call(waits.LONG_S):
        clock.now += waits.LONG_S - 1
        assert disk.words() is None
        clock.now += 3
        assert disk.words() == "the disk has not answered for 32 s"
    assert disk.words() is None
    with disk.call():
        clock.now += 7
        assert disk.words() == "the disk has not answered for 7 s"
    with pytest.raises(OSError, match="dead"):
        _die(disk)
    clock.now += 60
    assert disk.words() is None


def _die(disk: Waits) -> None:
    with disk.call():
        raise OSError("dead")


class Counted(Waits):
    """Waits that count the calls they were told of."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def call(self, patience_s: float | None = None):  # type: ignore[no-untyped-def]
        self.calls += 1
        return super().call(patience_s)


def test_every_call_to_a_disk_is_waited_for(tmp_path: Path) -> None:
    """Of the writer: clearing, writing, odd ends, zeroing, flushing; and of the reading back."""
    path = tmp_path / "disk"
    path.write_bytes(b"\xaa" * 8 * MIB)
    with path.open("r+b", buffering=0) as file:
        writer = DiskWriter(file.fileno(), 8 * MIB, record=True)
        seen = writer.waits = Counted()
        counts = []
        for act in (
            writer.make_unbootable,
            lambda: writer.write(HEAD_BYTES, b"x" * 512),
            writer.flush,
            lambda: writer.write(HEAD_BYTES + 4096, b"odd"),
            writer.flush,
            lambda: writer.zero(2 * MIB, MIB),
            writer.sync,
        ):
            act()
            counts.append(seen.calls)
        assert counts == [3, 3, 4, 4, 5, 6, 7]
        read_back(file.fileno(), writer.extents, sector_bytes=512, waits=seen, progress=lambda _: None, stopped=lambda: False)
        assert seen.calls == 7 + len(writer.extents)
        writer.close()


class WithoutRanges:
    """A source of 3 MiB that answers no range requests, and looks what is told of it while it is read."""

    size, trouble, last_break = 3 * MIB, None, ""

    def __init__(self) -> None:
        self.left, self.seen = self.size, []

    def pread(self, _offset: int, _length: int) -> bytes:
        raise NoRanges("it does not answer range requests")

    def readinto(self, view: memoryview, _delivered: object) -> int:
        self.seen.append(self.spool.trouble)
        count = min(len(view), self.left)
        self.left -= count
        return count


def test_what_is_fetched_first_is_told_while_it_is() -> None:
    """How much of how much."""
    source = WithoutRanges()
    source.spool = spool = SpoolWhereNeeded(source)  # type: ignore[arg-type]
    assert len(spool.pread(0, 10)) == 10
    assert source.seen[1] == "its server has no ranges, so all of it is fetched first: 1.0 MiB of 3.0 MiB"
    assert spool.trouble is None


def test_nobodys_words_act_on_a_terminal() -> None:
    """Neither by escape sequences nor by C1 codes; only the caller moves the cursor."""
    output = io.StringIO()
    tell("one \x1b[2J\x9b2J\r\u202etwo\nthree", output, start="\r\x1b[K", end="")
    assert output.getvalue() == "\r\x1b[Kone [2J2J two\nthree"
