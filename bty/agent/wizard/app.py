"""The full-screen application: prompt_toolkit between the terminal and the session.

Everything here runs on one event loop. Work is done in the runner's threads; their events come in through `post`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.application.run_in_terminal import run_in_terminal
from prompt_toolkit.data_structures import Point
from prompt_toolkit.data_structures import Size as ScreenSize
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.mouse_events import MouseEvent, MouseEventType
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from bty.agent.wizard.events import Click, Effect, Event, FlashMoved, Key, OpenShell, Paste, Quit, Repaint, Resize, Suspend, Tick
from bty.agent.wizard.frame import paint
from bty.agent.wizard.inbox import Inbox
from bty.agent.wizard.output import ScreenOutput
from bty.agent.wizard.parts import Frame, Line
from bty.agent.wizard.session import Session
from bty.agent.wizard.terminal import Kind, terminal_size
from bty.errors import CommandFailed
from bty.host import proc

_TICK_PAINT_S = 0.5  # progress is painted twice a second at most; keys at once
_ESCAPE_WAIT_S = 0.25  # what comes within it after an Esc belongs to a key's sequence: a BMC may deliver it in pieces
_SETTLE_S = 0.3
_NAMES = {
    Keys.Up: "up",
    Keys.Down: "down",
    Keys.Left: "left",
    Keys.Right: "right",
    Keys.PageUp: "pageup",
    Keys.PageDown: "pagedown",
    Keys.Home: "home",
    Keys.End: "end",
    Keys.Delete: "delete",
    Keys.Backspace: "backspace",
    Keys.Enter: "enter",
    Keys.ControlJ: "enter",
    Keys.Tab: "tab",
    Keys.Escape: "escape",
    Keys.F1: "f1",
    Keys.SIGINT: "ctrl-c",
    **{key: f"ctrl-{key.value[-1]}" for key in (Keys.ControlA, Keys.ControlC, Keys.ControlD, Keys.ControlE, Keys.ControlL)},
    **{key: f"ctrl-{key.value[-1]}" for key in (Keys.ControlU, Keys.ControlW, Keys.ControlZ)},
}
_LOOKS = {
    "title": "bold",
    "crumb.now": "bold",
    "row.on": "reverse",
    "key": "bold",
    "bad": "ansired bold",
    "good": "ansigreen bold",
    "warn": "ansiyellow bold",
    "bar": "ansigreen",
    "spark": "ansicyan",
    "dim": "",
    "rule": "ansibrightblack",
}
_MONO_LOOKS = {"title": "bold", "crumb.now": "bold", "row.on": "reverse", "key": "bold", "bad": "bold", "good": "bold", "warn": "bold"}


class FullScreen:
    """The screen of a session. `run` returns the exit code."""

    def __init__(self, kind: Kind, session: Session, inbox: Inbox) -> None:
        """Show *session*, which has begun already; what came meanwhile is in *inbox*."""
        self.session = session
        self._kind = kind
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox = inbox
        self._painted_at = 0.0
        self._paint_due = False
        self._repaint_due = False
        self._lent = False  # the terminal, to a shell
        self._picture: Frame | None = None
        depth = ColorDepth.DEPTH_4_BIT if kind.colour else ColorDepth.DEPTH_1_BIT
        self.output = ScreenOutput(sys.stdout, self._size, term=kind.term, depth=depth, alternate=kind.alternate, paste=kind.alternate)
        looks = _LOOKS if kind.colour else _MONO_LOOKS
        self._styled = frozenset(name for name, look in looks.items() if look)
        control = FormattedTextControl(self._fragments, focusable=True, show_cursor=True, get_cursor_position=self._cursor)
        window = Window(control, wrap_lines=False, always_hide_cursor=Condition(lambda: self._frame().cursor is None))
        self.app: Application[int] = Application(
            layout=Layout(window),
            style=Style.from_dict({name.replace(".", "-"): look for name, look in looks.items() if look}),
            key_bindings=self._bindings(),
            full_screen=True,
            mouse_support=kind.mouse,
            input=Vt100Input(sys.stdin),
            output=self.output,
            color_depth=depth,
            enable_page_navigation_bindings=False,
        )
        self.app.ttimeoutlen = _ESCAPE_WAIT_S
        self.app.timeoutlen = _ESCAPE_WAIT_S

    # --- from the session

    def _came(self) -> None:
        self._soon(self._take_inbox)

    def _overprinted(self) -> None:
        if self._kind.ours:
            self._soon(self.repaint_soon)

    def _soon(self, work: Callable[[], None]) -> None:
        """Have *work* done on the loop. From any thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended: what is left stays in the inbox
                loop.call_soon_threadsafe(work)

    def _take_inbox(self) -> None:
        if not self.app.is_done:
            for event in self._inbox.take():
                self.dispatch(event)

    def perform(self, effect: Effect) -> None:
        """Do what only the terminal can."""
        match effect:
            case Quit():
                if self.app.is_running and not self.app.is_done:
                    self.app.exit(result=effect.exit_code)
            case Repaint():
                self.repaint()
            case OpenShell():
                self.app.create_background_task(self._shell())
            case Suspend():
                self.suspend()
            case _:
                raise AssertionError(f"nobody does {effect}")

    # --- events

    def dispatch(self, event: Event) -> None:
        """Take an event on the loop, and have the change painted."""
        self.session.dispatch(event)
        self._picture = None
        if isinstance(event, FlashMoved | Tick):
            self._paint_by_and_by()
        else:
            self.app.invalidate()

    def _paint_by_and_by(self) -> None:
        if self._paint_due:
            return
        assert self._loop is not None
        self._paint_due = True
        self._loop.call_later(max(self._painted_at + _TICK_PAINT_S - time.monotonic(), 0), self._paint_now)

    def _paint_now(self) -> None:
        self._paint_due = False
        self.app.invalidate()

    def repaint_soon(self) -> None:
        """Paint everything again when what disturbs the screen has had a moment to end."""
        if not self._repaint_due:
            assert self._loop is not None
            self._repaint_due = True
            self._loop.call_later(_SETTLE_S, self.repaint)

    def repaint(self) -> None:
        """Paint everything again, and put the terminal into the mode that we need: something else may have changed both."""
        self._repaint_due = False
        if self.app.is_done or not self.app.is_running or self._lent:
            return
        self._raw_again()
        self.output.forget()
        self.app.renderer.erase(leave_alternate_screen=False)
        self.app.invalidate()

    def _raw_again(self) -> None:
        """Set the line to single keys without echo, as at the start."""
        self.app.input.raw_mode().__enter__()

    def suspend(self) -> None:
        """Give the terminal back and stop, until we are continued. Where no shell could continue us, nothing happens."""

        def stop() -> None:
            ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, ours)

        run_in_terminal(stop)

    async def _shell(self) -> None:
        def shell() -> None:
            print("A shell. `exit` goes back to the flasher.")
            try:
                proc.interact([os.environ.get("SHELL") or "/bin/sh"])
            except CommandFailed as error:
                print(error)

        self._lent = True
        try:
            await run_in_terminal(shell, in_executor=True)
        finally:
            self._lent = False

    # --- the picture

    def _size(self) -> ScreenSize:
        columns, rows = terminal_size(sys.stdout.fileno())
        return ScreenSize(rows=rows, columns=columns)

    def _frame(self) -> Frame:
        """Return the picture of the state as it is; the size is looked up for each new one."""
        if self._picture is None:
            size = self._size()
            known = self.session.state.size
            if (size.columns, size.rows) != (known.columns, known.rows):
                self.session.dispatch(Resize(size.columns, size.rows))
            self._picture = paint(self.session.state, self._kind.look)
        return self._picture

    def _fragments(self) -> StyleAndTextTuples:
        if self.output.lost:
            self.output.lost = False
            self.repaint_soon()
        self._painted_at = time.monotonic()
        self._picture = None
        frame = self._frame()
        fragments: StyleAndTextTuples = []
        for row, line in enumerate(frame.lines):
            if row:
                fragments.append(("", "\n"))
            fragments += self._line(line, frame.targets.get(row))
        return fragments

    def _line(self, line: Line, target: int | None) -> StyleAndTextTuples:
        styled = [(f"class:{name.replace('.', '-')}" if name in self._styled else "", text) for name, text in line]
        if not self._kind.mouse:
            return list(styled)
        return [(style, text, lambda event: self._mouse(event, target)) for style, text in styled]

    def _cursor(self) -> Point:
        row, column = self._frame().cursor or (0, 0)
        return Point(x=column, y=row)

    def _mouse(self, event: MouseEvent, target: int | None) -> None:
        if event.event_type is MouseEventType.SCROLL_UP:
            self.dispatch(Key("up"))
        elif event.event_type is MouseEventType.SCROLL_DOWN:
            self.dispatch(Key("down"))
        elif event.event_type is MouseEventType.MOUSE_UP and target is not None:
            self.dispatch(Click(target))

    # --- keys

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        def press(name: str) -> Callable[[KeyPressEvent], None]:
            return lambda _event: self.dispatch(Key(name))

        for key, name in _NAMES.items():
            bindings.add(key, eager=True)(press(name))

        @bindings.add(Keys.Any)
        def _type(event: KeyPressEvent) -> None:
            if len(event.data) == 1 and event.data.isprintable():
                self.dispatch(Key("space" if event.data == " " else event.data))

        @bindings.add(Keys.BracketedPaste)
        def _paste(event: KeyPressEvent) -> None:
            self.dispatch(Paste(event.data))

        return bindings

    # --- life

    async def run(self, beside: Callable[[FullScreen], contextlib.AbstractAsyncContextManager[None]]) -> int:
        """Show the session until it ends. *beside* is entered meanwhile: signals, the kernel's log, a dropped line."""
        loop = self._loop = asyncio.get_running_loop()

        def failed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            if not self.app.is_done and self.app.is_running:
                self.app.exit(exception=context.get("exception") or RuntimeError(context["message"]))

        loop.set_exception_handler(failed)
        self.session.terminal = self.perform
        self._inbox.came, self._inbox.overprinted = self._came, self._overprinted
        try:
            async with beside(self):
                ticking = asyncio.ensure_future(self._tick())
                try:
                    return await self.app.run_async(pre_run=self._take_inbox, set_exception_handler=False, handle_sigint=True)
                finally:
                    ticking.cancel()
        finally:
            self._loop = None
            self.output.close_line()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            state = self.session.state
            if (state.job and not state.job.ended) or state.plan_retry_at is not None:
                self.dispatch(Tick(time.monotonic()))
