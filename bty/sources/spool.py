"""Random access to a source whose server has no ranges: the whole of it is fetched into memory first, if it fits."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from bty.errors import SourceFailed
from bty.sources.source import DeliveredDigest, ImageSource, NoRanges
from bty.units import KIB, MIB, format_bytes

_PIECE_BYTES = MIB
_SHARE_OF_MEMORY = 2  # a live system keeps its own files in memory too, so at most half of what is available


class SpoolWhereNeeded:
    """Passes everything on to *source*, until `pread` finds that it cannot be done there."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._fd = -1
        self._position = 0
        self._fetching: str | None = None

    @property
    def name(self) -> str:
        """Return the image's name."""
        return self._source.name

    @property
    def size(self) -> int | None:
        """Return the size of the source in bytes, where it is known."""
        return self._source.size

    @property
    def digest(self) -> str | None:
        """Return the digest that the source itself promises."""
        return self._source.digest

    @property
    def retries(self) -> int:
        """Return how often the stream was continued."""
        return self._source.retries

    @property
    def trouble(self) -> str | None:
        """Return why no bytes come just now; also that all of them are fetched first."""
        return self._source.trouble or self._fetching

    @property
    def last_break(self) -> str:
        """Return why the stream had to be continued the last time."""
        return self._source.last_break

    @property
    def served_from(self) -> str:
        """Return where the bytes come from."""
        return self._source.served_from

    def open(self) -> None:
        """Reach the image. Raises `SourceFailed`."""
        self._source.open()

    def readinto(self, view: memoryview, delivered: DeliveredDigest) -> int:
        """Put the next bytes into *view*. Raises `SourceFailed`."""
        if self._fd < 0:
            return self._source.readinto(view, delivered)
        count = os.preadv(self._fd, [view], self._position)
        self._position += count
        return count

    def pread(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset*, fetching all into memory where the server has no ranges."""
        if self._fd < 0:
            try:
                return self._source.pread(offset, length)
            except NoRanges as error:
                self._spool(error)
        return os.pread(self._fd, length, offset)

    def abort(self) -> None:
        """Make a blocked call return at once with an error."""
        self._source.abort()

    def close(self) -> None:
        """Give the memory back."""
        self._source.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _spool(self, reason: NoRanges) -> None:
        room = _available_bytes() // _SHARE_OF_MEMORY
        if self.size is not None and self.size > room:
            raise NoRanges(
                f"{reason.message}, and its {format_bytes(self.size)} do not fit into half of the free memory ({format_bytes(room)})",
                hint="serve qcow2 images from a server with ranges, or as img.zst",
            )
        fd = os.memfd_create("bty-spool")
        try:
            digest = hashlib.sha256()
            piece = memoryview(bytearray(_PIECE_BYTES))
            done = 0
            while count := self._source.readinto(piece, digest.hexdigest):
                digest.update(piece[:count])
                done += count
                size = f" of {format_bytes(self.size)}" if self.size else ""
                self._fetching = f"its server has no ranges, so all of it is fetched first: {format_bytes(done)}{size}"
                if done > room:
                    raise NoRanges(f"{reason.message}, and it does not fit into half of the free memory ({format_bytes(room)})")
                _write_all(fd, piece[:count])
        except BaseException:
            os.close(fd)
            raise
        finally:
            self._fetching = None
        self._fd = fd


def _write_all(fd: int, view: memoryview) -> None:
    while view:
        try:
            view = view[os.write(fd, view) :]
        except OSError as error:
            raise SourceFailed(f"no memory for the image: {error.strerror}") from error


def _available_bytes() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * KIB for line in lines if line.startswith("MemAvailable:"))
    return 0
