"""A rack that powers on: requests a second and p50/p99 of `/pxe/{mac}` and its plan, for 1,000 machines, with wrk.

    python tests/bench/storm.py [--seconds N] [--machines N] [--program dist/bty.pyz]

The daemon runs in a process of its own on the same machine as wrk. Half of the machines are to be flashed, half report
their hardware. Every answer counts only once its write is committed; the number of recorded events is compared with
that of the answers at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

from bty.model.catalog import Entry
from bty.model.machine import BootMode, Machine
from bty.store import catalog, machines
from bty.store.db import Store
from bty.units import utc_now

ROOT = Path(__file__).resolve().parents[2]
REF = "a" * 64
DEADLINE_S = 30.0
SCRIPT = """\
local suffix, count = "", 0
function init(args) suffix = args[1]; count = tonumber(args[2]); math.randomseed(os.time()) end
function request()
  local n = math.random(0, count - 1)
  return wrk.format("GET", string.format("/pxe/52-54-00-00-%02x-%02x%s", math.floor(n / 256), n % 256, suffix))
end
"""


async def seed(path: Path, count: int) -> None:
    """Put *count* machines and the image that half of them is bound to into a new database."""
    store = await Store.open(path)
    now = utc_now()
    entry = Entry(bty_image_ref=REF, src="http://127.0.0.1:9/d.img.gz", resolved_src="http://127.0.0.1:9/d.img.gz", name="d", added_at=now)
    await store.write(*catalog.insert(entry))
    fleet = (
        Machine(
            mac=f"52:54:00:00:{n // 256:02x}:{n % 256:02x}",
            boot_mode=BootMode.INVENTORY if n % 2 else BootMode.FLASH_ALWAYS,
            bty_image_ref=None if n % 2 else REF,
            target_disk_serial=None if n % 2 else f"S{n}",
            created_at=now,
            updated_at=now,
        )
        for n in range(count)
    )
    await store.write(*(machines.upsert(machine) for machine in fleet))
    await store.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used. Source: proc(5), fields 14 and 15 of stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_ready(daemon: subprocess.Popen[bytes], port: int) -> None:
    """Return when the daemon answers."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1):
                return
        except (urllib.error.URLError, ConnectionError):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the daemon does not answer (exit code {daemon.poll()})") from None
            time.sleep(0.01)


def storm(port: int, script: Path, *, suffix: str, connections: int, seconds: int, count: int) -> tuple[str, int]:
    """Run wrk once; return a line of its figures and how many answers there were."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=30s", "--latency", "-s", script, f"http://127.0.0.1:{port}"]
    said = subprocess.run([*command, "--", suffix, str(count)], capture_output=True, text=True, check=True).stdout
    figures = {name: _find(pattern, said) for name, pattern in _PATTERNS.items()}
    failed = "".join(f"  {line.strip()}" for line in said.splitlines() if "Non-2xx" in line or "Socket errors" in line)
    line = f"{figures['rate']:>10}/s   p50 {figures['p50']:>9}   p99 {figures['p99']:>9}   max {figures['max']:>9}{failed}"
    return line, int(figures["answers"])


_PATTERNS = {
    "rate": r"Requests/sec:\s+(\S+)",
    "p50": r"(?m)^\s+50%\s+(\S+)",
    "p99": r"(?m)^\s+99%\s+(\S+)",
    "max": r"Latency\s+\S+\s+\S+\s+(\S+)",
    "answers": r"(\d+) requests in",
}


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise SystemExit(f"wrk said something unexpected:\n{text}")
    return found[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--program", type=Path, help="a zipapp to measure instead of this tree")
    arguments = parser.parse_args()
    command = [str(arguments.program)] if arguments.program else [sys.executable, "-m", "bty"]
    with tempfile.TemporaryDirectory(prefix="bty-storm-") as folder:
        state, script, port = Path(folder), Path(folder) / "storm.lua", free_port()
        script.write_text(SCRIPT)
        asyncio.run(seed(state / "state.db", arguments.machines))
        command += ["web", "--state-dir", folder, "--host", "127.0.0.1", "--port", str(port)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
            answers = 0
            try:
                wait_until_ready(daemon, port)
                for name, suffix in (("/pxe/{mac}", ""), ("/pxe/{mac}/plan", "/plan")):
                    for connections in (32, 256):
                        before = processor_seconds(daemon.pid)
                        line, count = storm(
                            port, script, suffix=suffix, connections=connections, seconds=arguments.seconds, count=arguments.machines
                        )
                        answers += count
                        cost = (processor_seconds(daemon.pid) - before) / count * 1e6
                        print(f"{name:<16} {connections:>4} connections {line}   {cost:.0f} us of processor each", flush=True)
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(DEADLINE_S)
        with closing(sqlite3.connect(state / "state.db")) as db:
            (events,) = db.execute("SELECT count(*) FROM events WHERE kind LIKE 'netboot.pxe.%'").fetchone()
        print(f"{answers} answers, {events} events recorded{'' if events >= answers else ': SOME ARE LOST'}")
        if events < answers:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
