"""Any list page of a large fleet: the time at the server and the memory of the daemon, with 10,000 machines and 1,000,000 events.

    python tests/bench/lists.py [--machines N] [--events N] [--rounds N]

The daemon runs in a process of its own. Each page is asked for some times over one connection; the median and the worst are shown.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import re
import sqlite3
import statistics
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bty.model.machine import BootMode, Machine  # noqa: E402
from bty.store import machines as table  # noqa: E402
from bty.store.db import Store  # noqa: E402
from bty.units import MIB, utc_now  # noqa: E402
from tests.support.process import daemon_process  # noqa: E402

GOAL_MS, GOAL_BYTES = 100.0, 200 * MIB
PAGES = (
    "/machines?page=1", "/machines?page=200&per_page=50", "/machines?q=rack+17", "/machines?q=ff:3a", "/machines?q=nothing-at-all",
    "/machines?label=rack+17", "/machines?filter=failed", "/machines?filter=discovered&sort=last_seen_at&dir=desc",
    "/machines?sort=bty_image_ref&page=100", "/machines?sort=last_flashed_at&dir=desc", "/machines?sort=last_seen_ip&per_page=500",
    "/events", "/events?limit=500", "/events?before_id=500000", "/events?failed=1", "/events?unacknowledged=1",
    "/events?subject_kind=machine&subject_id=52:54:00:00:00:05", "/events?actor=operator", "/events?source_ip=192.0.2.7",
    "/events?kind=machine.flashed", "/events?kind=auth.login.failed", "/events?q=flashed", "/events?q=nothing-at-all",
    "/events?q=00:00:05&kind=netboot.pxe.offered", "/machines/52:54:00:00:00:05/timeline", "/health", "/metrics",
)  # fmt: skip


def seed(path: Path, machines: int, events: int) -> None:
    """Make the database: the machines by our own statements, the events by one that counts."""

    async def fleet() -> None:
        store = await Store.open(path)
        now = utc_now()
        disks = json.dumps([{"path": f"/dev/sd{letter}", "serial": f"S{letter}", "size_bytes": 10**12} for letter in "abcd"])
        for start in range(0, machines, 500):
            statements = []
            for n in range(start, min(start + 500, machines)):
                machine = Machine(
                    mac=mac(n),
                    boot_mode=list(BootMode)[n % 5],
                    bty_image_ref=f"{n % 50:064x}" if n % 3 else None,
                    target_disk_serial=f"S{n}",
                    labels=(f"rack {n % 100}",),
                    last_seen_at=now,
                    last_seen_ip=f"192.0.{n // 256 % 256}.{n % 256}",
                    flash_error="the disk failed" if n % 97 == 0 else None,
                    created_at=now,
                    updated_at=now,
                )
                hardware = table.upsert_hardware(machine.mac, disks=disks, lshw=None, now=now)
                statements += [table.upsert(machine), *table.replace_labels(machine), *hardware]
            await store.write(*statements)
        await store.close()

    asyncio.run(fleet())
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)"
            " INSERT INTO events (ts, kind, subject_kind, subject_id, actor, source_ip, summary, details)"
            " SELECT strftime('%Y-%m-%dT%H:%M:%S', 'now', '-' || ((? - i) / 20) || ' seconds') || '.000000+00:00',"
            " CASE WHEN i % 5000 = 0 THEN 'machine.flash.failed' WHEN i % 10 = 0 THEN 'machine.flashed'"
            " WHEN i % 2 = 0 THEN 'netboot.pxe.plan' ELSE 'netboot.pxe.offered' END,"
            " 'machine', printf('52:54:00:00:%02x:%02x', (i % ?) / 256, (i % ?) % 256),"
            " CASE WHEN i % 1000 = 1 THEN 'operator' ELSE 'pxe-client' END, '192.0.2.' || (i % 250),"
            ' \'offered bty-flash-always to machine \' || i, \'{"boot_mode": "bty-flash-always", "offer": "bty-flash-always"}\' FROM n',
            (events, events, machines, machines),
        )


def mac(n: int) -> str:
    """Return the n-th MAC."""
    return f"52:54:00:00:{n // 256:02x}:{n % 256:02x}"


def memory(pid: int) -> tuple[int, int]:
    """Return what a process holds now and held at most, in bytes. Source: proc(5), status."""
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
    return int(found["VmRSS"]) * 1024, int(found["VmHWM"]) * 1024


def log_in(url: str) -> str:
    """Return the cookie of a new session."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/auth/login", data=b'{"password": "bty-lab"}', headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0]


def main() -> int:
    """Measure, print, and return 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory(prefix="bty-lists-") as folder:
        state = Path(folder) / "state"
        state.mkdir()
        began = time.monotonic()
        seed(state / "state.db", arguments.machines, arguments.events)
        size = (state / "state.db").stat().st_size
        print(f"seeded in {time.monotonic() - began:.0f} s: {size / MIB:.0f} MiB")
        with daemon_process(state) as daemon:
            print(f"ready after {daemon.ready_s:.1f} s, {memory(daemon.process.pid)[0] / MIB:.0f} MiB")
            cookie = log_in(daemon.url)
            connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
            for page in PAGES:
                took = []
                for _ in range(arguments.rounds):
                    begin = time.perf_counter()
                    connection.request("GET", page, headers={"Cookie": cookie})
                    answer = connection.getresponse()
                    body = answer.read()
                    took.append((time.perf_counter() - begin) * 1000)
                    assert answer.status == 200, (page, answer.status, body[:200])
                median, worst = statistics.median(took), max(took)
                if median > GOAL_MS:
                    missed.append(page)
                print(f"{page:<62} {median:>7.1f} ms  worst {worst:>7.1f}  {len(body):>8} bytes")
            now, most = memory(daemon.process.pid)
            print(f"memory {now / MIB:.0f} MiB, at most {most / MIB:.0f} MiB")
    if missed or most > GOAL_BYTES:
        print("MISSED:", *missed, f"memory {most / MIB:.0f} MiB" if most > GOAL_BYTES else "")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
