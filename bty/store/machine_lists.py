"""Pages of machines as an operator looks at them: searched, filtered and sorted by the database."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bty.store.db import Store, pattern


class Sort(StrEnum):
    """What machines can be sorted by."""

    MAC = "mac"
    REF = "bty_image_ref"
    MODE = "boot_mode"
    SEEN = "last_seen_at"
    IP = "last_seen_ip"
    FLASHED = "last_flashed_at"


# What a change of mode, image or disk does not take away is what people mean by the last flash.
_COLUMNS = {Sort.FLASHED: "flashed_at"}


class Filter(StrEnum):
    """Machines without an image, machines with one, machines that flash right now, and machines whose newest flash failed."""

    DISCOVERED = "discovered"
    ASSIGNED = "assigned"
    FLASHING = "flashing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One page of a list. `text` is looked for in MAC, labels, ref and address; `page` counts from 1.

    `flashing` are the machines that flash right now: no table knows them.
    """

    text: str = ""
    label: str = ""
    filter: Filter | None = None
    sort: Sort = Sort.MAC
    descending: bool = False
    page: int = 1
    per_page: int = 50
    flashing: tuple[str, ...] = ()


_CONDITIONS = {
    Filter.DISCOVERED: "bty_image_ref IS NULL",
    Filter.ASSIGNED: "bty_image_ref IS NOT NULL",
    Filter.FAILED: "flash_error IS NOT NULL",
}
_AMONG = "mac IN (SELECT value FROM json_each(?))"
_LABELLED = "mac IN (SELECT mac FROM machine_labels WHERE label = ?)"
_MATCHING = (
    "(mac LIKE ? ESCAPE '\\' OR bty_image_ref LIKE ? ESCAPE '\\' OR last_seen_ip LIKE ? ESCAPE '\\'"
    " OR mac IN (SELECT mac FROM machine_labels WHERE label LIKE ? ESCAPE '\\'))"
)


async def list_macs(store: Store, query: Query) -> tuple[list[str], int]:
    """Return the MACs of one page in their order, and how many machines all pages have."""
    clauses: list[str] = []
    params: list[str | int] = []
    if query.filter is Filter.FLASHING:
        clauses.append(_AMONG)
        params.append(json.dumps(query.flashing))
    elif query.filter is not None:
        clauses.append(_CONDITIONS[query.filter])
    if query.label:
        clauses.append(_LABELLED)
        params.append(query.label)
    if query.text:
        clauses.append(_MATCHING)
        params += [pattern(query.text.replace("-", ":")), *[pattern(query.text)] * 3]  # a MAC may be typed with hyphens
    where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
    way = "DESC" if query.descending else "ASC"
    order = f"{_COLUMNS.get(query.sort, query.sort.value)} {way}, mac {way}" if query.sort is not Sort.MAC else f"mac {way}"
    ((total,),) = await store.read(f"SELECT count(*) FROM machines {where}", params)  # noqa: S608 - constants
    rows = await store.read(
        f"SELECT mac FROM machines {where} ORDER BY {order} LIMIT ? OFFSET ?",  # noqa: S608 - constants and names of columns
        (*params, query.per_page, (query.page - 1) * query.per_page),
    )
    return [row["mac"] for row in rows], int(total)


async def read_disks_of(store: Store, macs: Iterable[str]) -> dict[str, str]:
    """Return the disks of those of *macs* that reported any, as JSON by MAC."""
    rows = await store.read(
        "SELECT mac, disks FROM machine_hardware WHERE disks IS NOT NULL AND mac IN (SELECT value FROM json_each(?))",
        (json.dumps(list(macs)),),
    )
    return {row["mac"]: row["disks"] for row in rows}
