"""The event stream: what changed becomes messages, once for everybody, and each client has a bounded queue of them.

A client that does not read costs its queue and is then disconnected; nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from bty import __version__
from bty.daemon.rows import entry_row, machine_row
from bty.errors import StoreFailed, TooMany
from bty.services.catalog import Catalog
from bty.services.changes import Change, Changes, Topic
from bty.services.machines import Machines
from bty.units import MIB

log = logging.getLogger(__name__)

GATHER_S = 0.1
# Above this a screen cannot follow; then everybody fetches again, once in GATHER_MANY_S. Both stay below a second.
MANY = 256
GATHER_MANY_S = 0.8
LOGS_EVERY_S = 1.0
QUEUE_MAX_BYTES = MIB
KEEP_ALIVE_S = 15.0
RETRY_AFTER_S = 10
TOPICS = frozenset(Topic)
_KEEP_ALIVE = b": keep-alive\n\n"
_encode = msgspec.json.Encoder().encode


class Client:
    """One listener: what waits for it, and how to cut it off."""

    def __init__(self, topics: frozenset[Topic], cut: Callable[[], None]) -> None:
        self.topics = topics
        self.ended = False
        self._cut = cut
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()

    def give(self, block: bytes) -> None:
        """Queue *block*; a client that has too much waiting already is cut off."""
        if self.ended or not block:
            return
        if self._size + len(block) > QUEUE_MAX_BYTES and self._waiting:
            log.warning("stream.client.dropped waiting=%d", self._size)
            self.end()
            self._cut()
            return
        self._waiting.append(block)
        self._size += len(block)
        self._news.set()

    def begin(self, block: bytes) -> None:
        """Put *block* before what was given already: it was made first."""
        self._waiting.appendleft(block)
        self._size += len(block)

    def end(self) -> None:
        """Have the stream end; what waits is dropped."""
        self.ended = True
        self._waiting.clear()
        self._size = 0
        self._news.set()

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield what is to be sent, a comment where nothing is for a while, until the stream ends."""
        while not self.ended:
            if not self._waiting:
                self._news.clear()
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        await self._news.wait()
                except TimeoutError:
                    yield _KEEP_ALIVE
                continue
            block = b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            yield block


class Stream:
    """All listeners. `run` it as a task."""

    def __init__(self, changes: Changes, machines: Machines, catalog: Catalog, *, clients_max: int, per_address: int) -> None:
        self._changes = changes
        self._machines = machines
        self._catalog = catalog
        self._clients_max = clients_max
        self._per_address = per_address
        self._clients: set[Client] = set()
        self._addresses: Counter[str] = Counter()
        self._life = secrets.token_hex(4)  # numbers of another life of the daemon mean nothing
        self._sent = 0
        self._closed = False
        self._logs: dict[str, int] = {}
        self._log_news = asyncio.Event()

    @property
    def clients(self) -> int:
        """How many listen."""
        return len(self._clients)

    async def run(self) -> None:
        """Send what changes, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_changes())
            tasks.create_task(self._send_logs())

    def tell_log(self, mac: str, upto: int) -> None:
        """Have it told soon that a machine's log has lines up to this number; nobody listens: it costs nothing."""
        if self._clients:
            self._logs[mac] = upto
            self._log_news.set()

    @contextmanager
    def join(self, address: str, topics: frozenset[Topic], cut: Callable[[], None]) -> Iterator[Client]:
        """Count a client in, and out again at the end. *cut* ends its connection at once. Raises `TooMany`."""
        if len(self._clients) >= self._clients_max:
            raise TooMany(f"{len(self._clients)} clients listen already", retry_after_s=RETRY_AFTER_S, hint="tuning.stream_clients_max")
        if self._addresses[address] >= self._per_address:
            hint = "close some, or raise tuning.stream_clients_per_address"
            raise TooMany(f"{address} has {self._per_address} streams open already", retry_after_s=RETRY_AFTER_S, hint=hint)
        client = Client(topics, cut)
        self._addresses[address] += 1
        self._clients.add(client)
        if self._closed:
            client.end()
        try:
            yield client
        finally:
            self._clients.discard(client)
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    async def greet(self, client: Client, last_id: str) -> None:
        """Begin a client's stream: `hello`, and where *last_id* is known here what was missed since."""
        life, _, number = last_id.partition("-")
        known = life == self._life and number.isascii() and number.isdigit() and len(number) < 19
        upto = self._sent
        missed = self._changes.since(int(number)) if known else None
        blocks = None
        if missed is not None:
            # What comes after `upto` is on its way to everybody, and so to this client.
            blocks = await self._render([change for change in missed if change.number <= upto])
        resumed = blocks is not None
        hello = self._message("hello", upto if not resumed else min(int(number), upto), {"version": __version__, "resumed": resumed})
        client.begin(b"retry: 2000\n\n" + hello + _join(blocks or [], client.topics))

    def close(self) -> None:
        """End all streams, and those that begin from now on."""
        self._closed = True
        for client in tuple(self._clients):
            client.end()

    async def _send_changes(self) -> None:
        pause_s = GATHER_S
        while True:
            await self._changes.wait(self._sent)
            await asyncio.sleep(pause_s)
            pause_s = await self._send()

    async def _send_logs(self) -> None:
        """Tell whose log has grown, each machine at most once in `LOGS_EVERY_S`. Apart from the changes, which logs must not crowd out."""
        while True:
            await self._log_news.wait()
            self._log_news.clear()
            news, self._logs = self._logs, {}
            block = b"".join(self._message("log", self._sent, {"mac": mac, "upto": upto}) for mac, upto in news.items())
            for client in tuple(self._clients):
                if Topic.LOG in client.topics:
                    client.give(block)
            await asyncio.sleep(LOGS_EVERY_S)

    async def _send(self) -> float:
        """Send what is new to everybody and return for how long to gather before the next time, in seconds."""
        before, self._sent = self._sent, self._changes.number
        if not self._clients:
            return GATHER_S
        changes = self._changes.since(before)
        blocks = await self._render(changes) if changes is not None and len(changes) <= MANY else None
        if blocks is None:
            reason = "more changed at once than can be sent" if changes is None or len(changes) > MANY else "the database cannot be read"
            log.info("stream.resync after=%d upto=%d", before, self._sent)
            block = self._message("resync", self._sent, {"reason": reason})
            for client in tuple(self._clients):
                client.give(block)
            return GATHER_MANY_S
        joined: dict[frozenset[Topic], bytes] = {}
        for client in tuple(self._clients):
            if client.topics not in joined:
                joined[client.topics] = _join(blocks, client.topics)
            client.give(joined[client.topics])
        return GATHER_S

    async def _render(self, changes: Iterable[Change]) -> list[tuple[Topic, bytes]] | None:
        """Return the messages for *changes*, or None where the database cannot be read."""
        changes = list(changes)
        macs = [change.key for change in changes if change.topic is Topic.MACHINE]
        try:
            views = {view.machine.mac: view for view in await self._machines.views(macs)} if macs else {}
        except StoreFailed as error:
            log.error("stream.unreadable %s", error)
            return None
        blocks: list[tuple[Topic, bytes]] = []
        for change in changes:
            name, data = str(change.topic), change.value
            match change.topic:
                case Topic.MACHINE:
                    view = views.get(change.key)
                    name, data = ("machine", machine_row(view)) if view else ("machine-deleted", {"mac": change.key})
                case Topic.PROGRESS:
                    data = {"mac": change.key, "progress": change.value}
                case Topic.EVENT:
                    data = change.value.to_json()
                case Topic.CATALOG:
                    entry = self._catalog.get(change.key)
                    data = {"ref": change.key or None, "entry": entry_row(entry) if entry else None}
                case _:
                    pass
            blocks.append((change.topic, self._message(name, change.number, data)))
        return blocks

    def _message(self, name: str, number: int, data: Any) -> bytes:
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._life.encode(), number, name.encode(), _encode(data))


def _join(blocks: list[tuple[Topic, bytes]], topics: frozenset[Topic]) -> bytes:
    return b"".join(block for topic, block in blocks if topic in topics)


def cutter(transport: asyncio.Transport | None) -> Callable[[], None]:
    """Return what ends a connection without waiting for its client to read."""

    def cut() -> None:
        if transport is not None:
            with contextlib.suppress(RuntimeError):
                transport.abort()

    return cut
