"""A real daemon as a process of its own. Nothing here needs more than Python: the demo uses it too."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass
class DaemonProcess:
    """A daemon in a process of its own. `lines` is what it said until it was ready."""

    process: subprocess.Popen[str]
    port: int
    ready_s: float = 0.0
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to stop and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@contextmanager
def daemon_process(
    state_dir: Path, *arguments: str, port: int | None = None, env: dict[str, str] | None = None, program: Sequence[str] = ()
) -> Iterator[DaemonProcess]:
    """Run `bty-web`, or *program* which is one, on a free port until it says that it is ready, and end it afterwards."""
    port = port or free_port()
    began = time.monotonic()
    with (state_dir.parent / f"{state_dir.name}.log").open("a+") as log:
        start = log.tell()
        process = subprocess.Popen(
            [*(program or web_command()), "--host", "127.0.0.1", "--port", str(port), "--state-dir", str(state_dir), *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, text=True, env=clean_env(env),
        )  # fmt: skip
        daemon = DaemonProcess(process, port)
        try:
            while not _is_ready(log.name, start, daemon):
                assert process.poll() is None, f"the daemon ended: {daemon.lines}"
                assert time.monotonic() < began + READY_TIMEOUT_S, f"the daemon is not ready: {daemon.lines}"
                time.sleep(0.01)
            daemon.ready_s = time.monotonic() - began
            yield daemon
        finally:
            process.kill()
            process.wait(10)


def run_web(*arguments: str, env: dict[str, str] | None = None, timeout_s: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run `bty-web` until it ends by itself."""
    return subprocess.run(
        [*web_command(), *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False, env=clean_env(env),
    )  # fmt: skip


def web_command() -> list[str]:
    return [sys.executable, "-m", "bty", "web"]


def clean_env(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment without any configuration of bty, and with this source tree."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BTY_")}
    return {**kept, "PYTHONPATH": str(ROOT), **(extra or {})}


def _is_ready(log: str, start: int, daemon: DaemonProcess) -> bool:
    text = Path(log).read_text()[start:]
    daemon.lines = text.splitlines()
    # The next step is the last thing it says; what it says may come line by line.
    return re.search(r"^bty-web \S+ ready on .*^next: [^\n]*\n", text, re.MULTILINE | re.DOTALL) is not None
