"""The boot directory: the artifacts that machines fetch, each a plain file by its bare name, complete or not there at all."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bty.errors import Conflict, Forbidden, InvalidInput, NotFound, StoreFailed, TooLarge
from bty.model.event import Actor, Kind, Subject
from bty.services.events import Events
from bty.units import MIB

PARTIAL = ".partial"
_BLOCK_BYTES = 4 * MIB  # a write that takes longer than the hop to a thread
_NAME_BYTES = 255  # what Linux takes


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFile:
    """An open artifact. Whoever asked for it closes `file`."""

    name: str
    file: BinaryIO
    size_bytes: int
    modified_at: float
    etag: str


class BootFiles:
    """The files below *root*."""

    def __init__(self, root: Path, events: Events, *, max_bytes: int) -> None:
        self._root = root
        self._events = events
        self._max_bytes = max_bytes

    async def prepare(self) -> None:
        """Make the directory, and remove what uploads left behind that a crash ended. Raises `StoreFailed`."""
        await asyncio.to_thread(self._sweep)

    async def open(self, name: str) -> BootFile:
        """Open an artifact. Raises `InvalidInput` for a name that is no bare one or leads out of the directory, `NotFound`."""
        check_name(name)
        return await asyncio.to_thread(self._open, name)

    async def receive(self, name: str, blocks: AsyncIterator[bytes], *, ip: str) -> dict[str, Any]:
        """Store an artifact, replacing one of the same name only once the new one is complete and on the disk.

        Raises `InvalidInput`, `TooLarge`, `Conflict`, `StoreFailed`, or what reading *blocks* raises; then nothing is left of it.
        """
        check_name(name)
        path = self._root / name
        upload = _Upload(self._root / f".{secrets.token_hex(8)}{PARTIAL}", path)
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "upload")  # one for each upload: its steps stay in order, also when we are cancelled
        try:
            await loop.run_in_executor(thread, upload.begin)
            block, size = bytearray(), 0
            async for piece in blocks:
                size += len(piece)
                if size > self._max_bytes:
                    raise TooLarge(f"the file has more than {self._max_bytes} bytes")
                block += piece
                if len(block) >= _BLOCK_BYTES:
                    await loop.run_in_executor(thread, upload.write, block)
                    block = bytearray()
            await loop.run_in_executor(thread, upload.write, block)
            await loop.run_in_executor(thread, upload.finish)
        except OSError as error:
            if error.errno is None or isinstance(error, ConnectionError):
                raise  # the client's end of it
            raise _failure(name, error) from error
        finally:
            thread.submit(upload.discard)
            thread.shutdown(wait=False)
        details = {"name": name, "size_bytes": size, "sha256": upload.sha256.hexdigest()}
        summary = f"{name} was uploaded"
        await self._events.record(
            Kind.ARTIFACT_UPLOADED, summary, subject=(Subject.NETBOOT, name), actor=Actor.OPERATOR, source_ip=ip, details=details
        )
        return {"name": name, "size_bytes": size, "path": str(path)}

    def _sweep(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            for path in self._root.glob(f".*{PARTIAL}"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreFailed(f"{self._root}: {error.strerror}", hint="check [paths] boot_dir") from error

    def _open(self, name: str) -> BootFile:
        try:
            path = (self._root / name).resolve()
            if not path.is_relative_to(self._root.resolve()):
                raise InvalidInput(f"{name} leads out of the boot directory")
            # Without O_NONBLOCK a pipe of that name would wait for its other end.
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
        except PermissionError:
            raise Forbidden(f"the daemon may not read {name}") from None
        except (OSError, RuntimeError):  # the latter for links that lead in a circle
            raise NotFound(f"no such file: {name}") from None
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            file.close()
            raise NotFound(f"no such file: {name}")
        etag = f"{facts.st_ino:x}-{facts.st_mtime_ns:x}-{facts.st_size:x}"
        return BootFile(name=name, file=file, size_bytes=facts.st_size, modified_at=facts.st_mtime, etag=etag)


def check_name(name: str) -> None:
    """Take only the bare name of a visible file. Raises `InvalidInput`."""
    harmful = any(char in "/\\" or ord(char) < 0x20 or ord(char) == 0x7F for char in name)
    if not name or harmful or name.startswith(".") or name.endswith(PARTIAL):
        raise InvalidInput(f"not a file name: {name[:80]!r}")
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        raise InvalidInput(f"not a file name: {name[:80]!r}") from None
    if size > _NAME_BYTES:
        raise InvalidInput(f"the file name has {size} bytes, at most {_NAME_BYTES} are possible")


class _Upload:
    """The blocking half of an upload: steps that run one after the other in a thread."""

    def __init__(self, partial: Path, path: Path) -> None:
        self.sha256 = hashlib.sha256()
        self._partial = partial
        self._path = path
        self._file: BinaryIO | None = None

    def begin(self) -> None:
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("xb", buffering=0)

    def write(self, block: bytearray) -> None:
        assert self._file is not None
        self.sha256.update(block)
        rest = memoryview(block)
        while rest:
            rest = rest[self._file.write(rest) :]

    def finish(self) -> None:
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def discard(self) -> None:
        """Remove what is not finished; after `finish` there is nothing to remove."""
        if self._file is not None:
            self._file.close()
        self._partial.unlink(missing_ok=True)


def _failure(name: str, error: OSError) -> Exception:
    if isinstance(error, IsADirectoryError):
        return Conflict(f"{name} is a directory")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFailed(f"{name}: the disk is full", hint="free some space in the boot directory")
    return StoreFailed(f"{name}: {error.strerror}")
