"""What a machine says on its console: the markers that tests and people look for. Contract 7.8."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from bty import __version__
from bty.units import plain_text

_MILESTONES = (25, 50, 75, 100)


def tell(text: str, stream: TextIO | None, *, start: str = "", end: str = "\n") -> None:
    """Print to an output that may be gone, full or of few letters: what is told never fails what is done.

    *text* may be anybody's words: but for its ends of lines nothing of it acts on a terminal. *start* is the caller's own.
    """
    if stream is None:
        return
    text = start + "\n".join(map(plain_text, text.split("\n")))
    try:
        try:
            print(text, file=stream, end=end, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode(), file=stream, end=end, flush=True)
    except OSError:
        # From here on into nothing: what is buffered would fail again, at the latest when the program ends.
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)


class Console:
    """Writes markers. A console that is not there, or that fails, never fails a flash.

    Lifecycle lines go to standard error, the kernel log and the console; percent milestones to the console only,
    because kernel messages would be painted over a full-screen progress display. `BTY_CONSOLE` names the console
    device (default /dev/console); where it is set, nothing goes to the kernel log.
    """

    def __init__(self, *, beside_screen: bool = False) -> None:
        """Beside a screen nothing is said on standard error where that is a terminal, and a line begins on a line of its own.

        The console may be that very terminal, whose picture the line has then spoilt: `overprinted` is called after each.
        """
        named = os.environ.get("BTY_CONSOLE")
        self.overprinted: Callable[[], None] = _nothing
        self._beside_screen = beside_screen
        self._console = Path(named or "/dev/console")
        self._kmsg = None if named else Path("/dev/kmsg")
        self._said: set[str] = set()
        self._entered = False

    def enter(self) -> None:
        """Say that the flasher has begun, unless that was said."""
        if not self._entered:
            self._entered = True
            self.announce(f"bty: entered v{__version__}")

    def leave(self) -> None:
        """Say that the flasher ends, or has nothing to do until it is asked again."""
        self.announce(f"bty: exiting v{__version__}")
        self._entered = False

    def announce(self, text: str) -> None:
        """Write a lifecycle line, such as `bty: auto-flash starting`."""
        if not (self._beside_screen and sys.stderr and sys.stderr.isatty()):
            tell(text, sys.stderr)
        text = plain_text(text)
        if self._kmsg:
            _append(self._kmsg, f"<6>{text}\n")
        self._write(f"{text}\n")

    def milestones(self, verb: str, done: int, total: int | None) -> None:
        """Write `bty: <verb> N%` for each quarter that *done* of *total* bytes has passed, each once."""
        if not total:
            return
        for percent in _MILESTONES:
            line = f"bty: {verb} {percent}%"
            if done * 100 >= percent * total and line not in self._said:
                self._said.add(line)
                self._write(f"{line}\n")

    def start_over(self) -> None:
        """Forget the milestones said so far: a new flash begins."""
        self._said.clear()

    def _write(self, text: str) -> None:
        # A screen's terminal is raw: without the returns a line would begin and end where the cursor happens to be.
        _append(self._console, f"\r\n{text.rstrip()}\r\n" if self._beside_screen else text)
        self.overprinted()


def _nothing() -> None:
    pass


def _append(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)  # Ctrl-S holds up nothing
    except OSError:
        return
    try:
        os.write(descriptor, text.encode())
    except OSError:
        return
    finally:
        os.close(descriptor)
