"""When a virtual machine that says nothing is the emulator's fault, and when it is ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.stall import SILENT_S, Stalled, give_up, listen

ROOT = Path(__file__).resolve().parents[2]
KERNEL = "iPXE\nLinux version 6.1\n[    0.000000] Command line: x\n[    1.085074] Asymmetric key parser registered\n"
STUCK = "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!\nwatchdog: BUG: soft lockup - CPU#1 stuck for 26s!\n"


def _after_silence(folder: Path, said: str, silent_s: float = SILENT_S + 1) -> None:
    """Listen to a line that has said this, and nothing since."""
    line = folder / "serial"
    line.write_text(said)
    os.utime(line, (time.time() - silent_s,) * 2)
    listen(line, said, "'login:'")


@pytest.mark.parametrize(
    ("said", "silent_s"), [(KERNEL, SILENT_S + 1), (KERNEL + "[    2.715568] Run /init as init process\n" + STUCK, 0.0)]
)
def test_a_kernel_that_stands_still_has_stalled(tmp_path: Path, said: str, silent_s: float) -> None:
    """It falls silent before its first process, or says of both processors that they are stuck."""
    with pytest.raises(Stalled, match="login:"):
        _after_silence(tmp_path, said, silent_s)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "iPXE\nConfiguring (net0)... ok\n",
        KERNEL + "[    2.715568] Run /init as init process\nbty: waiting for the network\n",
        KERNEL + "[    2.715568] Run /init as init process\n[    3.805394] virtio_blk virtio0\n",
        KERNEL + "iPXE\nConfiguring (net0)... ok\n",
        STUCK.splitlines()[0],
    ],
)
def test_any_other_silence_is_the_tests_own_affair(tmp_path: Path, said: str) -> None:
    """Firmware, iPXE, the initrd and the live environment have no such excuse."""
    _after_silence(tmp_path, said)


@pytest.mark.parametrize(
    "told",
    [
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... }",
        "watchdog: BUG: soft lockup - CPU#1 stuck for 26s!",
    ],
)
def test_a_wait_in_vain_is_excused_where_a_processor_stood_still(told: str) -> None:
    """The kernel may tell of it at any time, and it is no excuse before the time is over."""
    with pytest.raises(Stalled, match=r"no login: in 5 s"):
        give_up(f"{KERNEL}[   34.627765] {told}\n", "no login: in 5 s")


def test_a_wait_in_vain_is_a_failure() -> None:
    """Where the kernel told of nothing."""
    with pytest.raises(AssertionError, match=r"no login: in 5 s"):
        give_up(KERNEL, "no login: in 5 s")


def test_a_short_silence_is_none(tmp_path: Path) -> None:
    """A kernel may unpack an initrd."""
    _after_silence(tmp_path, KERNEL, SILENT_S / 2)


@pytest.mark.parametrize(("stalls", "code", "summary"), [(0, 0, "1 passed"), (1, 0, "1 passed"), (2, 1, "1 failed")])
def test_a_test_whose_guest_stalled_runs_once_more(tmp_path: Path, stalls: int, code: int, summary: str) -> None:
    """With fixtures of its own, and the summary tells of it; a second stall fails it."""
    (tmp_path / "test_it.py").write_text(f"""
import pytest
from tests.support.stall import Stalled

@pytest.mark.emulated
async def test_it(tmp_path):
    assert not list(tmp_path.iterdir())
    (tmp_path / "used").touch()
    with open({str(tmp_path / "count")!r}, "a+") as runs:
        runs.write("x")
        runs.seek(0)
        if len(runs.read()) <= {stalls}:
            raise Stalled("the kernel is silent")
""")
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.rerun", "--rootdir", str(tmp_path), "-c", str(ROOT / "pyproject.toml")]
    ran = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert (ran.returncode, ran.stdout.count("run again after a stall")) == (code, stalls), ran.stdout
    assert summary in ran.stdout
