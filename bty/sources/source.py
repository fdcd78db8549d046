"""What the flash engine asks of a source of image bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bty.errors import SourceFailed

DeliveredDigest = Callable[[], str]
"""Returns the sha256, in hex, of everything that `readinto` has delivered so far."""


class ImageSource(Protocol):
    """The bytes of one image, in order, once. Every method blocks; `abort` may be called from another thread."""

    @property
    def name(self) -> str:
        """Return the image's name, without a path."""

    @property
    def size(self) -> int | None:
        """Return the size in bytes, None while nothing has told it."""

    @property
    def digest(self) -> str | None:
        """Return the sha256 in hex that the source itself promises, if any."""

    @property
    def retries(self) -> int:
        """Return how often the stream was continued."""

    @property
    def trouble(self) -> str | None:
        """Return why no bytes come just now, None while they do."""

    @property
    def last_break(self) -> str:
        """Return why the stream had to be continued the last time."""

    @property
    def served_from(self) -> str:
        """Return the location that the bytes come from now."""

    def open(self) -> None:
        """Reach the image and learn its size. Raises `SourceFailed`."""

    def readinto(self, view: memoryview, delivered: DeliveredDigest) -> int:
        """Put the next bytes into *view* and return their number; 0 means the end. Raises `SourceFailed`."""

    def pread(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset*, fewer at the end. Raises `SourceFailed`, `NoRanges` where that cannot be."""

    def abort(self) -> None:
        """Make a blocked call return at once with an error."""

    def close(self) -> None:
        """Give back what is held; may be called twice."""


class NoRanges(SourceFailed):
    """The source can only be read from its beginning to its end."""

    code = "no_ranges"
