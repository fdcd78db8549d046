"""Tells others what happens: each event that a `[[webhook]]` asks for is posted to it, signed, in order, again until it is taken.

The audit log is the queue: of each webhook the id of the last event is kept that it took or that was given up, so what was committed
is delivered however the daemon ended, at least once. What nobody took is a dead letter: an event, and a line in health, until an
operator has it sent once more or forgets it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from bty.errors import StoreFailed
from bty.model.event import Actor, Event, Kind
from bty.services.config import Webhook
from bty.services.events import Events, build
from bty.services.health import Check, State
from bty.store import webhooks as table
from bty.store.db import Statement, Store
from bty.store.webhooks import DeadLetter, Mark
from bty.units import plural

log = logging.getLogger(__name__)

WAITING_MAX = 10_000  # more than a rack that powers on makes before a receiver has taken them
POST_TIMEOUT_S = 10.0
# Before each further attempt; a receiver that is restarted is met by the third, one that is down for the night is not.
PAUSES_S = (1.0, 5.0, 30.0, 120.0)
STORE_PAUSE_S = 5.0  # where the database could not be read
_AGAIN = frozenset({408, 425, 429})
_PAGE = 50
_LAG_MAX = 1000  # events that nobody asked for and that a start looks through once more


@dataclass(slots=True)
class _Hook:
    config: Webhook
    key: str
    mark: Mark = field(default_factory=lambda: Mark(cursor=0))
    stored: int = 0
    unheard: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def globs(self) -> list[str]:
        return [_glob(wanted) for wanted in self.config.events]

    @property
    def host(self) -> str:
        return urlsplit(self.config.url).netloc.rpartition("@")[2]


class Webhooks:
    """All webhooks. `prepare`, then `run` it as a task; `hear` is a listener of the events."""

    def __init__(self, hooks: Sequence[Webhook], events: Events, store: Store) -> None:
        seen: Counter[str] = Counter()
        self._hooks: list[_Hook] = []
        for config in hooks:
            digest = hashlib.sha256(config.url.encode()).hexdigest()[:32]
            self._hooks.append(_Hook(config, f"{digest}.{seen[digest]}"))
            seen[digest] += 1
        self._events = events
        self._store = store

    async def prepare(self) -> None:
        """Take up where the last run ended. A webhook that is new hears of what happens from now on. Raises `StoreFailed`."""
        known, newest = await table.marks(self._store), await table.newest_event(self._store)
        keys = {hook.key for hook in self._hooks}
        statements = [table.forget(key) for key in known if key not in keys]
        statements += [table.begin(hook.key, newest) for hook in self._hooks]
        if statements:
            await self._store.write(*statements)
        for hook in self._hooks:
            hook.mark = known.get(hook.key) or Mark(cursor=newest)
            hook.stored = hook.mark.cursor

    def hear(self, event: Event) -> None:
        """Wake whoever asked for the kind of this event."""
        for hook in self._hooks if event.id else ():
            hook.unheard += 1
            if hook.unheard >= _LAG_MAX or any(_matches(event.kind, wanted) for wanted in hook.config.events):
                hook.unheard = 0
                hook.news.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        if not self._hooks:
            return
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POST_TIMEOUT_S)) as session, asyncio.TaskGroup() as group:
            for hook in self._hooks:
                group.create_task(self._deliver_all(hook, session))

    async def send_again(self) -> int:
        """Have every dead letter sent once more and return how many there are. Raises `StoreFailed`."""
        count = await table.count_dead(self._store)
        await self._store.write(table.send_again())
        for hook in self._hooks:
            hook.news.set()
        return count

    async def drop_dead(self) -> int:
        """Forget every dead letter and return how many there were. Raises `StoreFailed`."""
        count = await table.count_dead(self._store)
        await self._store.write(table.drop_all())
        return count

    async def describe(self) -> list[dict[str, Any]]:
        """Return each webhook and how it goes. Of its address only the host: what is behind that is often a secret."""
        return [await self._describe(hook, hook.mark) for hook in self._hooks]

    async def check(self) -> Check:
        """Return the line of health. Raises `StoreFailed`."""
        if not self._hooks:
            return Check(name="webhooks", state=State.INFO, detail="none is configured")
        if dead := await table.count_dead(self._store):
            detail = f"{plural(dead, 'event')} not taken; the newest: {await table.newest_reason(self._store)}"
            hint = "mend the receiver, then have them sent again or forget them on the settings page"
            return Check(name="webhooks", state=State.FAILED, detail=detail, hint=hint)
        return Check(name="webhooks", state=State.OK, detail=f"{sum(hook.mark.delivered for hook in self._hooks)} events were delivered")

    async def _describe(self, hook: _Hook, mark: Mark) -> dict[str, Any]:
        """Return how a webhook goes, what waits and what was delivered as of *mark*: it goes on while this reads."""
        return {
            "host": hook.host,
            "events": list(hook.config.events),
            "signed": bool(hook.config.secret),
            "waiting": await table.count_waiting(self._store, mark.cursor, hook.globs),
            "delivered": mark.delivered,
            "dead": await table.dead_letters(self._store, hook.key),
        }

    async def _deliver_all(self, hook: _Hook, session: aiohttp.ClientSession) -> None:
        while True:
            hook.news.clear()
            try:
                if not await self._deliver_some(hook, session):
                    await hook.news.wait()
            except StoreFailed as error:
                log.error("webhook.held host=%s: %s", hook.host, error)
                await asyncio.sleep(STORE_PAUSE_S)

    async def _deliver_some(self, hook: _Hook, session: aiohttp.ClientSession) -> bool:
        """Deliver a few events, and tell whether there may be more. Raises `StoreFailed`, after which it may all be done again."""
        if letter := await table.next_again(self._store, hook.key):
            await self._retry(hook, letter, session)
            return True
        await self._give_up_excess(hook)
        newest = await table.newest_event(self._store)
        page = await table.waiting(self._store, hook.mark.cursor, hook.globs, _PAGE)
        for event in page:
            reason = await self._deliver(hook, event, session)
            if reason is not None:
                await self._fail(hook, [event], event.id, reason)
                return True  # time has passed: who knows what waits by now
            await self._advance(hook, Mark(cursor=event.id, delivered=hook.mark.delivered + 1))
        if not page and newest - hook.mark.cursor > 0:
            hook.mark = replace(hook.mark, cursor=newest)
            if newest - hook.stored >= _LAG_MAX:
                await self._advance(hook, hook.mark)
        return bool(page)

    async def _retry(self, hook: _Hook, letter: DeadLetter, session: aiohttp.ClientSession) -> None:
        """Send a letter once. Where nobody answers, the others wait for an operator as before: news must not wait behind them."""
        event = await table.event(self._store, letter.event_id)
        reason, is_refused = await self._post(hook, event, session) if event else ("the event is no longer kept", True)
        if reason is not None:
            rest = [] if is_refused else [table.give_rest(hook.key)]
            await self._store.write(table.settle(letter, reason), *rest)
            return
        mark = replace(hook.mark, delivered=hook.mark.delivered + 1)
        await self._advance(hook, mark, [table.settle(letter, None)])

    async def _give_up_excess(self, hook: _Hook) -> None:
        """Give up the oldest events where too many wait: what is behind them is more recent news."""
        excess = await table.count_waiting(self._store, hook.mark.cursor, hook.globs) - WAITING_MAX
        if excess > 0:
            given_up = await table.waiting(self._store, hook.mark.cursor, hook.globs, excess)
            await self._fail(hook, given_up, given_up[-1].id, "too many events wait")

    async def _deliver(self, hook: _Hook, event: Event, session: aiohttp.ClientSession) -> str | None:
        """Post *event* until it is taken; return why it never was."""
        reason: str | None = None
        for pause_s in (0.0, *PAUSES_S):
            await asyncio.sleep(pause_s)
            reason, is_refused = await self._post(hook, event, session)
            if reason is None or is_refused:
                break
        return reason

    async def _post(self, hook: _Hook, event: Event, session: aiohttp.ClientSession) -> tuple[str | None, bool]:
        """Post *event* once; return why it was not taken, and whether it never will be."""
        body = msgspec.json.encode(event.to_json())
        try:
            async with session.post(hook.config.url, data=body, headers=_headers(hook.config, event, body), allow_redirects=False) as got:
                if got.status < 300:
                    return None, False
                return f"status {got.status}", got.status < 500 and got.status not in _AGAIN
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return type(error).__name__, False  # the words of the error may hold the address, and that a secret

    async def _fail(self, hook: _Hook, lost: Sequence[Event], cursor: int, reason: str) -> None:
        """Go on behind events that were not taken; they are dead letters from now on."""
        letters = [DeadLetter(event_id=one.id, kind=one.kind, at=one.ts, reason=reason) for one in lost[-table.DEAD_KEPT :]]
        what = f"event {lost[0].id} ({lost[0].kind}) was" if len(lost) == 1 else f"{len(lost)} events were"
        details = {"event": lost[-1].id, "events": len(lost), "host": hook.host, "error": reason}
        event = build(Kind.WEBHOOK_FAILED, f"{what} not taken by the webhook at {hook.host}: {reason}", actor=Actor.SYSTEM, details=details)
        await self._advance(hook, replace(hook.mark, cursor=cursor), table.bury(hook.key, letters), event)

    async def _advance(self, hook: _Hook, mark: Mark, statements: Sequence[Statement] = (), *events: Event) -> None:
        await self._events.commit([table.advance(hook.key, mark), *statements], *events)
        hook.mark, hook.stored = mark, mark.cursor


def _headers(config: Webhook, event: Event, body: bytes) -> dict[str, str]:
    moment = str(int(time.time()))
    headers = {"Content-Type": "application/json", "X-Bty-Event": event.kind, "X-Bty-Delivery": str(event.id), "X-Bty-Timestamp": moment}
    if config.secret:
        headers["X-Bty-Signature"] = f"sha256={sign(config.secret, moment, body)}"
    return headers


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the HMAC-SHA256 in hex over the time, a dot and the body: an old post cannot be sent again as a new one."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _matches(kind: str, wanted: str) -> bool:
    """Tell whether *wanted* is the kind, or with a star the beginning or the end of it."""
    if wanted.startswith("*"):
        return kind.endswith(wanted[1:])
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted


def _glob(wanted: str) -> str:
    """Return what `_matches` takes *wanted* for as a pattern of SQLite's GLOB."""
    first, last = wanted.startswith("*"), wanted.endswith("*") and len(wanted) > 1
    text = wanted[1:] if first else wanted[:-1] if last else wanted
    escaped = "".join(f"[{char}]" if char in "*?[" else char for char in text)
    return f"*{escaped}" if first else f"{escaped}*" if last else escaped
