"""Fetches the live environment of a release into the boot directory: each file whole and proved, or none of them. Contract 13.3."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import aiohttp

from bty import __version__
from bty.errors import BtyError, IntegrityFailed, NotFound, SourceFailed, StoreFailed
from bty.model.catalog import parse_digest
from bty.model.event import Actor, Kind, Subject
from bty.services.boot_files import PARTIAL, check_name
from bty.services.events import Events
from bty.services.jobs import Job, JobKind, Jobs
from bty.services.settings import Settings
from bty.units import MIB

SUFFIXES = ("vmlinuz", "initrd", "squashfs")
MANIFEST = "sha256"
MANIFEST_MAX_BYTES = MIB
FILE_MAX_BYTES = 16 * 1024 * MIB
SILENCE_S = 60.0  # of a server in the middle of a file
_BLOCK_BYTES = MIB
_REDIRECTS_MAX = 5


@dataclass(slots=True, kw_only=True)
class Artifact:
    """One file of a release, while it is fetched."""

    name: str
    status: str = "queued"
    bytes_done: int = 0
    bytes_total: int | None = None
    error: str | None = None


class Releases:
    """Fetches of releases into *root*. *prefix* is what the files of this version are called by."""

    def __init__(self, root: Path, prefix: str, events: Events, jobs: Jobs, settings: Settings) -> None:
        self.root = root
        self._prefix = prefix
        self._events = events
        self._jobs = jobs
        self._settings = settings

    async def start(self, tag: str, *, ip: str) -> Job:
        """Begin to fetch *tag*, or return the job that does. Raises `StoreFailed`."""
        await self._record(Kind.ARTIFACTS_FETCH_REQUESTED, f"release {tag} was asked for", tag, ip=ip)
        if job := self._jobs.active(JobKind.RELEASE, tag):
            return job
        files = [Artifact(name=f"{self._prefix}.{suffix}") for suffix in (*SUFFIXES, MANIFEST)]
        return await self._jobs.start(JobKind.RELEASE, tag, self._fetch, artifacts=files, base_url=self._base(tag), artifact=None)

    async def cancel(self, tag: str, *, ip: str) -> Job:
        """End the newest fetch of *tag* and return it. Raises `NotFound`, `StoreFailed`."""
        found = [job for job in self._jobs.all(JobKind.RELEASE) if job.key == tag]
        if not found:
            raise NotFound(f"no fetch of the release {tag}")
        was_over = found[-1].is_over
        job = await self._jobs.cancel(found[-1])
        if not was_over:
            await self._record(Kind.ARTIFACTS_FETCH_CANCELLED, f"the fetch of release {tag} was cancelled", tag, ip=ip)
        return job

    def _base(self, tag: str) -> str:
        """Return the address below which the files lie; `latest` is the version that runs, whose names they have."""
        repo = self._settings.upstream.netboot_repo
        tag = f"v{__version__}" if tag == "latest" else tag
        if "://" in repo:
            return f"{repo.rstrip('/')}/{tag}"
        return f"https://github.com/{repo}/releases/download/{tag}"

    async def _fetch(self, job: Job) -> None:
        await self._record(Kind.ARTIFACTS_FETCH_STARTED, f"the fetch of release {job.key} began", job.key)
        partials: dict[str, Path] = {}
        try:
            await self._fetch_all(job, partials)
        except (BtyError, OSError, aiohttp.ClientError, TimeoutError) as error:
            reason = _words(error)
            current = next((found for found in job.details["artifacts"] if found.status == "running"), None)
            for found in job.details["artifacts"]:
                found.status = "failed" if found is current else "cancelled" if found.status == "queued" else found.status
            if current:
                current.error = reason
            summary = f"the fetch of release {job.key} failed: {reason}"
            await self._record(Kind.ARTIFACTS_FETCH_FAILED, summary[:1000], job.key, details={"tag": job.key, "error": reason})
            raise SourceFailed(reason) from error
        finally:
            await asyncio.to_thread(_remove, list(partials.values()))
        names = [found.name for found in job.details["artifacts"]]
        details = {"tag": job.key, "artifacts": names, "base_url": job.details["base_url"]}
        await self._record(Kind.ARTIFACTS_FETCHED, f"release {job.key} is in the boot directory", job.key, details=details)

    async def _fetch_all(self, job: Job, partials: dict[str, Path]) -> None:
        *files, listing = job.details["artifacts"]
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S)
        digests: dict[str, str] = {}
        async with aiohttp.ClientSession(timeout=timeout, headers={"User-Agent": f"bty/{__version__}"}, auto_decompress=False) as session:
            # The list first: it is small, and where it is missing there is nothing else to fetch.
            for found in (listing, *files):
                partials[found.name] = self.root / f".{secrets.token_hex(8)}{PARTIAL}"
                job.details["artifact"] = found.name
                digests[found.name] = await self._fetch_one(job, found, partials[found.name], session)
        promised = await asyncio.to_thread(_read_list, partials[listing.name])
        for found in files:
            if promised.get(found.name) != digests[found.name]:
                found.status, found.error = "failed", "its digest is not the promised one"
                raise IntegrityFailed(f"{found.name}: the list has the digest {promised.get(found.name)}, its bytes {digests[found.name]}")
        await asyncio.to_thread(_put_into_place, self.root, partials)
        job.details["artifact"] = None

    async def _fetch_one(self, job: Job, found: Artifact, partial: Path, session: aiohttp.ClientSession) -> str:
        """Fetch one file and return the digest of its bytes."""
        check_name(found.name)
        found.status = "running"
        limit = MANIFEST_MAX_BYTES if found.name.endswith(MANIFEST) else FILE_MAX_BYTES
        sha256 = hashlib.sha256()
        url = f"{job.details['base_url']}/{found.name}"
        file = await asyncio.to_thread(_create, partial)
        try:
            async with session.get(url, max_redirects=_REDIRECTS_MAX) as answer:
                if answer.url.scheme not in ("http", "https") or answer.status != 200:
                    raise SourceFailed(f"{found.name}: status {answer.status} at {urlsplit(url).netloc}")
                found.bytes_total = answer.content_length
                job.bytes_total = (job.bytes_total or 0) + (answer.content_length or 0)
                async for block in answer.content.iter_chunked(_BLOCK_BYTES):
                    await asyncio.to_thread(_keep, file, sha256, block)
                    found.bytes_done += len(block)
                    job.bytes_done += len(block)
                    if found.bytes_done > limit:
                        raise SourceFailed(f"{found.name}: larger than {limit} bytes")
                    self._jobs.tell(job)
            await asyncio.to_thread(_sync, file)
        finally:
            file.close()
        found.status = "completed"
        return sha256.hexdigest()

    async def _record(self, kind: Kind, summary: str, tag: str, *, ip: str | None = None, details: dict[str, object] | None = None) -> None:
        actor = Actor.OPERATOR if ip else Actor.SYSTEM
        await self._events.record(kind, summary, subject=(Subject.NETBOOT, tag), actor=actor, source_ip=ip, details=details or {"tag": tag})


def _read_list(path: Path) -> dict[str, str]:
    """Return the digests of a sha256 list by file name. Raises `InvalidInput`."""
    lines = [line.split(None, 1) for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    return {words[1].strip().lstrip("*./"): parse_digest(words[0]) for words in lines if len(words) == 2}


def _create(partial: Path) -> BinaryIO:
    partial.parent.mkdir(parents=True, exist_ok=True)
    return partial.open("xb")


def _keep(file: BinaryIO, sha256: hashlib._Hash, block: bytes) -> None:
    file.write(block)
    sha256.update(block)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _put_into_place(root: Path, partials: dict[str, Path]) -> None:
    try:
        for name, partial in partials.items():
            partial.replace(root / name)
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StoreFailed(f"{root}: {error.strerror}") from error


def _remove(partials: list[Path]) -> None:
    for partial in partials:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _words(error: BaseException) -> str:
    if isinstance(error, BtyError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"the server did not answer as it must: {type(error).__name__}"
