"""The one function that changes the state: (state, event) -> (state, effects). Pure."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.report import receipt_lines
from bty.agent.wizard.events import (
    Click,
    ContentsRead,
    DiskEnded,
    DisksListed,
    Effect,
    Event,
    FlashBegan,
    FlashEnded,
    FlashMoved,
    FollowPlan,
    ImageProbed,
    Key,
    Paste,
    PlanEnded,
    Quit,
    ReadContents,
    Resize,
    RetryAnnounced,
    Said,
    SourceLoaded,
    SourcesFound,
    Tick,
    Told,
)
from bty.agent.wizard.screens import room_of
from bty.agent.wizard.screens.sources import begin_choosing, sources_found, with_source
from bty.agent.wizard.state import Job, Overlay, Run, Screen, Size, SourceStatus, State, Step, add_log
from bty.errors import PlanUnreachable
from bty.model.disk import refusals
from bty.model.plan import PlanMode
from bty.model.progress import STAGE_WORDS
from bty.units import format_bytes

_LOOKED_INTO = 24  # disks whose contents are read when they are listed
_PLAN_AGAIN_S = 30.0


def begin(state: State) -> Step:
    """Return the state of a fresh start, and what is to be loaded for it."""
    if state.server and state.mac:
        return replace(state, screen=Screen.FLASH, unattended=True), (FollowPlan(),)
    return begin_choosing(state)


def update(state: State, event: Event) -> Step:
    """Return the state after *event*, and what is to be done for it."""
    match event:
        case Key():
            return _press(state, event.name)
        case Paste():
            return room_of(state).pasted(replace(state, message=""), event.text)
        case Click():
            return room_of(state).clicked(replace(state, message=""), event.index)
        case Resize():
            return replace(state, size=Size(event.columns, event.rows)), ()
        case SourcesFound():
            return sources_found(state, event)
        case SourceLoaded() | DisksListed() | ContentsRead() | ImageProbed():
            return _loaded(state, event)
        case Said():
            return add_log(state, event.line), ()
        case Told():
            return add_log(replace(state, message=event.text), event.text), ()
        case Tick():
            return _tick(state, event)
        case PlanEnded():
            return _plan_ended(state, event)
        case _:
            return _flashing(state, event), ()


def _press(state: State, key: str) -> Step:
    state = replace(state, message="", plan_retry_at=None)
    room = room_of(state)
    for binding in room.bindings(state):
        if key in binding.keys:
            return binding.act(state)
    return room.typed(state, " " if key == "space" else key)


def _loaded(state: State, event: SourceLoaded | DisksListed | ContentsRead | ImageProbed) -> Step:
    match event:
        case SourceLoaded():
            return _source_loaded(state, event), ()
        case DisksListed():
            paths = {disk.path for disk in event.disks}
            state = replace(state, disks=None if event.error else event.disks, disks_error=event.error, marked=state.marked & paths)
            free = [disk.path for disk in event.disks if not refusals(disk, event.disks)]
            wanted: tuple[Effect, ...] = tuple(ReadContents(path) for path in free[:_LOOKED_INTO])
            first = next((index for index, disk in enumerate(event.disks) if disk.path in free), 0)
            at = state.disk_pick if state.disk_pick.cursor else replace(state.disk_pick, cursor=first)
            return replace(state, disk_pick=at.within(len(event.disks))), wanted
        case ImageProbed():
            wanted_image = state.image is not None and state.image.src == event.src
            return replace(state, probed=event if wanted_image else state.probed), ()
        case ContentsRead():
            found = event.contents if event.contents is not None else event.error
            return replace(state, contents={**state.contents, event.path: found}), ()


def _source_loaded(state: State, event: SourceLoaded) -> State:
    source = next((source for source in state.sources if source.location == event.location), None)
    if source is None:
        return state
    listing = event.listing
    if listing.error:
        state = add_log(state, f"{event.location}: {listing.error}")
    changed = replace(
        source,
        label=listing.label,
        status=SourceStatus.FAILED if listing.error and not listing.images else SourceStatus.LOADED,
        images=listing.images,
        error=listing.error or "",
        hint=listing.hint or "",
    )
    return with_source(state, changed)


def _tick(state: State, event: Tick) -> Step:
    state = replace(state, now=event.at)
    if state.job:
        state = replace(state, job=replace(state.job, now=event.at))
    if state.plan_retry_at is None:
        return state, ()
    if state.plan_retry_at <= 0:
        return replace(state, plan_retry_at=event.at + _PLAN_AGAIN_S), ()
    if event.at < state.plan_retry_at:
        return state, ()
    return replace(state, screen=Screen.FLASH, unattended=True, plan_text="", plan_retry_at=None, job=None), (FollowPlan(),)


def _plan_ended(state: State, event: PlanEnded) -> Step:
    if not state.unattended:  # somebody chooses by hand meanwhile
        return state, ()
    state = replace(state, unattended=False, exit_code=event.exit_code, plan_text=event.text)
    if event.exit_code == 0 and event.mode != PlanMode.INTERACTIVE:
        return replace(state, leaving=True), (Quit(0),)
    if event.mode == PlanMode.INTERACTIVE and state.job is None:
        return begin_choosing(replace(state, message=event.text))
    again = 0.0 if event.exit_code == PlanUnreachable.exit_code and state.overlay is None else None
    return replace(state, screen=Screen.DONE, overlay=_still_useful(state), plan_retry_at=again), ()


def _flashing(state: State, event: Event) -> State:
    if isinstance(event, FlashBegan):
        return _flash_began(state, event)
    job = state.job
    if job is None:
        return _before_a_flash(state, event)
    match event:
        case FlashMoved():
            return _moved(state, job, event)
        case DiskEnded():
            job = replace(job, runs=_changed(job, event.index, receipt=event.receipt, rate_bps=0.0), now=event.at)
            for line in receipt_lines(event.receipt):
                state = add_log(state, line)
            return replace(state, job=job)
        case RetryAnnounced():
            return replace(state, job=replace(job, retry_at=event.until, attempt=event.attempt, of=event.of))
        case FlashEnded():
            job = replace(job, exit_code=event.exit_code, cancelling=False)
            state = replace(state, job=job, exit_code=event.exit_code)
            return state if state.unattended else replace(state, screen=Screen.DONE, overlay=_still_useful(state))
        case _:
            return state


def _before_a_flash(state: State, event: Event) -> State:
    """An attempt failed before there was a disk to write to."""
    match event:
        case DiskEnded():
            for line in receipt_lines(event.receipt):
                state = add_log(state, line)
            return replace(state, plan_text=event.receipt.error or "")
        case RetryAnnounced():
            return add_log(state, f"attempt {event.attempt} of {event.of} follows in a moment")
        case _:
            return state


def _still_useful(state: State) -> Overlay | None:
    """Return the overlay, unless it asks something that no longer matters."""
    return None if state.overlay is Overlay.ASK_CANCEL else state.overlay


def _flash_began(state: State, event: FlashBegan) -> State:
    job = Job(
        image=event.image,
        runs=tuple(Run(disk=disk) for disk in event.disks),
        began_at=event.at,
        now=event.at,
        verify=event.verify,
        attempt=event.attempt,
        of=event.of,
    )
    for disk in event.disks:
        state = add_log(state, f"{event.image.name} to {disk.describe()}")
    return replace(state, job=job, screen=Screen.FLASH, plan_retry_at=None, plan_text="")


def _moved(state: State, job: Job, event: FlashMoved) -> State:
    run, progress = job.runs[event.index], event.progress
    if run.receipt is not None:
        return state
    if progress.stage is not run.progress.stage:
        state = add_log(state, f"{run.disk.path}: {STAGE_WORDS[progress.stage]}")
    if progress.retries > run.progress.retries:
        state = add_log(
            state, f"{run.disk.path}: {progress.last_break or 'the connection broke'}; asked again from {format_bytes(progress.read)}"
        )
    samples = run.samples.add(progress.done, event.at)
    runs = _changed(job, event.index, progress=progress, rate_bps=event.rate_bps, samples=samples)
    return replace(state, job=replace(job, runs=runs, now=event.at))


def _changed(job: Job, index: int, **changes: object) -> tuple[Run, ...]:
    return tuple(replace(run, **changes) if at == index else run for at, run in enumerate(job.runs))  # type: ignore[arg-type]
