"""The cache that the daemon brings along: a withcache of its own as a child, whose blobs the daemon hands out itself.

The child fetches and stores. A blob counts from the moment its digest was read back here and compared; what is known
about it lies beside it, so that it is read once, not at each start. Blobs are served while the child is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp

import bty
from bty.errors import BtyError, CommandFailed, NotFound
from bty.host.proc import Child, start
from bty.model.catalog import is_oras
from bty.services.blocking import Blocking
from bty.services.cache import Flights, Hit, blob_address, encode_token
from bty.services.cache_files import FILLS_PATH, SECRET_ENV, SECRET_HEADER, Blob, CacheFiles, Fill, FillState, blob_key
from bty.sources.documents import fetch_version
from bty.sources.oras import pin
from bty.units import utc_now

log = logging.getLogger(__name__)

OnFailure = Callable[[str, str], Awaitable[None]]
"""Told the source and the reason of each fill that failed."""

_POLL_S = 0.3
_CHILD_TIMEOUT_S = 5.0
# A failed fill is not tried again before this long, doubled each time.
_RETRY_S = (15.0, 600.0)
_RESTART_S = (0.2, 30.0)
# How long an origin may think about its version, and how long what it said holds: a pipeline may publish and flash at once.
_VERSION_TIMEOUT_S = 3.0
_VERSION_KEPT_S = 2.0
_PARALLEL_QUESTIONS = 4
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class EmbeddedCache:
    """Fills, keeps, checks and finds blobs below *root*. `start` it on the loop that uses it."""

    configured = True
    kind = "embedded"

    def __init__(self, root: Path, *, on_failure: OnFailure) -> None:
        self.files = CacheFiles(root)
        self._on_failure = on_failure
        self._blobs: dict[str, Blob] = {}
        self._fills: dict[str, Fill] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._checks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(2, "cache files")
        self._reader = ThreadPoolExecutor(1, "cache check")
        self._blocking = Blocking(_PARALLEL_QUESTIONS)
        self._versions: Flights[str, bool] = Flights()
        self._seen: dict[str, tuple[str | None, float]] = {}
        self._secret = secrets.token_urlsafe(32)
        self._session: aiohttp.ClientSession | None = None
        self._socket: socket.socket | None = None
        self._child: Child | None = None

    async def start(self) -> None:
        """Learn what is cached and start the child. Raises `StoreFailed` where the directory cannot be used."""
        self._blobs = await self._in_thread(self.files.load)
        listener = socket.create_server(("127.0.0.1", 0))
        self._socket = listener
        self._session = aiohttp.ClientSession(
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            headers={SECRET_HEADER: self._secret},
            timeout=aiohttp.ClientTimeout(total=_CHILD_TIMEOUT_S),
        )
        self._tasks = [asyncio.create_task(self._supervise(listener)), asyncio.create_task(self._watch())]

    async def stop(self) -> None:
        """End the child and everything under way; what is cached stays."""
        self.files.closing.set()
        await self._versions.cancel()
        for task in (*self._tasks, *self._checks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._checks, return_exceptions=True)
        if self._session:
            await self._session.close()
        if self._socket:
            self._socket.close()
        await asyncio.to_thread(self._reader.shutdown)
        await asyncio.to_thread(self._threads.shutdown)

    async def offer(self, src: str, *, sha: str | None, base_url: str) -> Hit | None:
        """Return our own address of the blob when it is here and proved; else start its fill and return None.

        Without a digest to go by, the origin is asked whether its object is still the one that was cached.
        """
        source = self.source_of(src, sha)
        if source is None:
            return None
        blob = self._find(source, sha)
        if blob and (sha is not None or await self._versions.join(blob.key, partial(self._is_current, blob))):
            return Hit(blob_address(base_url, source), blob.sha256)
        if blob:
            self._blobs.pop(blob.key, None)
        self._want(src, source, sha)
        return None

    def listed(self, src: str, *, sha: str | None, base_url: str) -> str | None:
        """Return our own address of the blob when it is here."""
        source = self.source_of(src, sha)
        return blob_address(base_url, source) if source and self._find(source, sha) else None

    async def open(self, src: str, *, sha: str | None, fill: bool = True) -> tuple[Blob, BinaryIO] | None:
        """Open the blob of *src* for reading; None is a miss, which starts the fill if *fill*."""
        source = self.source_of(src, sha)
        blob = self._find(source, sha) if source else None
        if source is None:
            return None
        if blob is not None:
            opened = await self._in_thread(self.files.open, blob)
            if opened:
                return blob, opened
            self._blobs.pop(blob.key, None)
        if fill:
            self._want(src, source, sha)
        return None

    async def describe(self) -> dict[str, Any]:
        """Return the blobs, the fills and the room there is."""
        usage = await self._in_thread(shutil.disk_usage, self.files.root)
        return {
            "kind": self.kind,
            "running": self.child_pid is not None,
            "size_bytes": sum(blob.size_bytes for blob in self._blobs.values()),
            "free_bytes": usage.free,
            "blobs": [blob.to_json() for blob in sorted(self._blobs.values(), key=lambda blob: blob.cached_at)],
            "fills": [fill.to_json() for fill in self._fills.values()],
        }

    async def release(self, src: str) -> None:
        """Drop what was cached for *src*."""
        blobs, fills = self._blobs.values(), self._fills.values()
        for key in {blob.key for blob in blobs if blob.src == src} | {fill.key for fill in fills if fill.src == src}:
            with contextlib.suppress(NotFound):  # somebody else was faster
                await self.forget(key)

    async def forget(self, key: str) -> None:
        """Drop a blob, or stop its fill. Raises `NotFound` where there is neither."""
        blob, fill = self._blobs.pop(key, None), self._fills.pop(key, None)
        if blob is None and fill is None:
            raise NotFound(f"nothing is cached as {key[:80]}")
        await self._drop(key, blob.source if blob else fill.source if fill else "")

    @property
    def child_pid(self) -> int | None:
        """The process id of the child, None while there is none."""
        return self._child.pid if self._child and self._child.running() else None

    @staticmethod
    def source_of(src: str, sha: str | None) -> str | None:
        """Return what is fetched and kept for *src*: itself, or for a tag the blob that it means. None where that is unknown."""
        if not is_oras(src):
            return src
        return pin(src, sha) if sha else None

    def _find(self, source: str, sha: str | None) -> Blob | None:
        blob = self._blobs.get(blob_key(source))
        return blob if blob and sha in (None, blob.sha256) else None

    async def _is_current(self, blob: Blob, *, ask: bool = False) -> bool:
        """Tell whether the origin still has this version. One that does not answer leaves the blob as good as it was."""
        now = asyncio.get_running_loop().time()
        version, until = self._seen.get(blob.key, (None, 0.0))
        if ask or until <= now:
            try:
                version = await self._blocking.run(fetch_version, blob.source, timeout_s=_VERSION_TIMEOUT_S)
            except BtyError as error:
                log.info("cache.version.unknown src=%s error=%s", blob.source, error)
                version = blob.version
            self._seen[blob.key] = (version, now + _VERSION_KEPT_S)
        return version is not None and version == blob.version

    def _want(self, src: str, source: str, sha: str | None) -> None:
        """Have *source* fetched, unless that is under way or failed a moment ago."""
        key = blob_key(source)
        now = asyncio.get_running_loop().time()
        fill = self._fills.get(key)
        if fill is None:
            fill = self._fills[key] = Fill(key=key, src=src, source=source, sha=sha, since=utc_now())
        elif fill.state is FillState.FAILED and (now >= fill.retry_at or fill.sha != sha):
            fill.state, fill.since, fill.version = FillState.WAITING, utc_now(), None
        fill.sha = sha
        self._wake.set()

    async def _watch(self) -> None:
        """Drive every fill from its wish to its check."""
        while True:
            await self._wake.wait()
            active = [fill for fill in self._fills.values() if fill.state in (FillState.WAITING, FillState.RUNNING)]
            if not active:
                self._wake.clear()
                continue
            try:
                for fill in active:
                    if fill.state is FillState.WAITING:
                        await self._begin(fill)
                jobs = await self._jobs() if any(fill.state is FillState.RUNNING for fill in active) else {}
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                log.info("cache.child.silent error=%s", str(error) or type(error).__name__)
            else:
                for fill in active:
                    if fill.state is FillState.RUNNING:
                        await self._advance(fill, jobs.get(fill.source))
            await asyncio.sleep(_POLL_S)

    async def _ask(self, fill: Fill) -> None:
        """Learn the version of an object without a digest, so that it can be recognised later; then have it fetched."""
        try:
            fill.version = await self._blocking.run(fetch_version, fill.source)
        except BtyError as error:
            await self._fail(fill, str(error))
            return
        if fill.version is None:
            fill.state, fill.error = FillState.FAILED, "neither its digest nor a version of it is known, so it is not cached"
            fill.retry_at = asyncio.get_running_loop().time() + _RETRY_S[1]
            return
        fill.state = FillState.WAITING
        self._wake.set()

    async def _begin(self, fill: Fill) -> None:
        if fill.sha is None and fill.version is None:
            fill.state = FillState.ASKING
            self._go(self._ask(fill))
            return
        stale = self._blobs.pop(fill.key, None)
        if stale is not None:  # it has another digest than is wanted now
            await self._drop(fill.key, fill.source)
        assert self._session is not None
        async with self._session.head(f"/b/{encode_token(fill.source)}/blob") as response:
            fill.found = response.status == 200
        if not fill.found:
            fill.state = FillState.RUNNING
        elif fill.sha is None:  # of which version, nobody can tell
            await self._drop(fill.key, fill.source)
        else:
            self._check_soon(fill)

    async def _jobs(self) -> dict[str, dict[str, Any]]:
        assert self._session is not None
        async with self._session.get(FILLS_PATH) as response:
            response.raise_for_status()
            return {job["url"]: job for job in await response.json()}

    async def _advance(self, fill: Fill, job: dict[str, Any] | None) -> None:
        if job is None:  # the child began anew
            fill.state = FillState.WAITING
            return
        fill.bytes_done, fill.bytes_total = job["bytes_done"], job["bytes_total"]
        if job["status"] == "completed":
            self._check_soon(fill)
        elif job["status"] in ("failed", "cancelled"):
            await self._fail(fill, str(job["error"] or job["status"]))

    def _check_soon(self, fill: Fill) -> None:
        fill.state = FillState.CHECKING
        self._go(self._check(fill))

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _check(self, fill: Fill) -> None:
        """Read the new blob once and keep it only if it is what it should be."""
        try:
            blob = await asyncio.get_running_loop().run_in_executor(self._reader, self.files.examine, fill)
        except OSError as error:
            await self._fail(fill, f"the blob cannot be read: {error.strerror}")
            return
        if self._fills.get(fill.key) is not fill:  # forgotten meanwhile
            return
        if fill.sha is not None and blob.sha256 != fill.sha:
            await self._drop(fill.key, fill.source)
            if fill.found:
                fill.state = FillState.WAITING
                self._wake.set()
                return
            await self._fail(fill, f"its bytes have the digest {blob.sha256}, not {fill.sha}")
            return
        if fill.sha is None and not await self._is_current(blob, ask=True):
            fill.version = None
            await self._drop(fill.key, fill.source)
            await self._fail(fill, "it changed while it was fetched")
            return
        await self._in_thread(self.files.remember, blob)
        self._fills.pop(fill.key, None)
        self._blobs[blob.key] = blob
        log.info("cache.filled src=%s bytes=%d", blob.source, blob.size_bytes)
        for older in [other for other in self._blobs.values() if other.src == blob.src and other.key != blob.key]:
            del self._blobs[older.key]
            await self._drop(older.key, older.source)

    async def _fail(self, fill: Fill, reason: str) -> None:
        fill.state, fill.error = FillState.FAILED, reason
        fill.retry_at = asyncio.get_running_loop().time() + min(_RETRY_S[0] * 2**fill.failures, _RETRY_S[1])
        fill.failures += 1
        log.warning("cache.fill.failed src=%s error=%s", fill.source, reason)
        try:
            await self._on_failure(fill.src, reason)
        except BtyError as error:
            log.error("cache.event.lost error=%s", error)

    async def _drop(self, key: str, source: str) -> None:
        """Remove a blob from the disk, and with it whatever the child knows or does about it."""
        assert self._session is not None
        if self.child_pid:  # without a child its file is enough
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._session.delete(f"/b/{encode_token(source)}/blob"):
                    pass
        await self._in_thread(self.files.remove, key)

    async def _supervise(self, listener: socket.socket) -> None:
        """Keep a child running, with growing pauses where it does not stay."""
        loop = asyncio.get_running_loop()
        pause_s = _RESTART_S[0]
        while True:
            began = loop.time()
            # Its standard input is a pipe whose other end only we hold: it closes with us, even when we are killed.
            reader, writer = os.pipe()
            try:
                self._child = self._start_child(reader, listener)
                await _ended(self._child.pid)
                log.warning("cache.child.ended %s", (await asyncio.to_thread(self._child.end)).describe())
            except CommandFailed as error:
                log.warning("cache.child.failed %s", error)
            finally:
                os.close(writer)
                os.close(reader)
                if self._child:
                    await asyncio.to_thread(self._child.end)
            pause_s = _RESTART_S[0] if loop.time() - began > _RESTART_S[1] else min(pause_s * 2, _RESTART_S[1])
            await asyncio.sleep(pause_s)

    def _start_child(self, stdin: int, listener: socket.socket) -> Child:
        package = str(Path(bty.__file__).parent.parent)
        paths = os.pathsep.join(filter(None, (package, *sys.path)))  # what we ourselves find, wherever a PYTHONPATH led us
        proxies = {name: os.environ[name] for name in _PROXIES if name in os.environ}
        # fmt: off
        argv = [
            sys.executable, "-P", "-m", "bty.services.cache_child",
            "--data-dir", str(self.files.root),
            "--listen-fd", str(listener.fileno()),
        ]
        # fmt: on
        env = {SECRET_ENV: self._secret, "PYTHONPATH": paths, **proxies}
        return start(argv, stdin=stdin, env=env, pass_fds=(listener.fileno(),))

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


async def _ended(pid: int) -> None:
    """Wait until the process *pid*, a child of ours, has ended."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
