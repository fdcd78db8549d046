"""One image for several disks at once: fetched once, proved on each, and what fails on one fails on no other."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bty.errors import BtyError, DiskRefused
from bty.flash.engine import ImageJob, ManyFlash
from bty.flash.writer import HEAD_BYTES
from bty.host.disks import list_disks
from bty.model.disk import Disk, find_by_serial
from bty.model.image import ImageFormat
from bty.model.progress import Stage
from bty.sources.opening import open_image
from bty.units import MIB
from tests.integration.flash.conftest import DISK_BYTES, Run, run_bty
from tests.support.hostile import Behaviour, End, Hostile, hostile_server
from tests.support.loop import LoopDisk, full_disk, loop_disk
from tests.support.slow import slow_server
from tests.wizard.terminal import Terminal, bty

pytestmark = [pytest.mark.loop, pytest.mark.timeout(90)]
FORMATS = ["img", "img.gz", "img.xz", "img.zst", "img.bz2", "qcow2"]


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[LoopDisk]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(loop_disk(tmp_path / f"many-{os.getpid()}-{number}", DISK_BYTES)) for number in range(3)]


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[LoopDisk]:
    with full_disk(tmp_path / "small", DISK_BYTES, room=8 * MIB) as disk:
        yield disk


def results(run: Run) -> dict[str, dict]:
    """Return the result of each disk by its path."""
    return {line["target"]: line for line in run.lines if line["event"] == "result"}


def paths(disks: list[LoopDisk]) -> list[str]:
    return [disk.path for disk in disks]


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_is_fetched_once_and_written_to_each_disk(disks: list[LoopDisk], images: dict[str, Path], image_format: str) -> None:
    """Each disk holds the image and was read back; the server was asked for the bytes once."""
    raw, body = images["img"].read_bytes(), images[image_format].read_bytes()
    with hostile_server(Hostile(body=body)) as server:
        run = run_bty(
            "flash", f"{server.url}/small.{image_format}?", *paths(disks), "--format", image_format, "--verify", "--json", "--yes"
        )
    assert run.code == 0, run.stderr
    assert [disk.read(len(raw)) == raw for disk in disks] == [True] * 3
    ended = results(run)
    assert sorted(ended) == sorted(paths(disks))
    for result in ended.values():
        assert (result["ok"], result["receipt"]["verified"], result["receipt"]["bytes_read"]) == (True, ["readback"], len(body))
    whole = [request for request in server.requests if "bytes=" not in request]
    assert len(whole) == 1


def test_progress_names_its_disk(disks: list[LoopDisk], images: dict[str, Path]) -> None:
    """Every line of JSON says which disk it is about; people are told of each end."""
    run = run_bty("flash", str(images["img.xz"]), *paths(disks), "--json", "--yes")
    assert run.code == 0, run.stderr
    assert {line["target"] for line in run.lines if line["event"] == "progress"} == set(paths(disks))
    told = subprocess.run(
        [sys.executable, "-m", "bty", "flash", images["img"], *paths(disks), "--yes"],
        capture_output=True,
        text=True,
        env={**os.environ, "BTY_ALLOW_LOOP": "1"},
        check=True,
    )
    assert all(f"flashed {disk.path}: " in told.stdout for disk in disks)


def test_people_see_one_line_that_is_painted_over(disks: list[LoopDisk], images: dict[str, Path]) -> None:
    """On a terminal each disk is confirmed by its serial; then the disk that is last is told of, in one row however narrow."""
    environment = {"BTY_ALLOW_LOOP": "1", "BTY_CONSOLE": "/dev/null"}
    with slow_server(images["img"].read_bytes(), rate=16 * MIB) as slow:
        argv = bty("flash", f"{slow.url}/x.img", *paths(disks))
        with Terminal(argv, columns=48, rows=60, term="vt100", env=environment) as terminal:
            for disk in disks:
                terminal.wait_for(f"{disk.path},")
                terminal.send(f"{disk.serial[-4:]}\n")
            assert terminal.wait_exit() == 0
            screen = terminal.screen()
            assert terminal.output.count(b"writing") > 1
    assert len([line for line in screen.splitlines() if "writing" in line or "finishing" in line]) <= len(disks)
    assert all(f"flashed {disk.path}: " in screen for disk in disks)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_stream_that_breaks_is_continued_for_all(disks: list[LoopDisk], images: dict[str, Path], image_format: str) -> None:
    """Two breaks, one connection that is reset, and three disks that are the image, proved on the wire."""
    raw, body = images["img"].read_bytes(), images[image_format].read_bytes()
    breaks = [Behaviour(end=End.CLOSE, end_after=len(body) // 3), Behaviour(end=End.RESET, end_after=len(body) // 4), Behaviour()]
    script = [*[Behaviour()] * 2, *breaks] if image_format == "qcow2" else breaks
    options = ["--format", image_format, "--sha256", hashlib.sha256(body).hexdigest(), "--json", "--yes"]
    with hostile_server(Hostile(body=body, script=script)) as server:
        run = run_bty("flash", f"{server.url}/x?", *paths(disks), *options)
    assert run.code == 0, run.stderr
    assert [disk.read(len(raw)) == raw for disk in disks] == [True] * 3
    assert [result["receipt"]["verified"] for result in results(run).values()] == [["wire"]] * 3


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_disk_that_fails_in_the_middle_stops_no_other(
    disks: list[LoopDisk], failing: LoopDisk, images: dict[str, Path], image_format: str
) -> None:
    """The others are flashed; the one that failed does not boot, and the exit code is its."""
    raw = images["img"].read_bytes()
    good = disks[:2]
    targets = [good[0].path, failing.path, good[1].path]
    # Written as zeros, so that the small file system fills up whatever the image holds.
    run = run_bty("flash", str(images[image_format]), *targets, "--no-sparse", "--verify", "--json", "--yes")
    assert run.code == 14, run.stderr
    assert [disk.read(len(raw)) == raw for disk in good] == [True, True]
    ended = results(run)
    assert [ended[disk.path]["ok"] for disk in good] == [True, True]
    assert ended[failing.path]["receipt"]["error_code"] == "write_failed"
    assert ended[failing.path]["receipt"]["verified"] == []
    assert failing.read(HEAD_BYTES) == bytes(HEAD_BYTES)


def test_a_disk_that_is_refused_later_stops_no_other(disks: list[LoopDisk], images: dict[str, Path], tmp_path: Path) -> None:
    """Too small for the image, or held by somebody: known only when the source is open, and nothing was written to it."""
    raw = images["img"].read_bytes()
    fd = os.open(disks[1].path, os.O_RDWR | os.O_EXCL)
    try:
        with loop_disk(tmp_path / f"tiny-{os.getpid()}", 4 * MIB) as tiny:
            before = (tiny.read(4 * MIB), disks[1].read(DISK_BYTES))
            run = run_bty("flash", str(images["img"]), tiny.path, disks[0].path, disks[1].path, "--json", "--yes")
            assert before == (tiny.read(4 * MIB), disks[1].read(DISK_BYTES))
            ended = results(run)
            assert "too small" in ended[tiny.path]["receipt"]["error"]
    finally:
        os.close(fd)
    assert run.code == 11
    assert "in use" in ended[disks[1].path]["receipt"]["error"]
    assert ended[disks[0].path]["ok"]
    assert disks[0].read(len(raw)) == raw


def test_a_table_for_other_sectors_is_refused_on_its_disk_only(disks: list[LoopDisk], tmp_path: Path) -> None:
    """An image made for sectors of 512 bytes goes to the disk that has those, and not to the one with 4096."""
    image = tmp_path / "gpt.img"
    image.write_bytes(bytes(16 * MIB))
    subprocess.run(["sfdisk", "-q", image], input="label: gpt\nsize=4M\n", text=True, check=True)
    with loop_disk(tmp_path / f"big-sectors-{os.getpid()}", DISK_BYTES, sector_bytes=4096) as other:
        before = other.read(DISK_BYTES)
        run = run_bty("flash", str(image), other.path, disks[0].path, "--json", "--yes")
        assert other.read(DISK_BYTES) == before
        ended = results(run)
        assert "sectors of 512 bytes" in ended[other.path]["receipt"]["error"]
    assert run.code == 11
    assert ended[disks[0].path]["ok"]


@pytest.mark.parametrize("image_format", ["img", "img.zst", "img.gz", "qcow2"])
def test_wrong_bytes_boot_on_no_disk(disks: list[LoopDisk], images: dict[str, Path], image_format: str) -> None:
    """Where the digest is not the promised one every disk fails, and each receipt says what that disk holds."""
    run = run_bty("flash", str(images[image_format]), *paths(disks), "--sha256", "ab" * 32, "--json", "--yes")
    assert run.code == 13
    for disk in disks:
        assert disk.read(HEAD_BYTES) == bytes(HEAD_BYTES)
        assert f"{disk.path} holds unproved data" in results(run)[disk.path]["receipt"]["error"]


@pytest.mark.parametrize("image_format", ["img", "img.gz"])
def test_a_source_that_breaks_off_fails_every_disk(disks: list[LoopDisk], images: dict[str, Path], image_format: str) -> None:
    """With one cause; a disk is untouched, or it does not boot."""
    before = disks[0].read(HEAD_BYTES)
    body = images[image_format].read_bytes()
    gone = [Behaviour(end=End.CLOSE, end_after=len(body) // 2), Behaviour(status=404)]
    with hostile_server(Hostile(body=body, script=gone)) as server:
        run = run_bty("flash", f"{server.url}/x?", *paths(disks), "--format", image_format, "--json", "--yes")
    assert run.code == 12, run.stderr
    ended = results(run)
    assert len({result["receipt"]["error"] for result in ended.values()}) == 1
    assert all(disk.read(HEAD_BYTES) in (before, bytes(HEAD_BYTES)) for disk in disks)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_cancel_ends_all(disks: list[LoopDisk], images: dict[str, Path], image_format: str) -> None:
    """Every disk ends as cancelled, with what it holds, while the server stalls."""
    body = images[image_format].read_bytes()
    stall = Behaviour(end=End.STALL, end_after=len(body) * 2 // 3)
    script = [stall, Behaviour(), stall] if image_format == "qcow2" else [stall]
    with hostile_server(Hostile(body=body, script=script)) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "bty", "flash", f"{server.url}/a?b", *paths(disks), "--format", image_format, "--json", "--yes"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # what the loop had read ahead would be lost to `communicate`
            env={**os.environ, "BTY_ALLOW_LOOP": "1"},
        )
        assert process.stdout
        for line in process.stdout:
            if b'"stage":"write"' in line and b'"done":0,' not in line:
                break
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 15, errors
    ended = results(Run(15, [json.loads(line) for line in output.splitlines()], errors.decode()))
    assert sorted(ended) == sorted(paths(disks))
    for path, result in ended.items():
        assert f"{path} holds a partial write" in result["receipt"]["error"]


def test_nothing_is_begun_where_a_name_is_wrong(disks: list[LoopDisk], images: dict[str, Path]) -> None:
    """A disk that is not there, or one that is named twice, stops the whole before a byte is written."""
    before = disks[0].read(DISK_BYTES)
    missing = run_bty("flash", str(images["img"]), disks[0].path, "no-such-serial", "--json", "--yes")
    twice = run_bty("flash", str(images["img"]), disks[0].path, disks[0].serial, "--json", "--yes")
    assert (missing.code, twice.code) == (10, 2)
    assert "named twice" in twice.stderr
    assert disks[0].read(DISK_BYTES) == before


def _many(targets: tuple[Disk, ...], everything: tuple[Disk, ...], image: Path, image_format: ImageFormat) -> ManyFlash:
    source, _ = open_image(str(image), image_format=image_format)
    return ManyFlash(ImageJob(source=source, image_format=image_format, disks=everything, verify=True), targets)


def test_a_disk_that_does_not_read_back_fails_alone(
    disks: list[LoopDisk], images: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other disks are done before it, their outcome is there at once, and the one that lies does not boot."""
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    everything = list_disks()
    targets = tuple(find_by_serial(disk.serial, everything) for disk in disks)
    many = _many(targets, everything, images["img"], ImageFormat.IMG)
    liar = many._all[1]
    read_back = liar._read_back

    def lie(writer: object) -> None:
        with disks[1].backing.open("r+b") as file:  # behind the back of the device
            at = next(extent.offset for extent in liar.writer.extents if extent.digest)
            file.seek(at)
            file.write(b"\xff" * 4096)
            os.fsync(file.fileno())
        read_back(writer)

    monkeypatch.setattr(liar, "_read_back", lie)
    usual_turn_s = sys.getswitchinterval()
    outcomes = many.run()
    assert sys.getswitchinterval() == usual_turn_s  # shorter during a flash, and that is nobody else's business
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert outcomes[1].receipt.error_code == "readback_failed"
    assert disks[1].read(HEAD_BYTES) == bytes(HEAD_BYTES)
    assert many.outcome(0) == outcomes[0]
    assert [progress.stage for progress in many.progress()] == [Stage.FINISH, Stage.VERIFY, Stage.FINISH]


def test_all_disks_refused_touches_no_source(disks: list[LoopDisk], images: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards come first: a source is opened only for a disk that may be written."""
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    everything = list_disks()
    busy = tuple(
        Disk(path=disk.path, size_bytes=disk.size_bytes, device=disk.device, in_use=("mounted at /x",))
        for disk in (find_by_serial(loop.serial, everything) for loop in disks)
    )
    many = _many(busy, everything, Path("/nowhere.img"), ImageFormat.IMG)
    errors: list[BtyError | None] = [outcome.error for outcome in many.run()]
    assert all(isinstance(error, DiskRefused) for error in errors)
