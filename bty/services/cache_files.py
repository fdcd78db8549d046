"""The embedded cache on the disk: withcache's blobs, and beside each what we found when we read it. Everything here blocks."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from bty.errors import StoreFailed
from bty.units import MIB, utc_now

# What daemon and child agreed upon.
SECRET_HEADER = "X-Bty-Cache-Secret"
SECRET_ENV = "BTY_CACHE_SECRET"
FILLS_PATH = "/fills"

_BLOCK_BYTES = 4 * MIB


class FillState(StrEnum):
    """Where a fill stands."""

    ASKING = "asking"
    WAITING = "waiting"
    RUNNING = "running"
    CHECKING = "checking"
    FAILED = "failed"


@dataclass(slots=True, kw_only=True)
class Fill:
    """One object on its way into the cache. `retry_at` is on the loop's clock."""

    key: str
    src: str
    source: str
    sha: str | None
    since: str
    version: str | None = None  # what the origin called it before the fetch, where no digest is known
    found: bool = False  # the child had it already, from a time that we know nothing about
    state: FillState = FillState.WAITING
    bytes_done: int = 0
    bytes_total: int | None = None
    error: str | None = None
    failures: int = 0
    retry_at: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        wire = asdict(self)
        for name in ("retry_at", "found", "version"):
            del wire[name]
        return wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One object in the cache, read once: `src` is the catalog's source, `source` what was fetched for it.

    `version` is what the origin called it, where nobody promised a digest.
    """

    key: str
    src: str
    source: str
    sha256: str
    size_bytes: int
    mtime_ns: int
    cached_at: str
    version: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        wire = asdict(self)
        del wire["mtime_ns"], wire["version"]
        return wire


def blob_key(source: str) -> str:
    """Return the name of the file in which withcache, told to keep queries, stores the bytes of *source*."""
    parts = urlsplit(source)
    normal = f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path}"
    return hashlib.sha256((f"{normal}?{parts.query}" if parts.query else normal).encode()).hexdigest()


class CacheFiles:
    """The directory of the cache. Setting `closing` makes a long read end early."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.closing = threading.Event()
        self._blobs = root / "blobs"
        self._known = root / "known"

    def load(self) -> dict[str, Blob]:
        """Return the blobs that are known and unchanged, by key. Raises `StoreFailed` where the directory cannot be used."""
        try:
            for directory in (self.root, self._blobs, self._known):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return {blob.key: blob for path in self._known.glob("*.json") if (blob := self._load_one(path))}
        except OSError as error:
            raise StoreFailed(f"the cache directory {self.root} cannot be used: {error.strerror}") from error

    def examine(self, fill: Fill) -> Blob:
        """Read a new blob to its end and return what it is. Raises `OSError`."""
        digest = hashlib.sha256()
        block = memoryview(bytearray(_BLOCK_BYTES))
        with open(self._blobs / fill.key, "rb", buffering=0) as file:
            while count := file.readinto(block):
                digest.update(block[:count])
                if self.closing.is_set():
                    raise InterruptedError(4, "the daemon is ending")
            facts = os.fstat(file.fileno())
        return Blob(
            key=fill.key,
            src=fill.src,
            source=fill.source,
            sha256=digest.hexdigest(),
            size_bytes=facts.st_size,
            mtime_ns=facts.st_mtime_ns,
            cached_at=utc_now(),
            version=fill.version,
        )

    def remember(self, blob: Blob) -> None:
        """Write down what is known about a blob."""
        path = self._known / f"{blob.key}.json"
        partial = path.with_suffix(".new")
        partial.write_text(json.dumps(asdict(blob)))
        partial.replace(path)

    def open(self, blob: Blob) -> BinaryIO | None:
        """Open a blob for reading; None where it is gone or is not the one that was read."""
        try:
            file = open(self._blobs / blob.key, "rb")  # noqa: SIM115 - the caller closes it
        except OSError:
            return None
        if not self._is_same(blob, os.fstat(file.fileno())):
            file.close()
            return None
        return file

    def remove(self, key: str) -> None:
        """Remove a blob and what is known about it, where they are there."""
        (self._known / f"{key}.json").unlink(missing_ok=True)
        (self._blobs / key).unlink(missing_ok=True)

    def _load_one(self, path: Path) -> Blob | None:
        try:
            blob = Blob(**json.loads(path.read_text()))
            if blob.key == path.stem and self._is_same(blob, (self._blobs / blob.key).stat()):
                return blob
        except (OSError, ValueError, TypeError):
            pass
        path.unlink(missing_ok=True)
        return None

    @staticmethod
    def _is_same(blob: Blob, facts: os.stat_result) -> bool:
        return (facts.st_size, facts.st_mtime_ns) == (blob.size_bytes, blob.mtime_ns)
