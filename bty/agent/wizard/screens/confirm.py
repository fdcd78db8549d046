"""Screen 4, before the flash: what will be lost, and the end of the disk's serial typed by hand. No single key starts it."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.wizard.entry import Entry
from bty.agent.wizard.events import StartFlash
from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import Body, Line
from bty.agent.wizard.screens.common import ALWAYS, HELP_WHERE_TYPED, Room, ask_quit
from bty.agent.wizard.state import Binding, Screen, Size, State, Step, confirm_word, stay
from bty.agent.wizard.text import wrap
from bty.agent.wizard.words import describe_contents
from bty.model.disk import Disk
from bty.model.image import ImageFormat, detect_format
from bty.units import format_bytes


def _enter(state: State) -> Step:
    disk = state.targets[state.confirmed]
    if not state.confirm.text:
        return stay(state, "Nothing was typed. Esc goes back.")
    if state.confirm.text.strip() != confirm_word(disk):
        return replace(state, confirm=Entry(), message="That is not it. Nothing was written."), ()
    state = replace(state, confirmed=state.confirmed + 1, confirm=Entry())
    if state.confirmed < len(state.targets):
        return state, ()
    return start_flash(state)


def start_flash(state: State) -> Step:
    """Start to write the chosen image onto the chosen disks, all of them confirmed."""
    assert state.image is not None
    effect = StartFlash(image=state.image, targets=state.targets, disks=state.disks or (), verify=state.verify)
    return replace(state, screen=Screen.FLASH, job=None, confirm=Entry(), confirmed=0), (effect,)


def _back(state: State) -> Step:
    if state.confirm.text:
        return replace(state, confirm=Entry()), ()
    return replace(state, screen=Screen.DISKS, targets=(), confirmed=0), ()


def _type(state: State, key: str) -> Step:
    return replace(state, confirm=state.confirm.press(key) or state.confirm), ()


def _bindings(_state: State) -> tuple[Binding, ...]:
    return _BINDINGS


_BINDINGS = (
    Binding(keys=("enter",), shown="Enter", word="flash, once it is typed", help="Start, if what was typed is right.", act=_enter),
    Binding(keys=("escape",), shown="Esc", word="back", help="Empty the line; once more: back to the disks.", act=_back),
    Binding(keys=("ctrl-c", "ctrl-d"), shown="Ctrl-C", word="quit", help="Leave this program.", act=ask_quit),
    HELP_WHERE_TYPED,
    *ALWAYS,
)


def _doubts(state: State, disk: Disk) -> list[str]:
    """Say what the engine will refuse, or what makes the flash less sure."""
    image = state.image
    assert image is not None
    kind = image.format or detect_format(image.name)
    doubts = []
    if state.probed and state.probed.size_bytes == 0:
        doubts.append("The image is empty.")
    if state.probed and state.probed.error:
        doubts.append(f"The image cannot be had now: {state.probed.error}")
    size_bytes = _file_bytes(state)
    if kind == ImageFormat.IMG and size_bytes and size_bytes > disk.size_bytes:
        doubts.append(f"The image needs {format_bytes(size_bytes)}, the disk has {format_bytes(disk.size_bytes)}: it will be refused.")
    if image.promise == "none" and "://" in image.src:
        doubts.append("No digest is promised for this image: it will be as right as the transport is.")
    return doubts


def _file_bytes(state: State) -> int | None:
    """Return the size of the image's file: what its server says now, or else what the catalog says."""
    if state.probed and state.probed.size_bytes is not None:
        return state.probed.size_bytes
    return state.image.size_bytes if state.image else None


def _body(state: State, area: Size, _look: Look) -> Body:
    disk = state.targets[min(state.confirmed, len(state.targets) - 1)]
    image = state.image
    assert image is not None
    columns = area.columns - 2
    many = len(state.targets) > 1
    count = f" {state.confirmed + 1} of {len(state.targets)}" if many else ""
    size_bytes = _file_bytes(state)
    size = "" if size_bytes is None else f", {format_bytes(size_bytes)}"
    if state.probed is None:
        size += ", asking for it ..."
    model = " ".join(word for word in (disk.vendor, disk.model) if word) or "unknown model"
    head: list[Line] = [
        (("title", f" All that is on disk{count} will be lost"),),
        (("dim", " Image   "), ("text", f"{image.name}{size}")),
        (("dim", " Disk    "), ("text", f"{disk.path}, {format_bytes(disk.size_bytes)}, {model}")),
        (("dim", " Serial  "), ("text", disk.serial or "none")),
    ]
    what = f"the last {len(confirm_word(disk))} characters of its serial" if confirm_word(disk) != "flash" else "the word flash"
    tail: list[Line] = [(("warn", f" {line}"),) for doubt in _doubts(state, disk) for line in wrap(doubt, columns, 2)]
    tail.append((("text", f" Type {what}, then Enter:"),))
    tail.append((("key", " > "), ("text", state.confirm.text)))
    held = describe_contents(state.contents.get(disk.path))
    room = max(area.rows - len(head) - len(tail), 1)
    if len(held) > room:
        held = [*held[: room - 1], f"and {len(held) - room + 1} more"]
    now: list[Line] = [(("dim", " Holds   " if index == 0 else " " * 9), ("text", line)) for index, line in enumerate(held)]
    spare = [()] if len(head) + len(now) + len(tail) < area.rows else []
    lines = (*head, *now, *spare, *tail)[-area.rows :]  # where there is no room at all, the question is what stays
    return Body(lines=lines, cursor=(len(lines) - 1, 3 + state.confirm.at))


ROOM = Room(
    name="Confirm",
    bindings=_bindings,
    body=_body,
    typed=_type,
    pasted=lambda state, _text: stay(state, "Type it by hand."),
)
