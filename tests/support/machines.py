"""Machines in the hands of a test, by the daemon's API."""

from __future__ import annotations

from bty.daemon import keys
from bty.model.machine import Machine
from bty.units import utc_now
from tests.support.daemon import Daemon

MAC = "52:54:00:00:00:01"
REF = "a" * 64


async def put(daemon: Daemon, mac: str = MAC, **body: object) -> dict[str, object]:
    """Replace a machine, and return it as it is then."""
    status, machine = await daemon.call("PUT", f"/machines/{mac}", json=body)
    assert status == 200, machine
    return machine


async def fill(daemon: Daemon, count: int = 12) -> None:
    """Machines 00 to 11: odd ones bound and labelled `odd`, each with another address and time."""
    now = utc_now()
    machines = [
        Machine(
            mac=f"52:54:00:00:00:{n:02x}", boot_mode="bty-flash-once" if n % 2 else "bty-inventory", created_at=now, updated_at=now,
            bty_image_ref=REF if n % 2 else None, labels=(f"n{n}", "odd") if n % 2 else (), last_seen_ip=f"192.0.2.{n}",
            last_seen_at=f"2026-01-01T00:00:{59 - n:02}.000000+00:00", flash_error="broken" if n == 3 else None,
        )
        for n in range(count)
    ]  # fmt: skip
    await daemon.app[keys.FLEET].save(machines)
