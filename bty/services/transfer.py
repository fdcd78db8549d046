"""A bundle out of, and into, a state that is not in memory: what the command line does without a daemon."""

from __future__ import annotations

import asyncio

from bty.services import bundle, restore
from bty.services.config_file import ConfigFile
from bty.services.events import Events
from bty.services.settings import Settings
from bty.store import catalog, machines
from bty.store.db import Store
from bty.units import utc_now


async def hold(store: Store, config: ConfigFile) -> bundle.Holding:
    """Return what a bundle of *store* is written from. Raises `StoreFailed`."""
    return bundle.Holding(
        machines=list((await machines.load(store)).values()),
        entries=await catalog.list_entries(store),
        deleted=await catalog.list_tombstones(store),
        settings=(await Settings.load(store, Events(store))).overrides(),
        configuration=config.chosen(),
    )


async def take_in(store: Store, config: ConfigFile, content: bytes, *, arm: bool) -> restore.Outcome:
    """Take a bundle into *store*, all of it or nothing; see `Backups.restore`. Raises `InvalidBody`, `StoreFailed`."""
    events = Events(store)
    found = await asyncio.to_thread(bundle.read, content, arm=arm, now=utc_now())
    present = restore.Present(
        settings=await Settings.load(store, events),
        entries=await catalog.list_entries(store),
        machines=(await machines.load(store)).values(),
        configuration=config.portable(),
    )
    wanted = restore.plan(found, present, armed=arm, ip=None)
    await events.commit(wanted.statements, wanted.event)
    return wanted.outcome
