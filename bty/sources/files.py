"""Images that are files on this machine."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from bty.errors import SourceFailed
from bty.sources.source import DeliveredDigest
from bty.sources.trouble import Trouble


class FileSource:
    """One regular file, or a block device, read in order."""

    digest: str | None = None
    retries = 0
    last_break = ""

    def __init__(self, path: str) -> None:
        self.name = Path(path).name
        self.size: int | None = None
        self.served_from = path
        self._path = path
        self._fd = -1
        self._position = 0
        self._aborted = False
        self._trouble = Trouble()

    @property
    def trouble(self) -> str | None:
        """Return that the file's disk, stick or share does not answer, None while it does."""
        return self._trouble.words()

    def open(self) -> None:
        """Open the file and learn its size. Raises `SourceFailed`."""
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its other end
        except OSError as error:
            raise SourceFailed(f"cannot read {self._path}: {error.strerror}") from error
        mode = os.fstat(self._fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise SourceFailed(f"{self._path} is neither a file nor a disk")
        self.size = os.lseek(self._fd, 0, os.SEEK_END)
        with contextlib.suppress(OSError):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def readinto(self, view: memoryview, delivered: DeliveredDigest) -> int:
        """Put the next bytes into *view*. Raises `SourceFailed` when the file became shorter meanwhile."""
        if self._aborted:
            raise SourceFailed("the read was stopped")
        self._trouble.asked()
        try:
            count = os.preadv(self._fd, [view], self._position)
        except OSError as error:
            raise SourceFailed(f"cannot read {self._path} at byte {self._position}: {error.strerror}") from error
        finally:
            self._trouble.came()
        self._position += count
        if not count and self.size is not None and self._position < self.size:
            raise SourceFailed(f"{self._path} ended at byte {self._position} of {self.size}: it was changed while it was read")
        return count

    def pread(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset*, fewer at the end."""
        pieces = []
        try:
            while length > 0 and (piece := os.pread(self._fd, length, offset)):
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        except OSError as error:
            raise SourceFailed(f"cannot read {self._path} at byte {offset}: {error.strerror}") from error
        return b"".join(pieces)

    def abort(self) -> None:
        """Let no further read begin; a read of a file does not block for long."""
        self._aborted = True

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
