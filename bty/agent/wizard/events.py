"""What happens to the flasher's screen, and what it wants done: plain data both. Times are monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass

from bty.agent.choices import ImageChoice, SourceList
from bty.host.contents import Contents
from bty.model.disk import Disk
from bty.model.plan import Receipt
from bty.model.progress import Progress


@dataclass(frozen=True, slots=True)
class Key:
    """A key: one letter as typed, or a name such as `up`, `enter`, `ctrl-c`."""

    name: str


@dataclass(frozen=True, slots=True)
class Paste:
    """Text that came at once."""

    text: str


@dataclass(frozen=True, slots=True)
class Click:
    """The mouse on item *index* of the list that is shown."""

    index: int


@dataclass(frozen=True, slots=True)
class Resize:
    """The terminal has another size now."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """The places that this machine and the server offer images at, or why they could not be found."""

    locations: tuple[str, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class SourceLoaded:
    """The list of images at *location* came, or why it did not."""

    location: str
    listing: SourceList


@dataclass(frozen=True, slots=True)
class DisksListed:
    """The disks of this machine, or why they could not be listed."""

    disks: tuple[Disk, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class ContentsRead:
    """What is on the disk at *path*, or why that is not known."""

    path: str
    contents: Contents | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ImageProbed:
    """The image at *src* answers and is so large in its file, if that is known, or why it cannot be had now."""

    src: str
    size_bytes: int | None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashBegan:
    """A flash starts; *attempt* of *of* where a plan counts them."""

    image: ImageChoice
    disks: tuple[Disk, ...]
    at: float
    verify: bool = False
    attempt: int | None = None
    of: int | None = None


@dataclass(frozen=True, slots=True)
class FlashMoved:
    """How far the flash of disk *index* is, and its rate in bytes of the raw image a second."""

    index: int
    progress: Progress
    rate_bps: float
    at: float


@dataclass(frozen=True, slots=True)
class DiskEnded:
    """Disk *index* is done, or failed with what the receipt says."""

    index: int
    receipt: Receipt
    at: float


@dataclass(frozen=True, slots=True)
class FlashEnded:
    """Every disk has ended; *exit_code* is the first failure's, or 0."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class RetryAnnounced:
    """The plan has the flash tried again, at *until*."""

    until: float
    attempt: int | None
    of: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEnded:
    """The unattended run is over. *mode* is the plan's, empty where there was none."""

    exit_code: int
    mode: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the log."""

    line: str


@dataclass(frozen=True, slots=True)
class Told:
    """Something that failed beside the screen, to be shown on it."""

    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A second has passed."""

    at: float


Event = (
    Key
    | Paste
    | Click
    | Resize
    | SourcesFound
    | SourceLoaded
    | DisksListed
    | ContentsRead
    | ImageProbed
    | FlashBegan
    | FlashMoved
    | DiskEnded
    | FlashEnded
    | RetryAnnounced
    | PlanEnded
    | Said
    | Told
    | Tick
)


@dataclass(frozen=True, slots=True)
class FindSources:
    """Look where images may come from: folders, sticks, the server at this address. Touches no network."""

    server: str | None


@dataclass(frozen=True, slots=True)
class LoadSource:
    """Load the list of images at *location*."""

    location: str


@dataclass(frozen=True, slots=True)
class ListDisks:
    """List the disks."""


@dataclass(frozen=True, slots=True)
class ReadContents:
    """Look what is on the disk at *path*."""

    path: str


@dataclass(frozen=True, slots=True)
class ProbeImage:
    """Look whether the image can be had now, and how large it is."""

    image: ImageChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFlash:
    """Write *image* onto *targets*, some of *disks*."""

    image: ImageChoice
    targets: tuple[Disk, ...]
    disks: tuple[Disk, ...]
    verify: bool


@dataclass(frozen=True, slots=True)
class CancelFlash:
    """Stop the flash, or the wait for the next attempt."""


@dataclass(frozen=True, slots=True)
class FollowPlan:
    """Ask the server for the plan and do what it says."""


@dataclass(frozen=True, slots=True)
class Reboot:
    """Restart the machine."""


@dataclass(frozen=True, slots=True)
class OpenShell:
    """Give the terminal to a shell until it ends."""


@dataclass(frozen=True, slots=True)
class Repaint:
    """Paint the whole screen again."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Stop this program until it is continued."""


@dataclass(frozen=True, slots=True)
class Quit:
    """Leave, with *exit_code*."""

    exit_code: int


Effect = (
    FindSources
    | LoadSource
    | ListDisks
    | ReadContents
    | ProbeImage
    | StartFlash
    | CancelFlash
    | FollowPlan
    | Reboot
    | OpenShell
    | Repaint
    | Suspend
    | Quit
)
