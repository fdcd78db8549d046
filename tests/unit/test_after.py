"""The kernel looks for partitions once more where udev still had the disk open."""

from __future__ import annotations

import errno

import pytest

from bty.flash import after
from bty.model.disk import Disk

_BLKRRPART = 0x125F


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(bytes(512))
    return Disk(path=str(path), size_bytes=512)


@pytest.fixture
def kernel(monkeypatch):
    """Stand in for the kernel's answers, which no test can order: an error number each, 0 where it did as asked."""
    answers: list[int] = []
    asked: list[str] = []

    def ioctl(_fd, request):
        if request == _BLKRRPART:
            asked.append("reread")
            if number := answers.pop(0):
                raise OSError(number, "asked")

    def run(argv, **_options):
        asked.append(argv[0])
        return 0, b""

    monkeypatch.setattr(after.fcntl, "ioctl", ioctl)
    monkeypatch.setattr(after.proc, "run", run)
    monkeypatch.setattr(after.proc, "which", lambda name: f"/usr/bin/{name}")
    return answers, asked


def test_a_disk_that_udev_has_open_is_asked_for_again(disk, kernel):
    answers, asked = kernel
    answers[:] = [errno.EBUSY, 0]
    assert after.settle_disk(disk, image_has_gpt=False, image_bytes=512) == []
    assert asked == ["reread", "udevadm", "reread", "udevadm"]


def test_a_disk_that_stays_busy_is_noted(disk, kernel):
    answers, asked = kernel
    answers[:] = [errno.EBUSY, errno.EBUSY]
    (note,) = after.settle_disk(disk, image_has_gpt=False, image_bytes=512)
    assert note == "the kernel did not read the new partition table: Device or resource busy"
    assert asked.count("reread") == 2


@pytest.mark.parametrize(("number", "notes"), [(0, 0), (errno.EINVAL, 0), (errno.EIO, 1)])
def test_what_is_not_busy_is_asked_once(disk, kernel, number, notes):
    answers, asked = kernel
    answers[:] = [number]
    assert len(after.settle_disk(disk, image_has_gpt=False, image_bytes=512)) == notes
    assert asked.count("reread") == 1
