"""The pieces of `make demo` that need no virtual machine: the way in from the loopback, and what the terminal shows."""

from __future__ import annotations

import io
import os
import re
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.pxe.harness import own_network
from tests.support.process import free_port

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "packaging" / "demo"
FORWARD = SimpleNamespace(**runpy.run_path(str(DEMO / "forward.py")))
CONSOLE = SimpleNamespace(**runpy.run_path(str(DEMO / "console.py")))
WAIT_S = 10.0


def _pair(entrance: socket.socket, exit_: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Connect at the entrance; return that end and the one at the exit."""
    outer = socket.create_connection(entrance.getsockname(), WAIT_S)
    exit_.settimeout(WAIT_S)
    inner = exit_.accept()[0]
    inner.settimeout(WAIT_S)
    return outer, inner


def _rest(outer: socket.socket) -> bytes:
    """Return what still comes before the connection ends, in whatever way it does."""
    try:
        return outer.recv(1024)
    except ConnectionError:
        return b""


@pytest.fixture
def exit_() -> Iterator[socket.socket]:
    """What the forwarder leads to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_an_answer_that_goes_on_arrives_while_it_goes_on(exit_: socket.socket) -> None:
    """Each line of a stream that never ends passes at once, as the events of the app need it."""
    with FORWARD.listen(0) as entrance, FORWARD.forwarding(entrance, *exit_.getsockname()):
        outer, inner = _pair(entrance, exit_)
        with outer, inner:
            for line in (b"data: 1\n\n", b"data: 2\n\n"):
                inner.sendall(line)
                assert outer.recv(1024) == line


def test_who_has_said_everything_can_still_be_answered(exit_: socket.socket) -> None:
    """The end of a request passes, and the answer behind it, however large, passes whole."""
    answer = bytes(range(256)) * 40_000
    with FORWARD.listen(0) as entrance, FORWARD.forwarding(entrance, *exit_.getsockname()):
        outer, inner = _pair(entrance, exit_)
        with outer, inner:
            outer.sendall(b"question")
            outer.shutdown(socket.SHUT_WR)
            assert inner.makefile("rb").read() == b"question"

            def reply() -> None:
                inner.sendall(answer)
                inner.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=reply)
            sender.start()
            assert outer.makefile("rb").read() == answer
            sender.join()


def test_a_stream_that_is_open_does_not_hold_up_the_end(exit_: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    """The demo can end while a browser listens to its events; the browser is told, and nobody is troubled with it."""
    entrance = FORWARD.listen(0)
    with entrance, FORWARD.forwarding(entrance, *exit_.getsockname()):
        outer, inner = _pair(entrance, exit_)
    with outer, inner:
        assert _rest(outer) == b""
    assert caplog.text == ""


def test_nobody_at_the_other_end_is_told_by_the_end_of_the_connection() -> None:
    """As long as no daemon listens, a browser gets no answer rather than an endless wait."""
    with (
        FORWARD.listen(0) as entrance,
        FORWARD.forwarding(entrance, "127.0.0.1", free_port()),
        socket.create_connection(entrance.getsockname(), WAIT_S) as outer,
    ):
        assert _rest(outer) == b""


def test_a_taken_port_is_replaced_by_a_free_one(exit_: socket.socket) -> None:
    """Where the wanted port is taken, the app is to be found at another, on the loopback too."""
    with FORWARD.listen(exit_.getsockname()[1]) as entrance:
        assert entrance.getsockname()[0] == "127.0.0.1"
        assert entrance.getsockname()[1] != exit_.getsockname()[1]


@pytest.mark.needs("ip")
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_the_way_leads_into_another_network() -> None:
    """What listens in a network namespace is reached from outside of it, through the one socket that was made before."""
    ready, answers = threading.Event(), []
    with FORWARD.listen(0) as entrance:

        def browse() -> None:
            ready.wait(WAIT_S)
            with socket.create_connection(entrance.getsockname(), WAIT_S) as outer:
                answers.append(outer.makefile("rb").read())

        browser = threading.Thread(target=browse)
        browser.start()  # before the other network is entered, which only the calling thread does
        with own_network(), socket.create_server(("127.0.0.1", 0)) as inside, FORWARD.forwarding(entrance, *inside.getsockname()):
            ready.set()
            inside.settimeout(WAIT_S)
            with inside.accept()[0] as connection:
                connection.sendall(b"from within")
            browser.join()
    assert answers == [b"from within"]


FIRMWARE = b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r\n\x1b[5;1H\x1b[0;36mhttp\x1b[0m"


def test_firmware_does_not_wipe_out_what_was_said() -> None:
    """Clearing the screen and jumping about in it is held back; colours come through."""
    terminal = io.BytesIO()
    console = CONSOLE.Console(terminal, is_terminal=True)
    console.say("the password", plain=True)
    console.show(FIRMWARE)
    assert terminal.getvalue() == b"the password\n\x1b[0mSeaBIOS\r\n\x1b[0;36mhttp\x1b[0m"


@pytest.mark.parametrize("at", range(1, len(FIRMWARE)))
def test_a_sequence_in_two_halves_is_one(at: int) -> None:
    """Where a read happens to end does not matter."""
    terminal = io.BytesIO()
    console = CONSOLE.Console(terminal, is_terminal=True)
    console.show(FIRMWARE[:at])
    console.show(FIRMWARE[at:])
    assert terminal.getvalue() == b"\x1b[0mSeaBIOS\r\n\x1b[0;36mhttp\x1b[0m"


def test_a_full_screen_program_is_shown_whole_and_not_disturbed() -> None:
    """Between the two marks of such a program all of its sequences pass; what we say meanwhile is said behind it."""
    terminal = io.BytesIO()
    console = CONSOLE.Console(terminal, is_terminal=True)
    console.show(b"\x1b[?1049h\x1b[2J\x1b[1;1Hwizard")
    console.say("flashed", plain=True)
    assert terminal.getvalue() == b"\x1b[?1049h\x1b[2J\x1b[1;1Hwizard"
    console.show(b"\x1b[?1049l\x1b[2Jbye")
    assert terminal.getvalue().endswith(b"wizard\x1b[?1049lflashed\nbye")


def test_a_shell_has_its_terminal() -> None:
    """Once somebody may log in, nothing is held back: a shell moves the cursor in its line."""
    terminal = io.BytesIO()
    console = CONSOLE.Console(terminal, is_terminal=True)
    console.is_raw = True
    console.show(b"\x1b[K\x1b[3D")
    assert terminal.getvalue() == b"\x1b[K\x1b[3D"


def test_what_is_said_begins_a_line_of_its_own() -> None:
    """A prompt that waits in the middle of its line keeps that line."""
    screen = io.BytesIO()
    console = CONSOLE.Console(screen, is_terminal=False)
    console.say("first", plain=True)
    console.show(b"login: ")
    console.say("over", plain=True)
    assert screen.getvalue() == b"first\nlogin: \nover\n"


def test_a_log_has_no_sequences() -> None:
    """What goes to a file is text."""
    screen = io.BytesIO()
    console = CONSOLE.Console(screen, is_terminal=False)
    console.show(FIRMWARE + b"\x1b[?1049h\x1b[2Jwizard\n")
    console.say("flashed")
    assert screen.getvalue() == b"SeaBIOS\nhttpwizard\n\nflashed\n"


SESSION = b"[9.1] bty: fetched\r\n\x1b[999;999H\x1b[6n\x1b[2J\x1b[3;2HFlashing\r\nbty: write 50%\r\n\x1b[3;2HFlashing"


@pytest.mark.parametrize("end", [b"\r\n[30.5] reboot: Restarting system\r\n", b"\x1bc", b"\x1b[=3h"])
def test_the_flashers_screen_has_a_screen_of_its_own_until_the_machine_restarts(end: bytes) -> None:
    """It is shown whole, wipes out nothing, and what is said meanwhile is said behind it."""
    terminal = io.BytesIO()
    console = CONSOLE.Console(terminal, is_terminal=True)
    console.show(SESSION)
    console.say("flashed", plain=True)
    assert terminal.getvalue() == SESSION.replace(b"\x1b[999", b"\x1b[?1049h\x1b[999")
    console.show(end + b"SeaBIOS\x1b[2J")
    rest = terminal.getvalue().removeprefix(SESSION.replace(b"\x1b[999", b"\x1b[?1049h\x1b[999"))
    assert rest.lstrip(b"\r\n").startswith(b"\x1b[?1049l")
    assert b"flashed\n" in rest
    assert rest.endswith(b"SeaBIOS")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_log_has_the_markers_of_a_screen(size: int) -> None:
    """And none of its picture, wherever a read happens to end."""
    screen = io.BytesIO()
    console = CONSOLE.Console(screen, is_terminal=False)
    said = SESSION + b"\r\nbty: flash complete; rebooting\r\n\x1b[2J[30.5] reboot: Restarting system\r\nSeaBIOS\r\n"
    for at in range(0, len(said), size):
        console.show(said[at : at + size])
    expected = b"[9.1] bty: fetched\nbty: write 50%\nbty: flash complete; rebooting\n"
    assert screen.getvalue().startswith(expected)
    assert screen.getvalue().endswith(b"SeaBIOS\n")
    assert b"Flashing" not in screen.getvalue()


def test_what_the_demo_needs_is_there_for_its_test() -> None:
    """Every package of the demo is among those that the tests install."""
    demo, tests = (
        set(re.findall(r"^[a-z0-9][a-z0-9.+-]*", (ROOT / "packaging" / f"debian-{name}-packages.txt").read_text(), re.M))
        for name in ("demo", "test")
    )
    assert demo - tests == set()


def test_the_demo_needs_none_of_the_tests_tools() -> None:
    """It starts from a checkout whose environment holds what the program needs, and no more."""
    said = "import sys; sys.modules.update(dict.fromkeys(['pytest', '_pytest', 'hypothesis', 'playwright'])); import story"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(DEMO)])}
    ran = subprocess.run(
        [sys.executable, "-c", said], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
