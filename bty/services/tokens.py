"""API tokens: what scripts log in with. Shown once, kept as a digest, revoked at once."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bty.errors import Conflict, NotFound
from bty.model.event import Actor, Event, Kind, Subject
from bty.model.session import ApiToken
from bty.services.events import Events, build
from bty.store import tokens as table
from bty.store.db import Store
from bty.units import utc_now

PREFIX = "bty_"  # so that a leaked one can be recognised
TOKENS_MAX = 1000
_NOTE_EVERY = timedelta(minutes=1)  # so that a script that polls costs no commit a request


class Tokens:
    """The tokens of the one operator. They are looked up in the database each time, since the command line changes them there too."""

    def __init__(self, store: Store, events: Events) -> None:
        self._store = store
        self._events = events

    async def all(self) -> list[ApiToken]:
        """Return every token, the oldest first. Raises `StoreFailed`."""
        return await table.list_tokens(self._store)

    async def create(self, name: str, *, ip: str | None) -> tuple[ApiToken, str]:
        """Make a token and return it with its secret, which nobody can ask for again. Raises `Conflict`, `StoreFailed`."""
        known = await self.all()
        if len(known) >= TOKENS_MAX:
            raise Conflict(f"there are {TOKENS_MAX} tokens already", hint="revoke some")
        if any(token.name == name for token in known):
            raise Conflict(f"there is a token {name!r} already", hint="give it another name, or revoke that one")
        secret = PREFIX + secrets.token_urlsafe(32)
        token = ApiToken(name=name, token_sha256=_digest(secret), created_at=utc_now())
        (token_id,) = await self._store.write(table.insert(token))
        await self._events.commit([], _event(Kind.TOKEN_CREATED, f"the token {name!r} was created", name, ip))
        return replace(token, id=token_id), secret

    async def revoke(self, token_id: int, *, ip: str | None) -> ApiToken:
        """End a token and return what it was. Raises `NotFound`, `StoreFailed`."""
        token = next((token for token in await self.all() if token.id == token_id), None)
        if token is None:
            raise NotFound(f"no token {token_id}")
        event = _event(Kind.TOKEN_REVOKED, f"the token {token.name!r} was revoked", token.name, ip)
        await self._events.commit([table.delete(token_id)], event)
        return token

    async def find(self, secret: str) -> ApiToken | None:
        """Return the token with this secret. Raises `StoreFailed`."""
        return await table.find(self._store, _digest(secret)) if secret.startswith(PREFIX) else None

    async def note_use(self, token: ApiToken) -> None:
        """Remember that a token was used, to the minute. Raises `StoreFailed`."""
        now = datetime.now(UTC)
        if not token.last_used_at or datetime.fromisoformat(token.last_used_at) <= now - _NOTE_EVERY:
            await self._store.write(table.touch(token.id, now.isoformat(timespec="microseconds")))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _event(kind: Kind, summary: str, name: str, ip: str | None) -> Event:
    return build(kind, summary, subject=(Subject.AUTH, "token"), actor=Actor.OPERATOR, source_ip=ip, details={"name": name})
