"""`make demo`, as a person starts it and as a pipeline does."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pxe.conftest import OUTPUT
from tests.pxe.image import LOGIN_PROMPT, ROOT, BootableImage
from tests.pxe.steps import NEEDS

pytestmark = [pytest.mark.needs(*NEEDS, "make", "losetup"), pytest.mark.timeout(1200), pytest.mark.pxe(every_run=False)]
RUN = ROOT / "build" / "demo" / "run"
CYCLE_S, FIRST_LINE_S, END_S = 900.0, 400.0, 30.0


@pytest.fixture(autouse=True)
def alone(image: BootableImage) -> Iterator[None]:
    """No other row runs meanwhile, and the image is there, so that its making is not taken for the demo's time."""
    assert image.path.exists()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with (OUTPUT / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def nothing_remains() -> Iterator[None]:
    """Afterwards there are no more processes of the demo's, network namespaces and loop devices than before."""
    before = _remains()
    yield
    assert _remains() - before == set()


def _remains() -> set[str]:
    """Return what a demo could leave behind. A network namespace without a process lives as long as something is mounted for it."""
    rooms = tuple(str((ROOT / room).resolve()) for room in ("build", "dist"))
    loops = subprocess.run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"], capture_output=True, text=True, check=True)
    found = {f"loop device of {line}" for line in loops.stdout.splitlines() if line.startswith(rooms)}
    found |= {f"network {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - nsfs " in line}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = (process / "cwd").readlink()
        except OSError:  # ended meanwhile
            continue
        if str(RUN) in command or (place == ROOT and "packaging/demo" in command):
            found.add(f"process {process.name} {command}")
    return found


def _environment(**extra: str) -> dict[str, str]:
    """The environment without what make and the demo may find in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "DEMO_", "BTY_"))}
    return {**kept, "DEMO_PORT": "0", **extra}


def test_the_demo_flashes_and_boots_without_a_person() -> None:
    """One command takes an empty disk to the login prompt of what was flashed, ends with 0 and leaves nothing behind."""
    with nothing_remains():
        done = subprocess.run(
            ["make", "demo"], cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=CYCLE_S, check=False,
        )  # fmt: skip
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-3000:]
    assert LOGIN_PROMPT in said
    assert re.search(r"== +\d+ s  flashed: an image of ", said)
    assert not (RUN / "disk.raw").exists()


def test_ctrl_c_ends_the_demo_and_gives_the_terminal_back() -> None:
    """In a terminal Ctrl-C ends everything, without a complaint of make's, and the terminal is as it was."""
    controller, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with nothing_remains():
        process = subprocess.Popen(
            ["make", "demo"], cwd=ROOT, env=_environment(), stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
        )
        said = bytearray()
        try:
            _read_until(controller, said, b"Booting from ROM", FIRST_LINE_S)
            os.write(controller, b"\x03")
            _read_until(controller, said, b"nothing of it runs any more", END_S)
            assert process.wait(END_S) == 0
        finally:
            process.kill()
            process.wait()
    assert termios.tcgetattr(terminal) == before
    assert b"Error" not in said
    os.close(terminal)
    os.close(controller)


def _read_until(controller: int, said: bytearray, text: bytes, timeout_s: float) -> None:
    os.set_blocking(controller, False)
    deadline = time.monotonic() + timeout_s
    while text not in said:
        assert time.monotonic() < deadline, f"{text!r} did not come: {said[-3000:].decode(errors='replace')}"
        try:
            said += os.read(controller, 65536)
        except BlockingIOError:
            time.sleep(0.05)
