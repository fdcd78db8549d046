"""A terminal for tests: the real program in a real pseudo-terminal, with a model of the screen; and the same in tmux.

with Terminal(bty("--catalog", str(path)), rows=24, columns=80, term="vt100") as terminal:
    terminal.wait_for("Choose an image")
    terminal.press("Down", "Enter")
    terminal.send("flash")
    mark = terminal.mark()
    terminal.press("C-l")
    terminal.settle()
    assert terminal.written_since(mark) < 2500
    terminal.press("C-c")
    assert terminal.wait_exit() == 15
    assert terminal.changes_left() == []
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyte
from pyte import modes

ROOT = Path(__file__).resolve().parents[2]
LEADER = Path(__file__).with_name("leader.py")
PATIENCE_S = 15.0
BITS_PER_BYTE = 10  # eight, a start bit and a stop bit
_TICK_S = 0.01
_POLL_S = 0.02
_ALTERNATE = (47, 1047, 1049)
_MOUSE = (1000, 1002, 1003, 1005, 1006, 1015)
_BRACKETED_PASTE = 2004
_ARROWS = {"Up": "A", "Down": "B", "Right": "C", "Left": "D"}
_KEYS = {
    "Enter": "\r",
    "Escape": "\x1b",
    "Tab": "\t",
    "BTab": "\x1b[Z",
    "BSpace": "\x7f",
    "Space": " ",
    "Home": "\x1b[H",
    "End": "\x1b[F",
    "PPage": "\x1b[5~",
    "NPage": "\x1b[6~",
    "DC": "\x1b[3~",
}


def bty(*arguments: str) -> list[str]:
    """Return the command that runs the flasher of this tree."""
    return [sys.executable, "-m", "bty", *arguments]


class Display:
    """What a person at a terminal can do: look, and wait until something is there. Waiting polls, with a deadline."""

    def screen(self) -> str:
        """Return the screen as text, a line a row, without blanks at the ends of lines."""
        raise NotImplementedError

    def wait_until(self, holds: Callable[[str], bool], what: str, timeout_s: float = PATIENCE_S) -> str:
        """Wait until *holds* is true of the screen, and return the screen."""
        deadline = time.monotonic() + timeout_s
        while not holds(screen := self.screen()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s:g} s: {what}\n{_framed(screen)}")
            time.sleep(_POLL_S)
        return screen

    def wait_for(self, text: str, timeout_s: float = PATIENCE_S) -> str:
        """Wait until *text* is on the screen, and return the screen."""
        return self.wait_until(lambda screen: text in screen, f"{text!r} on the screen", timeout_s)

    def wait_gone(self, text: str, timeout_s: float = PATIENCE_S) -> str:
        """Wait until *text* is no longer on the screen, and return the screen."""
        return self.wait_until(lambda screen: text not in screen, f"{text!r} gone from the screen", timeout_s)


class _Model(pyte.Screen):
    """The screen of a terminal. Beyond what pyte does it has an alternate screen and answers where the cursor is."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], None]) -> None:
        self._answer = answer
        self._main: tuple[object, object] | None = None
        super().__init__(columns, rows)

    def write_process_input(self, data: str) -> None:
        self._answer(data)

    def select_graphic_rendition(self, *attrs: int, **_: object) -> None:
        super().select_graphic_rendition(*attrs)

    def set_mode(self, *wanted: int, **kwargs: object) -> None:
        super().set_mode(*wanted, **kwargs)
        if kwargs.get("private") and self._main is None and set(wanted) & set(_ALTERNATE):
            self._main = (copy.deepcopy(self.buffer), copy.copy(self.cursor))
            self.erase_in_display(2)

    def reset_mode(self, *wanted: int, **kwargs: object) -> None:
        super().reset_mode(*wanted, **kwargs)
        if kwargs.get("private") and self._main is not None and set(wanted) & set(_ALTERNATE):
            (self.buffer, self.cursor), self._main = self._main, None
            self.dirty.update(range(self.lines))

    def has_private(self, mode: int) -> bool:
        return mode << 5 in self.mode


class Terminal(Display):
    """A program in a pseudo-terminal. It is gone after the block.

    With *baud* the terminal takes bytes no faster than a line of that speed, in small pieces, so that a program that
    writes too much waits as it would on a serial line (the kernel holds about 12 KiB before it does).
    With *answers* false the terminal never answers a question, as a line with nobody at the other end.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        term: str = "xterm-256color",
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        baud: int | None = None,
        answers: bool = True,
    ) -> None:
        self._master, self._slave = os.openpty()
        self._set_size(columns, rows)
        self._as_found = termios.tcgetattr(self._slave)
        self._answers = answers
        self._bytes_per_s = baud / BITS_PER_BYTE if baud else None
        self._lock = threading.Lock()
        self._model = _Model(columns, rows, self._answer)
        self._stream = pyte.ByteStream(self._model)
        self._output = bytearray()
        self._last_output_at = time.monotonic()
        self._reports = b""
        self._catch_ups_seen = 0
        self._closed = threading.Event()
        report_read, report_write = os.pipe()
        self._report = report_read
        # setsid --ctty: a session of its own whose controlling terminal this is
        self._leader = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-S", "-E", str(LEADER), str(report_write), *argv],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            pass_fds=[report_write],
            cwd=cwd,
            env=_environment(term, env),
        )
        os.close(report_write)
        self._reader = threading.Thread(target=self._read, name="terminal")
        self._reader.start()
        try:
            self.pid = int(self._wait_report(rb"pid (\d+)"))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- looking

    def screen(self) -> str:
        with self._lock:
            return "\n".join(line.rstrip() for line in self._model.display).rstrip("\n")

    @property
    def output(self) -> bytes:
        """Every byte that the program has written so far."""
        with self._lock:
            return bytes(self._output)

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column of the cursor, from 0."""
        with self._lock:
            return self._model.cursor.y, self._model.cursor.x

    def attributes(self, row: int, column: int) -> pyte.screens.Char:
        """Return the character at a place with its attributes: fg, bg, bold, reverse and so on."""
        with self._lock:
            return self._model.buffer[row][column]

    def mark(self) -> int:
        """Return a mark for `written_since`."""
        with self._lock:
            return len(self._output)

    def written_since(self, mark: int) -> int:
        """Return how many bytes the program has written since *mark*."""
        return self.mark() - mark

    def settle(self, *, after: int | None = None, quiet_s: float = 0.25, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the program has written something since the mark *after*, and then nothing for *quiet_s*."""
        deadline = time.monotonic() + timeout_s
        while (after is not None and not self.written_since(after)) or time.monotonic() - self._last_output_at < quiet_s:
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing written, or still writing, after {timeout_s:g} s\n{_framed(self.screen())}")
            time.sleep(_POLL_S)

    # --- doing

    def send(self, text: str | bytes) -> None:
        """Type *text* as it is."""
        data = memoryview(text.encode() if isinstance(text, str) else text)
        while data:
            data = data[os.write(self._master, data) :]

    def press(self, *names: str) -> None:
        """Press keys by tmux's names: Up, Down, Enter, Escape, NPage, PPage, BSpace, C-l and so on; single characters too."""
        for name in names:
            self.send(self._key(name))

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal; the program gets SIGWINCH."""
        with self._lock:
            self._model.resize(rows, columns)
        self._set_size(columns, rows)

    def write_over(self, text: str) -> None:
        """Print *text* over whatever is there, as the kernel prints its messages to a console."""
        os.write(self._slave, text.encode())

    def suspend(self) -> None:
        """Stop the program as a shell's Ctrl-Z does, and wait until it is stopped."""
        os.killpg(self.pid, signal.SIGTSTP)
        self.wait_stopped()

    def wait_stopped(self) -> None:
        """Wait until the program has been stopped."""
        self._wait_report(rb"(stopped)")

    def resume(self) -> None:
        """Continue a stopped program as a shell's `fg` does."""
        self._leader.send_signal(signal.SIGUSR1)

    def hang_up(self) -> None:
        """Drop the line: the terminal is gone, and the program gets SIGHUP."""
        self._closed.set()
        self._reader.join()
        for fd in (self._slave, self._master):
            os.close(fd)
        self._master = self._slave = -1

    # --- the end

    def wait_exit(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the program to end and return its exit code, or the negative number of the signal that ended it."""
        code = int(self._wait_report(rb"ended (-?\d+)", timeout_s))
        self._leader.wait(timeout_s)
        if self._master >= 0:
            self._catch_up(timeout_s)
        return code

    def wait_gone_after_hang_up(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the program, whose terminal was dropped, no longer runs."""
        deadline = time.monotonic() + timeout_s
        while _runs(self.pid):
            if time.monotonic() > deadline:
                raise AssertionError(f"the program still runs {timeout_s:g} s after its terminal went away")
            time.sleep(_POLL_S)

    def changes_left(self) -> list[str]:
        """Return what is not as it was before the program: modes of the line, screen, cursor, mouse, paste."""
        found = []
        if termios.tcgetattr(self._slave) != self._as_found:
            found.append("the modes of the line (termios)")
        with self._lock:
            model = self._model
            found += ["the alternate screen"] * any(model.has_private(mode) for mode in _ALTERNATE)
            found += ["the cursor is hidden"] * (modes.DECTCEM not in model.mode or model.cursor.hidden)
            found += ["the mouse is on"] * any(model.has_private(mode) for mode in _MOUSE)
            found += ["bracketed paste is on"] * model.has_private(_BRACKETED_PASTE)
            found += ["application cursor keys"] * model.has_private(1)
            blank = model.default_char
            found += ["colours or attributes"] * (model.cursor.attrs._replace(data=" ") != blank._replace(data=" "))
        return found

    def close(self) -> None:
        """End the program, whatever it does, and give the terminal back."""
        if self._master >= 0:
            if self._leader.poll() is None:
                with contextlib.suppress(ProcessLookupError, AttributeError):
                    os.killpg(self.pid, signal.SIGKILL)
                self._leader.kill()
            self.hang_up()
        elif self._leader.poll() is None:
            self._leader.kill()
        self._leader.wait()
        if self._report >= 0:
            os.close(self._report)
            self._report = -1

    def _key(self, name: str) -> str:
        if name in _ARROWS:
            with self._lock:
                return ("\x1bO" if self._model.has_private(1) else "\x1b[") + _ARROWS[name]
        if len(name) == 3 and name.startswith("C-"):
            return chr(ord(name[2].upper()) & 0x1F)
        return _KEYS[name] if len(name) > 1 else name

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _answer(self, text: str) -> None:
        if self._answers:
            os.write(self._master, text.encode())

    def _read(self) -> None:
        """Take what the program writes, at the speed of the line."""
        rate = self._bytes_per_s
        piece = max(1, int(rate * _TICK_S)) if rate else 65536
        free_at = time.monotonic()
        while not self._closed.is_set():
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            data = os.read(self._master, piece)
            if rate:
                free_at = max(free_at, time.monotonic()) + len(data) / rate
                if self._closed.wait(max(0.0, free_at - time.monotonic())):
                    return
            with self._lock:
                self._catch_ups_seen += data.count(0)
                data = data.replace(b"\0", b"")
                self._output += data
                self._stream.feed(data)
                self._last_output_at = time.monotonic()

    def _catch_up(self, timeout_s: float) -> None:
        """Wait until everything written so far has come through the line: a NUL, which no screen shows, is sent behind it."""
        wanted = self._catch_ups_seen + 1
        os.write(self._slave, b"\0")
        deadline = time.monotonic() + timeout_s
        while self._catch_ups_seen < wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"what the program wrote did not arrive within {timeout_s:g} s\n{_framed(self.screen())}")
            time.sleep(_POLL_S)

    def _wait_report(self, pattern: bytes, timeout_s: float = PATIENCE_S) -> bytes:
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self._reports)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._report], [], [], left)[0]:
                raise AssertionError(f"no {pattern!r} within {timeout_s:g} s\n{_framed(self.screen())}")
            data = os.read(self._report, 4096)
            if not data:
                raise AssertionError(f"the program's leader is gone\n{_framed(self.screen())}")
            self._reports += data
        self._reports = self._reports.replace(found[0], b"", 1)
        return found[1]


class Tmux(Display):
    """A program in a tmux server of its own, without a client unless a `Terminal` runs `attach_argv`. Gone after the block."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        socket: Path,
        columns: int = 80,
        rows: int = 24,
        term: str = "screen",
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        options = socket.with_suffix(".conf")
        options.write_text(f"set -g default-terminal {term}\nset -g status off\nset -g remain-on-exit on\nset -s escape-time 0\n")
        self._tmux = ["tmux", "-S", str(socket), "-f", str(options)]
        self._env = _environment(term, env)
        self._run("new-session", "-d", "-s", "bty", "-x", str(columns), "-y", str(rows), "-c", str(cwd), *argv)

    def __enter__(self) -> Tmux:
        return self

    def __exit__(self, *_: object) -> None:
        self._run("kill-server")

    @property
    def attach_argv(self) -> list[str]:
        """The command that shows the session in another terminal."""
        return [*self._tmux, "attach-session", "-t", "bty"]

    def screen(self) -> str:
        """Return what `capture-pane` prints, without blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self._run("capture-pane", "-p", "-t", "bty").splitlines()).rstrip("\n")

    def send(self, text: str) -> None:
        """Type *text* as it is."""
        self._run("send-keys", "-t", "bty", "-l", "--", text)

    def press(self, *names: str) -> None:
        """Press keys by tmux's names."""
        self._run("send-keys", "-t", "bty", *names)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window."""
        self._run("resize-window", "-t", "bty", "-x", str(columns), "-y", str(rows))

    def _run(self, *arguments: str) -> str:
        argv = [*self._tmux, *arguments]
        return subprocess.run(argv, env=self._env, check=True, capture_output=True, text=True).stdout


def _environment(term: str, extra: Mapping[str, str] | None) -> dict[str, str]:
    """Return an environment in which nothing of the caller's terminal is left."""
    kept = {name: value for name, value in os.environ.items() if name not in ("TERM", "COLUMNS", "LINES", "COLORTERM", "NO_COLOR", "TMUX")}
    return {**kept, "TERM": term, "LC_ALL": "C.UTF-8", **(extra or {})}


def _runs(pid: int) -> bool:
    try:
        return not re.search(r"^State:\s+[ZX]", Path(f"/proc/{pid}/status").read_text(), re.M)
    except FileNotFoundError:
        return False


def _framed(screen: str) -> str:
    return "\n".join(["the screen:", *(f"| {line}" for line in screen.splitlines())])
