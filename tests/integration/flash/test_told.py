"""What a program reads of a run that never came to a flash, and what people read of one that stands still."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from bty.agent.follow import _Rate
from bty.agent.report import Reporter, progress_line
from bty.agent.server import Server
from bty.agent.unattended import Unattended
from bty.errors import PlanUnreachable, SourceFailed
from bty.flash.engine import Flash, FlashJob, ImageJob, ManyFlash
from bty.host.disks import list_disks
from bty.model.disk import find_by_serial
from bty.model.image import ImageFormat
from bty.model.progress import Progress, Stage
from bty.sources.documents import fetch_document
from bty.sources.files import FileSource
from bty.sources.http import HttpSource, Location
from bty.units import MIB
from tests.integration.flash.conftest import DISK_BYTES, run_bty
from tests.support.api import Operator, eventually
from tests.support.hostile import Behaviour, End, Hostile, hostile_server
from tests.support.listening import answering, listening
from tests.support.loop import LoopDisk, can_loop, silent_disk
from tests.support.process import daemon_process, free_port
from tests.support.registry import make_certificate

MAC = "52:54:00:11:22:34"


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["flash", "{image}", "loop-of-nobody", "--yes"], 10, "no_such_disk"),
        (["flash", "{image}", "loop-of-nobody", "--sha256", "half of one"], 2, "invalid_input"),
        (["flash"], 2, "invalid_input"),
        (["flsh"], 2, "invalid_input"),
        ([], 2, "invalid_input"),
        (["--server", "http://127.0.0.1:9", "--mac", "zz"], 2, "invalid_input"),
        (["--server", "ftp://127.0.0.1", "--mac", MAC], 2, "invalid_input"),
    ],
)
def test_the_last_line_is_the_result_although_no_flash_began(tmp_path: Path, words: list[str], code: int, error: str) -> None:
    (tmp_path / "x.img").write_bytes(bytes(MIB))
    run = run_bty(*(word.format(image=tmp_path / "x.img") for word in words), "--json")

    assert run.code == code, run.stderr
    assert len(run.lines) == 1, run.lines
    told = run.result
    assert (told["event"], told["ok"], told["exit_code"], told["error_code"]) == ("result", False, code, error)
    assert told["error"]


def test_a_plan_that_waits_for_a_person_is_no_success_where_nobody_is(tmp_path: Path) -> None:
    """Bound to an image that is in no catalog, the plan is interactive: with a terminal that is the wizard."""
    with daemon_process(tmp_path / "state") as daemon:
        binding = {"boot_mode": "bty-flash-once", "bty_image_ref": "a" * 64, "target_disk_serial": "S1"}
        Operator(daemon.url).call("PUT", f"/machines/{MAC}", binding)
        run = run_bty("--server", daemon.url, "--mac", MAC, "--no-reboot", "--json")

    assert run.code == 17, run.stderr
    assert (run.result["ok"], run.result["exit_code"], run.result["mode"]) == (False, 17, "interactive")
    assert "start over on the machine's page" in run.stderr


def test_an_inventory_that_was_planned_is_a_success(tmp_path: Path) -> None:
    with daemon_process(tmp_path / "state") as daemon:
        run = run_bty("--server", daemon.url, "--mac", MAC, "--no-reboot", "--json")
    assert (run.code, run.result["ok"], run.result["mode"]) == (0, True, "inventory")


def test_a_daemon_that_does_not_answer_is_told_while_it_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """And named by the path that was asked for."""
    port = free_port()
    code = Unattended(Server(f"http://127.0.0.1:{port}", MAC, patience_s=1), Reporter(as_json=True), reboot=False).run()
    output, errors = capsys.readouterr()

    assert code == PlanUnreachable.exit_code
    waiting, ended = [line for line in errors.splitlines() if "entered" not in line][:2]
    assert "trying again for 1 s" in waiting
    assert f"GET /pxe/{MAC}/plan: " in ended
    assert '"error_code":"plan_unreachable"' in output


def test_no_time_is_left_where_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The average of nothing becomes nothing, and what would take days is not foretold."""
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    rate = _Rate()
    moving = Progress(stage=Stage.WRITE, read=0, read_total=None, done=100 * MIB, done_total=400 * MIB, retries=0)
    assert rate.update(moving) == 100 * MIB
    rates = [rate.update(moving) for _ in range(60)]

    assert rates[-1] == 0
    assert "left" not in progress_line(moving, rates[-1])
    assert "left" not in progress_line(moving, 1.0)
    assert progress_line(moving, 1 * MIB).endswith("5:00 left")
    assert progress_line(moving, 100 * MIB).endswith("0:03 left")


@pytest.mark.skipif(not can_loop(), reason="needs root and loop devices")
def test_a_source_that_cannot_be_reached_tells_why_while_it_is_tried(
    monkeypatch: pytest.MonkeyPatch, images: dict[str, Path], disk: LoopDisk
) -> None:
    """From the first connection on; once bytes come, nothing is wrong any more."""
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    port, disks, raw = free_port(), list_disks(), images["img"].read_bytes()
    target = find_by_serial(disk.serial, disks)
    source = HttpSource([Location.of(f"http://127.0.0.1:{port}/x.img")], name="x.img")
    flash = Flash(FlashJob(source=source, image_format=ImageFormat.IMG, disk=target, disks=disks))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(flash.run)
        eventually(lambda: flash.progress().trouble or running.done())
        assert flash.progress().trouble == f"127.0.0.1:{port}: Connection refused"
        assert "opening  waiting: 127.0.0.1" in progress_line(flash.progress(), 0.0)
        with hostile_server(Hostile(body=raw), port=port):
            running.result()
    assert disk.read(len(raw)) == raw


@pytest.mark.parametrize("came", [3000, MIB // 2])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_server_that_is_silent_is_told_while_it_is(monkeypatch: pytest.MonkeyPatch, came: int, chunked: bool) -> None:
    """Long before its connection is given up, and what it has sent is there; that we left is no trouble."""
    monkeypatch.setattr("bty.sources.trouble.SILENCE_S", 0.2)
    stall = Behaviour(end=End.STALL, end_after=came, chunked=chunked)
    read: list[int] = []
    with hostile_server(Hostile(body=bytes(2 * MIB), script=[stall])) as server, ThreadPoolExecutor(1) as pool:
        source = HttpSource([Location.of(f"{server.url}/x.img")], name="x.img", stall_limit_s=40)
        source.open()
        reading = pool.submit(_read_all, source, read)
        eventually(lambda: sum(read) == came)
        eventually(lambda: source.trouble or reading.done())
        assert str(source.trouble).startswith("no byte for ")
        source.abort()
        with pytest.raises(SourceFailed, match="stopped"):
            reading.result()
        assert (source.last_break, source.retries) == ("", 0)


def _read_all(source: HttpSource, read: list[int]) -> str:
    view, digest = memoryview(bytearray(MIB)), hashlib.sha256()
    while count := source.readinto(view, digest.hexdigest):
        digest.update(view[:count])
        read.append(count)
    return digest.hexdigest()


def test_what_came_of_a_connection_counts_however_little_it_was() -> None:
    """Far more connections than may bring nothing, each reset after a few thousand bytes, part of which came with the headers."""
    body = os.urandom(100_000)
    with hostile_server(Hostile(body=body, script=[Behaviour(end=End.RESET, end_after=4000)])) as server:
        source = HttpSource([Location.of(f"{server.url}/x.img")], name="x.img", stall_limit_s=20)
        source.open()
        assert _read_all(source, []) == hashlib.sha256(body).hexdigest()
        source.close()
    assert source.retries == 24


def test_what_a_server_says_never_acts_on_a_terminal() -> None:
    """Neither its reason phrase, nor what is no HTTP at all, nor where it sends us; a password in an address is nobody's business."""
    to_nobody = f"Location: http://me\x9b2J:word@127.0.0.1:{free_port()}/x".encode("latin-1")
    for answer, words in (
        (b"HTTP/1.1 404 \x1b[2Jgone\x9b\r\nContent-Length: 0", "[2Jgone"),
        (b"SSH-2.0-\x1b]0;x\x07", "SSH-2.0-]0;x"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n" + to_nobody, "127.0.0.1"),
    ):
        with answering(partial(_say, answer + b"\r\n\r\n")) as url:
            source = HttpSource([Location.of(f"{url}/x.img")], name="x.img", stall_limit_s=2)
            with pytest.raises(SourceFailed) as failed:
                source.open()
        assert words in str(failed.value)
        assert "word@" not in str(failed.value)
        assert str(failed.value).isprintable(), str(failed.value)


@pytest.mark.needs("openssl")
def test_a_tls_stream_that_breaks_is_not_called_a_server_without_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It spoke TLS until then."""
    certificate, key = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)

    def break_off(connection: socket.socket) -> None:
        with server.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(65536)
            encrypted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it")
            os.write(encrypted.fileno(), b"what is no record")

    with listening(break_off) as url:
        address = f"{url.replace('http:', 'https:')}/x.img"
        source = HttpSource([Location.of(address)], name="x.img", stall_limit_s=4)
        source.open()
        with pytest.raises(SourceFailed, match="its TLS connection broke"):
            _read_all(source, [])
        with pytest.raises(SourceFailed, match="its TLS connection broke"):
            fetch_document(address, max_bytes=MIB)


def test_all_that_lacks_the_word_that_it_is_all_is_asked_for_again() -> None:
    """A chunked body whose end was cut off came whole: that nothing is behind it does not mean that it has changed."""
    body, asked = os.urandom(100_000), []
    chunk = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "a"\r\n\r\n' + b"%x\r\n" % len(body) + body + b"\r\n"
    nothing = b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nContent-Range: bytes */100000\r\n\r\n"
    answers = [chunk, nothing, chunk + b"0\r\n\r\n"]

    def answer(connection: socket.socket) -> None:
        with connection:
            asked.append(connection.recv(65536))
            connection.sendall(answers.pop(0))

    with listening(answer) as url:
        source = HttpSource([Location.of(f"{url}/x.img")], name="x.img", stall_limit_s=4)
        source.open()
        read: list[int] = []
        digest = _read_all(source, read)
        source.close()
    assert digest == hashlib.sha256(body).hexdigest()
    assert [b"Range: bytes=100000-" in request for request in asked] == [False, True, False]
    assert source.last_break.endswith("the connection was closed too early")


def _say(answer: bytes, connection: socket.socket) -> None:
    with connection:
        connection.sendall(answer)


@pytest.mark.skipif(not can_loop(), reason="needs root and loop devices")
def test_a_disk_that_is_silent_is_told_while_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, images: dict[str, Path], disk: LoopDisk
) -> None:
    """It holds up the image and every other disk, which say so; once it answers, the flash goes on to its end."""
    monkeypatch.setattr("bty.flash.waits.SILENCE_S", 0.2)
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    raw = images["img"].read_bytes()
    with silent_disk(tmp_path / "room", DISK_BYTES) as (silent, silence), ThreadPoolExecutor(1) as pool:
        disks = list_disks()
        targets = tuple(find_by_serial(one.serial, disks) for one in (disk, silent))
        job = ImageJob(source=FileSource(str(images["img"])), image_format=ImageFormat.IMG, disks=disks)
        flash = ManyFlash(job, targets)
        with silence():
            running = pool.submit(flash.run)
            eventually(lambda: flash.progress()[1].trouble or running.done())
            held_up, trouble = (progress.trouble for progress in flash.progress())
        assert str(trouble).startswith("the disk has not answered for ")
        assert str(held_up).startswith(f"{silent.path} holds it up: the disk has not")
        assert [outcome.error for outcome in running.result()] == [None, None]
        assert [progress.trouble for progress in flash.progress()] == [None, None]
        assert [one.read(len(raw)) == raw for one in (disk, silent)] == [True, True]


def test_a_source_that_stalls_and_begins_anew_is_given_up_after_the_silence() -> None:
    """What is read again is no news, however often it comes."""
    stall = Behaviour(end=End.STALL, end_after=2 * MIB, ignore_range=True)
    with hostile_server(Hostile(body=bytes(4 * MIB), script=[stall])) as server:
        source = HttpSource([Location.of(f"{server.url}/x.img")], name="x.img", stall_limit_s=2)
        source.open()
        view = memoryview(bytearray(MIB))
        asked, delivered = len(server.requests), bytearray()
        try:
            while len(delivered) < 2 * MIB:
                delivered += view[: source.readinto(view, lambda: "")]
            assert len(delivered) == 2 * MIB
            with pytest.raises(SourceFailed, match="no byte for"):
                source.readinto(view, lambda: hashlib.sha256(delivered).hexdigest())
        finally:
            source.close()
        assert len(server.requests) - asked <= 3  # each stalls for 1 s; twelve in a row were the limit
