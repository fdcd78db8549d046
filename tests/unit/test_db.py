"""The store: what was answered is durable, one bad unit harms no other, and any file can be opened or is set aside."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from bty.errors import StoreFailed
from bty.services.events import Events
from bty.store import db as db_module
from bty.store import events as table
from bty.store import jobs, machines, webhooks
from bty.store.batch import Commuting
from bty.store.db import Store

PUT = Commuting("INSERT OR REPLACE INTO settings (key, value, updated_at) VALUES (?, ?, '')")
PUT_ONCE = "INSERT INTO settings (key, value, updated_at) VALUES (?, ?, '')"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "state.db")
    yield store
    await store.close()


def committed(path: Path, sql: str = "SELECT key, value FROM settings ORDER BY key") -> list[tuple]:
    """Read with another connection, which sees what is committed and nothing else."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def archives(path: Path) -> list[Path]:
    return sorted(path.glob("state.db.*.bak"))


async def test_write_returns_after_the_commit(store: Store) -> None:
    """Once write has returned, another connection sees the rows."""
    await store.write((PUT, ("a", "1")), (PUT, ("b", "2")))
    assert committed(store.path) == [("a", "1"), ("b", "2")]


async def test_durability_settings(store: Store) -> None:
    """The file is in WAL mode, with synchronous FULL and foreign keys on the connection that writes."""
    pragmas = [(await store._writer.execute_fetchall(f"PRAGMA {name}"))[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert pragmas == ["wal", 2, 1]


async def test_concurrent_units_share_a_commit_and_keep_their_order(store: Store) -> None:
    """Of many writes to one key the last one queued wins, though they were joined."""
    await asyncio.gather(*(store.write((PUT, ("key", str(n)))) for n in range(300)))
    assert committed(store.path) == [("key", "299")]


async def test_a_bad_unit_fails_alone(store: Store) -> None:
    """A unit that breaks a constraint is refused as a whole; its neighbours in the same batch are durable."""
    await store.write((PUT_ONCE, ("taken", "first")))
    outcomes = await asyncio.gather(
        store.write((PUT, ("before", "1"))),
        store.write((PUT, ("half", "1")), (PUT_ONCE, ("taken", "second"))),
        store.write((PUT, ("after", "1"))),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [list, StoreFailed, list]
    assert committed(store.path) == [("after", "1"), ("before", "1"), ("taken", "first")]


async def test_parameters_that_do_not_fit_are_the_units_fault(store: Store) -> None:
    """A number too big for SQLite, or text that is no Unicode, is refused without harm to others."""
    outcomes = await asyncio.gather(
        store.write((PUT, ("big", 1 << 70))), store.write((PUT, ("\ud800", "x"))), store.write((PUT, ("fine", "x"))), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [StoreFailed, StoreFailed, list]
    assert committed(store.path) == [("fine", "x")]


async def test_events_of_joined_units_get_their_own_ids(store: Store) -> None:
    """Events written at the same moment come back with distinct ids that match their rows."""
    events = Events(store)
    recorded = await asyncio.gather(*(events.record("a.b", str(n)) for n in range(50)))
    rows = committed(store.path, "SELECT id, summary FROM events")
    assert {(event.id, event.summary) for event in recorded} == set(rows)
    assert len(rows) == 50


async def test_listeners_hear_events_in_order(store: Store) -> None:
    """Listeners hear each event once, by ascending id, until they stop listening."""
    events = Events(store)
    heard: list[int] = []
    stop = events.listen(lambda event: heard.append(event.id))
    await asyncio.gather(*(events.record("a.b", "") for _ in range(20)))
    stop()
    await events.record("a.b", "")
    assert heard == sorted(heard)
    assert len(heard) == 20


async def test_close_commits_what_is_queued(tmp_path: Path) -> None:
    """Closing finishes queued writes, and later ones are refused."""
    store = await Store.open(tmp_path / "state.db")
    waiting = asyncio.gather(*(store.write((PUT, (str(n), ""))) for n in range(20)))
    await asyncio.sleep(0)
    await store.close()
    await waiting
    assert len(committed(store.path)) == 20
    with pytest.raises(StoreFailed, match="closed"):
        await store.write((PUT, ("late", "")))


async def test_a_close_that_is_cancelled_tells_no_lie(tmp_path: Path) -> None:
    """A write that was told to have failed is not in the database, one that was told to be durable is."""
    store = await Store.open(tmp_path / "state.db")
    writes = [asyncio.create_task(store.write((PUT, (str(n), "x" * 1000)))) for n in range(2000)]
    await asyncio.sleep(0)
    closing_down = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    closing_down.cancel()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    with pytest.raises(asyncio.CancelledError):
        await closing_down

    told = {str(n) for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)}
    assert told == {key for key, _ in committed(store.path)}


async def test_rows_that_do_not_fit_are_not_shifted_into_each_other(store: Store) -> None:
    """One value too many in one row is not the one that is missing in the next."""
    outcomes = await asyncio.gather(store.write((PUT, ("a", "1", "x"))), store.write((PUT, ("b",))), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreFailed, StoreFailed]
    assert committed(store.path) == []


async def test_full_disk_fails_the_write_and_keeps_what_was_answered(store: Store) -> None:
    """When the disk is full the write is refused with that reason; after space was made, writing goes on."""
    await store.write((PUT, ("kept", "1")))
    pages = (await store.read("PRAGMA page_count"))[0][0]
    await store._writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")
    outcomes = await asyncio.gather(*(store.write((PUT, (str(n), "x" * 100_000))) for n in range(3)), return_exceptions=True)
    assert ["the disk is full" in str(outcome) for outcome in outcomes] == [True] * 3
    assert committed(store.path) == [("kept", "1")]
    await store._writer.execute_fetchall("PRAGMA max_page_count = 1000000")
    await store.write((PUT, ("more", "1")))
    assert committed(store.path) == [("kept", "1"), ("more", "1")]


async def test_second_daemon_is_refused(store: Store) -> None:
    """A state directory belongs to one process; the second one is told so, with the ways out, and touches nothing."""
    with pytest.raises(StoreFailed, match=r"another daemon .* end it, or .* --state-dir or BTY_PATHS_STATE_DIR"):
        await Store.open(store.path)
    assert archives(store.path.parent) == []


async def test_locked_database_is_refused_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another program holds locked is not rotated."""
    monkeypatch.setattr("bty.store.db.BUSY_TIMEOUT_S", 0.1)
    path = tmp_path / "state.db"
    await (await Store.open(path)).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreFailed, match="locked"):
            await Store.open(path)
    assert archives(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_read_only_directory_is_refused(tmp_path: Path) -> None:
    """A state directory without write permission is named in the error."""
    tmp_path.chmod(0o500)  # noqa: ASYNC240
    with pytest.raises(StoreFailed, match="state directory"):
        await Store.open(tmp_path / "state.db")


async def test_unwritable_place_is_refused() -> None:
    """A place where no file can be made gives one clear sentence, for root too."""
    with pytest.raises(StoreFailed, match="state directory"):
        await Store.open(Path("/proc/state.db"))


async def test_reopening_keeps_everything(tmp_path: Path) -> None:
    """A file of this version is opened as it is, without rotation."""
    store = await Store.open(tmp_path / "state.db")
    await store.write((PUT, ("a", "1")))
    await store.close()
    store = await Store.open(tmp_path / "state.db")
    assert [tuple(row) for row in await store.read("SELECT key, value FROM settings")] == [("a", "1")]
    await store.close()
    assert archives(tmp_path) == []


def make_older(path: Path, schema: int) -> None:
    """Make a database as the program made it whose newest migration was *schema*, with something in it."""
    with closing(sqlite3.connect(path)) as db:
        for number, script in db_module._migrations():
            if number <= schema:
                db.executescript(f"{script}; PRAGMA user_version = {number};")
        db.execute("INSERT INTO machines (mac, boot_mode, created_at, updated_at) VALUES ('52:54:00:00:00:01', 'bty-tui', 'x', 'x')")
        db.execute("INSERT INTO machine_labels VALUES ('52:54:00:00:00:01', 'rack')")
        db.execute("INSERT INTO events (ts, kind, summary) VALUES ('2026-01-01', 'a.b', 'kept')")
        db.execute("INSERT INTO settings VALUES ('upstream.netboot_tag', 'v9', 'x')")
        db.commit()


@pytest.mark.parametrize("schema", [number for number, _ in db_module._migrations()][:-1])
async def test_an_older_schema_is_brought_up_to_date(tmp_path: Path, schema: int) -> None:
    """Whatever an earlier version kept is there after the migration, and every table of this version can be used."""
    path = tmp_path / "state.db"
    make_older(path, schema)
    with pytest.raises(StoreFailed, match="start the daemon once"):
        await Store.join(path)
    store = await Store.open(path)
    machine = (await machines.load(store))["52:54:00:00:00:01"]
    (event,) = await table.list_events(store, limit=5)
    assert (machine.boot_mode, machine.labels, machine.uefi_local_boot, event.summary) == ("bty-tui", ("rack",), "chain", "kept")
    await store.write(webhooks.begin("h", 1), *webhooks.bury("h", [webhooks.DeadLetter(event_id=1, kind="a.b", at="x", reason="y")]))
    assert [letter.reason for letter in await webhooks.dead_letters(store, "h")] == ["y"]
    assert await jobs.list_jobs(store) == []
    await store.close()
    assert archives(tmp_path) == []


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE machines (mac TEXT); PRAGMA user_version = 99;")


def _clear(folder: Path) -> None:
    for file in folder.glob("state.db*"):
        if file.suffix != ".bak":
            file.unlink()


def _unknown(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE something (a TEXT);")


def _older_release(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "CREATE TABLE machines (mac TEXT); CREATE TABLE bty_version (version TEXT); INSERT INTO bty_version VALUES ('0.60.0/x');"
        )


def _no_database(path: Path) -> None:
    path.write_bytes(b"this is no database, but long enough to look like one" * 100)


def _torn(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE machines (mac TEXT PRIMARY KEY, filler TEXT); PRAGMA user_version = 1;")
        db.executemany("INSERT INTO machines VALUES (?, ?)", ((str(n), "x" * 500) for n in range(2000)))
        db.commit()
    with path.open("r+b") as file:
        for page in range(3, 200):
            file.seek(page * 4096)
            file.write(b"\xa5" * 2048)


@pytest.mark.parametrize(
    ("make", "origin"),
    [(_newer, "schema-99"), (_unknown, "unversioned"), (_older_release, "0.60.0_x"), (_no_database, "damaged"), (_torn, "damaged")],
)
async def test_unmigratable_file_is_set_aside(tmp_path: Path, make, origin: str) -> None:
    """A file that no migration starts from is renamed, byte for byte, and the new one tells where it went."""
    path = tmp_path / "state.db"
    make(path)
    before = path.read_bytes()
    store = await Store.open(path)
    (archive,) = archives(tmp_path)
    (event,) = await table.list_events(store, limit=10)
    await store.close()
    assert archive.name.startswith(f"state.db.{origin}.")
    assert archive.read_bytes() == before
    assert (event.kind, event.details["archived_at"]) == ("system.schema.reset", str(archive))
    assert event.is_failure


async def test_resets_of_the_same_second_keep_both_files(tmp_path: Path) -> None:
    """Two rotations in one second do not overwrite each other's archive."""
    for _ in range(2):
        _clear(tmp_path)
        _unknown(tmp_path / "state.db")
        await (await Store.open(tmp_path / "state.db")).close()
    assert len(archives(tmp_path)) == 2


async def test_an_upgrade_knows_when_machines_were_flashed(tmp_path: Path) -> None:
    """A file from before `flashed_at` gets it from the record, else from the newest receipt, else from the audit log."""
    folder = resources.files("bty.store") / "migrations"
    older = [script.read_text() for script in sorted(folder.iterdir(), key=lambda entry: entry.name) if script.name < "0008"]
    with closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
        db.executescript("".join(older) + "PRAGMA user_version = 7;")
        db.executemany(
            "INSERT INTO machines (mac, boot_mode, created_at, updated_at, last_flashed_at, last_flash) VALUES (?, '', '', '', ?, ?)",
            [
                ("a", "1", '{"at": "0"}'),
                ("b", None, '{"at": "2"}'),
                ("c", None, '{"at": "9", "error": "no"}'),
                ("d", None, "torn"),
                ("e", None, None),
            ],
        )
        db.execute("INSERT INTO events (ts, kind, subject_kind, subject_id, summary) VALUES ('3', 'machine.flashed', 'machine', 'c', '')")
    store = await Store.open(tmp_path / "state.db")
    rows = await store.read("SELECT mac, flashed_at FROM machines ORDER BY mac")
    await store.close()
    assert [tuple(row) for row in rows] == [("a", "1"), ("b", "2"), ("c", "3"), ("d", None), ("e", None)]


async def test_events_are_filtered_and_paged(store: Store) -> None:
    """Filters are exact, pages go backwards by id, and `failed` finds kinds that end so."""
    events = Events(store)
    for n in range(6):
        await events.record("a.failed" if n % 2 else "a.done", str(n), subject=("machine", str(n // 2)), actor="system")

    async def summaries(**query) -> list[str]:
        return [event.summary for event in await table.list_events(store, limit=50, **query)]

    assert await summaries() == ["5", "4", "3", "2", "1", "0"]
    assert await summaries(failed=True) == ["5", "3", "1"]
    assert await summaries(filters={"subject_id": "1"}) == ["3", "2"]
    assert await summaries(before_id=3) == ["1", "0"]
    assert await summaries(after_id=4) == ["5", "4"]


async def test_acknowledging_counts_only_what_exists(store: Store) -> None:
    """Acknowledging returns how many of the ids exist and clears the failure count."""
    event = await Events(store).record("a.failed", "")
    assert await table.count_open_failures(store) == 1
    assert await table.acknowledge(store, [event.id, 999]) == 1
    assert await table.count_open_failures(store) == 0
    assert await table.acknowledge(store, [event.id], acknowledged=False) == 1
    assert await table.count_open_failures(store) == 1


async def test_pruning_by_age_and_number_spares_open_failures(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old events go, then the oldest beyond the limit; an unacknowledged failure goes last."""
    monkeypatch.setattr(table, "PRUNE_STEP", 3)
    events = Events(store)
    await store.write(*(("INSERT INTO events (ts, kind, summary) VALUES ('2001-01-01', 'a.done', 'ancient')", ()) for _ in range(7)))
    await events.record("a.failed", "open")
    for n in range(10):
        await events.record("a.done", str(n))
    assert await events.prune(retention_days=90, max_rows=4) == 7 + 7
    assert [event.summary for event in await table.list_events(store, limit=50)] == ["9", "8", "7", "open"]
    assert await events.prune(retention_days=90, max_rows=0) == 4
    assert await events.prune(retention_days=10**9, max_rows=1) == 0  # for ever
