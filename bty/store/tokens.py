"""The table `api_tokens`."""

from __future__ import annotations

from bty.model.session import ApiToken
from bty.store.batch import Numbered, Statement
from bty.store.db import Store

_INSERT = Numbered("INSERT INTO api_tokens (name, token_sha256, created_at) VALUES (?, ?, ?)")


_SELECT = "SELECT id, name, token_sha256, created_at, last_used_at FROM api_tokens"


async def list_tokens(store: Store) -> list[ApiToken]:
    """Return every token, the oldest first."""
    return [ApiToken(**dict(row)) for row in await store.read(f"{_SELECT} ORDER BY id")]


async def find(store: Store, token_sha256: str) -> ApiToken | None:
    """Return the token with this digest."""
    rows = await store.read(f"{_SELECT} WHERE token_sha256 = ?", (token_sha256,))
    return ApiToken(**dict(rows[0])) if rows else None


def insert(token: ApiToken) -> Statement:
    """Return the statement that keeps *token*; its id comes from the database."""
    return _INSERT, (token.name, token.token_sha256, token.created_at)


def touch(token_id: int, now: str) -> Statement:
    """Return the statement that notes when a token was used."""
    return "UPDATE api_tokens SET last_used_at = ? WHERE id = ?", (now, token_id)


def delete(token_id: int) -> Statement:
    """Return the statement that revokes a token."""
    return "DELETE FROM api_tokens WHERE id = ?", (token_id,)
