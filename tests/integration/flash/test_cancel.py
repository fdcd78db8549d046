"""Cancelling works in every stage and source, ends every process, and says what it left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from bty.errors import Cancelled
from bty.flash.blocks import Block
from bty.flash.engine import Flash, FlashJob
from bty.flash.writer import HEAD_BYTES, DiskWriter
from bty.host.disks import list_disks
from bty.model.disk import find_by_serial
from bty.model.image import ImageFormat
from bty.sources.files import FileSource
from bty.sources.http import Endpoint, HttpSource, Location
from bty.units import MIB
from tests.support.hostile import Behaviour, End, Hostile, hostile_server
from tests.support.loop import LoopDisk

pytestmark = pytest.mark.loop
Asked = Callable[[], AbstractContextManager[str | Location]]


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


@contextmanager
def deaf_server() -> Iterator[str]:
    """An address that answers no connection: its queue is full, and nobody takes from it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as stack:
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x.img"


@contextmanager
def silent_registry() -> Iterator[Location]:
    """A location that has to ask first, and gets no answer."""
    answered = threading.Event()

    def find() -> Endpoint:
        answered.wait(60)
        return Endpoint("http://127.0.0.1:9/x.img")

    yield Location(find=find, shown="oras://registry/x:1")
    answered.set()


@pytest.mark.parametrize("asked", [deaf_server, silent_registry])
def test_a_cancel_is_heard_while_nobody_answers(disk: LoopDisk, monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    """Neither a connection that is being made nor a question to a registry is waited for."""
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    disks = list_disks()
    with asked() as where, ThreadPoolExecutor() as pool:
        source = HttpSource([where if isinstance(where, Location) else Location.of(where)], name="x.img")
        job = FlashJob(source=source, image_format=ImageFormat.IMG, disk=find_by_serial(disk.serial, disks), disks=disks)
        asking = threading.Event()
        monkeypatch.setattr(source, "_ask", lambda *arguments, ask=source._ask: (asking.set(), ask(*arguments))[1])
        flash = Flash(job)
        running = pool.submit(flash.run)
        assert asking.wait(8)
        flash.cancel()

        assert isinstance(running.exception(8), Cancelled)  # the connection would be given up after 10 s, the registry after 60


def test_a_cancel_is_heard_within_a_block_that_unpacks_to_much(disk: LoopDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few KiB of qcow2 may be a whole disk: the cancel is heard between two writes and not behind the last."""
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    image = tmp_path / "full.qcow2"
    (tmp_path / "full").write_bytes(b"x" * 24 * MIB)
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", tmp_path / "full", image], check=True)
    assert image.stat().st_size < MIB
    disks = list_disks()
    job = FlashJob(source=FileSource(str(image)), image_format=ImageFormat.QCOW2, disk=find_by_serial(disk.serial, disks), disks=disks)
    flash, written = Flash(job), []
    write_part = DiskWriter.write_part

    def write(writer: DiskWriter, block: Block, start: int, end: int, offset: int) -> None:
        written.append(offset)
        flash.cancel()
        write_part(writer, block, start, end, offset)

    monkeypatch.setattr(DiskWriter, "write_part", write)
    with pytest.raises(Cancelled):
        flash.run()
    assert len(written) == 1
