"""What nobody proved: it is never told as done, and no part of it is left for firmware to boot by."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import pytest

from bty.errors import Cancelled, SourceFailed
from bty.flash.engine import Flash, FlashJob
from bty.flash.writer import DiskWriter
from bty.host.disks import list_disks
from bty.model.disk import find_by_serial
from bty.model.image import ImageFormat
from bty.sources.deadline import Deadline
from bty.sources.files import FileSource
from bty.sources.http import HttpSource, Location
from bty.units import MIB
from tests.integration.flash.conftest import DISK_BYTES, run_bty
from tests.support.listening import answering
from tests.support.loop import LoopDisk


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """An image with a GPT that is exactly as large as the disk, so that its backup is in the disk's last sector."""
    path = tmp_path / "whole.img"
    path.write_bytes(bytes(DISK_BYTES))
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\n,8M\n,\n", text=True, check=True)
    content = bytearray(path.read_bytes())
    content[12 * MIB : 13 * MIB] = b"x" * MIB
    path.write_bytes(content)
    return path


@pytest.mark.loop
def test_a_wrong_digest_leaves_neither_table(disk: LoopDisk, whole: Path) -> None:
    """The image's own backup table, which came with its last block, goes too: firmware falls back to it."""
    run = run_bty("flash", str(whole), disk.path, "--yes", "--json", "--sha256", "0" * 64)
    assert run.code == 13
    left = disk.read(DISK_BYTES)
    assert left[:MIB] == bytes(MIB)
    assert left[-512:] == bytes(512)


@pytest.mark.loop
@pytest.mark.parametrize("kept", [DISK_BYTES, DISK_BYTES - 512])
def test_the_partition_table_tells_of_a_cut_where_nothing_else_does(disk: LoopDisk, whole: Path, kept: int) -> None:
    """A server that says no length, and closes: the whole image is flashed with a note, one that lacks a sector is refused."""
    content = whole.read_bytes()[:kept]

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + content)
        connection.shutdown(socket.SHUT_RDWR)

    with answering(answer) as base:
        run = run_bty("flash", f"{base}/x?y", disk.path, "--yes", "--json", "--format", "img")
    if kept == DISK_BYTES:
        assert run.code == 0, run.stderr
        assert any("nothing said where the image ends" in note for note in run.receipt["notes"])
    else:
        assert run.code == 13
        assert f"says that it has {DISK_BYTES}" in run.receipt["error"]


@pytest.mark.loop
def test_a_cancel_is_heard_while_zeros_are_made(disk: LoopDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large empty qcow2 is nothing but zeros: on a disk that has to be written full of them that takes hours."""
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    monkeypatch.setattr("bty.flash.qcow2.ZERO_PIECE_BYTES", MIB)
    path = tmp_path / "empty.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(DISK_BYTES)], check=True)
    disks = list_disks()
    flash = Flash(
        FlashJob(source=FileSource(str(path)), image_format=ImageFormat.QCOW2, disk=find_by_serial(disk.serial, disks), disks=disks)
    )
    zero, pieces = DiskWriter.zero, []

    def cancel_at_the_third(writer: DiskWriter, offset: int, length: int) -> None:
        pieces.append((offset, length))
        zero(writer, offset, length)
        if len(pieces) == 3:
            flash.cancel()

    monkeypatch.setattr(DiskWriter, "zero", cancel_at_the_third)
    with pytest.raises(Cancelled):
        flash.run()
    assert pieces == [(n * MIB, MIB) for n in range(3)]


def test_another_date_is_another_object() -> None:
    """A server that ignores `If-Range` goes on in the middle of an image that was replaced meanwhile."""
    dates = [b"\r\nLast-Modified: " + day + b" Nov 2026 00:00:00 GMT\r\n" for day in (b"Mon, 02", b"Tue, 03")]
    answers = [
        b"HTTP/1.1 200 OK" + dates[0] + b"Content-Length: 10\r\n\r\n12345",
        b"HTTP/1.1 206 Partial" + dates[1] + b"Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nabcde",
    ]

    def answer(connection: socket.socket) -> None:
        connection.sendall(answers.pop(0))
        connection.shutdown(socket.SHUT_RDWR)

    with answering(answer) as base:
        source = HttpSource([Location.of(f"{base}/x.img")], name="x", stall_limit_s=1)
        view = memoryview(bytearray(10))
        try:
            source.open()
            assert source.readinto(view, lambda: "") == 5
            with pytest.raises(SourceFailed, match="its date is another one"):
                source.readinto(view, lambda: "")
        finally:
            source.close()


def test_what_was_in_time_is_not_shut_down_after_it() -> None:
    """A timer that wakes while the block is left does nothing any more: what was read is going to be used."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with Deadline(60) as deadline:
            deadline.watch(ours)
        late = threading.Thread(target=deadline._expire)
        late.start()
        late.join()
        theirs.sendall(b"x")

        assert not deadline.expired
        assert ours.recv(1) == b"x"
