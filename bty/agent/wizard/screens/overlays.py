"""What lies over a screen: help, the log, and questions before what cannot be undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bty.agent.wizard.events import CancelFlash, Quit, Reboot
from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import Body, Line
from bty.agent.wizard.screens.common import ALWAYS, Room
from bty.agent.wizard.state import Binding, Size, State, Step
from bty.agent.wizard.text import fit, wrap


def _close(state: State) -> Step:
    return replace(state, overlay=None), ()


_CLOSE = Binding(keys=("escape", "enter", "q", "b", "ctrl-c", "?", "l"), shown="Esc", word="close", help="Close.", act=_close)


def help_room(under: Callable[[State], Room]) -> Room:
    """Return the help panel, which tells the keys of the room that lies *under* it."""

    def body(state: State, area: Size, _look: Look) -> Body:
        room = under(state)
        rows: list[Line] = [(("title", f" Keys: {room.name}"),)]
        keys = 30 if area.columns >= 70 else 18
        for binding in room.bindings(replace(state, overlay=None)):
            names = ", ".join(_name(key) for key in binding.keys) or binding.shown
            for index, text in enumerate(wrap(binding.help, area.columns - keys - 2, 3)):
                rows.append((("key", fit(f"  {names}" if index == 0 else "", keys)), ("text", f" {text}")))
        return Body(lines=tuple(rows[: area.rows]))

    return Room(name="Help", bindings=lambda _state: (_CLOSE, *ALWAYS), body=body)


def _name(key: str) -> str:
    return {"ctrl-c": "Ctrl-C", "ctrl-d": "Ctrl-D", "ctrl-l": "Ctrl-L", "ctrl-z": "Ctrl-Z", "escape": "Esc", "f1": "F1"}.get(
        key, key if len(key) == 1 else key.capitalize()
    )


def _scroll(rows: int) -> Callable[[State], Step]:
    return lambda state: (replace(state, log_offset=max(0, min(state.log_offset + rows, len(state.log) - 1))), ())


_LOG_KEYS = (
    _CLOSE,
    Binding(keys=("up", "k"), shown="up", word="older", help="Older lines.", act=_scroll(1)),
    Binding(keys=("down", "j"), shown="down", word="newer", help="Newer lines.", act=_scroll(-1)),
    Binding(keys=("pageup",), shown="PgUp", help="Much older lines.", act=_scroll(10)),
    Binding(keys=("pagedown",), shown="PgDn", help="Much newer lines.", act=_scroll(-10)),
    *ALWAYS,
)


def _log_body(state: State, area: Size, _look: Look) -> Body:
    lines = [part for line in state.log for part in (wrap(line, area.columns - 2, 4) or [""])]
    end = len(lines) - min(state.log_offset, max(len(lines) - 1, 0))
    shown = lines[max(end - area.rows + 1, 0) : end]
    return Body(lines=((("title", " Log"),), *[(("text", f" {line}"),) for line in shown]))


LOG_ROOM = Room(name="Log", bindings=lambda _state: _LOG_KEYS, body=_log_body)


def _question(name: str, texts: tuple[str, ...], yes: str, act: Callable[[State], Step], *, enter_too: bool = False) -> Room:
    bindings = (
        Binding(keys=("y", "enter") if enter_too else ("y",), shown="y", word=yes, help=f"Yes: {yes}.", act=act),
        Binding(keys=("n", "escape", "ctrl-c", "b", "q"), shown="n", word="no, go back", help="No.", act=_close),
        *ALWAYS,
    )

    def body(_state: State, area: Size, _look: Look) -> Body:
        lines = [line for text in texts for line in wrap(text, area.columns - 2, 3)]
        return Body(lines=((), *[(("title" if index == 0 else "text", f" {line}"),) for index, line in enumerate(lines)]))

    return Room(name=name, bindings=lambda _state: bindings, body=body)


def _cancel(state: State) -> Step:
    job = replace(state.job, cancelling=True) if state.job else None
    return replace(state, overlay=None, job=job), (CancelFlash(),)


def _reboot(state: State) -> Step:
    return replace(state, overlay=None, message="The machine restarts ..."), (Reboot(),)


def _quit(state: State) -> Step:
    return replace(state, overlay=None, leaving=True), (Quit(state.exit_code),)


CANCEL_ROOM = _question(
    "Cancel?",
    ("Stop the flash?", "The disk then holds a part of the image and does not boot. The flash goes on while this is asked."),
    "stop it",
    _cancel,
)
REBOOT_ROOM = _question("Reboot?", ("Restart this machine now?",), "reboot", _reboot)
QUIT_ROOM = _question("Quit?", ("Leave the flasher?",), "leave", _quit, enter_too=True)
