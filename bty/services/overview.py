"""The fleet at a glance: how many machines there are of each kind, and which of them flash right now."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bty.services.fleet import Fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeCount:
    """Machines of one mode."""

    boot_mode: str
    machines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCount:
    """Machines that are bound to one image."""

    bty_image_ref: str
    machines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The numbers of the first page. `modes` and `images` have the most frequent one first; `flashing` are MACs."""

    total: int
    unassigned: int
    failed: int
    last_seen_at: str | None
    last_flashed_at: str | None
    modes: list[ModeCount]
    images: list[ImageCount]
    flashing: list[str]


def look_over(fleet: Fleet) -> Overview:
    """Return the fleet at a glance, from memory."""
    machines = fleet.machines()
    modes = Counter(machine.boot_mode for machine in machines)
    images = Counter(machine.bty_image_ref for machine in machines if machine.bty_image_ref)
    return Overview(
        total=len(machines),
        unassigned=len(machines) - images.total(),
        failed=sum(machine.flash_error is not None for machine in machines),
        last_seen_at=max((machine.last_seen_at for machine in machines if machine.last_seen_at), default=None),
        last_flashed_at=max((machine.flashed_at for machine in machines if machine.flashed_at), default=None),
        modes=[ModeCount(boot_mode=mode, machines=count) for mode, count in modes.most_common()],
        images=[ImageCount(bty_image_ref=ref, machines=count) for ref, count in images.most_common()],
        flashing=sorted(fleet.live.flashing()),
    )
