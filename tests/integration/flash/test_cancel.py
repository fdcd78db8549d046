"""Cancelling works in every stage and source, ends every process, and says what it left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bty.flash.writer import HEAD_BYTES
from bty.units import MIB
from tests.support.hostile import Behaviour, End, Hostile, hostile_server
from tests.support.loop import LoopDisk

pytestmark = pytest.mark.loop


def _children(pid: int) -> set[int]:
    """Return every process below *pid*."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(line.split()[0]): int(line.split()[1]) for line in listing.splitlines()}
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        grown = bool(more)
        found |= more
    return found - {pid}


@pytest.mark.parametrize("image_format", ["img", "img.gz", "img.xz", "img.zst", "img.bz2", "qcow2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancel_in_mid_stream_ends_everything(disk: LoopDisk, images: dict[str, Path], image_format: str, number: signal.Signals) -> None:
    """The server stalls in the middle, so that the cancel surely comes while a read blocks."""
    body = images[image_format].read_bytes()
    stall = Behaviour(end=End.STALL, end_after=len(body) * 2 // 3)
    honest_tables = [Behaviour()] if image_format == "qcow2" else []
    script = [stall, *honest_tables] if image_format == "qcow2" else [stall]
    with hostile_server(Hostile(body=body, script=script)) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "bty", "flash", f"{server.url}/a?b", disk.path, "--format", image_format, "--json", "--yes"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "BTY_ALLOW_LOOP": "1"},
        )
        assert process.stdout
        for line in process.stdout:
            progress = json.loads(line)
            if progress["event"] == "progress" and progress["read"] >= len(body) * 2 // 3 - MIB and progress["stage"] == "write":
                break
        children = _children(process.pid)
        process.send_signal(number)
        # Well below the 15 s after which the read that blocks would end by itself.
        output, errors = process.communicate(timeout=8)
    result = json.loads(output.splitlines()[-1])
    assert process.returncode == 15, errors
    assert "cancelled" in result["receipt"]["error"]
    assert "partial write" in result["receipt"]["error"]
    assert disk.read(HEAD_BYTES) == bytes(HEAD_BYTES)
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
