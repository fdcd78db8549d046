"""What keeps the fleet from working, one line each, with what to do about it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bty.services.config import Config
from bty.services.tftp_probe import probe
from bty.units import GIB, format_bytes, plural, utc_now

_FREE_LEAST = GIB
# A server that answers does so within this; whoever looks waits no longer, and one that was waited for in vain is not asked again at once.
SOON_S = 0.05
KEPT_S = 10.0


class State(StrEnum):
    """How a check came out; `info` counts neither way."""

    OK = "ok"
    FAILED = "failed"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line: what was looked at, what was found, and where it failed what to do.

    `checked_at` is when that was found, null where nothing was yet; `running` that it is being looked at anew right now.
    """

    name: str
    state: State
    detail: str
    hint: str = ""
    checked_at: str | None = None
    running: bool = False


Probe = Callable[[], Awaitable[Check]]


class Health:
    """The checks, run when somebody looks."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = probes

    async def check(self) -> list[Check]:
        """Run every check at once. Raises `StoreFailed`."""
        found = await asyncio.gather(*(one() for one in self._probes))
        now = utc_now()
        return [check if check.checked_at or check.running else replace(check, checked_at=now) for check in found]


class Patient:
    """A check that asks somebody who may not answer: it is waited for only for a moment, and goes on while its last answer is told."""

    def __init__(self, name: str, probe: Probe) -> None:
        self._name = name
        self._probe = probe
        self._last: Check | None = None
        self._kept_until = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __call__(self) -> Check:
        """Return what was found last, which is now where the answer comes at once."""
        if self._task is None and asyncio.get_running_loop().time() >= self._kept_until:
            self._task = asyncio.create_task(self._look(), name=f"health {self._name}")
        if self._task is not None:
            await asyncio.wait([self._task], timeout=SOON_S)
        last = self._last or Check(name=self._name, state=State.INFO, detail="is being looked at")
        return replace(last, running=self._task is not None)

    async def close(self) -> None:
        """Look no longer."""
        if task := self._task:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            self._last = replace(await self._probe(), checked_at=utc_now())
            self._kept_until = loop.time() + KEPT_S if loop.time() - began > SOON_S else 0.0
        finally:
            self._task = None


def artifacts(find_missing: Callable[[], list[str]]) -> Probe:
    """Return the check for the files that machines boot."""

    async def look() -> Check:
        if missing := await asyncio.to_thread(find_missing):
            hint = "fetch them on the page Network boot, or upload there what `make media` builds"
            return Check(name="netboot", state=State.FAILED, detail=f"missing: {', '.join(missing)}", hint=hint)
        return Check(name="netboot", state=State.OK, detail="the live environment is in the boot directory")

    return look


def catalog(count: Callable[[], int]) -> Probe:
    """Return the check that there are images."""

    async def look() -> Check:
        if not count():
            return Check(name="catalog", state=State.FAILED, detail="there are no images", hint="add one, or import a catalog")
        return Check(name="catalog", state=State.OK, detail=plural(count(), "image"))

    return look


def failures(count: Callable[[], Awaitable[int]]) -> Probe:
    """Return the check that nothing failed that nobody has seen."""

    async def look() -> Check:
        if found := await count():
            detail = f"{plural(found, 'failure')} that nobody acknowledged"
            return Check(name="events", state=State.FAILED, detail=detail, hint="look at the events")
        return Check(name="events", state=State.OK, detail="no open failures")

    return look


def tftp(host: str) -> Probe:
    """Return the check that machines get the first loader."""

    async def look() -> Check:
        match await probe(host):
            case "present":
                return Check(name="tftp", state=State.OK, detail=f"{host} has ipxe.efi")
            case "missing":
                return Check(name="tftp", state=State.FAILED, detail=f"{host} answers but lacks ipxe.efi", hint="put the loaders there")
            case _:
                hint = "start dnsmasq, or set netboot.tftp_probe_host; machines with UEFI HTTP boot need none"
                return Check(name="tftp", state=State.FAILED, detail=f"no TFTP server answers at {host}", hint=hint)

    return look


def disk(root: Path) -> Probe:
    """Return the check that there is room for the state."""

    async def look() -> Check:
        usage = await asyncio.to_thread(shutil.disk_usage, root)
        detail = f"{format_bytes(usage.free)} free in {root}"
        if usage.free < _FREE_LEAST:
            return Check(name="disk", state=State.FAILED, detail=detail, hint="make room: without it nothing can be recorded")
        return Check(name="disk", state=State.OK, detail=detail)

    return look


def own_mount(root: Path) -> Probe:
    """Return the remark on whether the state has a file system of its own."""

    async def look() -> Check:
        is_mount = await asyncio.to_thread(root.is_mount)
        detail = "the state directory is a mount of its own" if is_mount else "the state directory shares a file system with others"
        return Check(name="state", state=State.OK if is_mount else State.INFO, detail=detail)

    return look


def password(is_default: Callable[[], bool]) -> Probe:
    """Return the check that not everybody can log in."""

    async def look() -> Check:
        if is_default():
            return Check(name="password", state=State.FAILED, detail="the well-known password is set", hint="change it on the account page")
        return Check(name="password", state=State.OK, detail="the password is your own")

    return look


def tftp_host(config: Config) -> str:
    """Return where the TFTP server is: as configured, else at the cache's host, else here. Contract 11."""
    host = config.withcache.url.partition("://")[2].partition("/")[0].rpartition(":")
    return config.netboot.tftp_probe_host or host[0] or host[2] or "127.0.0.1"
