"""What one commit of the writer runs: the statements of many units, joined where their order does not matter."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any

_ROWS_MAX = 256  # of a statement; 25 columns each are a fifth of the parameters that SQLite takes

Statement = tuple[str, Sequence[Any]]


class Commuting(str):
    """SQL whose place among other commuting statements does not matter: a batch runs all of its rows at once.

    It is an insert with one `VALUES (?, ...)`: many rows go with one statement.
    """

    __slots__ = ()


class Numbered(Commuting):
    """A commuting insert into a table with AUTOINCREMENT; `Store.write` returns the ids that its rows got."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Unit:
    """Statements that become durable together; `done` gets the ids of the numbered ones."""

    statements: Sequence[Statement]
    done: asyncio.Future[list[int]]
    ids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """Rows of one statement, each with the unit that it is of."""

    sql: str
    rows: list[Sequence[Any]] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)


def grouped(batch: Iterable[Unit]) -> list[Group]:
    """Return the statements of *batch* in an order with the same outcome, commuting ones joined."""
    groups: list[Group] = []
    joinable: dict[str, Group] = {}
    for unit in batch:
        unit.ids.clear()
        for sql, row in unit.statements:
            group = joinable.get(sql)
            if group is None:
                group = Group(sql)
                groups.append(group)
                if isinstance(sql, Commuting):
                    joinable[sql] = group
                else:
                    joinable.clear()
            group.rows.append(row)
            group.units.append(unit)
    return groups


def run(db: sqlite3.Connection, groups: Iterable[Group]) -> None:
    """Run the statements as one transaction, in the thread of *db*."""
    db.execute("BEGIN IMMEDIATE")
    for group in groups:
        last = 0
        for sql, params in _chunks(group):
            last = db.execute(sql, params).lastrowid or 0
        if isinstance(group.sql, Numbered):
            # AUTOINCREMENT counts without gaps while we hold the write lock.
            for number, unit in enumerate(group.units, start=last - len(group.rows) + 1):
                unit.ids.append(number)
    db.execute("COMMIT")


def _chunks(group: Group) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the rows of *group*, as many a statement as its SQL lets: a step of SQLite gives the GIL away and waits to have it back.

    The lengths are powers of two, so that there are few different statements to prepare and to keep.
    """
    at, count = 0, len(group.rows)
    many = isinstance(group.sql, Commuting) and len(set(map(len, group.rows))) == 1  # SQLite finds the row that is at fault
    while at < count:
        size = min(1 << ((count - at).bit_length() - 1), _ROWS_MAX) if many else 1
        yield _of_rows(group.sql, size), list(chain.from_iterable(group.rows[at : at + size]))
        at += size


@cache
def _of_rows(sql: str, count: int) -> str:
    """Return *sql*, an insert of one row, for *count* rows."""
    if count == 1:
        return sql
    head, values, row, tail = re.split(r"(VALUES )(\([^()]*\))", sql)
    return head + values + ", ".join([row] * count) + tail
