"""Screen 2: which image."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.choices import ImageChoice
from bty.agent.wizard.events import ListDisks
from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import Body, Column, Line, Listing, list_body
from bty.agent.wizard.pick import Pick
from bty.agent.wizard.screens.common import ALWAYS, HELP, LOG, QUIT, PickKeys, Room
from bty.agent.wizard.screens.sources import load_again
from bty.agent.wizard.state import Binding, Screen, Size, Source, SourceStatus, State, Step, shown_images, stay
from bty.agent.wizard.text import wrap
from bty.units import format_bytes

_COLUMNS = (
    Column("Name", 0),
    Column("Format", 8, shown_from=50),
    Column("Arch", 7, shown_from=72),
    Column("Digest", 8, shown_from=60),
    Column("Size", 10, right=True, shown_from=36),
    Column("From", 18, shown_from=90),
)
_PROMISES = {
    "sha256": " sha256 {}",
    "registry": " the registry tells its digest",
    "none": " no digest is promised: right as far as the transport is",
}
_PICK = PickKeys(
    get=lambda state: state.image_pick,
    put=lambda state, pick: replace(state, image_pick=pick),
    count=lambda state: len(shown_images(state)),
)


def _current(state: State) -> ImageChoice | None:
    images = shown_images(state)
    return images[state.image_pick.within(len(images)).cursor] if images else None


def _choose(state: State) -> Step:
    image = _current(state)
    if image is None:
        return stay(state, "There is no image to choose: r loads again, b goes back to the catalogs.")
    return to_disks(replace(state, image=image))


def to_disks(state: State) -> Step:
    """Go to the disks, which are listed anew."""
    return replace(state, screen=Screen.DISKS, disks=None, disks_error="", targets=(), disk_pick=Pick()), (ListDisks(),)


def _back(state: State) -> Step:
    return _PICK.leave(state) or replace(state, screen=Screen.SOURCES), ()


def _reload(state: State) -> Step:
    return load_again(state, tuple(source.location for source in state.sources if source.chosen))


_BINDINGS = (
    Binding(keys=("enter", "right", "space"), shown="Enter", word="choose", help="Choose the image.", act=_choose),
    *_PICK.list_bindings(),
    Binding(keys=("b", "escape", "left", "backspace"), shown="b", word="back", help="Back to the catalogs, also with Esc.", act=_back),
    Binding(keys=("r",), shown="r", word="reload", help="Load all catalogs again, and look for sticks.", act=_reload),
    HELP,
    QUIT,
    LOG,
    *ALWAYS,
)
_FILTERING = (*_PICK.filter_bindings(), *ALWAYS)


def _bindings(state: State) -> tuple[Binding, ...]:
    return _FILTERING if state.image_pick.filtering else _BINDINGS


def _click(state: State, index: int) -> Step:
    if index == state.image_pick.cursor:
        return _choose(state)
    return replace(state, image_pick=replace(state.image_pick, cursor=index)), ()


def _troubles(sources: tuple[Source, ...]) -> list[Source]:
    return [source for source in sources if source.chosen and source.error]


def _details(state: State, columns: int) -> tuple[Line, ...]:
    lines: list[Line] = []
    if image := _current(state):
        lines.append((("text", f" {image.name}"), ("dim", f"  from {image.source}" if image.source else "")))
        lines.append((("dim", f" {image.src}"),))
        lines.append((("dim", _PROMISES[image.promise].format(image.sha256)),))
        lines += [(("text", f" {line}"),) for line in wrap(image.description or "", columns - 2, 1)]
    for source in _troubles(state.sources)[:1]:
        lines = [*lines[:3], (("bad", f" {source.label or source.location}: {source.error}"),)]
    return tuple(lines)


def _loading(state: State) -> int:
    return sum(source.chosen and source.status is SourceStatus.LOADING for source in state.sources)


def _title(state: State, shown: int) -> str:
    title = f"Which image? {shown} of {len(state.images)}" if shown != len(state.images) else f"Which image? {shown}"
    loading = _loading(state)
    failed = len(_troubles(state.sources))
    if state.looking:
        title += ", looking for more"
    if loading:
        title += f", {loading} loading"
    return title + (f", {failed} failed" if failed else "")


def _empty(state: State) -> tuple[str, ...]:
    if state.image_pick.filter.text:
        return ("No image fits the filter. Esc drops it.",)
    if state.looking or _loading(state):
        return ("Looking for images ...",)
    troubles = [f"{source.label or source.location}: {source.error}" for source in _troubles(state.sources)]
    return (*troubles, "No images here. r loads again, b goes back to the catalogs.")


def _row(image: ImageChoice) -> tuple[str, tuple[str, ...]]:
    size = format_bytes(image.size_bytes) if image.size_bytes else "?"
    return "text", (image.name, image.format or "?", image.arch or "", image.promise, size, image.source)


def _body(state: State, area: Size, look: Look) -> Body:
    images = shown_images(state)
    listing = Listing(
        title=_title(state, len(images)),
        columns=_COLUMNS,
        count=len(images),
        row=lambda index: _row(images[index]),
        pick=state.image_pick,
        empty=_empty(state),
        details=_details(state, area.columns),
    )
    return list_body(listing, area, look.rule)


ROOM = Room(name="Images", bindings=_bindings, body=_body, typed=_PICK.press, pasted=_PICK.paste, clicked=_click)
