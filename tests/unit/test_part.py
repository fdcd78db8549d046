"""The disks of a flash: all work at the same time, and one that fails is left behind."""

from __future__ import annotations

import threading

import pytest

from bty.errors import BtyError, WriteFailed
from bty.flash.part import FirstFailure, Part, Parts
from bty.model.disk import Disk


def make(count: int) -> tuple[tuple[Part, ...], list[tuple[Part, BtyError]], Parts]:
    failure = FirstFailure()
    disks = tuple(Disk(path=f"/dev/disk{number}", size_bytes=1) for number in range(count))
    parts = tuple(Part(disk, disks, failure) for disk in disks)
    failed: list[tuple[Part, BtyError]] = []
    return parts, failed, Parts(parts, lambda part, error: failed.append((part, error)))


def test_the_slowest_disk_bounds_the_others() -> None:
    """No disk gets its next piece of work before every disk has done with the last one; meanwhile they run beside each other."""
    parts, failed, living = make(3)
    all_there = threading.Barrier(3, timeout=10)
    begun: list[int] = []

    def work(part: Part) -> None:
        begun.append(step)
        all_there.wait()  # passes only where all three are at work at the same time

    for step in range(20):
        living.each(work)
        assert begun == [number for number in range(step + 1) for _ in parts]
    living.close()
    assert failed == []


def test_a_disk_that_fails_gets_no_more_work() -> None:
    """The others go on; where none is left, the first error of that round is raised."""
    parts, failed, living = make(3)
    done: list[Part] = []

    def work(part: Part) -> None:
        if part in bad:
            raise WriteFailed(part.disk.path)
        done.append(part)

    bad = {parts[1]}
    living.each(work)
    living.each(work)
    assert sorted(done.count(part) for part in parts) == [0, 2, 2]
    assert [part for part, _ in failed] == [parts[1]]
    bad = set(parts)
    with pytest.raises(WriteFailed, match="/dev/disk0"):
        living.each(work)
    living.close()
    assert {part for part, _ in failed} == set(parts)


def test_a_single_disk_needs_no_thread() -> None:
    """Its work is done by the caller, and its error is the caller's."""
    (part,), failed, living = make(1)
    seen: list[threading.Thread] = []
    living.each(lambda _: seen.append(threading.current_thread()))
    with pytest.raises(WriteFailed):
        living.each(lambda part: (_ for _ in ()).throw(WriteFailed(part.disk.path)))
    living.close()
    assert seen == [threading.current_thread()]
    assert [failing for failing, _ in failed] == [part]


def test_the_first_cause_is_kept() -> None:
    """Whatever comes after it, and a defect gets a name."""
    failure = FirstFailure()
    assert failure.set(ValueError("a defect"))
    assert not failure.set(WriteFailed("later"))
    assert failure.stopped.is_set()
    with pytest.raises(WriteFailed, match="a defect"):
        failure.check()
