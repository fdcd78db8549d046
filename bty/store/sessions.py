"""The table `sessions`."""

from __future__ import annotations

from bty.model.session import Session
from bty.store.db import Statement, Store


async def list_sessions(store: Store) -> list[Session]:
    """Return every session that is kept."""
    rows = await store.read("SELECT token_sha256, generation, created_at, expires_at FROM sessions")
    return [Session(**dict(row)) for row in rows]


def upsert(session: Session) -> Statement:
    """Return the statement that keeps *session*."""
    return (
        "INSERT INTO sessions (token_sha256, generation, created_at, expires_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (token_sha256) DO UPDATE SET expires_at = excluded.expires_at",
        (session.token_sha256, session.generation, session.created_at, session.expires_at),
    )


def delete(token_sha256: str) -> Statement:
    """Return the statement that ends one session."""
    return "DELETE FROM sessions WHERE token_sha256 = ?", (token_sha256,)


def delete_void(*, generation: str, now: str) -> Statement:
    """Return the statement that ends what is over or was opened with another password."""
    return "DELETE FROM sessions WHERE generation <> ? OR expires_at <= ?", (generation, now)
