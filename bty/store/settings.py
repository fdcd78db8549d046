"""The table `settings`: words by key."""

from __future__ import annotations

from bty.store.db import Statement, Store
from bty.units import utc_now


async def read_all(store: Store) -> dict[str, str]:
    """Return every setting that was ever set and not cleared."""
    return {row["key"]: row["value"] for row in await store.read("SELECT key, value FROM settings")}


def put(key: str, value: str | None) -> Statement:
    """Return the statement that sets *key*, or clears it."""
    if value is None:
        return "DELETE FROM settings WHERE key = ?", (key,)
    sql = (
        "INSERT INTO settings (key, value, updated_at) VALUES (?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at"
    )
    return sql, (key, value, utc_now())
