"""The state of the flasher's screen: everything that it shows, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from bty.agent.choices import ImageChoice
from bty.agent.wizard.entry import Entry
from bty.agent.wizard.events import Effect, ImageProbed
from bty.agent.wizard.pick import Pick, matches
from bty.agent.wizard.samples import Samples
from bty.errors import InvalidInput
from bty.host.contents import Contents
from bty.model.disk import Disk
from bty.model.image import canonical_source
from bty.model.plan import Receipt
from bty.model.progress import Progress, Stage

_LOG_LINES = 400


class Screen(StrEnum):
    """The screens, in the order in which a flash passes them."""

    SOURCES = "sources"
    IMAGES = "images"
    DISKS = "disks"
    CONFIRM = "confirm"
    FLASH = "flash"
    DONE = "done"


class Overlay(StrEnum):
    """What lies over a screen until a key takes it away."""

    HELP = "help"
    LOG = "log"
    ASK_CANCEL = "ask-cancel"
    ASK_REBOOT = "ask-reboot"
    ASK_QUIT = "ask-quit"


class SourceStatus(StrEnum):
    """Whether a list of images is there."""

    UNTOUCHED = "untouched"
    LOADING = "loading"
    LOADED = "loaded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Size:
    """Columns and rows."""

    columns: int = 80
    rows: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place where images come from; only a chosen one adds to the list."""

    location: str
    label: str = ""
    chosen: bool = True
    status: SourceStatus = SourceStatus.UNTOUCHED
    images: tuple[ImageChoice, ...] = ()
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One disk of a flash. `receipt` is there when it has ended, with `error` in it when that was a failure."""

    disk: Disk
    progress: Progress = field(default_factory=lambda: Progress(stage=Stage.OPEN))
    rate_bps: float = 0.0
    samples: Samples = field(default_factory=Samples)
    receipt: Receipt | None = None

    @property
    def failed(self) -> bool:
        """Tell whether it ended without success."""
        return self.receipt is not None and self.receipt.error is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A flash: one image, one disk or several. Times are monotonic seconds."""

    image: ImageChoice
    runs: tuple[Run, ...]
    began_at: float
    now: float
    verify: bool = False
    attempt: int | None = None
    of: int | None = None
    retry_at: float | None = None
    cancelling: bool = False
    exit_code: int | None = None

    @property
    def ended(self) -> bool:
        """Tell whether every disk has ended and no further attempt is announced."""
        return self.exit_code is not None and self.retry_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that the screen shows. `unattended` while the server's plan is followed."""

    version: str
    server: str | None = None
    mac: str | None = None
    size: Size = field(default_factory=Size)
    screen: Screen = Screen.SOURCES
    overlay: Overlay | None = None
    message: str = ""
    sources: tuple[Source, ...] = ()
    looking: bool = False
    """For places that images may come from."""
    source_pick: Pick = field(default_factory=Pick)
    prompt: Entry | None = None
    images: tuple[ImageChoice, ...] = ()
    image_pick: Pick = field(default_factory=Pick)
    image: ImageChoice | None = None
    disks: tuple[Disk, ...] | None = None
    disks_error: str = ""
    disk_pick: Pick = field(default_factory=Pick)
    marked: frozenset[str] = frozenset()
    contents: Mapping[str, Contents | str] = field(default_factory=dict)
    verify: bool = False
    targets: tuple[Disk, ...] = ()
    probed: ImageProbed | None = None
    """Whether the chosen image can be had, once that is known."""
    confirmed: int = 0
    confirm: Entry = field(default_factory=Entry)
    job: Job | None = None
    log: tuple[str, ...] = ()
    log_offset: int = 0
    unattended: bool = False
    plan_text: str = ""
    plan_retry_at: float | None = None
    """When the plan is asked for again by itself; 0 as long as that is to be set at the next tick."""
    now: float = 0.0
    exit_code: int = 0
    leaving: bool = False


Step = tuple[State, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Keys of a screen. `shown` and `word` stand in the bar at the bottom, `help` in the help panel."""

    keys: tuple[str, ...]
    shown: str
    help: str
    act: Callable[[State], Step]
    word: str = ""


def stay(state: State, message: str = "") -> Step:
    """Return *state* with a message and nothing to do."""
    return replace(state, message=message), ()


def add_log(state: State, line: str) -> State:
    """Return *state* with *line* at the end of its log."""
    return replace(state, log=(*state.log, line)[-_LOG_LINES:])


def merge_images(sources: tuple[Source, ...]) -> tuple[ImageChoice, ...]:
    """Return the images of the chosen sources, local ones first, each once: of one address the first whose bytes can be checked."""
    merged: dict[str, ImageChoice] = {}
    for source in sorted(sources, key=lambda source: "://" in source.location):
        if source.chosen:
            for image in source.images:
                known = merged.setdefault(_identity(image.src), image)
                if image.sha256 and known.promise == "none":
                    merged[_identity(image.src)] = image
    return tuple(merged.values())


def _identity(src: str) -> str:
    try:
        return canonical_source(src)
    except InvalidInput:
        return src


def shown_images(state: State) -> tuple[ImageChoice, ...]:
    """Return the images that the filter lets through."""
    words = state.image_pick.filter.text
    return _filter_images(_Same(state.images), words) if words.strip() else state.images


class _Same:
    """A tuple that equals itself only: comparing ten thousand images takes longer than a key press may."""

    def __init__(self, images: tuple[ImageChoice, ...]) -> None:
        self.images = images

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.images is self.images

    def __hash__(self) -> int:
        return id(self.images)


@lru_cache(maxsize=2)
def _filter_images(same: _Same, words: str) -> tuple[ImageChoice, ...]:
    """Filter once for the several times that one key press and its picture ask."""
    return tuple(image for image in same.images if matches(words, image.name, image.arch, image.format, image.source, image.description))


def shown_disks(state: State) -> tuple[Disk, ...]:
    """Return the disks that the filter lets through."""
    words = state.disk_pick.filter.text
    disks = state.disks or ()
    return tuple(disk for disk in disks if matches(words, disk.path, disk.serial, disk.model, disk.vendor, disk.tran))


def confirm_word(disk: Disk) -> str:
    """Return what has to be typed before *disk* is overwritten: the end of its serial, or `flash` where none can be typed."""
    end = (disk.serial or "")[-4:].strip()
    return end if end.isascii() and end.isprintable() and end else "flash"
