"""The fleet at a glance, for the first page."""

from __future__ import annotations

import msgspec
from aiohttp import web

from bty.daemon import keys
from bty.daemon.codec import reply
from bty.daemon.rows import MachineRow, machine_row
from bty.daemon.speech import speaks
from bty.services.overview import ImageCount, ModeCount, look_over

_SHOWN_MAX = 48  # bars: more than that are no glance any more


class OverviewRow(msgspec.Struct, kw_only=True):
    """The fleet at a glance. `running` are some of the machines that flash right now, `flashing` is how many do."""

    total: int
    unassigned: int
    failed: int
    flashing: int
    last_seen_at: str | None
    last_flashed_at: str | None
    modes: list[ModeCount]
    images: list[ImageCount]
    running: list[MachineRow]


@speaks(reply=OverviewRow)
async def get_overview(request: web.Request) -> web.Response:
    """Return the numbers of the first page."""
    found = look_over(request.app[keys.FLEET])
    views = await request.app[keys.MACHINES].views(found.flashing[:_SHOWN_MAX])
    return reply(
        OverviewRow(
            total=found.total,
            unassigned=found.unassigned,
            failed=found.failed,
            flashing=len(found.flashing),
            last_seen_at=found.last_seen_at,
            last_flashed_at=found.last_flashed_at,
            modes=found.modes,
            images=found.images,
            running=[machine_row(view) for view in views],
        )
    )
