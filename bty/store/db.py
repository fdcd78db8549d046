"""The database: one writer that groups commits, one reader beside it, migrations, and a file that can always be opened or set aside.

Every change of state is a *unit*: a few statements that become durable together or not at all. Units queue up while a
commit is on its way and share the next one, so a rack that powers on at once costs a few commits and not thousands.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Self

import aiosqlite

from bty.errors import StoreFailed, StoreLocked
from bty.store.batch import Statement, Unit, grouped, run
from bty.units import utc_now

__all__ = ["Statement", "Store", "pattern"]

BATCH_MAX = 512  # units a commit, so that the first of a long queue does not wait for the last
BUSY_TIMEOUT_S = 5.0
# Large, so that a check would delay the start, and a damaged page in them is no reason to lose the machines.
_UNCHECKED = frozenset({"events", "machine_hardware"})
_RETIRED_SUFFIXES = ("", "-wal", "-shm", "-journal")

# What a unit itself can be guilty of; any other failure is the database's and meets every unit of the batch.
_UNIT_FAULTS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, OverflowError, ValueError)
_FAULTS = (sqlite3.Error, OverflowError, ValueError)
_REASONS = {
    sqlite3.SQLITE_BUSY: ("the database is locked", "another program holds state.db; stop it and try again"),
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space in the state directory"),
    sqlite3.SQLITE_READONLY: ("the database is read-only", "check the owner, the mode and the mount of the state directory"),
    sqlite3.SQLITE_CANTOPEN: ("the database cannot be opened", "check the owner and the mode of the state directory"),
    sqlite3.SQLITE_PERM: ("the database may not be opened", "check the owner and the mode of the state directory"),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", "look at the kernel's log"),
    sqlite3.SQLITE_CORRUPT: ("the database is damaged", "restart the daemon: it sets a damaged file aside"),
    sqlite3.SQLITE_NOTADB: ("the database is damaged", "restart the daemon: it sets a damaged file aside"),
}


class Store:
    """The open database. Close it: a forgotten connection keeps the process alive."""

    def __init__(self, path: Path, lock: int | None, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self.path = path
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._queue: asyncio.Queue[Unit | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._work(), name="store-writer")
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the database at *path*, made or migrated where needed, for this process alone.

        A file that cannot be migrated (unknown, newer, damaged) is renamed to `<name>.<from>.<time>.bak` and the event
        `system.schema.reset` says so in the new one. One that is locked or cannot be written is left as it is.
        Raises `StoreFailed`.
        """
        return await cls._connect(path, await asyncio.to_thread(_prepare, path))

    @classmethod
    async def join(cls, path: Path) -> Self:
        """Open a database that is there, beside a daemon that may be using it. Changes nothing about it by that.

        Raises `StoreFailed`, also for one that has another schema than this program's.
        """
        await asyncio.to_thread(_check, path)
        return await cls._connect(path, None)

    @classmethod
    async def _connect(cls, path: Path, lock: int | None) -> Self:
        opened: list[aiosqlite.Connection] = []
        try:
            for query_only in (False, True):
                db = await aiosqlite.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S, cached_statements=256)
                opened.append(db)
                await db.execute_fetchall("PRAGMA synchronous = FULL")
                await db.execute_fetchall("PRAGMA foreign_keys = ON")
                await db.execute_fetchall(f"PRAGMA query_only = {int(query_only)}")
                db.row_factory = sqlite3.Row
        except sqlite3.Error as error:
            for db in opened:
                await db.close()
            if lock is not None:
                os.close(lock)
            raise _failure(path, error) from error
        return cls(path, lock, *opened)

    async def close(self) -> None:
        """Commit what is queued, then let go of the file. A cancel is heard after that: whoever waits for a commit is told the truth."""
        if self._closed:
            return
        self._closed = True
        self._queue.put_nowait(None)
        cancelled = False
        try:
            while not self._task.done():
                try:
                    await asyncio.shield(self._task)
                except asyncio.CancelledError:
                    cancelled = True
        finally:
            await self._writer.close()
            await self._reader.close()
            if self._lock is not None:
                os.close(self._lock)
        if cancelled:
            raise asyncio.CancelledError

    async def write(self, *statements: Statement) -> list[int]:
        """Make the statements durable as one unit and return the ids of its `Numbered` inserts, all into one table.

        Without statements, wait for earlier units.

        Raises `StoreFailed` where nothing of the unit was written.
        """
        if self._closed or self._task.done():
            raise StoreFailed("the database is closed")
        unit = Unit(statements, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(unit)
        return await unit.done

    async def read(self, sql: str, params: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query over what is committed. Raises `StoreFailed`."""
        if self._closed:
            raise StoreFailed("the database is closed")
        try:
            return list(await self._reader.execute_fetchall(sql, params))
        except _FAULTS as error:
            raise _failure(self.path, error) from error

    async def _work(self) -> None:
        closing_down = False
        while not closing_down:
            units = [await self._queue.get()]
            while len(units) < BATCH_MAX and not self._queue.empty():
                units.append(self._queue.get_nowait())
            closing_down = units[-1] is None
            batch = [unit for unit in units if unit is not None]
            try:
                await self._commit_or_split(batch)
            finally:  # nobody waits for ever, whatever happened
                for unit in batch:
                    _settle(unit, StoreFailed("the writer of the database stopped"))

    async def _commit_or_split(self, batch: list[Unit]) -> None:
        """Commit *batch* at once; where one of its units is at fault, each for itself."""
        if not batch:
            return
        try:
            await self._commit(batch)
        except _FAULTS as error:
            await self._roll_back()
            if len(batch) > 1 and isinstance(error, _UNIT_FAULTS):
                for unit in batch:
                    await self._commit_or_split([unit])
                return
            for unit in batch:  # one without statements only waited, and that it did
                _settle(unit, _failure(self.path, error) if unit.statements else None)
        else:
            for unit in batch:
                _settle(unit, None)

    async def _commit(self, batch: list[Unit]) -> None:
        if groups := grouped(batch):
            # One call for all of it: each of its own would wake the loop, and wait for it, a dozen times a commit.
            await self._writer._execute(run, self._writer._conn, groups)  # type: ignore[no-untyped-call]  # aiosqlite offers no other way

    async def _roll_back(self) -> None:
        if self._writer.in_transaction:  # a full disk may have ended it already
            await self._writer.rollback()


def _settle(unit: Unit, failure: StoreFailed | None) -> None:
    if unit.done.done():
        return
    if failure:
        unit.done.set_exception(failure)
        unit.done.exception()  # a waiter that was cancelled meanwhile must not make the loop complain
    else:
        unit.done.set_result(unit.ids)


def pattern(text: str) -> str:
    """Return what `LIKE ... ESCAPE '\\'` finds *text* with, to the letter, anywhere."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


# --- opening: all of this runs in a thread, before anybody waits for the database -----------------------------------


class _Unmigratable(Exception):
    """The file holds something that no migration starts from; the argument names what."""


def _prepare(path: Path) -> int:
    """Lock, check and migrate the file, setting it aside first where that is impossible; return the lock's descriptor."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StoreFailed(f"{path}: {error.strerror}", hint="check the owner, the mode and the mount of the state directory") from error
    try:
        _take(lock, path)
        try:
            _migrate(path)
        except _Unmigratable as reason:
            archive = _retire(path, str(reason))
            _migrate(path)
            _record_reset(path, str(reason), archive)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, sqlite3.Error):
            raise _failure(path, error) from error
        if isinstance(error, OSError):
            raise StoreFailed(f"{path}: {error.strerror}") from error
        raise
    return lock


def _check(path: Path) -> None:
    """Raise `StoreFailed` where *path* is not a database of this program's schema."""
    if not path.is_file():
        raise StoreFailed(f"{path}: there is no database", hint="name the state directory with --state-dir")
    newest = max(number for number, _ in _migrations())
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S)) as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise _failure(path, error) from error
    if version != newest:
        older = (
            "start the daemon once: it brings the database up to date"
            if 0 < version < newest
            else "the daemon would set it aside; move it away"
        )
        raise StoreFailed(f"{path}: the database has schema {version}, this program has {newest}", hint=older)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        way_out = "end it, or name another with --state-dir or BTY_PATHS_STATE_DIR"
        raise StoreLocked(f"{path}: the database is locked", hint=f"another daemon uses this state directory: {way_out}") from None


def _migrate(path: Path) -> None:
    """Bring the file to the newest schema. Raises `_Unmigratable`."""
    scripts = list(_migrations())
    newest = scripts[-1][0]
    with closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)) as db:
        try:
            version = _examine(db, newest)
            db.execute("BEGIN IMMEDIATE")  # shows a lock or a read-only file before anything else is touched
            db.execute("ROLLBACK")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            for number, script in scripts:
                if number > version:
                    db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.DatabaseError as error:
            if _primary(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise _Unmigratable("damaged") from error
            raise


def _examine(db: sqlite3.Connection, newest: int) -> int:
    """Return the schema version of a file that can be migrated from it."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
    if version > newest:
        raise _Unmigratable(f"schema-{version}")
    if version == 0 and tables:
        raise _Unmigratable(_predecessor(db) if "bty_version" in tables else "unversioned")
    for table in tables:
        if table not in _UNCHECKED and db.execute(f'PRAGMA quick_check("{table}")').fetchone()[0] != "ok":
            raise _Unmigratable("damaged")
    return version


def _predecessor(db: sqlite3.Connection) -> str:
    row = db.execute("SELECT version FROM bty_version").fetchone()
    return str(row[0]) if row else "unversioned"


def _migrations() -> Iterator[tuple[int, str]]:
    folder = resources.files("bty.store") / "migrations"
    for script in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if script.name.endswith(".sql"):
            yield int(script.name.partition("_")[0]), script.read_text(encoding="utf-8")


def _retire(path: Path, reason: str) -> Path:
    """Rename the file, with the journals that belong to it, and return its new name."""
    origin = "".join(char if char.isascii() and (char.isalnum() or char in ".-") else "_" for char in reason)[:64]
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (path.with_name(f"{path.name}.{origin}.{stamp}{again}.bak") for again in ("", *(f".{n}" for n in range(1, 1000))))
    archive = next(name for name in names if not name.exists())
    for suffix in _RETIRED_SUFFIXES:
        sibling = path.with_name(path.name + suffix)
        if sibling.exists():
            sibling.rename(f"{archive}{suffix}")
    return archive


def _record_reset(path: Path, reason: str, archive: Path) -> None:
    details = {"from_version": reason, "to_version": max(number for number, _ in _migrations()), "archived_at": str(archive)}
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as db, db:
        db.execute(
            "INSERT INTO events (ts, kind, actor, summary, details) VALUES (?, 'system.schema.reset', 'system', ?, ?)",
            (utc_now(), f"the database ({reason}) could not be migrated and was set aside as {archive.name}", json.dumps(details)),
        )


def _primary(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte of an extended result code


def _failure(path: Path, error: BaseException) -> StoreFailed:
    reason, hint = _REASONS.get(_primary(error), (str(error), ""))
    return StoreFailed(f"{path}: {reason}", hint=hint)
