"""The main job: the daemon decides, the flasher writes, the disk is the image, and the daemon knows."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bty.agent.report import Reporter
from bty.agent.server import Server
from bty.agent.unattended import Unattended
from bty.flash.writer import HEAD_BYTES
from bty.model.progress import Progress, Stage
from bty.units import MIB
from tests.integration.flash.conftest import run_bty
from tests.support.api import Operator, eventually
from tests.support.hostile import Behaviour, Hostile, hostile_server
from tests.support.listening import listening
from tests.support.loop import LoopDisk
from tests.support.process import DaemonProcess, daemon_process, free_port

pytestmark = pytest.mark.loop
MAC = "52:54:00:11:22:33"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    with daemon_process(tmp_path / "state", env={"BTY_WITHCACHE_EMBEDDED": "true"}) as daemon:
        yield daemon


@pytest.fixture
def operator(daemon: DaemonProcess) -> Operator:
    return Operator(daemon.url)


@pytest.fixture
def origin(images: dict[str, Path]) -> Iterator[Hostile]:
    """A well-behaved server with the raw image, whatever the name, until a test gives it a script."""
    with hostile_server(Hostile(body=images["img"].read_bytes())) as server:
        yield server


def _add_image(operator: Operator, origin: Hostile, *, name: str = "os.img") -> str:
    entry = {"image_url": f"{origin.url}/{name}", "sha256": hashlib.sha256(origin.body).hexdigest(), "format": "img"}
    return str(operator.call("POST", "/catalog/entries", entry)["bty_image_ref"])


def _run(daemon_url: str, **options: object) -> int:
    server = Server(daemon_url, MAC, patience_s=float(str(options.get("patience_s", 5))))
    return Unattended(server, Reporter(as_json=True), reboot=False, retry_after_s=0.01).run()


@pytest.fixture
def loops_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    monkeypatch.setenv("BTY_CONSOLE", "/dev/null")


def test_the_plan_is_flashed_from_the_origin_and_then_from_the_cache(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk, images: dict[str, Path], tmp_path: Path
) -> None:
    """Two power cycles of a machine that is always flashed: each bit-exact, each with one event that says whence."""
    ref = _add_image(operator, origin)
    operator.bind(MAC, ref, disk.serial, "bty-flash-always")
    console = tmp_path / "console"
    console.touch()
    for served_from in (f"{origin.url}/os.img", f"{daemon.url}/b/"):
        assert "vmlinuz" in operator.boot(MAC)
        disk.fill_with_old_content()
        run = run_bty("--server", daemon.url, "--mac", MAC, "--no-reboot", "--json", env={"BTY_CONSOLE": str(console)})
        assert run.code == 0, run.stderr
        assert disk.read(len(origin.body)) == origin.body
        receipt = operator.events("machine.flashed")[0]["details"]
        assert receipt["source"].startswith(served_from)
        assert receipt["sha256"] == hashlib.sha256(origin.body).hexdigest()
        assert receipt["verified"] == ["wire"]
        assert receipt["ref"] == ref
        assert receipt["target_serial"] == disk.serial
        assert "sanboot" in operator.boot(MAC)
        eventually(lambda: any(blob["sha256"] for blob in operator.call("GET", "/cache")["blobs"]))
    assert len(operator.events("machine.flashed")) == 2
    told = console.read_text().splitlines()
    assert told[0].startswith("bty: entered v")
    assert [line for line in told if "download" in line][:4] == [f"bty: download {part}%" for part in (25, 50, 75, 100)]
    assert "bty: write 100%" in told
    assert told.count("bty: auto-flash starting") == 2


@contextmanager
def _dying_cache(daemon_port: int, after_bytes: int) -> Iterator[str]:
    """A proxy before the daemon. It breaks the first blob off after *after_bytes* and serves none from then on."""
    state = {"dead": False}

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", daemon_port)) as upstream:
            request = client.recv(65536)
            blob = request.startswith(b"GET /b/")
            if blob and state["dead"]:
                return
            upstream.sendall(request)
            upstream.settimeout(5)
            client.settimeout(5)
            if b"Content-Length" in request and b"\r\n\r\n" in request and request.endswith(b"\r\n\r\n"):
                upstream.sendall(client.recv(1 << 20))
            passed = 0
            while chunk := upstream.recv(65536):
                client.sendall(chunk)
                passed += len(chunk)
                if blob and passed >= after_bytes:
                    state["dead"] = True
                    return

    with listening(serve) as url:
        yield url


def test_a_cache_that_dies_in_mid_flash_is_replaced_by_the_origin(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk, loops_count: None
) -> None:
    """The flash goes on at the byte reached, and the event names the origin."""
    operator.bind(MAC, _add_image(operator, origin), disk.serial)
    operator.boot(MAC)
    operator.fetch(f"/pxe/{MAC}/plan")  # a miss, which starts the fill
    eventually(lambda: any(blob["sha256"] for blob in operator.call("GET", "/cache")["blobs"]))
    origin.requests.clear()
    with _dying_cache(daemon.port, after_bytes=7 * MIB) as url:
        assert _run(url) == 0
    assert disk.read(len(origin.body)) == origin.body
    receipt = operator.events("machine.flashed")[0]["details"]
    assert receipt["source"] == f"{origin.url}/os.img"
    assert receipt["retries"] > 0
    assert all("Range: bytes=" in request for request in origin.requests), "the origin was asked for what was there already"


def test_a_flash_that_fails_is_tried_again_a_bounded_number_of_times(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk, loops_count: None
) -> None:
    """Each failure is an event with its receipt; then the machine waits, visibly failed, and a good flash clears it."""
    operator.bind(MAC, _add_image(operator, origin), disk.serial)
    origin.script = [Behaviour(flip_at=9 * MIB)]
    operator.boot(MAC)
    assert _run(daemon.url) == 13
    failed = operator.events("machine.flash.failed")
    assert len(failed) == 3
    assert "promised was" in failed[0]["details"]["error"]
    assert operator.events("machine.flashed") == []
    assert disk.read(HEAD_BYTES) == bytes(HEAD_BYTES)
    machine = operator.call("GET", f"/machines/{MAC}")
    assert "promised was" in machine["flash_error"]
    assert '"mode":"interactive"' in operator.fetch(f"/pxe/{MAC}/plan").replace(" ", "")

    origin.script = [Behaviour()]
    operator.bind(MAC, None, disk.serial)
    operator.bind(MAC, _add_image(operator, origin, name="better.img"), disk.serial)
    operator.boot(MAC)
    assert _run(daemon.url) == 0
    assert operator.call("GET", f"/machines/{MAC}")["flash_error"] is None


def test_a_missing_disk_is_a_failure_that_the_daemon_hears_of(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk, loops_count: None
) -> None:
    """Exit 10, and the reason is in the event."""
    operator.bind(MAC, _add_image(operator, origin), "NOT-HERE")
    operator.boot(MAC)
    assert _run(daemon.url) == 10
    assert "no disk has the serial 'NOT-HERE'" in operator.events("machine.flash.failed")[0]["details"]["error"]


def test_a_machine_that_nobody_knows_reports_its_hardware(daemon: DaemonProcess, operator: Operator, loops_count: None) -> None:
    """The first contact makes a record, the plan is inventory, and the report completes the cycle."""
    assert "vmlinuz" in operator.boot(MAC)
    assert _run(daemon.url) == 0
    assert len(operator.events("machine.inventory")) == 1
    assert operator.call("GET", f"/machines/{MAC}")["known_disks"]
    assert "sanboot" in operator.boot(MAC)
    assert "vmlinuz" in operator.boot(MAC), "the next cycle reports again"


def test_no_daemon_means_its_own_exit_code(loops_count: None) -> None:
    """After its patience the run ends with 16 and names the address."""
    assert _run(f"127.0.0.1:{free_port()}", patience_s=0.1) == 16


def test_a_flash_is_followed_by_a_reboot(
    daemon: DaemonProcess, operator: Operator, origin: Hostile, disk: LoopDisk, tmp_path: Path
) -> None:
    """The receipt is there before the machine goes down."""
    told = tmp_path / "told"
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    program.chmod(0o755)
    operator.bind(MAC, _add_image(operator, origin), disk.serial)
    operator.boot(MAC)
    run = run_bty("--server", daemon.url, "--mac", MAC, "--json", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert run.code == 0, run.stderr
    assert told.read_text() == "reboot\n"
    assert "bty: flash complete; rebooting" in run.stderr
    assert len(operator.events("machine.flashed")) == 1


@pytest.mark.parametrize(
    ("image_bytes", "told"),
    [(8000, {"bytes": 2000, "total": 8000, "rate": 100}), (None, {"bytes": 250, "total": 1000, "rate": 12})],
)
def test_progress_has_a_total_although_the_size_of_the_image_is_unknown(
    daemon: DaemonProcess, operator: Operator, image_bytes: int | None, told: dict[str, int]
) -> None:
    """A packed image may not say how large it is: then bytes, total and rate are those of the download."""
    operator.bind(MAC, None, None, "bty-inventory")
    progress = Progress(stage=Stage.WRITE, read=250, read_total=1000, done=2000, done_total=image_bytes)
    Server(daemon.url, MAC).progress(progress, 100.0)
    known = operator.call("GET", f"/machines/{MAC}")["progress"]
    assert {key: known[key] for key in told} == told


def test_the_daemon_knows_why_a_flash_stands_still(daemon: DaemonProcess, operator: Operator) -> None:
    """As long as it does."""
    operator.bind(MAC, None, None, "bty-inventory")
    server = Server(daemon.url, MAC)
    server.progress(Progress(stage=Stage.WRITE, trouble="10.0.0.1: Connection refused"), 0.0)
    assert operator.call("GET", f"/machines/{MAC}")["progress"]["trouble"] == "10.0.0.1: Connection refused"

    server.progress(Progress(stage=Stage.WRITE), 0.0)
    assert operator.call("GET", f"/machines/{MAC}")["progress"]["trouble"] is None
