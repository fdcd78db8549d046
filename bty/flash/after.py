"""What follows the bytes: the kernel sees the new partitions, the backup table moves, firmware may be told.

Nothing here fails a flash that is proved; what did not work becomes a note.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path

from bty.errors import CommandFailed
from bty.host import proc
from bty.model.disk import Disk

_STEP_TIMEOUT_S = 30.0
_BLKRRPART, _BLKFLSBUF = 0x125F, 0x1261  # linux/fs.h
_ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_EFI_VARIABLES = Path("/sys/firmware/efi/efivars")
_EFI_LABEL = "bty flashed"
_EFI_LOADER = r"\EFI\BOOT\BOOTX64.EFI"
_YES = frozenset({"1", "true", "yes", "on"})


def settle_disk(disk: Disk, *, image_has_gpt: bool, image_bytes: int) -> list[str]:
    """Do what follows the bytes and return notes: what was changed beyond the image, and what did not work. Blocks."""
    notes: list[str] = []
    if image_has_gpt and image_bytes < disk.size_bytes:
        # The image's backup table lies at the image's end; a partitioning tool would call the disk damaged.
        moved = _step(notes, ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--relocate", "gpt-bak-std", disk.path])
        if moved:
            notes.append("the backup partition table was moved to the end of the disk")
    problem = _reread_partitions(disk)
    if proc.which("udevadm"):
        _step(notes, ["udevadm", "settle", "--timeout=20"])
        if problem == errno.EBUSY:  # udev still looked at what was written
            problem = _reread_partitions(disk)
            _step(notes, ["udevadm", "settle", "--timeout=20"])
    if problem:
        notes.append(f"the kernel did not read the new partition table: {os.strerror(problem)}")
    if os.environ.get("BTY_REGISTER_UEFI_BOOT", "").lower() in _YES:
        notes += _boot_next(disk)
    return notes


def _reread_partitions(disk: Disk) -> int | None:
    """Drop what the kernel has cached of the disk and have it look for partitions; return the error number where it did not.

    By ioctl, since partprobe takes 60 ms.
    """
    try:
        fd = os.open(disk.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _BLKFLSBUF)
            fcntl.ioctl(fd, _BLKRRPART)
        finally:
            os.close(fd)
    except OSError as error:
        return None if error.errno == errno.EINVAL else error.errno  # EINVAL: it has no partitions, as most loop devices
    return None


def _step(notes: list[str], argv: list[str]) -> bool:
    try:
        proc.run(argv, timeout_s=_STEP_TIMEOUT_S)
    except CommandFailed as error:
        notes.append(error.message)
        return False
    return True


def _boot_next(disk: Disk) -> list[str]:
    """Make UEFI start the flashed disk once, next: an entry of our own and BootNext, never the boot order."""
    if not _EFI_VARIABLES.is_dir():
        return ["no UEFI boot entry: this machine did not boot by UEFI"]
    try:
        partition = _esp_number(disk)
        if partition is None:
            return ["no UEFI boot entry: the image has no EFI system partition"]
        _, listing = proc.run(["efibootmgr"], timeout_s=_STEP_TIMEOUT_S)
        for number in _entries(listing.decode("utf-8", "replace")):
            proc.run(["efibootmgr", "--quiet", "--delete-bootnum", "--bootnum", number], timeout_s=_STEP_TIMEOUT_S)
        create = ["efibootmgr", "--create-only", "--disk", disk.path, "--part", partition, "--label", _EFI_LABEL, "--loader", _EFI_LOADER]
        _, listing = proc.run(create, timeout_s=_STEP_TIMEOUT_S)
        number = _entries(listing.decode("utf-8", "replace"))[-1]
        proc.run(["efibootmgr", "--quiet", "--bootnext", number], timeout_s=_STEP_TIMEOUT_S)
    except (CommandFailed, ValueError, KeyError, IndexError) as error:
        return [f"no UEFI boot entry: {error}"]
    return [f"UEFI starts the flashed disk next, by its entry {number}"]


def _esp_number(disk: Disk) -> str | None:
    _, output = proc.run(["lsblk", "--json", "--output", "PARTTYPE,PARTN", disk.path], timeout_s=_STEP_TIMEOUT_S)
    nodes = json.loads(output)["blockdevices"]
    partitions = [child for node in nodes for child in (node, *(node.get("children") or []))]
    return next((str(child["partn"]) for child in partitions if child.get("parttype") == _ESP_TYPE and child.get("partn")), None)


def _entries(listing: str) -> list[str]:
    """Return the numbers of our entries in what efibootmgr prints: `Boot0003* bty flashed`."""
    lines = [line.split("\t")[0] for line in listing.splitlines() if line.startswith("Boot")]
    return [line[4:8] for line in lines if line[8:].lstrip("* ").startswith(_EFI_LABEL)]
