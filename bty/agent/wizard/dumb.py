"""The wizard on a terminal that cannot move its cursor: numbered prompts, plain lines, the same state machine.

After each answer the screen's lines are printed once; while a flash runs, a line every few seconds. Ctrl-C asks whether
to cancel it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from types import FrameType

from bty.agent.report import progress_line
from bty.agent.wizard.events import Effect, Event, FlashMoved, Key, OpenShell, Paste, Quit, Tick
from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import body_area
from bty.agent.wizard.runner import Runner
from bty.agent.wizard.screens import bindings_of, room_of
from bty.agent.wizard.session import Session
from bty.agent.wizard.state import Overlay, Screen, Size, State
from bty.agent.wizard.text import clean
from bty.errors import Cancelled, CommandFailed
from bty.host import proc
from bty.host.console import tell

_LOOK_S = 0.2
_PROGRESS_EVERY_S = 5.0
_LISTS = (Screen.SOURCES, Screen.IMAGES, Screen.DISKS)
_PAGE = Size(80, 1000)  # a printed list has no pages: it scrolls
_WORDS = {"quit": "q", "back": "b", "refresh": "r", "reload": "r", "yes": "y", "no": "n", "help": "?", "reboot": "r", "log": "l"}


class _Ending(Enum):
    """Why nobody is asked any more."""

    GONE = "nobody is there"
    TERMINATED = "somebody ended us"


_Input = Event | str | _Ending
"""What comes in: an event, a line that was typed, or the end of lines."""


class Lines:
    """The wizard on plain lines. `run` returns the exit code."""

    def __init__(self, state: State, make_runner: Callable[[Callable[[Event], None], Callable[[], None]], Runner]) -> None:
        self._events: queue.SimpleQueue[_Input] = queue.SimpleQueue()
        self._runner = make_runner(self._events.put, lambda: None)
        self._session = Session(replace(state, size=_PAGE), self._runner)
        self._session.terminal = self._perform
        self._exit_code: int | None = None
        self._printed: tuple[str, ...] = ()
        self._told_at = 0.0

    def run(self) -> int:
        """Ask and answer until somebody leaves. A flash that goes on then is waited for."""
        with _signals(self._events):
            self._session.begin()
            threading.Thread(target=self._read, name="lines", daemon=True).start()
            while self._exit_code is None or self._runner.busy():
                if self._exit_code is None:
                    self._show()
                self._take()
        with contextlib.suppress(queue.Empty):  # the end of a flash that was waited for may be among what came last
            while True:
                last = self._events.get_nowait()
                if not isinstance(last, str | _Ending):
                    self._session.dispatch(last)
        return self._exit_code or self._session.state.exit_code

    def _take(self) -> None:
        """Wait for an event or a line, and act on it."""
        try:
            event = self._events.get(timeout=_LOOK_S)
        except queue.Empty:
            if self._session.state.plan_retry_at is not None or self._session.state.job:
                self._session.dispatch(Tick(time.monotonic()))
            return
        if event is _Ending.GONE:
            self._exit_code = self._session.state.exit_code
        elif event is _Ending.TERMINATED:
            busy = self._runner.busy()
            self._runner.cancel()
            self._exit_code = Cancelled.exit_code if busy else 128 + signal.SIGTERM
        elif isinstance(event, str):
            self._answer(event)
        else:
            self._session.dispatch(event)
            if isinstance(event, FlashMoved):
                self._tell_progress(event)

    def _tell_progress(self, event: FlashMoved) -> None:
        now = time.monotonic()
        job = self._session.state.job
        if job and now - self._told_at >= _PROGRESS_EVERY_S:
            self._told_at = now
            tell(f"{job.runs[event.index].disk.path}: {progress_line(event.progress, event.rate_bps)}", sys.stdout)

    # --- answers

    def _answer(self, line: str) -> None:
        """Turn a line into keys: a number chooses, `/words` filters, a word or a letter is a key; text goes where it is asked for."""
        state = self._session.state
        self._printed = ()
        text = line.strip()
        if state.overlay is None and (state.prompt is not None or state.screen is Screen.CONFIRM):
            self._answer_text(text)
        elif text.isdecimal() and state.overlay is None and state.screen in _LISTS:
            self._keys(*text, *(("space",) if state.screen is Screen.SOURCES else ("enter",)))
        elif text.startswith("/") and state.screen in (Screen.IMAGES, Screen.DISKS):
            self._keys("/")
            self._session.dispatch(Paste(text[1:]))
            self._keys("enter")
        elif text.startswith("x ") and text[2:].strip().isdecimal() and state.screen is Screen.DISKS:
            self._keys(*text[2:].strip(), "space")
        else:
            key = _WORDS.get(text.lower(), text) or "enter"
            self._keys(key if len(key) == 1 or key == "enter" else "")

    def _answer_text(self, text: str) -> None:
        if text.lower() in ("b", "back", ""):
            self._keys("escape")
            return
        self._keys("ctrl-u", *(("space" if letter == " " else letter) for letter in text), "enter")

    def _keys(self, *keys: str) -> None:
        for key in keys:
            if key:
                self._session.dispatch(Key(key))

    # --- lines

    def _show(self) -> None:
        """Print the screen where it has changed, and the prompt behind it."""
        state = self._session.state
        if state.screen is Screen.FLASH and state.overlay is None:
            lines: tuple[str, ...] = (f"Flashing {state.job.image.name}" if state.job else "Starting ...",)
        else:
            lines = self._lines(state)
        if lines == self._printed:
            return
        self._printed = lines
        _calm()
        for line in lines:
            tell(line, sys.stdout)
        tell(self._prompt(state), sys.stdout, end="")

    def _lines(self, state: State) -> tuple[str, ...]:
        """Return the screen's lines, without details of one item of a list, other than troubles."""
        body = room_of(state).body(state, body_area(state.size), Look())
        lines, in_details = [""], False
        for line in body.lines:
            in_details = in_details or any(style == "rule" for style, _ in line)
            text = clean("".join(text for _, text in line).rstrip(), unicode=False)
            if (text or lines[-1]) and (not in_details or any(style == "bad" for style, _ in line)):
                lines.append(text)
        return (*lines, *([state.message] if state.message else []))

    def _prompt(self, state: State) -> str:
        if state.overlay is None and state.screen is Screen.FLASH:
            return "(Ctrl-C cancels)\n"
        if state.overlay is None and (state.prompt is not None or state.screen is Screen.CONFIRM):
            return "(b goes back) > "
        listed = state.overlay is None and state.screen in _LISTS
        named = [binding for binding in bindings_of(state) if binding.word and (len(binding.shown) == 1 or not listed)]
        words = [f"{binding.shown} {binding.word}" for binding in named]
        if listed:
            words.insert(0, "a number chooses" if state.screen is not Screen.SOURCES else "a number chooses or leaves out, Enter goes on")
            if state.screen is Screen.DISKS:
                words.insert(1, "x NUMBER marks several")
        elif state.overlay in (Overlay.HELP, Overlay.LOG):
            words = ["Enter closes"]
        return f"({', '.join(words)}) > "

    def _read(self) -> None:
        while line := sys.stdin.readline():
            self._events.put(line.rstrip("\r\n"))
        self._events.put(_Ending.GONE)

    # --- effects

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Quit():
                self._exit_code = effect.exit_code
            case OpenShell():
                with contextlib.suppress(CommandFailed):
                    proc.interact([os.environ.get("SHELL") or "/bin/sh"])
            case _:
                self._printed = ()


@contextlib.contextmanager
def _signals(events: queue.SimpleQueue[_Input]) -> Iterator[None]:
    """Turn signals into what they mean: Ctrl-C asks instead of ending us, a dropped line ends no flash."""
    meanings: dict[signal.Signals, _Input] = {
        signal.SIGINT: Key("ctrl-c"),
        signal.SIGHUP: _Ending.GONE,
        signal.SIGTERM: _Ending.TERMINATED,
    }

    def put(number: int, _frame: FrameType | None) -> None:
        events.put(meanings[signal.Signals(number)])

    before = {number: signal.signal(number, put) for number in meanings}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _calm() -> None:
    """Set the terminal to lines with echo: consoles of BMCs were seen without after a long flash."""
    with contextlib.suppress(termios.error, ValueError):
        attributes = termios.tcgetattr(0)
        attributes[0] |= termios.ICRNL
        attributes[3] |= termios.ICANON | termios.ECHO | termios.ISIG
        termios.tcsetattr(0, termios.TCSADRAIN, attributes)
