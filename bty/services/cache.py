"""Where image bytes come from besides their origin: nowhere, a withcache elsewhere, or (embedded_cache) one of our own."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

import aiohttp
from withcache import client

from bty.errors import InvalidInput
from bty.model.catalog import file_name

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 3.0
ANSWER_KEPT_S = 2.0
DEAD_KEPT_S = 5.0
_ANSWERS_MAX = 10_000
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,8192}")

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Hit:
    """Where a cache has the bytes, and their digest."""

    address: str
    sha: str | None


class Cache(Protocol):
    """What the catalog asks of a cache. `offer` is on the path of a rack that powers on: it never waits long."""

    configured: bool
    kind: str

    async def start(self) -> None:
        """Make ready."""

    async def stop(self) -> None:
        """Give back everything that `start` took."""

    async def offer(self, src: str, *, sha: str | None, base_url: str) -> Hit | None:
        """Return where the cache has the bytes of *src* now; None is a miss, which the cache fills.

        *sha* is the digest that the bytes must have, where it is known; other bytes are a miss.
        """

    def listed(self, src: str, *, sha: str | None, base_url: str) -> str | None:
        """Return the address that a printed catalog names for *src*, None for the source itself. Asks nobody."""

    async def release(self, src: str) -> None:
        """Give up the bytes of an image that is in the catalog no more."""

    async def describe(self) -> dict[str, Any]:
        """Return what the cache holds and what it is doing, as JSON."""


class Flights(Generic[Key, Value]):
    """Makes sure that what many ask for at once is done once. What is made must not raise."""

    def __init__(self) -> None:
        self._tasks: dict[Key, asyncio.Task[Value]] = {}

    async def join(self, key: Key, make: Callable[[], Awaitable[Value]]) -> Value:
        """Return the result of the flight under way for *key*, or of a new one."""
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.ensure_future(_as_coroutine(make()))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return await asyncio.shield(task)

    async def cancel(self) -> None:
        """End what is still under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class NoCache:
    """No cache: everything comes from its origin."""

    configured = False
    kind = "none"

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    async def offer(self, src: str, *, sha: str | None, base_url: str) -> Hit | None:
        """Return None."""
        return None

    def listed(self, src: str, *, sha: str | None, base_url: str) -> str | None:
        """Return None."""
        return None

    async def release(self, src: str) -> None:
        """Do nothing."""

    async def describe(self) -> dict[str, Any]:
        """Return the empty listing."""
        return {"kind": self.kind}


@dataclass(frozen=True, slots=True)
class _Answer:
    hit: bool
    sha: str | None
    until: float


class ExternalCache:
    """A withcache that somebody else runs. It is asked by HEAD, which on a miss also makes it fetch the object."""

    configured = True
    kind = "external"

    def __init__(self, url: str) -> None:
        self.url = client.cache_base(url)
        self._answers: dict[str, _Answer] = {}
        self._flights: Flights[str, _Answer] = Flights()
        self._dead_until = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the connections' pool."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S))

    async def stop(self) -> None:
        """Close the connections."""
        await self._flights.cancel()
        if self._session:
            await self._session.close()

    async def offer(self, src: str, *, sha: str | None, base_url: str) -> Hit | None:
        """Return the blob's address at the cache where it answers that it has it, with the right digest."""
        now = asyncio.get_running_loop().time()
        answer = self._answers.get(src)
        if answer is None or answer.until < now:
            if now < self._dead_until:
                return None
            answer = await self._flights.join(src, lambda: self._probe(src))
        if not answer.hit or (sha and answer.sha and answer.sha != sha):
            return None
        return Hit(blob_address(self.url, src), sha)

    def listed(self, src: str, *, sha: str | None, base_url: str) -> str | None:
        """Return the blob's address at the cache, whether it has it or not (contract 1.1)."""
        return blob_address(self.url, src)

    async def release(self, src: str) -> None:
        """Do nothing: others may use it too."""

    async def describe(self) -> dict[str, Any]:
        """Return where the cache is, and whether it answered."""
        return {"kind": self.kind, "url": self.url, "reachable": asyncio.get_running_loop().time() >= self._dead_until}

    async def _probe(self, src: str) -> _Answer:
        loop = asyncio.get_running_loop()
        hit, sha = False, None
        if self._session is not None:
            try:
                async with self._session.head(blob_address(self.url, src), allow_redirects=False) as response:
                    hit, sha = response.status == 200, response.headers.get("X-Withcache-Sha256")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self._dead_until = loop.time() + DEAD_KEPT_S
                log.warning("cache.unreachable url=%s error=%s", self.url, str(error) or type(error).__name__)
        if len(self._answers) >= _ANSWERS_MAX:
            self._answers.clear()
        answer = _Answer(hit, sha.lower() if sha else None, loop.time() + ANSWER_KEPT_S)
        self._answers[src] = answer
        return answer


def blob_address(base_url: str, src: str) -> str:
    """Return the address of the bytes of *src* at a cache: contract section 5."""
    return f"{base_url.rstrip('/')}/b/{encode_token(src)}/{quote(file_name(src), safe='')}"


def encode_token(src: str) -> str:
    """Return *src* as the path segment that stands for it."""
    return base64.urlsafe_b64encode(src.encode()).decode().rstrip("=")


def decode_token(token: str) -> str:
    """Return the source that a path segment stands for. Raises `InvalidInput`."""
    try:
        if not _TOKEN.fullmatch(token):
            raise InvalidInput("not a blob's token")
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidInput("not a blob's token") from error


async def _as_coroutine(awaitable: Awaitable[Value]) -> Value:
    return await awaitable
