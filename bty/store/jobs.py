"""The table `jobs`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bty.store.db import Statement, Store

_COLUMNS = "id, kind, key, status, bytes_done, bytes_total, created_at, started_at, finished_at, error, details"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """What is kept of a job. `details` is JSON."""

    id: str
    kind: str
    key: str
    status: str
    bytes_done: int
    bytes_total: int | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    error: str | None
    details: str

    @property
    def parsed_details(self) -> dict[str, Any]:
        """Return the details, nothing where they are no object."""
        found = json.loads(self.details)
        return found if isinstance(found, dict) else {}


async def list_jobs(store: Store) -> list[JobRecord]:
    """Return every job that is kept, the oldest first."""
    rows = await store.read(f"SELECT {_COLUMNS} FROM jobs ORDER BY created_at, rowid")  # noqa: S608 - a constant
    return [JobRecord(**dict(row)) for row in rows]


def upsert(job: JobRecord) -> Statement:
    """Return the statement that keeps a job as it is now."""
    sql = (
        f"INSERT INTO jobs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"  # noqa: S608 - a constant
        " status = excluded.status, bytes_done = excluded.bytes_done, bytes_total = excluded.bytes_total,"
        " started_at = excluded.started_at, finished_at = excluded.finished_at, error = excluded.error, details = excluded.details"
    )
    names = _COLUMNS.split(", ")
    return sql, tuple(getattr(job, name) for name in names)


def forget(ids: Iterable[str]) -> Statement:
    """Return the statement that forgets jobs."""
    return "DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),)
