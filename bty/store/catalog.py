"""The tables `catalog_entries` and `catalog_tombstones`."""

from __future__ import annotations

from dataclasses import astuple, fields

from bty.model.catalog import Entry
from bty.store.db import Statement, Store
from bty.units import utc_now

_COLUMNS = tuple(column.name for column in fields(Entry))
_INSERT = f"INSERT INTO catalog_entries ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - names of fields


async def list_entries(store: Store) -> list[Entry]:
    """Return every entry in the order in which they were added."""
    rows = await store.read("SELECT * FROM catalog_entries ORDER BY added_at, rowid")
    return [Entry(**{column: row[column] for column in _COLUMNS}) for row in rows]


async def list_tombstones(store: Store) -> set[str]:
    """Return the refs of the images that an operator deleted."""
    return {row["bty_image_ref"] for row in await store.read("SELECT bty_image_ref FROM catalog_tombstones")}


def insert(entry: Entry) -> list[Statement]:
    """Return the statements that add *entry*, also where it was deleted once."""
    return [(_INSERT, astuple(entry)), ("DELETE FROM catalog_tombstones WHERE bty_image_ref = ?", (entry.bty_image_ref,))]


def update(entry: Entry) -> list[Statement]:
    """Return the statement that stores what is known about the bytes of an entry now."""
    sql = "UPDATE catalog_entries SET resolved_src = ?, disk_image_sha = ?, size_bytes = ? WHERE bty_image_ref = ?"
    return [(sql, (entry.resolved_src, entry.disk_image_sha, entry.size_bytes, entry.bty_image_ref))]


def delete(ref: str) -> list[Statement]:
    """Return the statements that delete the entry *ref* for good: no manifest brings it back."""
    return [("DELETE FROM catalog_entries WHERE bty_image_ref = ?", (ref,)), bury(ref)]


def bury(ref: str) -> Statement:
    """Return the statement that notes that an operator deleted the image *ref*."""
    return "INSERT OR REPLACE INTO catalog_tombstones (bty_image_ref, deleted_at) VALUES (?, ?)", (ref, utc_now())
