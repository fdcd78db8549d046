"""What a start of the zipapp costs: its size, and seconds of `--version`, `disks` and `web` until it answers.

    python tests/bench/start.py [--runs N] [dist/bty.pyz]

Cold: nothing unpacked yet. Warm: unpacked by an earlier run. The page cache is warm in both. Each value is a median.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0


def seconds_of(program: Path, arguments: list[str], shiv_root: Path) -> float:
    """Return how long one run takes from start to end."""
    started = time.perf_counter()
    subprocess.run([program, *arguments], check=True, env={**os.environ, "SHIV_ROOT": str(shiv_root)}, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def seconds_to_ready(program: Path, shiv_root: Path) -> float:
    """Return how long the daemon takes from its start to its first answer to `/healthz`."""
    with tempfile.TemporaryDirectory(prefix="bty-bench-") as state, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings = {"BTY_PATHS_STATE_DIR": state, "BTY_SERVER_HOST": "127.0.0.1", "BTY_SERVER_PORT": str(port)}
        environment = {**os.environ, **settings, "SHIV_ROOT": str(shiv_root)}
        started = time.perf_counter()
        with subprocess.Popen([program, "web"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
            try:
                while not _answers(f"http://127.0.0.1:{port}/healthz"):
                    if daemon.poll() is not None or time.perf_counter() - started > DEADLINE_S:
                        raise SystemExit(f"{program} web does not answer (exit code {daemon.poll()})")
                    time.sleep(0.002)
                return time.perf_counter() - started
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(DEADLINE_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def measure(program: Path, runs: int) -> list[tuple[str, float, float]]:
    """Return `(what, cold, warm)` in seconds for each start."""
    starts: list[tuple[str, Callable[[Path], float]]] = [
        ("--version", lambda root: seconds_of(program, ["--version"], root)),
        ("disks", lambda root: seconds_of(program, ["disks"], root)),
        ("web, to /healthz", lambda root: seconds_to_ready(program, root)),
    ]
    rows = []
    with tempfile.TemporaryDirectory(prefix="bty-bench-") as scratch:
        for what, start in starts:
            cold = [start(Path(scratch, f"{what[:3]}-{run}")) for run in range(runs)]
            warm = [start(Path(scratch, f"{what[:3]}-0")) for _ in range(runs)]
            rows.append((what, median(cold), median(warm)))
    return rows


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path, nargs="?", default=ROOT / "dist" / "bty.pyz")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    program = arguments.program.resolve()
    print(f"{program.name}: {program.stat().st_size / 1e6:.1f} MB; Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"load {os.getloadavg()[0]:.1f}; medians of {arguments.runs} runs, in seconds\n")
    print(f"{'start':18} {'cold':>6} {'warm':>6}")
    for what, cold, warm in measure(program, arguments.runs):
        print(f"{what:18} {cold:6.2f} {warm:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
