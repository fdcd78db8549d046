"""A disk to flash, a folder of images, and the wizard's way through its screens."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bty.units import MIB
from tests.support.api import Operator
from tests.support.loop import LoopDisk, can_loop, loop_disk
from tests.support.process import DaemonProcess, daemon_process

DISK_BYTES = 24 * MIB
IMAGE_BYTES = 17 * MIB + 512
ENVIRONMENT = {"BTY_ALLOW_LOOP": "1", "BTY_CONSOLE": "/dev/null"}


@dataclass(frozen=True)
class Shelf:
    """A folder with two images: `first.img` and `second.img`, which differ."""

    folder: Path

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("shelf")
    for seed, name in enumerate(("first.img", "second.img")):
        chance = random.Random(seed)
        raw = bytearray(IMAGE_BYTES)
        for _ in range(60):
            at = chance.randrange(len(raw))
            piece = chance.randbytes(chance.randrange(1, 300_000))
            raw[at : at + len(piece)] = piece[: len(raw) - at]
        (folder / name).write_bytes(raw)
    return Shelf(folder)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LoopDisk]:
    yield from _attached(tmp_path, request, "a")


@pytest.fixture
def other_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LoopDisk]:
    yield from _attached(tmp_path, request, "b")


def _attached(tmp_path: Path, request: pytest.FixtureRequest, mark: str) -> Iterator[LoopDisk]:
    if not can_loop():
        pytest.skip("needs root and loop devices")
    # The serial is the name of the backing file, so it has to be unique on this machine.
    name = f"{mark}{os.getpid()}-{abs(hash(request.node.name)) % 10**6:06}"
    with loop_disk(tmp_path / name, DISK_BYTES) as attached:
        yield attached


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon in a process of its own."""
    with daemon_process(tmp_path / "state") as daemon:
        yield daemon


@pytest.fixture
def operator(daemon: DaemonProcess) -> Operator:
    """Who has logged in there."""
    return Operator(daemon.url)
