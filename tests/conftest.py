"""What every test may lean on: programs that may be missing, the zipapp, and marks that skip by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"
pytest_plugins = ["tests.support.rerun"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*programs): skipped, by name, where one of the programs is not installed; an error in CI")


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [name for mark in item.iter_markers("needs") for name in mark.args if shutil.which(name) is None]
    if missing and IN_CI:
        pytest.fail(f"not installed: {', '.join(missing)} (see packaging/debian-test-packages.txt)")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if item.get_closest_marker("loop") and (lack := _lack_of_loop_devices()):
        pytest.skip(lack)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Name what failed once more after all texts: in CI a message is not shortened and may push the others out of the log."""
    yield
    for outcome in ("failed", "error"):
        for report in terminalreporter.getreports(outcome):
            terminalreporter.write_line(f"{outcome}: {report.nodeid}")


def _lack_of_loop_devices() -> str:
    """Return why loop devices cannot be used here, or nothing."""
    if os.geteuid() != 0:
        return "loop devices need root"
    if shutil.which("losetup") is None:
        return "not installed: losetup (package mount)"
    free = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    return "" if free.returncode == 0 else f"no free loop device: {free.stderr.strip()}"


@pytest.fixture(scope="session")
def zipapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a zipapp built from this tree; `BTY_PYZ` names a ready one instead."""
    if given := os.environ.get("BTY_PYZ"):
        return Path(given).resolve()
    output = tmp_path_factory.mktemp("zipapp") / "bty.pyz"
    subprocess.run([sys.executable, ROOT / "packaging" / "zipapp.py", output], check=True, stdin=subprocess.DEVNULL)
    return output
