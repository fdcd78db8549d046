"""The wizard in the live environment, by the serial line of a machine: what is typed there flashes its disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.media import live
from tests.support.daemon import make_config, running

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.needs("qemu-system-x86_64"),
    pytest.mark.skipif(bool(live.missing()), reason=live.missing()),
    pytest.mark.timeout(300),
]
SCREEN = "tmux -S /run/bty/session capture-pane -p -t bty"
SERIAL = "BTYDISK7"


CONTENT = os.urandom(5 << 20)


@pytest.fixture
async def origin(tmp_path: Path) -> AsyncIterator[str]:
    """The address, as the machine sees it, of a server with one image: os.img."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "os.img").write_bytes(CONTENT)
    app = web.Application()
    app.router.add_static("/", folder)
    async with TestServer(app) as server:
        yield f"http://10.0.2.2:{server.port}"


async def test_a_machine_is_flashed_by_what_is_typed_at_its_serial_line(origin: str, tmp_path: Path) -> None:
    """From the image to the receipt, at 80x24 on a VT220; the disk is the image, and the daemon knows of it."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    drive = ["-drive", f"file={disk},format=raw,if=none,id=d0", "-device", f"virtio-blk-pci,drive=d0,serial={SERIAL}"]
    async with running(make_config(tmp_path / "state", f'[paths]\nboot_dir = "{live.MEDIA}"\n')) as daemon:
        await daemon.log_in()
        entry = {"image_url": f"{origin}/os.img", "sha256": hashlib.sha256(CONTENT).hexdigest(), "format": "img"}
        await daemon.call("POST", "/catalog/entries", json=entry)
        await daemon.call("PUT", f"/machines/{live.MAC}", json={"boot_mode": "bty-tui"})
        await daemon.call("GET", f"/pxe/{live.MAC}")
        async with live.booted(tmp_path, f"http://10.0.2.2:{daemon.client.port}", *drive) as machine:
            await machine.wait("Which image?")
            await machine.shows(SCREEN, "1 os.img")
            await machine.type("")
            await machine.shows(SCREEN, SERIAL)
            await machine.type("")
            await machine.shows(SCREEN, "Type the last 4 characters")
            await machine.type(SERIAL[-4:])
            await machine.shows(SCREEN, "Done: the disk is flashed")
            assert (await machine.ask(SCREEN)).isascii()
        (flashed,) = await daemon.events(kind="machine.flashed")
    assert flashed["details"]["target_serial"] == SERIAL
    assert disk.read_bytes()[: len(CONTENT)] == CONTENT
