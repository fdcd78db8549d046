"""Logging in and out. A session is an unguessable token of which only the digest is kept; a new password ends them all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from bty.errors import NotAllowed, StoreFailed
from bty.model.event import Actor, Event, Kind, Subject
from bty.model.session import Session
from bty.services.config import Config
from bty.services.events import Events, build
from bty.services.password import Password
from bty.services.throttle import Throttle
from bty.store import sessions as table
from bty.store.db import Store

SESSION_LIFE = timedelta(days=7)
RENEW_AFTER = timedelta(hours=1)  # so that a page that polls costs no commit a request
_HASHES_AT_ONCE = 2

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Auth:
    """The one operator's sessions."""

    def __init__(self, store: Store, events: Events, password: Password, *, secret: bytes, throttle: Throttle, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._password = password
        self._secret = secret
        self._generation = password.generation(secret)
        self._throttle = throttle
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)

    @classmethod
    async def load(cls, store: Store, events: Events, config: Config, *, throttle: Throttle | None = None, clock: Clock = _now) -> Self:
        """Read the sessions that are still good. Raises `StoreFailed`, and `ConfigFailed` where the password's hash is none."""
        password = Password.of(config.admin)
        secret = config.server.session_secret or await asyncio.to_thread(_read_secret, config.paths.state_dir / "session-secret")
        auth = cls(store, events, password, secret=secret.encode(), throttle=throttle or Throttle(), clock=clock)
        await store.write(table.delete_void(generation=auth._generation, now=_iso(clock())))
        auth._sessions = {session.token_sha256: session for session in await table.list_sessions(store)}
        return auth

    async def log_in(self, password: str, *, ip: str) -> str:
        """Return the token of a new session. Raises `NotAllowed`, `TooMany`, `StoreFailed`."""
        await self.confirm(password, ip=ip)
        return await self._open(_event(Kind.LOGIN_SUCCEEDED, "the operator logged in", ip))

    async def confirm(self, password: str, *, ip: str) -> None:
        """Return where *password* is right. Raises `NotAllowed`, `TooMany`, `StoreFailed`."""
        self._throttle.take(ip)
        async with self._hashing:
            right = await asyncio.to_thread(self._password.verify, password)
        if not right:
            await self._events.commit([], _event(Kind.LOGIN_FAILED, "a login failed: wrong password", ip))
            raise NotAllowed("wrong password")
        self._throttle.give_back(ip)

    async def replace_password(self, password: Password, *, ip: str) -> str:
        """Take another password from now on, end every session and return the token of a new one. Raises `StoreFailed`."""
        self._password, self._generation = password, password.generation(self._secret)
        self._sessions.clear()
        return await self._open(_event(Kind.PASSWORD_CHANGED, "the password was changed; other logins ended", ip))

    async def _open(self, event: Event) -> str:
        token, now = secrets.token_urlsafe(32), self._clock()
        session = Session(
            token_sha256=_digest(token), generation=self._generation, created_at=_iso(now), expires_at=_iso(now + SESSION_LIFE)
        )
        self._forget_void(now)
        void = table.delete_void(generation=self._generation, now=_iso(now))
        await self._events.commit([void, table.upsert(session)], event)
        self._sessions[session.token_sha256] = session
        return token

    @property
    def count(self) -> int:
        """How many sessions are open."""
        moment = _iso(self._clock())
        return sum(session.expires_at > moment for session in self._sessions.values())

    @property
    def has_default_password(self) -> bool:
        """Tell whether everybody who has read the manual can log in."""
        return self._password.is_default

    def find(self, token: str | None) -> Session | None:
        """Return the session that *token* opens, if it is still good."""
        session = self._sessions.get(_digest(token)) if token else None
        return session if session and session.expires_at > _iso(self._clock()) else None

    def is_stale(self, session: Session) -> bool:
        """Tell whether the session was last renewed so long ago that it is worth a commit."""
        return session.expires_at < _iso(self._clock() + SESSION_LIFE - RENEW_AFTER)

    async def renew(self, session: Session) -> None:
        """Let the session live on from now. Raises `StoreFailed`."""
        renewed = replace(session, expires_at=_iso(self._clock() + SESSION_LIFE))
        await self._store.write(table.upsert(renewed))
        if session.token_sha256 in self._sessions:
            self._sessions[session.token_sha256] = renewed
        else:  # logged out meanwhile
            await self._store.write(table.delete(session.token_sha256))

    async def log_out(self, token: str | None, *, ip: str) -> None:
        """End the session of *token*; without one there is nothing to do. Raises `StoreFailed`."""
        session = self.find(token)
        if session is None:
            return
        self._sessions.pop(session.token_sha256, None)
        await self._events.commit([table.delete(session.token_sha256)], _event(Kind.LOGOUT, "the operator logged out", ip))

    def _forget_void(self, now: datetime) -> None:
        moment = _iso(now)
        self._sessions = {key: session for key, session in self._sessions.items() if session.expires_at > moment}


def _event(kind: Kind, summary: str, ip: str) -> Event:
    return build(kind, summary, subject=(Subject.AUTH, "operator"), actor=Actor.OPERATOR, source_ip=ip)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _read_secret(path: Path) -> str:
    """Return the secret in *path*, made where there is none. Raises `StoreFailed`."""
    try:
        if path.exists() and (known := path.read_text(encoding="utf-8").strip()):
            return known
        secret = secrets.token_urlsafe(32)
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise StoreFailed(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return secret
