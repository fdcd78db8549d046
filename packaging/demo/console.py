"""The operator's terminal: the machine's serial line, what the demo says between its lines, and the keyboard."""

from __future__ import annotations

import os
import re
import select
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[^\[])")
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*)?\Z")
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_SCREEN_ON, _SCREEN_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
# The live environment's session knows no other screen. It begins by asking where the far corner of the terminal is, and
# lasts until the machine restarts: its kernel says so, and then its firmware clears the screen.
_SESSION_ON, _SESSION_OFF = b"\x1b[999;999H", (b"\x1bc", b"\x1b[=3h")
_RESTARTS = re.compile(rb"reboot: [A-Z]")
_MARK = b"bty: "
# Whatever a machine that was cut off in mid-screen may have left: other screen, hidden cursor, no wrapping, mouse, pasting, colours.
_RESET = _SCREEN_OFF + b"\x1b[?25h\x1b[?7h\x1b[?1000l\x1b[?2004l\x1b[0m"
_PERIOD_S = 0.05
_CTRL_C = b"\x03"


class Console:
    """What is seen. Two write to it, the demo and the serial line; `is_terminal` says whether *output* shows colours."""

    def __init__(self, output: BinaryIO, *, is_terminal: bool) -> None:
        self.is_terminal = is_terminal
        self.is_raw = False
        self._output = output
        self._lock = threading.Lock()
        self._held: list[str] = []
        self._rest = b""
        self._is_in_line = False
        self._has_screen = False
        self._in_session = False
        self._line = b""

    def say(self, text: str, *, plain: bool = False) -> None:
        """Say something of our own; a full-screen program is not disturbed, it is said when that ends."""
        marked = f"\x1b[0;1;7m{text}\x1b[0m" if self.is_terminal and not plain else text
        with self._lock:
            if self._has_screen and self.is_terminal:
                self._held.append(marked)
            else:
                self._write(b"\n" * (self._is_in_line + (not plain)), f"{marked}\n".encode())

    def show(self, data: bytes) -> None:
        """Show what came out of the serial line. Until `is_raw`, nothing that would wipe out what was said is let through.

        What the live environment's session shows is let through, on the terminal's other screen; a log gets its markers.
        """
        with self._lock:
            data = self._rest + data
            begun = _BEGUN.search(data)
            self._rest = data[begun.start() :] if begun else b""
            data = data[: begun.start()] if begun else data
            at = 0
            for match in _SEQUENCE.finditer(data):
                self._show_text(data[at : match.start()])
                self._show_sequence(match.group())
                at = match.end()
            self._show_text(data[at:])
            self._output.flush()

    def restore(self) -> None:
        """Leave the terminal as it was, and say what was held."""
        with self._lock:
            if self.is_terminal:
                self._output.write(_RESET)
            self._has_screen = self._in_session = False
            self._say_held()

    def _show_text(self, text: bytes) -> None:
        if not self.is_terminal:
            text = text.translate(None, b"\x00\b\r")
        for piece in text.splitlines(keepends=True):
            self._line += piece
            if self._in_session and _RESTARTS.search(self._line):
                self._end_session()
            if self.is_terminal or not self._in_session:
                self._put(piece)
            elif self._line.startswith(_MARK) and self._line.endswith(b"\n"):
                self._put(self._line)  # all that a log can keep of a full screen: what was written past it
            if piece.endswith(b"\n"):
                self._line = b""

    def _show_sequence(self, sequence: bytes) -> None:
        self._line = b""
        if sequence == _SESSION_ON and not self._has_screen:
            self._in_session = self._has_screen = True
            if self.is_terminal:
                self._output.write(_SCREEN_ON)
        elif self._in_session and sequence in _SESSION_OFF:
            self._end_session()
        screen = {_SCREEN_ON: True, _SCREEN_OFF: False}.get(sequence, self._has_screen)
        if self.is_terminal and (self.is_raw or self._has_screen or screen or _COLOUR.fullmatch(sequence)):
            self._output.write(sequence)
        ended, self._has_screen = self._has_screen and not screen, screen
        if ended:
            self._say_held()

    def _end_session(self) -> None:
        self._has_screen = self._in_session = False
        if self.is_terminal:
            self._output.write(_RESET)
        self._say_held()

    def _say_held(self) -> None:
        self._write(*(f"{text}\n".encode() for text in self._held))
        self._held.clear()

    def _write(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._put(piece)
        self._output.flush()

    def _put(self, text: bytes) -> None:
        if text:
            self._is_in_line = not text.endswith(b"\n")
        self._output.write(text)


@contextmanager
def following(log: Path, console: Console) -> Iterator[None]:
    """Show *log*, which grows, for as long as the block lasts, and what is left of it at the end."""
    over = threading.Event()

    def follow() -> None:
        with log.open("rb") as file:
            while not over.wait(_PERIOD_S):
                if data := file.read():
                    console.show(data)
            console.show(file.read())

    thread = threading.Thread(target=follow, name="serial line", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Keyboard:
    """Where keys go: to whatever `receive` is at the moment. `pressed` is set by each."""

    def __init__(self) -> None:
        self.receive: Callable[[bytes], None] | None = None
        self.pressed = threading.Event()


@contextmanager
def typing() -> Iterator[Keyboard]:
    """Hand every key on, but for Ctrl-C, which interrupts the demo and nobody else: make would complain."""
    before = termios.tcgetattr(0)
    keyboard = Keyboard()
    over, wake = os.pipe()
    thread = threading.Thread(target=_type, args=(keyboard, over), name="keyboard", daemon=True)
    try:
        now = termios.tcgetattr(0)
        now[0] &= ~(termios.ICRNL | termios.IXON)
        now[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(0, termios.TCSADRAIN, now)
        thread.start()
        yield keyboard
    finally:
        os.close(wake)
        if thread.ident is not None:
            thread.join()
        os.close(over)
        termios.tcsetattr(0, termios.TCSAFLUSH, before)


def _type(keyboard: Keyboard, over: int) -> None:
    while over not in select.select([0, over], [], [])[0]:
        keys = os.read(0, 1024)
        if _CTRL_C in keys or not keys:
            os.kill(os.getpid(), signal.SIGINT)
            return
        keyboard.pressed.set()
        if receive := keyboard.receive:
            receive(keys)
