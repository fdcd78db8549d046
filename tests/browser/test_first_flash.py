"""From an empty state directory to a flashed disk, with the application and the command that it shows, and nothing else."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bty.units import MIB
from tests.support.loop import loop_disk
from tests.support.process import clean_env


@pytest.mark.loop
def test_an_empty_daemon_and_a_browser_end_in_a_flashed_disk(origin: str, tmp_path: Path, tab: Any) -> None:
    """A person adds an image and a machine, binds them, runs the command that the page shows, and watches the disk become the image."""
    image = os.urandom(4 * MIB) + bytes(12 * MIB) + os.urandom(8 * MIB)
    (tmp_path / "origin" / "first.img.gz").write_bytes(gzip.compress(image, compresslevel=1))
    with loop_disk(tmp_path / "spare.img", 64 * MIB) as disk:
        page = tab.open("/ui/dashboard")
        page.get_by_text("What to do first").wait_for()
        tab.shoot("first-0-empty")
        page.get_by_role("main").get_by_role("link", name="Add an image").click()
        page.get_by_role("button", name="Add an image").click()
        page.get_by_label("Address", exact=True).fill(f"{origin}/first.img.gz")
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_text("first.img.gz was added.").wait_for()
        page.get_by_role("link", name="Machines", exact=True).first.click()
        page.get_by_role("button", name="Add a machine").click()
        page.get_by_label("MAC address").fill("52:54:00:00:00:01")
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_label("Image", exact=True).select_option(index=1)
        page.get_by_label("Serial of the disk").fill(disk.serial)
        page.get_by_label("Flash once").check()
        page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Overwrite this disk").click()
        page.get_by_text("was saved.").wait_for()
        tab.shoot("first-1-bound")
        page.get_by_text("Without a network boot").click()
        command = page.locator("pre.command").inner_text().split()
        assert command[0] == "bty.pyz"
        env = clean_env({"BTY_ALLOW_LOOP": "1", "BTY_CONSOLE": "/dev/null"})
        ran = subprocess.run(
            [sys.executable, "-m", "bty", *command[1:], "--no-reboot"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False, env=env,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        page.locator(".receipts").get_by_text("flashed", exact=True).wait_for()
        page.get_by_text("Last flashed").wait_for()
        tab.shoot("first-2-flashed")

        assert disk.read(len(image)) == image
