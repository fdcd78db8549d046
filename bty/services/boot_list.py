"""The boot directory as an operator looks at it: what is there, its digests, what is missing; taking files out, and seeding it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bty.errors import BtyError, NotFound, StoreFailed
from bty.model.event import Actor, Kind, Subject
from bty.services.boot_files import PARTIAL, check_name
from bty.services.events import Events

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One file of the boot directory."""

    name: str
    size_bytes: int
    modified_at: str
    sha256: str
    is_required: bool


class BootList:
    """The files below *root*; *required* are those that machines need."""

    def __init__(self, root: Path, required: Sequence[str], events: Events) -> None:
        self.root = root
        self.required = tuple(required)
        self._events = events
        self._digests: dict[tuple[str, int, int, int], str] = {}
        self._reading = asyncio.Lock()

    def missing(self) -> list[str]:
        """Return the files that machines need and that are not there. Blocks, though not for long."""
        return [name for name in self.required if not (self.root / name).is_file()]

    async def listed(self) -> list[Listed]:
        """Return the files by name. One that is new since the last time is read for its digest. Raises `StoreFailed`."""
        async with self._reading:
            return await asyncio.to_thread(self._list)

    async def delete(self, name: str, *, ip: str) -> None:
        """Take a file out. Raises `InvalidInput`, `NotFound`, `StoreFailed`."""
        check_name(name)
        await asyncio.to_thread(self._unlink, name)
        subject = (Subject.NETBOOT, name)
        await self._events.record(
            Kind.ARTIFACT_DELETED, f"{name} was deleted", subject=subject, actor=Actor.OPERATOR, source_ip=ip, details={"name": name}
        )

    async def seed(self, source: Path) -> list[str]:
        """Copy what *source* has and the directory lacks, and return its names; what cannot be read is logged."""
        return await asyncio.to_thread(self._seed, source)

    def _list(self) -> list[Listed]:
        try:
            paths = sorted(path for path in self.root.iterdir() if not path.name.startswith(".") and path.is_file())
            return [self._describe(path) for path in paths]
        except OSError as error:
            raise StoreFailed(f"{self.root}: {error.strerror}", hint="check [paths] boot_dir") from error

    def _describe(self, path: Path) -> Listed:
        facts = path.stat()
        mark = (path.name, facts.st_ino, facts.st_mtime_ns, facts.st_size)
        if mark not in self._digests:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._digests = {known: value for known, value in self._digests.items() if known[0] != path.name} | {mark: digest}
        return Listed(
            name=path.name,
            size_bytes=facts.st_size,
            modified_at=datetime.fromtimestamp(facts.st_mtime, UTC).isoformat(timespec="microseconds"),
            sha256=self._digests[mark],
            is_required=path.name in self.required,
        )

    def _unlink(self, name: str) -> None:
        try:
            (self.root / name).unlink()
        except FileNotFoundError:
            raise NotFound(f"no such file: {name}") from None
        except OSError as error:
            raise StoreFailed(f"{name}: {error.strerror}") from error

    def _seed(self, source: Path) -> list[str]:
        seeded = []
        for path in sorted(source.iterdir()) if source.is_dir() else []:
            try:
                check_name(path.name)
                if not path.is_file() or (self.root / path.name).exists():
                    continue
                partial = self.root / f".{secrets.token_hex(8)}{PARTIAL}"
                shutil.copyfile(path, partial)
                descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                partial.replace(self.root / path.name)
            except (OSError, BtyError) as error:
                log.warning("boot.seed.failed path=%s error=%s", path, error)
                continue
            seeded.append(path.name)
        return seeded
