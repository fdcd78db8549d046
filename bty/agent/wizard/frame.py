"""From the state to the whole picture: header, the screen's body, message and keys. Pure.

The last column is never written: there some consoles wrap, and others do not.
"""

from __future__ import annotations

from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import Body, Frame, Line, body_area, is_tall
from bty.agent.wizard.screens import OVERLAYS, SCREENS, bindings_of
from bty.agent.wizard.state import Binding, Screen, State
from bty.agent.wizard.text import clean, fit, width
from bty.units import format_bytes

_CRUMBS = {
    Screen.SOURCES: "1.Catalog",
    Screen.IMAGES: "2.Image",
    Screen.DISKS: "3.Disk",
    Screen.CONFIRM: "4.Flash",
    Screen.FLASH: "4.Flash",
    Screen.DONE: "5.Reboot",
}


def paint(state: State, look: Look) -> Frame:
    """Return the picture of *state*, exactly as many rows as the terminal has."""
    columns, rows = state.size.columns - 1, state.size.rows
    area = body_area(state.size)
    room = OVERLAYS[state.overlay] if state.overlay else SCREENS[state.screen]
    body = room.body(state, area, look)
    head = _header(state, columns, look)
    lines = [*head, *_filled(body, area.rows), *_footer(state, columns, look)]
    cursor = (len(head) + body.cursor[0], min(body.cursor[1], columns - 1)) if body.cursor else None
    return Frame(
        lines=tuple(_legal(line, columns, look) for line in lines[:rows]),
        cursor=cursor,
        targets={len(head) + row: index for row, index in body.targets.items()},
    )


def _filled(body: Body, rows: int) -> list[Line]:
    return [*body.lines[:rows], *[()] * (rows - len(body.lines))]


def _header(state: State, columns: int, look: Look) -> list[Line]:
    now = _CRUMBS[state.screen]
    name = f" bty {state.version}  " if columns >= 70 else " "
    names = dict.fromkeys(_CRUMBS.values())
    if columns < 60:
        names = {now: None}
    crumbs: list[tuple[str, str]] = [("title", name)]
    for crumb in names:
        if len(crumbs) > 1:
            crumbs.append(("dim", " > "))
        crumbs.append(("crumb.now", f"[{crumb}]") if crumb == now else ("dim", crumb))
    where = state.mac or ""
    used = sum(width(text) for _, text in crumbs)
    if where and columns - used > len(where) + 2:
        crumbs += [("", " " * (columns - used - len(where) - 1)), ("dim", where)]
    lines: list[Line] = [tuple(crumbs), (("", fit(" " + _choices(state, columns), columns)),)]
    return [*lines, (("rule", look.rule * columns),)] if is_tall(state.size) else lines


def _choices(state: State, columns: int) -> str:
    """Say what has been chosen so far."""
    words = []
    job = state.job if state.screen in (Screen.FLASH, Screen.DONE) else None
    image = job.image if job else state.image
    disks = tuple(run.disk for run in job.runs) if job else state.targets
    if image and (state.screen not in (Screen.SOURCES, Screen.IMAGES)):
        words.append(f"Image {image.name}")
    elif state.server:
        words.append(f"Server {state.server}")
    if disks and state.screen in (Screen.CONFIRM, Screen.FLASH, Screen.DONE):
        one = disks[0]
        words.append(f"Disk {one.path} {format_bytes(one.size_bytes)}" if len(disks) == 1 else f"{len(disks)} disks")
        if (job.verify if job else state.verify) and columns >= 60:
            words.append("verified after writing")
    return "   ".join(words)


def _footer(state: State, columns: int, look: Look) -> list[Line]:
    lines: list[Line] = [(("rule", look.rule * columns),)] if is_tall(state.size) else []
    return [*lines, (("warn", fit(f" {state.message}", columns) if state.message else ""),), _hints(bindings_of(state), columns)]


def _hints(bindings: tuple[Binding, ...], columns: int) -> Line:
    """Return the keys of the screen, as many as fit; `?` tells the rest."""
    hints: list[tuple[str, str]] = []
    left = columns
    for binding in bindings:
        if not binding.word:
            continue
        key, word = f" {binding.shown}", f" {binding.word} "
        if len(key) + len(word) > left:
            continue
        left -= len(key) + len(word)
        hints += [("key", key), ("dim", word)]
    return tuple(hints)


def _legal(line: Line, columns: int, look: Look) -> Line:
    """Return *line* with only what the terminal can show, no wider than it may be."""
    kept, left = [], columns
    for style, text in line:
        shown = clean(text, unicode=look.unicode)
        if width(shown) > left:
            shown = fit(shown, left)
        left -= width(shown)
        if shown:
            kept.append((style, shown))
    while kept and kept[-1][0] != "row.on" and not kept[-1][1].strip():
        kept.pop()
    if kept and kept[-1][0] != "row.on":
        kept[-1] = (kept[-1][0], kept[-1][1].rstrip())
    return tuple(kept)
