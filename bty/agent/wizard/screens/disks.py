"""Screen 3: which disk, or which disks. A refused one is shown with its reason and cannot be chosen."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.wizard.entry import Entry
from bty.agent.wizard.events import ListDisks, ProbeImage, ReadContents
from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import Body, Column, Line, Listing, list_body
from bty.agent.wizard.pick import Pick
from bty.agent.wizard.screens.common import ALWAYS, HELP, LOG, QUIT, PickKeys, Room
from bty.agent.wizard.state import Binding, Screen, Size, State, Step, shown_disks, stay
from bty.agent.wizard.text import wrap
from bty.agent.wizard.words import describe_contents
from bty.model.disk import Disk, refusals
from bty.units import format_bytes

_COLUMNS = (
    Column("", 3),
    Column("Disk", 12),
    Column("Size", 10, right=True, shown_from=44),
    Column("Model", 0),
    Column("Bus", 6, shown_from=90),
    Column("Serial", 20, shown_from=64),
)
_PICK = PickKeys(
    get=lambda state: state.disk_pick, put=lambda state, pick: replace(state, disk_pick=pick), count=lambda state: len(shown_disks(state))
)


def _current(state: State) -> Disk | None:
    disks = shown_disks(state)
    return disks[state.disk_pick.within(len(disks)).cursor] if disks else None


def _refusal(state: State, disk: Disk) -> str:
    return "; ".join(refusals(disk, state.disks or ()))


def _choose(state: State) -> Step:
    disks = state.disks or ()
    marked = tuple(disk for disk in disks if disk.path in state.marked)
    current = _current(state)
    targets = marked or ((current,) if current else ())
    if not targets:
        return stay(state, "There is no disk to choose: r looks again.")
    for disk in targets:
        if reason := _refusal(state, disk):
            return stay(state, f"{disk.path} is refused: {reason}")
    state = replace(state, screen=Screen.CONFIRM, targets=targets, confirmed=0, confirm=Entry(), probed=None)
    assert state.image is not None
    return state, (ProbeImage(state.image), *(ReadContents(disk.path) for disk in targets))


def _mark(state: State) -> Step:
    disk = _current(state)
    if disk is None:
        return stay(state)
    if reason := _refusal(state, disk):
        return stay(state, f"{disk.path} is refused: {reason}")
    count = len(shown_disks(state))
    pick = replace(state.disk_pick, cursor=state.disk_pick.cursor + 1, digits="").within(count)
    return replace(state, marked=state.marked ^ {disk.path}, disk_pick=pick), ()


def rescan(state: State) -> Step:
    """List the disks anew."""
    return replace(state, disks=None, disks_error="", marked=frozenset(), contents={}), (ListDisks(),)


def _back(state: State) -> Step:
    return _PICK.leave(state) or replace(state, screen=Screen.IMAGES, image=None, marked=frozenset()), ()


def _toggle_verify(state: State) -> Step:
    return replace(state, verify=not state.verify), ()


_BINDINGS = (
    Binding(
        keys=("enter", "right"), shown="Enter", word="choose", help="Choose the marked disks, or else the one at the cursor.", act=_choose
    ),
    Binding(keys=("space",), shown="Space", word="mark", help="Mark the disk: several get the same image.", act=_mark),
    Binding(keys=("v",), shown="v", word="verify", help="Read the disk back after writing and compare, or not.", act=_toggle_verify),
    Binding(keys=("r",), shown="r", word="rescan", help="Look for disks again.", act=rescan),
    Binding(keys=("b", "escape", "left", "backspace"), shown="b", word="back", help="Back to the images, also with Esc.", act=_back),
    HELP,
    QUIT,
    *_PICK.list_bindings(),
    LOG,
    *ALWAYS,
)
_FILTERING = (*_PICK.filter_bindings(), *ALWAYS)


def _bindings(state: State) -> tuple[Binding, ...]:
    return _FILTERING if state.disk_pick.filtering else _BINDINGS


def _click(state: State, index: int) -> Step:
    return _mark(replace(state, disk_pick=Pick(cursor=index, filter=state.disk_pick.filter)))


def _details(state: State, columns: int) -> tuple[Line, ...]:
    disk = _current(state)
    if disk is None:
        return ()
    facts = [
        disk.tran,
        f"{disk.logical_sector_bytes}-byte sectors",
        "removable" if disk.removable else None,
        f"wwn {disk.wwn}" if disk.wwn else None,
    ]
    lines: list[Line] = [(("text", f" {disk.describe()}"),), (("dim", " " + ", ".join(fact for fact in facts if fact)),)]
    if reason := _refusal(state, disk):
        lines += [(("bad", f" {line}"),) for line in wrap(f"Refused: {reason}", columns - 2, 2)]
    else:
        found = describe_contents(state.contents.get(disk.path))
        lines += [
            (("text", f" {line}"),) for line in wrap(f"On it now: {found[0] if len(found) == 1 else '; '.join(found)}", columns - 2, 2)
        ]
    return tuple(lines)


def _row(state: State, disk: Disk) -> tuple[str, tuple[str, ...]]:
    refused = _refusal(state, disk)
    mark = " - " if refused else f"[{'x' if disk.path in state.marked else ' '}]"
    model = f"refused: {refused}" if refused else " ".join(word for word in (disk.vendor, disk.model) if word) or "-"
    cells = (mark, disk.path, format_bytes(disk.size_bytes), model, disk.tran or "", disk.serial or "no serial")
    return "dim" if refused else "text", cells


def _body(state: State, area: Size, look: Look) -> Body:
    disks = shown_disks(state)
    if state.disks is None:
        empty: tuple[str, ...] = (
            (f"The disks cannot be listed: {state.disks_error}", "r tries again.") if state.disks_error else ("Looking ...",)
        )
    else:
        empty = ("No disk fits the filter. Esc drops it.",) if state.disks else ("No disks here. r looks again.",)
    marked = f" {len(state.marked)} marked" if state.marked else ""
    listing = Listing(
        title=f"Which disk?{marked}",
        remark=f"verify after writing: {'yes' if state.verify else 'no'}",
        columns=_COLUMNS,
        count=len(disks),
        row=lambda index: _row(state, disks[index]),
        pick=state.disk_pick,
        empty=empty,
        details=_details(state, area.columns),
    )
    return list_body(listing, area, look.rule)


ROOM = Room(name="Disks", bindings=_bindings, body=_body, typed=_PICK.press, pasted=_PICK.paste, clicked=_click)
