"""Loop devices as disks: real block devices over files, full of old content."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bty.units import MIB

OLD_CONTENT = bytes(range(1, 256)) * (MIB // 255 + 1)


@dataclass(frozen=True)
class LoopDisk:
    """An attached loop device and the file behind it."""

    path: str
    backing: Path

    @property
    def serial(self) -> str:
        return f"loop-{self.backing.name}"

    def read(self, length: int, offset: int = 0) -> bytes:
        """Read the device past what this process may have cached."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            pieces = []
            while length > 0 and (piece := os.pread(fd, length, offset)):
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
            return b"".join(pieces)
        finally:
            os.close(fd)

    def fill_with_old_content(self) -> None:
        """Leave no byte zero, as on a disk that was in use before."""
        size = self.backing.stat().st_size
        with self.backing.open("r+b") as file:
            for at in range(0, size, MIB):
                file.write(OLD_CONTENT[: min(MIB, size - at)])
        subprocess.run(["blockdev", "--flushbufs", self.path], check=True)


def can_loop() -> bool:
    """Tell whether loop devices can be attached here."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists()


@contextmanager
def loop_disk(path: Path, size: int, *, sector_bytes: int = 512) -> Iterator[LoopDisk]:
    """Attach a disk of *size* bytes over a new file at *path*, full of old content."""
    path.touch()
    os.truncate(path, size)
    attach = ["losetup", "--find", "--show", f"--sector-size={sector_bytes}", str(path)]
    device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    disk = LoopDisk(device, path)
    try:
        disk.fill_with_old_content()
        yield disk
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        path.unlink()


@contextmanager
def full_disk(folder: Path, size: int, *, room: int) -> Iterator[LoopDisk]:
    """Attach a disk of *size* bytes that fails in the middle: the file system behind it, mounted on *folder*, has only *room* bytes."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "none", folder], check=True)
    backing = folder / f"full-{os.getpid()}"
    try:
        backing.touch()
        os.truncate(backing, size)
        device = subprocess.run(["losetup", "--find", "--show", backing], check=True, capture_output=True, text=True).stdout.strip()
        try:
            yield LoopDisk(device, backing)
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def silent_disk(folder: Path, size: int) -> Iterator[tuple[LoopDisk, Callable[[], AbstractContextManager[None]]]]:
    """Attach a disk of *size* bytes, and give what makes it answer nothing: the file system behind it, on *folder*, is frozen meanwhile."""
    folder.mkdir()
    backing = folder.with_name(f"{folder.name}.ext4")
    backing.touch()
    os.truncate(backing, size + 16 * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", backing], check=True)
    subprocess.run(["mount", "-o", "loop", backing, folder], check=True)

    @contextmanager
    def silence() -> Iterator[None]:
        subprocess.run(["fsfreeze", "--freeze", folder], check=True)
        try:
            yield
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", folder], check=True)

    try:
        with loop_disk(folder / f"silent-{os.getpid()}", size) as disk:
            yield disk, silence
    finally:
        subprocess.run(["umount", folder], check=True)
        backing.unlink()
