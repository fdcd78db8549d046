"""A login: what is kept of it, which is not the token."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login. `generation` stands for the password it was opened with; times are ISO 8601 in UTC."""

    token_sha256: str
    generation: str
    created_at: str
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """What a script logs in with. `id` is 0 until it is kept."""

    name: str
    token_sha256: str
    created_at: str
    last_used_at: str | None = None
    id: int = 0
