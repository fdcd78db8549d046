"""The unattended run before its screen is there, and a person who chooses by hand while the plan is waited for."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bty.units import MIB
from tests.support.api import Operator, eventually
from tests.support.listening import listening
from tests.support.loop import LoopDisk
from tests.support.process import DaemonProcess
from tests.support.slow import Slow, slow_server
from tests.wizard.conftest import ENVIRONMENT, Shelf
from tests.wizard.terminal import Terminal, bty
from tests.wizard.test_screens import choose_disk

pytestmark = pytest.mark.loop
MAC = "52:54:00:11:22:33"
MUCH_LATER = 8 * MIB  # of the image: seconds of the slow origin, in which a plan that had come would be done
# Runs the program on a machine so slow that its screen is loaded only when the file named first is there.
LATE_SCREEN = """
import sys, time
from pathlib import Path
from bty.agent.wizard import start
gate, show = Path(sys.argv[1]), start._show
def late(*arguments):
    while not gate.exists():
        time.sleep(0.02)
    return show(*arguments)
start._show = late
sys.argv = ["bty.pyz", *sys.argv[2:]]
from bty.cli import main
sys.exit(main())
"""


@pytest.fixture
def origin(shelf: Shelf) -> Iterator[Slow]:
    with slow_server(shelf.content("first.img"), rate=MIB) as slow:
        yield slow


def _bind(operator: Operator, origin: Slow, disk: LoopDisk) -> None:
    entry = {"image_url": f"{origin.url}/os.img", "sha256": hashlib.sha256(origin.body).hexdigest(), "format": "img"}
    operator.bind(MAC, str(operator.call("POST", "/catalog/entries", entry)["bty_image_ref"]), disk.serial)
    operator.boot(MAC)


def _late(daemon: DaemonProcess, gate: Path) -> list[str]:
    return [sys.executable, "-c", LATE_SCREEN, str(gate), "--server", daemon.url, "--mac", MAC, "--no-reboot"]


def _written(disk: LoopDisk, origin: Slow, at: int = MIB + MIB // 2) -> bool:
    """Tell whether what the image has *at* this byte is on the disk already."""
    return disk.read(65536, at) == origin.body[at:][:65536]


def test_whoever_ends_a_flash_before_its_screen_is_there_cancels_it(
    daemon: DaemonProcess, operator: Operator, origin: Slow, disk: LoopDisk, tmp_path: Path
) -> None:
    """SIGTERM as on the screen: exit code 15, and the daemon hears of it."""
    _bind(operator, origin, disk)
    with Terminal(_late(daemon, tmp_path / "gate"), term="vt100", env=ENVIRONMENT) as terminal:
        eventually(lambda: _written(disk, origin))
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait_exit(30) == 15
    assert len(operator.events("machine.flash.failed")) == 1


def test_a_terminal_dropped_before_its_screen_is_there_ends_no_flash(
    daemon: DaemonProcess, operator: Operator, origin: Slow, disk: LoopDisk, tmp_path: Path
) -> None:
    """As later on."""
    _bind(operator, origin, disk)
    gate = tmp_path / "gate"
    with Terminal(_late(daemon, gate), term="vt100", env=ENVIRONMENT) as terminal:
        eventually(lambda: _written(disk, origin))
        terminal.hang_up()
        gate.touch()
        origin.hurry.set()
        terminal.wait_gone_after_hang_up(30)
    assert disk.read(len(origin.body)) == origin.body
    assert len(operator.events("machine.flashed")) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_before_the_screen_is_there_cancels(
    daemon: DaemonProcess, operator: Operator, origin: Slow, disk: LoopDisk, tmp_path: Path, times: int
) -> None:
    """Once or twice: the daemon hears of it."""
    _bind(operator, origin, disk)
    with Terminal(_late(daemon, tmp_path / "gate"), term="vt100", env=ENVIRONMENT) as terminal:
        eventually(lambda: _written(disk, origin))
        for _ in range(times):
            os.kill(terminal.pid, signal.SIGINT)
            if times > 1 and _ == 0:
                terminal.wait_for("waiting for its end")
        assert terminal.wait_exit(30) == 15
        assert "Traceback" not in terminal.screen()
    assert len(operator.events("machine.flash.failed")) == 1


class _Planner:
    """A daemon that keeps a machine waiting for its plan until it is let go."""

    def __init__(self, plan: dict[str, object]) -> None:
        self.plan, self.asked, self.go, self.requests = plan, threading.Event(), threading.Event(), []

    def serve(self, connection: socket.socket) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                if not (piece := connection.recv(65536)):
                    return
                request += piece
            line = request.split(b"\r\n")[0].decode()
            self.requests.append(line)
            body = b"{}"
            if "/plan" in line:
                self.asked.set()
                self.go.wait(60)
                body = json.dumps(self.plan).encode()
            elif line.startswith("GET"):
                body = b"[]"
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)


def _by_hand(terminal: Terminal, disk: LoopDisk, origin: Slow) -> None:
    terminal.press("i")
    terminal.wait_for("slow.img")
    terminal.press("/")
    terminal.send("slow.img")
    terminal.press("Enter", "Enter")
    choose_disk(terminal, disk)
    terminal.send(disk.serial[-4:])
    terminal.press("Enter")
    eventually(lambda: _written(disk, origin))


def test_a_plan_that_comes_late_ends_no_flash_by_hand(origin: Slow, disk: LoopDisk, other_disk: LoopDisk, tmp_path: Path) -> None:
    """Somebody chose by hand while the daemon was away: its plan, when it comes, is nothing of the flash on the screen."""
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(f'version = 1\n[[images]]\nname = "slow.img"\nsrc = "{origin.url}/Slow.img"\nformat = "img"\n')
    planner = _Planner(
        {
            "mode": "flash",
            "image": f"{origin.url}/os.img",
            "format": "img",
            "target_disk_serial": other_disk.serial,
            "attempt": 1,
            "max_attempts": 3,
        }
    )
    with listening(planner.serve) as url:
        argv = bty("--server", url, "--mac", MAC, "--no-reboot", "--catalog", str(catalog))
        with Terminal(argv, term="vt100", env=ENVIRONMENT) as terminal:
            terminal.wait_for("choose by hand")
            assert planner.asked.wait(10)
            _by_hand(terminal, disk, origin)
            before = terminal.mark()
            planner.go.set()
            eventually(lambda: _written(disk, origin, MUCH_LATER))
            origin.hurry.set()
            terminal.wait_for("Done: the disk is flashed")
            assert b"ailed" not in terminal.output[before:]


def test_a_plan_that_comes_late_restarts_nobody_who_flashes_by_hand(origin: Slow, disk: LoopDisk, tmp_path: Path) -> None:
    """An inventory's plan ends with a reboot, but not when somebody flashes by hand meanwhile."""
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(f'version = 1\n[[images]]\nname = "slow.img"\nsrc = "{origin.url}/Slow.img"\nformat = "img"\n')
    tools = tmp_path / "bin"
    tools.mkdir()
    restarted = tmp_path / "restarted"
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{restarted}\n')
    (tools / "systemctl").chmod(0o755)
    planner = _Planner({"mode": "inventory"})
    with listening(planner.serve) as url:
        argv = bty("--server", url, "--mac", MAC, "--catalog", str(catalog))
        with Terminal(argv, term="vt100", env={**ENVIRONMENT, "PATH": f"{tools}:{os.environ['PATH']}"}) as terminal:
            terminal.wait_for("choose by hand")
            assert planner.asked.wait(10)
            _by_hand(terminal, disk, origin)
            planner.go.set()
            eventually(lambda: _written(disk, origin, MUCH_LATER))
            origin.hurry.set()
            terminal.wait_for("Done: the disk is flashed")
            assert not restarted.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_before_anything_began_ends_the_program_with_its_number(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """While the plan is asked for and the screen is loaded; nothing was written, and nobody has to be told."""
    planner = _Planner({"mode": "exit"})
    with listening(planner.serve) as url:
        argv = [sys.executable, "-c", LATE_SCREEN, str(tmp_path / "gate"), "--server", url, "--mac", MAC, "--no-reboot"]
        with Terminal(argv, term="vt100", env=ENVIRONMENT) as terminal:
            assert planner.asked.wait(20)
            os.kill(terminal.pid, number)
            assert terminal.wait_exit(30) == code
            assert "Traceback" not in terminal.screen()
        planner.go.set()
