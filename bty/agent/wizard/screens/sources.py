"""Screen 1: where images come from. Several places at once; one that fails says why and takes nothing from the others."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.choices import DEFAULT_CATALOG
from bty.agent.wizard.entry import Entry
from bty.agent.wizard.events import Effect, FindSources, LoadSource, SourcesFound
from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import Body, Column, Line, Listing, list_body
from bty.agent.wizard.screens.common import ALWAYS, HELP, HELP_WHERE_TYPED, LOG, QUIT, PickKeys, Room, ask_quit
from bty.agent.wizard.state import Binding, Screen, Size, Source, SourceStatus, State, Step, add_log, merge_images, stay
from bty.agent.wizard.text import wrap

_COLUMNS = (Column("", 3), Column("From", 0), Column("Images", 22))
_PICK = PickKeys(
    get=lambda state: state.source_pick, put=lambda state, pick: replace(state, source_pick=pick), count=lambda state: len(state.sources)
)


def add_source(state: State, location: str) -> Step:
    """Add *location*, chosen, and have it loaded; one that is there already is loaded again."""
    if location not in {source.location for source in state.sources}:
        state = replace(state, sources=(*state.sources, Source(location=location)))
    index = next(index for index, source in enumerate(state.sources) if source.location == location)
    state = replace(state, source_pick=replace(state.source_pick, cursor=index))
    return load(with_source(state, replace(state.sources[index], chosen=True)), (location,))


def load(state: State, locations: tuple[str, ...]) -> Step:
    """Have the sources at *locations* loaded; one that is being loaded already is left alone."""
    effects: list[Effect] = []
    for source in state.sources:
        if source.location in locations and source.status is not SourceStatus.LOADING:
            state = with_source(state, replace(source, status=SourceStatus.LOADING, error="", hint=""))
            effects.append(LoadSource(source.location))
    return state, tuple(effects)


def with_source(state: State, changed: Source) -> State:
    """Return the state with one source changed, and the list of images made anew."""
    sources = tuple(changed if source.location == changed.location else source for source in state.sources)
    return replace(state, sources=sources, images=merge_images(sources))


def load_again(state: State, locations: tuple[str, ...]) -> Step:
    """Have the sources at *locations* loaded, and look for others: a stick may have been plugged in."""
    state, effects = load(state, locations)
    return replace(state, looking=True), (*effects, FindSources(state.server))


def begin_choosing(state: State) -> Step:
    """Show the images: load the catalogs that were named, and look for others."""
    chosen = tuple(source.location for source in state.sources if source.chosen)
    state, effects = load(replace(state, screen=Screen.IMAGES, looking=True), chosen)
    return state, (*effects, FindSources(state.server))


def sources_found(state: State, event: SourcesFound) -> Step:
    """Load what was found, all but the default catalog; where nothing is to be loaded, ask where images come from."""
    known = {source.location for source in state.sources}
    found = tuple(_offered(location) for location in event.locations if location not in known)
    state = replace(state, sources=(*state.sources, *found), looking=False)
    if event.error:
        state = add_log(replace(state, message=event.error), event.error)
    if state.screen is Screen.IMAGES and not any(source.chosen for source in state.sources):
        state = replace(state, screen=Screen.SOURCES)
    return load(state, tuple(source.location for source in found if source.chosen))


def _offered(location: str) -> Source:
    """Return a place that was found; the default catalog is offered, and loaded when somebody asks for it."""
    default = location == DEFAULT_CATALOG
    return Source(location=location, chosen=not default, label="default catalog" if default else "")


def _current(state: State) -> Source | None:
    return state.sources[state.source_pick.within(len(state.sources)).cursor] if state.sources else None


def _go_on(state: State) -> Step:
    chosen = [source for source in state.sources if source.chosen]
    if not chosen:
        return stay(state, "Choose at least one: Space chooses, a adds an address.")
    untouched = tuple(source.location for source in chosen if source.status is SourceStatus.UNTOUCHED)
    return load(replace(state, screen=Screen.IMAGES, image_pick=replace(state.image_pick, cursor=0)), untouched)


def _toggle(state: State) -> Step:
    source = _current(state)
    if source is None:
        return stay(state)
    state = with_source(state, replace(source, chosen=not source.chosen))
    return load(state, (source.location,)) if not source.chosen and source.status is SourceStatus.UNTOUCHED else (state, ())


def _again(state: State) -> Step:
    source = _current(state)
    return load_again(state, (source.location,) if source else ())


def _local_only(state: State) -> Step:
    sources = tuple(replace(source, chosen="://" not in source.location) for source in state.sources)
    return _go_on(replace(state, sources=sources, images=merge_images(sources)))


def _type_address(state: State) -> Step:
    return replace(state, prompt=Entry()), ()


def _typed_address(state: State) -> Step:
    location = state.prompt.text.strip() if state.prompt else ""
    state = replace(state, prompt=None)
    return add_source(state, location) if location else (state, ())


def _leave_prompt(state: State) -> Step:
    return replace(state, prompt=None), ()


_TYPING = (
    Binding(keys=("enter",), shown="Enter", word="add", help="Add this address; an empty one is forgotten.", act=_typed_address),
    Binding(keys=("escape",), shown="Esc", word="back", help="Back to the list.", act=_leave_prompt),
    Binding(keys=("ctrl-c",), shown="Ctrl-C", help="Leave this program.", act=ask_quit),
    HELP_WHERE_TYPED,
    *ALWAYS,
)
_BINDINGS = (
    Binding(keys=("enter", "right"), shown="Enter", word="images", help="Go on to the images of the chosen places.", act=_go_on),
    Binding(keys=("space",), shown="Space", word="choose", help="Choose the place, or leave it out.", act=_toggle),
    Binding(keys=("a", "c"), shown="a", word="add", help="Type a path, a URL or oras:// address of a catalog.", act=_type_address),
    Binding(keys=("r",), shown="r", word="reload", help="Load the place again, and look for sticks.", act=_again),
    HELP,
    QUIT,
    Binding(keys=("d",), shown="d", word="default", help="Load the default catalog.", act=lambda state: add_source(state, DEFAULT_CATALOG)),
    Binding(keys=("l",), shown="l", word="local", help="Only what is on this machine.", act=_local_only),
    replace(LOG, keys=("L",), shown="L", word=""),
    *_PICK.list_bindings()[1:],
    *ALWAYS,
)


def _bindings(state: State) -> tuple[Binding, ...]:
    return _BINDINGS if state.prompt is None else _TYPING


def _type(state: State, key: str) -> Step:
    if state.prompt is None:
        return _PICK.press(state, key)
    return replace(state, prompt=state.prompt.press(key) or state.prompt), ()


def _paste(state: State, text: str) -> Step:
    """Paste an address: into the line being typed, or a new one."""
    return replace(state, prompt=(state.prompt or Entry()).insert(text.strip())), ()


def _click(state: State, index: int) -> Step:
    return _toggle(replace(state, source_pick=replace(state.source_pick, cursor=index)))


def status(source: Source) -> str:
    """Say how it stands with a source."""
    if source.status is SourceStatus.LOADING:
        return "loading ..."
    if source.status is SourceStatus.FAILED:
        return "failed, r tries again"
    if source.status is SourceStatus.UNTOUCHED:
        return "not loaded"
    return f"{len(source.images)} image{'' if len(source.images) == 1 else 's'}"


def _details(state: State, columns: int) -> tuple[Line, ...]:
    source = _current(state)
    if source is None:
        return ()
    lines: list[Line] = [(("dim", f" {source.location}"),)]
    if source.error:
        lines += [(("bad", f" {line}"),) for line in wrap(source.error, columns - 2, 2)]
    if source.hint:
        lines.append((("text", f" {source.hint}"),))
    return tuple(lines)


def _row(source: Source) -> tuple[str, tuple[str, ...]]:
    label = source.label if source.label in ("", source.location) else f"{source.label}  {source.location}"
    style = "bad" if source.status is SourceStatus.FAILED else "text"
    return style, (f"[{'x' if source.chosen else ' '}]", label or source.location, status(source))


def _body(state: State, area: Size, look: Look) -> Body:
    if state.prompt is not None:
        return _prompt_body(state.prompt, area)
    columns = _COLUMNS if area.columns >= 60 else (*_COLUMNS[:2], Column("Images", 12))
    listing = Listing(
        title="Where do images come from?",
        columns=columns,
        count=len(state.sources),
        row=lambda index: _row(state.sources[index]),
        pick=state.source_pick,
        empty=("Looking ...",) if state.looking else ("No place is known yet.", "a adds an address, d the default catalog."),
        details=_details(state, area.columns),
    )
    return list_body(listing, area, look.rule)


def _prompt_body(entry: Entry, area: Size) -> Body:
    columns = area.columns - 4
    left = max(entry.at - columns + 1, 0)
    lines: tuple[Line, ...] = (
        (("title", " A catalog, or a folder of images"),),
        (),
        (("text", " A path, http:// or https:// URL, or oras://HOST/REPOSITORY:TAG. Case counts."),),
        (),
        (("key", " > "), ("text", entry.text[left : left + columns])),
    )
    return Body(lines=lines, cursor=(4, 3 + entry.at - left))


ROOM = Room(name="Catalogs", bindings=_bindings, body=_body, typed=_type, pasted=_paste, clicked=_click)
