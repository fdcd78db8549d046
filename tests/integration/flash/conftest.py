"""Fixtures for flashing: a loop device full of old content, one small image in every format, and the real program."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bty.units import MIB
from tests.support.loop import LoopDisk, can_loop, loop_disk

DISK_BYTES = 24 * MIB


@dataclass(frozen=True)
class Run:
    """How one run of the program ended."""

    code: int
    lines: list[dict[str, Any]]
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        return self.lines[-1]

    @property
    def receipt(self) -> dict[str, Any]:
        return self.lines[-1]["receipt"]


def run_bty(*arguments: str, env: dict[str, str] | None = None, timeout_s: float = 60) -> Run:
    """Run the flasher as its users do, and read its JSON lines."""
    done = subprocess.run(
        [sys.executable, "-m", "bty", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "BTY_ALLOW_LOOP": "1", "BTY_CONSOLE": "/dev/null", **(env or {})},
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return Run(done.returncode, lines, done.stderr)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LoopDisk]:
    if not can_loop():
        pytest.skip("needs root and loop devices")
    # The serial is the name of the backing file, so it has to be unique on this machine.
    with loop_disk(tmp_path / f"target-{os.getpid()}-{abs(hash(request.node.name)) % 10**6}", DISK_BYTES) as disk:
        yield disk


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One image with data, holes and an odd end, in every format, by the name of the format."""
    folder = tmp_path_factory.mktemp("images")
    chance = random.Random(7)
    raw = bytearray(17 * MIB + 512)
    for _ in range(60):
        at = chance.randrange(len(raw))
        piece = chance.randbytes(chance.randrange(1, 300_000))
        raw[at : at + len(piece)] = piece[: len(raw) - at]
    paths = {name: folder / f"small.{name}" for name in ("img", "img.gz", "img.xz", "img.zst", "img.bz2", "qcow2")}
    paths["img"].write_bytes(raw)
    paths["img.gz"].write_bytes(gzip.compress(raw, 1))
    paths["img.xz"].write_bytes(lzma.compress(raw, preset=0))
    paths["img.bz2"].write_bytes(bz2.compress(raw, 1))
    subprocess.run(["zstd", "-q", "-1", paths["img"], "-o", paths["img.zst"]], check=True)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-c", "-O", "qcow2", paths["img"], paths["qcow2"]], check=True)
    return paths
