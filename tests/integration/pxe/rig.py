"""A daemon over a real socket and a real database, and what a machine and its operator do to it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from aiohttp.test_utils import TestClient

from bty.daemon.keys import CATALOG, FLEET, STORE
from bty.model.catalog import Entry
from bty.model.machine import BootMode, Machine, edit
from bty.store import catalog as catalog_table
from bty.store import events as event_table
from bty.units import utc_now

MAC = "52:54:00:00:00:01"
REF = "a" * 64
SHA = "b" * 64
ENTRY = Entry(
    bty_image_ref=REF, src="http://images.example/d.img.gz", resolved_src="http://images.example/d.img.gz", name="debian",
    added_at=utc_now(), format="img.gz", disk_image_sha=SHA,
)  # fmt: skip
LIVE, DISK = "boot=live", "sanboot"


class Rig:
    """A daemon and the machine that boots from it."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.app = client.server.app
        self.fleet = self.app[FLEET]

    async def put(self, mode: str, *, ref: str | None = REF, serial: str | None = "S1", **fields: Any) -> None:
        """What an operator does."""
        now = utc_now()
        before = self.fleet.find(MAC) or Machine(mac=MAC, boot_mode=mode, created_at=now, updated_at=now)
        await self.fleet.save([edit(before, now=now, boot_mode=mode, bty_image_ref=ref, target_disk_serial=serial, **fields)])

    async def contact(self, mac: str = MAC) -> str:
        """Boot, and return which way the script goes."""
        answer = await self.client.get(f"/pxe/{mac}")
        text = await answer.text()
        assert (answer.status, answer.content_type) == (200, "text/plain"), text
        return LIVE if LIVE in text else DISK if DISK in text else "exit"

    async def fetch(self) -> None:
        """Fetch kernel and initrd, as the chain does."""
        for name in ("vmlinuz", "initrd"):
            answer = await self.client.head(f"/boot/bty-netboot.{name}", params={"mac": MAC})
            assert answer.status == 404

    async def plan(self, mac: str = MAC) -> dict[str, Any]:
        answer = await self.client.get(f"/pxe/{mac}/plan")
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def post(self, what: str, body: Any = None, mac: str = MAC, **kw: Any) -> int:
        kw = kw or ({} if body is None else {"json": body})
        return (await self.client.post(f"/pxe/{mac}/{what}", **kw)).status

    async def events(self, kind: str | None = None) -> list[Any]:
        found = await event_table.list_events(self.app[STORE], limit=500, filters={"kind": kind} if kind else None)
        return found[::-1]

    async def kinds(self) -> list[str]:
        return [event.kind for event in await self.events()]

    def stored(self, column: str, mac: str = MAC) -> Any:
        """Read behind the daemon's back what is committed."""
        with closing(sqlite3.connect(self.app[STORE].path)) as db:
            row = db.execute(f"SELECT {column} FROM machines WHERE mac = ?", (mac,)).fetchone()  # noqa: S608
        return row and row[0]


Start = Callable[..., Any]


async def add_entry(rig: Rig) -> None:
    await rig.app[STORE].write(*catalog_table.insert(ENTRY))
    await rig.app[CATALOG].load()


RECEIPT = {
    "ref": REF, "name": "debian", "source": ENTRY.src, "format": "img.gz", "sha256": SHA, "verified": ["wire"], "bytes_read": 5,
    "image_bytes": 9, "bytes_written": 9, "target_path": "/dev/sda", "target_serial": "S1", "seconds": 1.5, "retries": 0, "notes": [],
}  # fmt: skip
DISK_REPORT = {
    "path": "/dev/sda", "size": "1.0 TiB", "vendor": "v", "model": "m", "serial": "S1", "tran": "sata",
    "removable": False, "readonly": False,
}  # fmt: skip


async def flashing(rig: Rig, mode: str = BootMode.FLASH_ONCE) -> str:
    """Bring the machine to where its flasher works, and return the token."""
    await rig.put(mode)
    await rig.contact()
    await rig.fetch()
    return (await rig.plan())["cycle"]
