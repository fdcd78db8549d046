"""Inventory, progress and log of a machine."""

import io
import json

from bty.daemon.keys import EVENTS, STORE
from bty.model.disk import Disk
from bty.model.plan import Receipt
from bty.store import machines as machine_table
from tests.integration.pxe.rig import DISK_REPORT, ENTRY, MAC, Rig, flashing


async def test_inventory_is_stored(rig: Rig) -> None:
    """Disks and lshw are stored; keys of disks that nobody knows are left out, ours are kept."""
    await rig.contact()
    disks = [{**DISK_REPORT, "odd": 1}, {"path": "/dev/sdb", "size_bytes": 5, "in_use": ["mounted"]}]
    assert await rig.post("inventory", {"disks": disks, "lshw": {"b": 1, "a": [2]}}) == 204
    hardware = await machine_table.read_hardware(rig.app[STORE], MAC)
    assert json.loads(hardware.disks)[0] == DISK_REPORT
    assert json.loads(hardware.disks)[1]["in_use"] == ["mounted"]
    assert hardware.lshw == '{"a":[2],"b":1}'
    (event,) = await rig.events("machine.inventory")
    assert event.details == {"count": 2, "serials": ["S1"], "lshw": True, "unverified": True}


async def test_inventory_without_lshw_keeps_the_earlier_one(rig: Rig) -> None:
    """An lshw that is missing or too large leaves the stored one as it was, and the log says so."""
    await rig.contact()
    assert await rig.post("inventory", {"lshw": [1]}) == 204
    assert await rig.post("inventory", {"disks": []}) == 204
    large = io.BytesIO(json.dumps({"lshw": {"filler": "x" * (4 << 20)}}).encode())
    assert await rig.post("inventory", data=large) == 204
    assert (await machine_table.read_hardware(rig.app[STORE], MAC)).lshw == "[1]"
    assert "too large" in (await rig.events("machine.inventory"))[-1].summary


async def test_orphans(rig: Rig) -> None:
    """Posts of a machine that has no record are 404, and the lasting ones are recorded."""
    assert await rig.post("done") == 404
    assert await rig.post("inventory", {"disks": [DISK_REPORT]}) == 404
    assert await rig.post("progress", {"stage": "write", "bytes": 1}) == 404
    assert await rig.post("log", {"lines": []}) == 404
    orphans = await rig.events()
    assert [(event.kind, event.details) for event in orphans] == [
        ("pxe.client.orphan", {"signal": "done"}),
        ("pxe.client.orphan", {"signal": "inventory", "disk_count": 1}),
    ]
    assert rig.fleet.find(MAC) is None


async def test_progress_is_live_and_not_recorded(rig: Rig) -> None:
    """Progress is heard by listeners and remembered until the flash ends; the database never sees it."""
    token = await flashing(rig)
    heard = []
    rig.app[EVENTS].listen(heard.append)
    assert await rig.post("progress", {"cycle": token, "stage": "write", "bytes": 5, "total": 10, "rate": 2.5}) == 204
    assert [(event.kind, event.details["bytes"]) for event in heard] == [("machine.progress", 5)]
    assert rig.fleet.live.progress(MAC).total == 10
    assert "machine.progress" not in await rig.kinds()
    await rig.post("done", {"cycle": token})
    assert rig.fleet.live.progress(MAC) is None


async def test_log_keeps_the_last_lines(rig: Rig) -> None:
    """Of a log the last 200 lines are kept, cut to 1000 characters, without control characters; text is as good as JSON."""
    await rig.contact()
    assert await rig.post("log", {"lines": [f"line {n}" for n in range(300)]}) == 204
    assert await rig.post("log", data=b"\x1b[31mred\ttab\nlast\xff\r\n" + b"x" * 2000, headers={"Content-Type": "text/plain"}) == 204
    kept = rig.fleet.live.log(MAC).lines
    assert (len(kept), kept[0]) == (200, "line 103")
    assert kept[-3:] == ["\ufffd[31mred\ttab", "last\ufffd", "x" * 1000]


async def test_what_our_own_flasher_says_fits(rig: Rig) -> None:
    """Receipt and disks as the flasher makes them are taken, and nothing of them is lost."""
    token = await flashing(rig)
    disk = Disk(
        path="/dev/nvme0n1", size_bytes=1 << 40, logical_sector_bytes=512, vendor="v", model="m", serial="S1", tran="nvme", wwn="eui.1",
        by_id=("/dev/disk/by-id/nvme-m_S1",), in_use=("mounted on /mnt",),
    )  # fmt: skip
    receipt = Receipt(source=ENTRY.src, target_path="/dev/nvme0n1", verified=("wire", "readback"), notes=("n",), seconds=2.5)
    assert await rig.post("inventory", {"cycle": token, "disks": [disk.to_json()], "lshw": {"id": "x"}}) == 204
    assert await rig.post("done", {"cycle": token, **receipt.to_json()}) == 204
    hardware = await machine_table.read_hardware(rig.app[STORE], MAC)
    assert json.loads(hardware.disks) == [disk.to_json()]
    (event,) = await rig.events("machine.flashed")
    assert event.details == {key: value for key, value in receipt.to_json().items() if value is not None}
