"""What once broke a flash: odd disks, odd images, servers that stall or lie, programs that die, outputs that are gone."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import pty
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bty.errors import BtyError, Cancelled, SourceFailed, WriteFailed
from bty.flash.engine import Flash, FlashJob
from bty.flash.sizes import raw_size
from bty.flash.writer import HEAD_BYTES, DiskWriter
from bty.host import proc
from bty.host.disks import list_disks
from bty.model.disk import find_by_serial
from bty.model.image import ImageFormat
from bty.sources.http import HttpSource, Location
from bty.sources.opening import open_image
from bty.units import MIB
from tests.integration.flash.conftest import DISK_BYTES, run_bty
from tests.support.hostile import Behaviour, End, Hostile, hostile_server
from tests.support.listening import answering, trickle_headers
from tests.support.loop import LoopDisk, loop_disk

pytestmark = [pytest.mark.loop, pytest.mark.timeout(60)]
SOON_S = 8.0  # far from any of the program's minutes


def make_flash(disk: LoopDisk, url: str, image_format: ImageFormat = ImageFormat.IMG) -> Flash:
    disks = list_disks()
    source = HttpSource([Location.of(url)], name="x")
    return Flash(FlashJob(source=source, image_format=image_format, disk=find_by_serial(disk.serial, disks), disks=disks))


@pytest.fixture
def loops_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")


# --- disks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--verify"], ["--no-sparse", "--verify"]])
def test_clusters_of_512_bytes_fit_a_disk_of_4096_byte_sectors(tmp_path: Path, options: list[str]) -> None:
    """Runs of data and of zeros that begin and end within a sector of the disk arrive exactly."""
    chance = random.Random(3)
    raw = bytearray(20 * MIB)
    raw[4097 * 512 : 30001 * 512] = chance.randbytes((30001 - 4097) * 512)  # longer than a block, and neither end on a sector
    raw[33001 * 512 : 33003 * 512] = chance.randbytes(1024)
    (tmp_path / "odd.img").write_bytes(raw)
    image = tmp_path / "odd.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-S", "512", "-O", "qcow2", "-o", "cluster_size=512", "-f", "raw", tmp_path / "odd.img", image], check=True
    )
    with loop_disk(tmp_path / f"sectors-{os.getpid()}", DISK_BYTES, sector_bytes=4096) as disk:
        run = run_bty("flash", str(image), disk.path, "--yes", "--json", *options)
        assert run.code == 0, run.stderr
        assert disk.read(len(raw)) == raw


@contextmanager
def disk_without_holes(tmp_path: Path) -> Iterator[LoopDisk]:
    """A disk that cannot zero by itself, like many a stick: its backing file lies in a ramfs."""
    mount = tmp_path / "ram"
    mount.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", mount], check=True)
    try:
        with loop_disk(mount / f"no-holes-{os.getpid()}", DISK_BYTES) as disk:
            yield disk
    finally:
        subprocess.run(["umount", mount], check=True)


def _bmap(image: bytes, mapped: tuple[int, int]) -> bytes:
    first, last = mapped
    digest = hashlib.sha256(image[first * 4096 : (last + 1) * 4096]).hexdigest()
    zeros = "0" * 64
    text = f"""<?xml version="1.0" ?>
<bmap version="2.0"><ImageSize> {len(image)} </ImageSize><BlockSize> 4096 </BlockSize><BlocksCount> {len(image) // 4096} </BlocksCount>
<MappedBlocksCount> {last - first + 1} </MappedBlocksCount><ChecksumType> sha256 </ChecksumType>
<BmapFileChecksum> {zeros} </BmapFileChecksum>
<BlockMap><Range chksum="{digest}"> {first}-{last} </Range></BlockMap></bmap>
"""
    return text.replace(zeros, hashlib.sha256(text.encode()).hexdigest()).encode()


def test_a_map_of_another_version_of_the_image_is_noticed_in_spite_of_a_digest(tmp_path: Path) -> None:
    """The digest proves the image and not its map: what a stale map calls unused would keep old content."""
    old = random.Random(1).randbytes(2 * MIB) + bytes(2 * MIB)
    new = random.Random(2).randbytes(MIB) + bytes(2 * MIB) + random.Random(2).randbytes(MIB)
    image = tmp_path / "new.img"
    image.write_bytes(new)
    (tmp_path / "new.img.bmap").write_bytes(_bmap(old, (0, 511)))
    with disk_without_holes(tmp_path) as disk:
        run = run_bty("flash", str(image), disk.path, "--yes", "--json", "--sha256", hashlib.sha256(new).hexdigest())
        assert run.code == 13, run.receipt
        assert "differs from its bmap" in run.receipt["error"]
        assert disk.read(MIB) == bytes(MIB)


def test_a_map_says_nothing_about_the_inside_of_a_qcow2_image(tmp_path: Path) -> None:
    """A map of the file counts the file's blocks, not those of the disk in it."""
    raw = random.Random(1).randbytes(2 * MIB) + bytes(4 * MIB)
    (tmp_path / "x.img").write_bytes(raw)
    image = tmp_path / "x.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", tmp_path / "x.img", image], check=True)
    (tmp_path / "x.qcow2.bmap").write_bytes(_bmap(image.read_bytes(), (0, 15)))
    with disk_without_holes(tmp_path) as disk:
        run = run_bty("flash", str(image), disk.path, "--yes", "--json")
        assert run.code == 0, run.receipt
        assert disk.read(len(raw)) == raw


def test_a_disk_whose_storage_is_full_is_a_failed_write(tmp_path: Path) -> None:
    """A thin disk that promises more than there is fails with its reason, and does not boot."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9M", "none", mount], check=True)
    try:
        backing = mount / f"thin-{os.getpid()}"
        backing.touch()
        os.truncate(backing, 32 * MIB)
        device = subprocess.run(["losetup", "--find", "--show", backing], check=True, capture_output=True, text=True).stdout.strip()
        try:
            image = tmp_path / "noise.img"
            image.write_bytes(random.Random(1).randbytes(16 * MIB))
            run = run_bty("flash", str(image), device, "--yes", "--json", "--verify")
            assert run.code == 14
            assert "No space left" in run.receipt["error"]
            assert LoopDisk(device, backing).read(MIB) == bytes(MIB)
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)
    finally:
        subprocess.run(["umount", mount], check=True)


# --- sources ----------------------------------------------------------------------------------------------------------


def test_a_pipe_is_no_image(disk: LoopDisk, tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to would wait for ever, and no cancel would be heard."""
    os.mkfifo(tmp_path / "pipe.img")
    run = run_bty("flash", str(tmp_path / "pipe.img"), disk.path, "--yes", "--json", timeout_s=SOON_S)
    assert run.code == 12
    assert "neither a file nor a disk" in run.receipt["error"]


@pytest.mark.parametrize(("source", "code"), [("http://[x/y.img", 2), ("/" + "a" * 249 + ".img", 12), ("http://a b/y.img", 12)])
def test_an_odd_address_is_a_sentence_and_no_traceback(disk: LoopDisk, source: str, code: int) -> None:
    """Whatever is typed as a source."""
    run = run_bty("flash", source, disk.path, "--yes", "--json", timeout_s=SOON_S)
    assert run.code == code
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-0/" + b"9" * 5000 + b"\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 100-50/200\r\nContent-Length: 1\r\n\r\nx",
    ],
    ids=["location", "total", "end before start"],
)
def test_header_lines_that_make_no_sense_are_a_failed_fetch(head: bytes) -> None:
    """A server's words never become an internal error."""
    with answering(lambda connection: connection.sendall(head)) as base:
        source = HttpSource([Location.of(f"{base}/x.img")], name="x", stall_limit_s=1)
        try:
            with pytest.raises(SourceFailed):
                source.pread(100, 16)
        finally:
            source.close()


def test_a_continuation_with_an_endless_number_is_a_failed_fetch() -> None:
    """The same for the answer to a continuation."""
    answers = [
        b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 100\r\n\r\n12345',
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-99/" + b"9" * 5000 + b"\r\nContent-Length: 95\r\n\r\n",
    ]

    def answer(connection: socket.socket) -> None:
        connection.sendall(answers.pop(0))
        connection.shutdown(socket.SHUT_RDWR)

    with answering(answer) as base:
        source = HttpSource([Location.of(f"{base}/x.img")], name="x", stall_limit_s=1)
        view = memoryview(bytearray(100))
        try:
            source.open()
            assert source.readinto(view, lambda: "") == 5
            with pytest.raises(SourceFailed):
                source.readinto(view, lambda: "")
        finally:
            source.close()


@pytest.mark.parametrize("image_format", [ImageFormat.IMG, ImageFormat.QCOW2])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n"], ids=["nothing", "half an answer"])
def test_a_cancel_is_heard_while_a_server_does_not_answer(
    disk: LoopDisk, loops_count: None, image_format: ImageFormat, said: bytes
) -> None:
    """Nobody waits for headers after a cancel."""
    asked = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(said)
        asked.set()

    with answering(answer) as base:
        flash = make_flash(disk, f"{base}/x", image_format)
        outcome: list[BtyError] = []

        def work() -> None:
            try:
                flash.run()
            except BtyError as error:
                outcome.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert asked.wait(SOON_S)
        flash.cancel()
        thread.join(SOON_S)
        assert not thread.is_alive()
        assert isinstance(outcome[0], Cancelled)


def test_headers_that_trickle_for_ever_end_with_the_stall_limit() -> None:
    """A byte now and then is no answer."""
    with answering(trickle_headers) as base:
        source = HttpSource([Location.of(f"{base}/x.img")], name="x", stall_limit_s=0.6)
        try:
            with pytest.raises(SourceFailed):
                source.open()
        finally:
            source.close()


# --- programs and formats ---------------------------------------------------------------------------------------------


def test_a_program_that_dies_is_told_at_once_although_the_server_stalls(disk: LoopDisk, loops_count: None, tmp_path: Path) -> None:
    """The cause is known; nobody waits for the minute of a stalled server."""
    packed = gzip.compress(random.Random(1).randbytes(8 * MIB).hex().encode(), 1)
    broken = packed[:300_000] + b"\xff" * 65536 + packed[300_000 + 65536 :]
    hostile = Hostile(body=broken, script=[Behaviour(end=End.STALL, end_after=4 * MIB + 1)])
    with hostile_server(hostile):
        began = time.monotonic()
        with pytest.raises(BtyError) as caught:
            make_flash(disk, f"{hostile.url}/x.img.gz", ImageFormat.IMG_GZ).run()
        assert time.monotonic() - began < SOON_S
    assert caught.value.code == "integrity_failed"
    assert "cannot be unpacked" in str(caught.value)


def test_an_xz_index_of_endless_numbers_is_given_up() -> None:
    """The numbers of an index have nine bytes at most; others mean that nothing is known. To read one whole would take hours."""
    index = b"\0" + b"\xff" * (3 * MIB - 1)
    footer = bytes(4) + (len(index) // 4 - 1).to_bytes(4, "little") + b"\0\0YZ"
    data = bytes(MIB) + index + footer
    assert raw_size(ImageFormat.IMG_XZ, lambda offset, length: data[offset : offset + length], len(data)) is None


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, "x.img.gz"), (bz2.compress, "x.img.bz2")])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_file_of_several_parts_is_unpacked_to_its_end(
    disk: LoopDisk, tmp_path: Path, pack: Callable[[bytes], bytes], name: str, damaged: bool
) -> None:
    """The programs take a later part with a damaged beginning for garbage behind the image, and say nothing."""
    chance = random.Random(1)
    parts = [chance.randbytes(4 * MIB - 16), chance.randbytes(3 * MIB), chance.randbytes(5000)]
    *front, last = (bytearray(pack(part)) for part in parts)
    if damaged:
        last[0] ^= 1
    image = tmp_path / name
    image.write_bytes(b"".join([*front, last]))
    run = run_bty("flash", str(image), disk.path, "--yes", "--json", timeout_s=SOON_S)
    if damaged:
        assert run.code == 13, run.receipt
        assert disk.read(MIB) == bytes(MIB)
    else:
        assert run.code == 0, run.receipt
        assert disk.read(sum(map(len, parts))) == b"".join(parts)
        assert run.receipt["image_bytes"] == sum(map(len, parts))


@pytest.mark.parametrize("size", [1, 31, 33, 4 * MIB - 33, 4 * MIB - 32, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 8 * MIB - 31, 8 * MIB])
def test_a_packed_image_of_any_size_ends_where_it_ends(disk: LoopDisk, tmp_path: Path, size: int) -> None:
    """What is added to prove the end is never written, wherever a block ends."""
    raw = random.Random(size).randbytes(size)
    image = tmp_path / "x.img.gz"
    image.write_bytes(gzip.compress(raw, 1))
    run = run_bty("flash", str(image), disk.path, "--yes", "--json", "--verify", timeout_s=SOON_S)
    assert run.code == 0, run.receipt
    assert run.receipt["image_bytes"] == size
    after = max(MIB, -(-size // 512) * 512)  # what follows in the first MiB is emptied, and whole sectors keep their rest
    assert disk.read(size) == raw
    assert disk.read(512, after) == disk.backing.read_bytes()[after : after + 512] != bytes(512)


def test_an_image_proved_by_its_digest_may_have_something_behind_it(disk: LoopDisk, tmp_path: Path) -> None:
    """OpenWrt appends its own data to a gz file; what lies there is no size."""
    raw = random.Random(1).randbytes(3 * MIB)
    image = tmp_path / "appended.img.gz"
    image.write_bytes(gzip.compress(raw) + b"appended" + (20 * MIB).to_bytes(4, "little"))
    run = run_bty("flash", str(image), disk.path, "--yes", "--json", "--sha256", hashlib.sha256(image.read_bytes()).hexdigest())
    assert run.code == 0, run.receipt
    assert disk.read(len(raw)) == raw


def test_a_signal_never_reaches_a_stranger_with_a_used_number() -> None:
    """Once a child is reaped its number belongs to nobody, and soon to somebody else."""
    child = proc.start(["true"])
    child.wait()
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        child.pid = stranger.pid
        child.kill()
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(0.2)
    finally:
        stranger.kill()
        stranger.wait()


# --- the program and its surroundings ---------------------------------------------------------------------------------


def test_a_proof_by_a_map_is_told_to_people_too(disk: LoopDisk, tmp_path: Path) -> None:
    """Not only as JSON."""
    image = tmp_path / "x.img"
    image.write_bytes(random.Random(1).randbytes(MIB) + bytes(MIB))
    (tmp_path / "x.img.bmap").write_bytes(_bmap(image.read_bytes(), (0, 255)))
    done = _run_to(subprocess.PIPE, "flash", str(image), disk.path, "--yes")
    assert done.returncode == 0, done.stderr
    assert b"as its bmap says" in done.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("where", ["full", "closed"])
def test_a_flash_goes_on_where_nobody_listens(disk: LoopDisk, images: dict[str, Path], options: list[str], where: str) -> None:
    """A log on a full disk, a journal that restarts or a pipe whose reader is gone must not cost the flash its receipt."""
    if where == "full":
        with Path("/dev/full").open("wb") as full:
            done = _run_to(full.fileno(), "flash", str(images["img"]), disk.path, "--yes", *options)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        done = _run_to(writer, "flash", str(images["img"]), disk.path, "--yes", *options)
        os.close(writer)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert disk.read(17 * MIB + 512) == images["img"].read_bytes()


def test_an_end_of_input_is_no_confirmation(disk: LoopDisk, images: dict[str, Path]) -> None:
    """Ctrl-D at the question means no."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "bty", "flash", str(images["img"]), disk.path]
    process = subprocess.Popen(command, stdin=terminal, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=_environment())
    os.close(terminal)
    os.write(controller, b"\x04")
    _, stderr = process.communicate(timeout=SOON_S)
    os.close(controller)
    assert process.returncode == 2
    assert b"Traceback" not in stderr


@pytest.mark.parametrize("server", ["host:port", "http://[::1", "a b", "http://"])
def test_a_server_that_is_no_address_is_told_at_once(server: str) -> None:
    """Trying for a minute makes it no address."""
    run = run_bty("--server", server, "--mac", "02:00:00:00:00:01", "--no-reboot", timeout_s=SOON_S)
    assert run.code == 2
    assert "Traceback" not in run.stderr


def test_a_disk_that_vanishes_in_mid_flash_is_a_failed_write(tmp_path: Path) -> None:
    """Its storage shrinks to nothing under it, and there is no success and no traceback."""
    raw = random.Random(1).randbytes(16 * MIB)
    gone = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw[: 6 * MIB])
        gone.wait(SOON_S)
        connection.sendall(raw[6 * MIB :])

    with loop_disk(tmp_path / f"vanishing-{os.getpid()}", DISK_BYTES) as disk, answering(answer) as base:
        command = [sys.executable, "-m", "bty", "flash", f"{base}/noise.img", disk.path, "--yes", "--json", "--format", "img"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment())
        try:
            deadline = time.monotonic() + SOON_S
            while disk.backing.read_bytes()[:MIB] != bytes(MIB):
                assert time.monotonic() < deadline
            os.truncate(disk.backing, 0)
            subprocess.run(["losetup", "--set-capacity", disk.path], check=True)
            gone.set()
            stdout, stderr = process.communicate(timeout=SOON_S)
        finally:
            process.kill()
            os.truncate(disk.backing, DISK_BYTES)
            subprocess.run(["losetup", "--set-capacity", disk.path], check=True)
        assert process.returncode == 14
        assert b'"ok":false' in stdout
        assert b"Traceback" not in stderr


def test_an_image_that_nobody_can_open_is_refused_without_a_trace(tmp_path: Path) -> None:
    """The source is opened before the disk is touched."""
    source, _ = open_image(str(tmp_path / "missing.img"))
    with pytest.raises(SourceFailed):
        source.open()


def _environment() -> dict[str, str]:
    return {**os.environ, "BTY_ALLOW_LOOP": "1", "BTY_CONSOLE": "/dev/null"}


def _run_to(stdout: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bty", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=_environment(), timeout=30, check=False)


def test_a_head_that_may_not_have_been_kept_is_taken_away_again(
    disk: LoopDisk, images: dict[str, Path], monkeypatch: pytest.MonkeyPatch, loops_count: None
) -> None:
    """The device takes the first MiB and then fails to flush: the flash failed, so nothing of it may boot."""
    kept = DiskWriter.sync

    def fail_once_the_head_is_there(writer: DiskWriter) -> None:
        kept(writer)
        if disk.read(HEAD_BYTES) != bytes(HEAD_BYTES):
            raise WriteFailed("the disk could not be flushed: Input/output error")

    monkeypatch.setattr(DiskWriter, "sync", fail_once_the_head_is_there)
    with hostile_server(Hostile(body=images["img"].read_bytes())) as server, pytest.raises(WriteFailed, match="could not be flushed"):
        make_flash(disk, f"{server.url}/a.img").run()
    assert disk.read(HEAD_BYTES) == bytes(HEAD_BYTES)
