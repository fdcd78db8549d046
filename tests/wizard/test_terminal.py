"""The terminal that the other tests look through is itself a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wizard.terminal import Terminal, Tmux

# Says its size and what it reads. q leaves everything as it was, x does not; t writes a screenful, s stops itself.
PROGRAM = r"""
import os, signal, sys, termios, tty
before = termios.tcgetattr(0)
def put(text): os.write(1, text.encode())
def title(*_):
    size = os.get_terminal_size()
    put(f"\x1b[2J\x1b[H{os.environ['TERM']} {size.columns}x{size.lines}\r\n")
signal.signal(signal.SIGWINCH, title)
print("before")
tty.setraw(0)
put("\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1h")
title()
put("\x1b[6n")
while True:
    key = os.read(0, 100)
    if key == b"q":
        put("\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1l")
        termios.tcsetattr(0, termios.TCSANOW, before)
        sys.exit(3)
    if key == b"x":
        sys.exit(4)
    if key == b"t":
        put("." * 23040 + "\r\nwritten")
    elif key == b"s":
        os.kill(0, signal.SIGTSTP)
        put("continued\r\n")
    else:
        put(f"read {key!r}\r\n")
"""
ARGV = [sys.executable, "-c", PROGRAM]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal(ARGV, columns=80, rows=24, term="vt100") as terminal:
        terminal.wait_for("vt100 80x24")
        yield terminal


def test_a_program_sees_its_terminal_and_the_test_what_it_draws(terminal: Terminal) -> None:
    """Kind and size of the terminal, its answers, typed text and keys all reach the program."""
    terminal.wait_for(r"read b'\x1b[2;1R'")
    terminal.send("Größe")
    terminal.wait_for(r"read b'Gr\xc3\xb6\xc3\x9fe'")
    terminal.press("Up", "C-l")
    terminal.wait_for(r"\x1bOA")
    assert "\\x0c" in terminal.wait_for("x0c")


def test_a_size_that_changes_is_seen(terminal: Terminal) -> None:
    """A resize reaches the program and the model."""
    terminal.resize(132, 43)

    terminal.wait_for("vt100 132x43")


def test_the_end_is_seen(terminal: Terminal) -> None:
    """The exit code arrives, the first screen is back, and nothing is left changed."""
    terminal.send("q")

    assert terminal.wait_exit() == 3
    assert terminal.changes_left() == []
    assert terminal.screen() == "before"


def test_what_is_left_changed_is_named(terminal: Terminal) -> None:
    """A program that restores nothing is caught in all of it."""
    terminal.send("x")

    assert terminal.wait_exit() == 4
    assert terminal.changes_left() == [
        "the modes of the line (termios)",
        "the alternate screen",
        "the cursor is hidden",
        "the mouse is on",
        "application cursor keys",
    ]


def test_bytes_are_counted(terminal: Terminal) -> None:
    """What is written since a mark is counted to the byte, and what others print is not lost."""
    terminal.settle()
    mark = terminal.mark()
    terminal.send("k")
    terminal.settle(after=mark)
    counted = terminal.written_since(mark)
    terminal.write_over("[  12.3] usb 1-1: new device")

    assert counted == len("read b'k'\r\n")
    terminal.wait_for("usb 1-1: new device")


def test_a_slow_line_takes_its_time() -> None:
    """At 115200 baud 23040 bytes take two seconds, less what the kernel holds, and all of them arrive."""
    with Terminal(ARGV, baud=115200, term="vt100") as terminal:
        terminal.wait_for("80x24")
        began = time.monotonic()
        terminal.send("t")
        terminal.wait_for("written")

        assert time.monotonic() - began > 1.9


def test_a_program_that_is_stopped_goes_on(terminal: Terminal) -> None:
    """Stopped from within or from outside it can be continued, as by a shell."""
    terminal.send("s")
    terminal.wait_stopped()
    terminal.resume()
    terminal.wait_for("continued")
    terminal.suspend()
    terminal.resume()
    terminal.send("k")

    terminal.wait_for("read b'k'")


def test_a_dropped_line_ends_the_program(terminal: Terminal) -> None:
    """A hang-up reaches the program."""
    terminal.hang_up()

    terminal.wait_gone_after_hang_up()


@pytest.mark.needs("tmux")
def test_the_same_in_tmux(tmp_path: Path) -> None:
    """In tmux a program is looked at with and without a client, sees keys and sizes, and outlives a dropped client."""
    # A shell tells how the program ended, since tmux does not always notice.
    argv = ["sh", "-c", '"$@"; echo "ended with $?"; read _', "sh", *ARGV]
    with Tmux(argv, socket=tmp_path / "tmux", columns=80, rows=24) as tmux:
        tmux.wait_for("screen 80x24")
        tmux.send("k")
        tmux.wait_for("read b'k'")
        tmux.press("C-l")
        tmux.wait_for(r"read b'\x0c'")
        with Terminal(tmux.attach_argv, columns=80, rows=24) as client:
            client.wait_for("read b'k'")
            client.hang_up()
        with Terminal(tmux.attach_argv, columns=100, rows=30) as client:
            client.wait_for("screen 100x30")
            tmux.send("q")
            tmux.wait_for("ended with 3")
