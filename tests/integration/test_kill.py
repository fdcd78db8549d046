"""A daemon that is killed at any moment loses nothing that it has answered, and is back at once.

`BTY_KILLS` and `BTY_KILL_WRITES` say how often and over how many writes; `python -m tests.integration.test_kill` prints the figures.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0


@dataclass
class Ledger:
    """What the daemon answered, and how long it took to come back."""

    receipts: set[str] = field(default_factory=set)
    contacts: dict[str, int] = field(default_factory=dict)
    starts_s: list[float] = field(default_factory=list)
    kills: int = 0

    @property
    def writes(self) -> int:
        """How many writes were acknowledged."""
        return len(self.receipts) + sum(self.contacts.values())


class Daemon:
    """The real daemon, started and killed again and again over one state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> float:
        """Start it and return the seconds until it answers."""
        started = time.monotonic()
        command = [sys.executable, "-m", "bty", "web", "--state-dir", str(self.state), "--host", "127.0.0.1", "--port", str(self.port)]
        quiet = asyncio.subprocess.DEVNULL
        self.process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=quiet, stdout=quiet, stderr=quiet)
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                assert self.process.returncode is None, "the daemon does not start"
                assert time.monotonic() - started < DEADLINE_S, "the daemon does not listen"
                await asyncio.sleep(0.005)
                continue
            writer.close()
            await writer.wait_closed()
            return time.monotonic() - started

    async def kill(self) -> None:
        """End it as the loss of power would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


async def write_on(url: str, worker: int, ledger: Ledger, target: int) -> None:
    """Send receipts and contacts, and note each that is answered, until there are *target* or the daemon is gone."""
    mac = f"52:54:00:00:00:{worker:02x}"
    number = random.randrange(1 << 48)
    async with ClientSession(timeout=ClientTimeout(total=DEADLINE_S)) as session:
        while ledger.writes < target:
            number += 1
            mark = f"{worker}-{number}"
            try:
                async with session.get(f"{url}/pxe/{mac}") as answer:
                    assert answer.status == 200
                    await answer.read()
                    ledger.contacts[mac] = ledger.contacts.get(mac, 0) + 1
                async with session.post(f"{url}/pxe/{mac}/done", json={"name": mark, "target_path": mark}) as answer:
                    assert answer.status == 204
                    ledger.receipts.add(mark)
            except (ClientError, OSError):
                return


async def torment(state: Path, *, kills: int, writes: int, workers: int = 8) -> Ledger:
    """Kill the daemon *kills* times while *writes* are acknowledged, and return what it said."""
    ledger, daemon = Ledger(), Daemon(state)
    for round_ in range(1, kills + 1):
        ledger.starts_s.append(await daemon.start())
        goal = writes * round_ // kills
        tasks = [asyncio.create_task(write_on(daemon.url, worker, ledger, writes * 10)) for worker in range(workers)]
        deadline = time.monotonic() + DEADLINE_S
        while ledger.writes < goal:
            assert time.monotonic() < deadline, "the daemon stopped answering"
            await asyncio.sleep(random.uniform(0.0005, 0.01))
        await daemon.kill()
        ledger.kills += 1
        await asyncio.gather(*tasks)
    ledger.starts_s.append(await daemon.start())
    await daemon.kill()
    return ledger


def lost(state: Path, ledger: Ledger) -> list[str]:
    """Return what was answered and is not in the database, and what is wrong with the file."""
    with closing(sqlite3.connect(state / "state.db")) as db:
        wrong = [text for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]
        names = {name for (name,) in db.execute("SELECT json_extract(details, '$.name') FROM events WHERE kind = 'machine.flashed'")}
        wrong += sorted(ledger.receipts - names)
        counts = dict(db.execute("SELECT subject_id, count(*) FROM events WHERE kind = 'netboot.pxe.offered' GROUP BY subject_id"))
        wrong += [f"{mac}: {counts.get(mac, 0)} of {said} contacts" for mac, said in ledger.contacts.items() if counts.get(mac, 0) < said]
        known = {mac for (mac,) in db.execute("SELECT mac FROM machines WHERE last_flash IS NOT NULL")}
        wrong += sorted(set(ledger.contacts) - known)
    return wrong


@pytest.mark.timeout(300)
async def test_killed_daemon_loses_nothing_that_it_answered(tmp_path: Path) -> None:
    """Killed again and again in mid-write, the daemon keeps every write that it acknowledged, in a sound file."""
    ledger = await torment(tmp_path, kills=int(os.environ.get("BTY_KILLS", "8")), writes=int(os.environ.get("BTY_KILL_WRITES", "400")))
    assert lost(tmp_path, ledger) == []
    assert list(tmp_path.glob("*.bak")) == []  # noqa: ASYNC240 - the daemon is gone


def main() -> None:
    """Torment a daemon at full length and print what came of it."""
    kills, writes = int(os.environ.get("BTY_KILLS", "50")), int(os.environ.get("BTY_KILL_WRITES", "2000"))
    with tempfile.TemporaryDirectory(prefix="bty-kill-") as folder:
        ledger = asyncio.run(torment(Path(folder), kills=kills, writes=writes))
        wrong = lost(Path(folder), ledger)
        (size,) = [path.stat().st_size for path in Path(folder).glob("state.db")]
    starts = sorted(ledger.starts_s)
    print(f"{ledger.kills} kills, {ledger.writes} acknowledged writes, {len(wrong)} lost or damaged; database {size >> 10} KiB")
    print(f"seconds from start to listening: median {starts[len(starts) // 2]:.2f}, longest {starts[-1]:.2f}")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
