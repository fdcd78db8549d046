"""The disk to write: found, guarded, and opened once, exclusively. Nothing here writes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from dataclasses import dataclass

from bty.errors import DiskRefused, NoSuchDisk
from bty.host import disks as host_disks
from bty.model.disk import Disk, find_by_serial, refusals

_BLKGETSIZE64 = 0x80081272  # linux/fs.h


@dataclass(frozen=True, slots=True)
class Target:
    """An open disk: everything that is written goes through `fd`, which has O_DIRECT and O_EXCL."""

    fd: int
    disk: Disk


def find_disk(name: str, disks: tuple[Disk, ...]) -> Disk:
    """Return the disk called *name*: a path, a link such as one under /dev/disk/by-id, a serial or a WWN.

    Raises `NoSuchDisk` and `DiskRefused`.
    """
    if name.startswith("/"):
        path = os.path.realpath(name)
        found = [disk for disk in disks if disk.path == path]
        if found:
            return found[0]
        if not os.path.exists(path):  # noqa: PTH110 - realpath gave a str
            raise NoSuchDisk(f"there is no {name}", hint="`bty disks` lists what there is")
        hint = "loop devices count with BTY_ALLOW_LOOP=1" if path.startswith("/dev/loop") else "`bty disks` lists what there is"
        raise DiskRefused(f"{name} is not a whole disk", hint=hint)
    by_wwn = [disk for disk in disks if disk.wwn and disk.wwn == name]
    return by_wwn[0] if len(by_wwn) == 1 else find_by_serial(name, disks)


def open_target(disk: Disk, disks: tuple[Disk, ...]) -> Target:
    """Open *disk* for writing, after every guard. Raises `DiskRefused` with the reasons, before a byte is written."""
    refuse(disk, disks)
    try:
        fd = os.open(disk.path, os.O_RDWR | os.O_EXCL | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        reason = "the kernel says that it is in use" if error.errno == errno.EBUSY else error.strerror
        raise DiskRefused(f"{disk.path}: {reason}") from error
    try:
        _check_identity(fd, disk)
    except OSError as error:
        os.close(fd)
        raise DiskRefused(f"{disk.path} cannot be looked at: {error.strerror}") from error
    except BaseException:
        os.close(fd)
        raise
    return Target(fd, disk)


def _check_identity(fd: int, disk: Disk) -> None:
    """Look again, now that nobody else can take the disk: is what was opened still the disk that was chosen?"""
    status = os.fstat(fd)
    device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    if not stat.S_ISBLK(status.st_mode) or device != disk.device:
        raise DiskRefused(f"{disk.path} is no longer the device that it was")
    size = bytearray(8)
    fcntl.ioctl(fd, _BLKGETSIZE64, size)
    now = host_disks.list_disks()
    same = next((other for other in now if other.device == disk.device), None)
    identity = (disk.serial, disk.wwn, disk.size_bytes)
    if same is None or (same.serial, same.wwn, same.size_bytes) != identity or int.from_bytes(size, "little") != disk.size_bytes:
        raise DiskRefused(f"{disk.path} is no longer the disk that it was", hint="look at `bty disks` again")
    refuse(same, now)


def refuse(disk: Disk, disks: tuple[Disk, ...]) -> None:
    """Raise `DiskRefused` with every reason there is against writing *disk*, one of *disks*."""
    if reasons := refusals(disk, disks):
        raise DiskRefused(f"{disk.path} is refused: {'; '.join(reasons)}")
