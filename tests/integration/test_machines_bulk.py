"""Changes of many machines by one request: all or nothing, beside what happens meanwhile, and with thousands of them."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from bty.daemon import keys
from bty.model.machine import Machine
from bty.units import utc_now
from tests.support.daemon import make_config, running
from tests.support.machines import MAC, fill, put

URL = f"/machines/{MAC}"


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as made:
        await made.log_in()
        yield made


async def test_many_machines_change_at_once(daemon):
    """POST /machines/bulk changes those it names, or those with a label, each with an event, and nothing else of them."""
    await fill(daemon)
    by_label = await daemon.call("POST", "/machines/bulk", json={"label": "odd", "set": {"boot_mode": "bty-tui"}})
    by_mac = await daemon.call("POST", "/machines/bulk", json={"macs": ["52-54-00-00-00-00", MAC, MAC], "set": {"target_disk_serial": "S"}})
    _, machines = await daemon.call("GET", "/machines")

    assert (by_label[0], by_label[1]["changed"]) == (200, 6)
    assert by_mac == (200, {"changed": 2, "macs": ["52:54:00:00:00:00", MAC]})
    assert [machine["boot_mode"] for machine in machines] == ["bty-inventory", "bty-tui"] * 6
    assert [machine["target_disk_serial"] for machine in machines] == ["S", "S", *[None] * 10]
    assert machines[3]["labels"] == ["n3", "odd"]
    assert len(await daemon.events(kind="machine.upserted")) == 8


async def test_a_bulk_change_is_all_or_nothing(daemon):
    """One unknown or malformed MAC among known ones, and nothing is changed."""
    await fill(daemon)
    _, before = await daemon.call("GET", "/machines")
    unknown = await daemon.call("POST", "/machines/bulk", json={"macs": [MAC, "52:54:00:00:00:99"], "set": {"boot_mode": "bty-tui"}})
    malformed = await daemon.call("POST", "/machines/bulk", json={"macs": [MAC, "nix"], "set": {"boot_mode": "bty-tui"}})

    assert (unknown[0], malformed[0]) == (404, 400)
    assert "52:54:00:00:00:99" in unknown[1]["detail"]
    assert await daemon.call("GET", "/machines") == (200, before)


@pytest.mark.parametrize(
    "body",
    [
        {"set": {}}, {"macs": [], "label": "x", "set": {}}, {"macs": []}, {"macs": "x", "set": {}}, {"label": "\n", "set": {}},
        {"each": []},
        {"set": {}, "each": [{"mac": MAC}]}, {"macs": [MAC], "each": [{"mac": MAC}]}, {"each": [{"boot_mode": "bty-tui"}]},
        {"each": [{"mac": MAC, "boot_mode": "none such"}]}, {"do": "reset"}, {"do": "burn", "macs": []},
        {"do": "delete", "each": [{"mac": MAC}]},
        {"do": "delete", "macs": [], "set": {}},
    ],
)  # fmt: skip
async def test_a_bulk_change_says_what_and_whom(daemon, body):
    """Exactly one of macs and label, and a set, or else changes of each: anything else is 422."""
    assert (await daemon.call("POST", "/machines/bulk", json=body))[0] == 422


async def test_each_of_many_machines_gets_its_own_disk(daemon):
    """One request sets what is common to some machines and what each gets for itself, each with one event."""
    await fill(daemon)
    macs = [f"52:54:00:00:00:0{n}" for n in range(4)]
    for mac in macs[:2]:
        await daemon.client.get(f"/pxe/{mac}")
        await daemon.client.post(f"/pxe/{mac}/inventory", json={"disks": [{"path": "/dev/sda", "size": "1T", "serial": f"S{mac[-1]}"}]})
    own = [{"mac": mac, "target_disk_serial": f"S{mac[-1]}"} for mac in macs[:2]]
    own.append({"mac": macs[2], "target_disk_serial": "typed", "boot_mode": "bty-tui"})
    status, answer = await daemon.call(
        "POST", "/machines/bulk", json={"macs": macs[1:], "set": {"boot_mode": "bty-flash-once", "labels": ["x"]}, "each": own}
    )
    found = [(await daemon.call("GET", f"/machines/{mac}"))[1] for mac in macs]

    assert (status, answer["changed"], sorted(answer["macs"])) == (200, 4, macs)
    assert [machine["target_disk_serial"] for machine in found] == ["S0", "S1", "typed", None]
    assert [machine["boot_mode"] for machine in found] == ["bty-inventory", "bty-flash-once", "bty-tui", "bty-flash-once"]
    assert [machine["labels"] for machine in found] == [[], ["x"], ["x"], ["x"]]
    assert len(await daemon.events(kind="machine.upserted")) == 4


async def test_many_machines_start_over_or_are_forgotten_together(daemon):
    """`do` resets or deletes all that are named, each with its event, or none where one is unknown."""
    await fill(daemon)
    _, before = await daemon.call("GET", "/machines")
    for deed in ("reset", "delete"):
        refused = await daemon.call("POST", "/machines/bulk", json={"do": deed, "macs": [MAC, "52:54:00:00:00:99"]})
        assert (refused[0], "52:54:00:00:00:99" in refused[1]["detail"]) == (404, True)
    assert await daemon.call("GET", "/machines") == (200, before)
    reset = await daemon.call("POST", "/machines/bulk", json={"do": "reset", "label": "odd"})
    _, machine = await daemon.call("GET", "/machines/52:54:00:00:00:03")
    deleted = await daemon.call("POST", "/machines/bulk", json={"do": "delete", "macs": [MAC, MAC.replace(":", "-"), "52:54:00:00:00:02"]})
    _, after = await daemon.call("GET", "/machines")

    assert (reset[1]["changed"], machine["flash_error"]) == (6, None)
    assert deleted == (200, {"changed": 2, "macs": [MAC, "52:54:00:00:00:02"]})
    assert len(after) == len(before) - 2
    assert len(await daemon.events(kind="machine.reset")) == 6
    assert [event["subject_id"] for event in await daemon.events(kind="machine.deleted")] == ["52:54:00:00:00:02", MAC]


async def test_every_machine_without_its_disk_is_named_and_none_is_changed(daemon):
    """Where some machines do not report the disk that is meant for them, or two of it, each is named and nothing is changed."""
    await fill(daemon)
    reports = {MAC: ["OTHER"], "52:54:00:00:00:02": ["TWIN", "TWIN"], "52:54:00:00:00:03": ["S"]}
    for mac, serials in reports.items():
        disks = [{"path": f"/dev/sd{n}", "size": "1T", "serial": serial} for n, serial in enumerate(serials)]
        await daemon.client.post(f"/pxe/{mac}/inventory", json={"disks": disks})
    _, before = await daemon.call("GET", "/machines")
    wanted = {MAC: "S", "52:54:00:00:00:02": "TWIN", "52:54:00:00:00:03": "S"}
    each = [{"mac": mac, "target_disk_serial": serial} for mac, serial in wanted.items()]
    status, answer = await daemon.call("POST", "/machines/bulk", json={"each": each})

    assert status == 422
    assert [(problem["loc"], problem["msg"]) for problem in answer["detail"]] == [
        (["body", "each", MAC, "target_disk_serial"], f"{MAC} reports no disk with serial S"),
        (["body", "each", "52:54:00:00:00:02", "target_disk_serial"], "52:54:00:00:00:02 reports 2 disks with serial TWIN"),
    ]
    assert await daemon.call("GET", "/machines") == (200, before)


async def test_thousands_of_machines_are_listed_and_changed(daemon):
    """With 3,000 machines the list is whole and one change reaches them all."""
    now = utc_now()
    await daemon.app[keys.FLEET].save(
        [
            Machine(mac=f"52:54:00:01:{n >> 8:02x}:{n & 255:02x}", boot_mode="ipxe-exit", created_at=now, updated_at=now, labels=("all",))
            for n in range(3000)
        ]
    )
    status, changed = await daemon.call("POST", "/machines/bulk", json={"label": "all", "set": {"boot_mode": "bty-tui"}})
    _, machines = await daemon.call("GET", "/machines")

    assert (status, changed["changed"]) == (200, 3000)
    assert {machine["boot_mode"] for machine in machines} == {"bty-tui"}


async def test_a_bulk_change_loses_nothing_that_happens_meanwhile(daemon):
    """Machines that boot, or are deleted, while one change reaches two thousand: what they did stays, and the change too."""
    now = utc_now()
    macs = [f"52:54:00:02:{n >> 8:02x}:{n & 255:02x}" for n in range(2000)]
    await daemon.app[keys.FLEET].save(
        [Machine(mac=mac, boot_mode="ipxe-exit", created_at=now, updated_at=now, labels=("all",)) for mac in macs]
    )
    change = asyncio.create_task(daemon.call("POST", "/machines/bulk", json={"label": "all", "set": {"boot_mode": "bty-tui"}}))
    booted, gone = macs[::100], macs[50::200]
    await asyncio.gather(
        *(daemon.call("GET", f"/pxe/{mac}") for mac in booted), *(daemon.call("DELETE", f"/machines/{mac}") for mac in gone)
    )
    status, _ = await change
    _, machines = await daemon.call("GET", "/machines")
    found = {machine["mac"]: machine for machine in machines}

    assert status == 200
    assert sorted(found) == sorted(set(macs) - set(gone))
    assert {machine["boot_mode"] for machine in machines} == {"bty-tui"}
    assert [mac for mac in booted if found[mac]["last_seen_at"] is None] == []


async def test_changes_at_the_same_time_are_all_kept(daemon):
    """Fifty changes of different machines at once: each is answered and stored."""
    await fill(daemon)
    answers = await asyncio.gather(
        *(daemon.call("PATCH", f"/machines/52:54:00:00:00:{n % 12:02x}", json={"labels": [f"l{n}"]}) for n in range(48))
    )
    with closing(sqlite3.connect(daemon.state_dir / "state.db")) as db:
        stored = dict(db.execute("SELECT mac, label FROM machine_labels").fetchall())
    _, machines = await daemon.call("GET", "/machines")

    assert {status for status, _ in answers} == {200}
    assert {machine["mac"]: machine["labels"][0] for machine in machines} == stored


async def test_a_write_that_fails_is_told_and_undone(daemon):
    """Where the database refuses the write, the answer is 503 with the reason and the machine is as before."""
    before = await put(daemon, labels=["kept"])
    with closing(sqlite3.connect(daemon.state_dir / "state.db")) as db:
        db.execute("CREATE TRIGGER no BEFORE UPDATE ON machines BEGIN SELECT RAISE(ABORT, 'not today'); END")
        db.commit()
    status, body = await daemon.call("PATCH", URL, json={"labels": ["lost"]})

    assert status == 503
    assert "not today" in body["detail"]
    assert await daemon.call("GET", URL) == (200, before)
