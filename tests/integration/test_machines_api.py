"""The operator's machines over HTTP: bind, change, list, delete; and what is refused and then changed nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.support.daemon import Daemon, make_config, running
from tests.support.machines import MAC, REF, fill, put

URL = f"/machines/{MAC}"
DISKS = [{"path": "/dev/sda", "size": "1.0 GiB", "serial": "S1"}]
FIELDS = {
    "mac", "bty_image_ref", "labels", "discovered_at", "last_seen_at", "last_seen_ip", "boot_mode", "sanboot_drive", "last_flashed_at",
    "known_disks", "known_disks_at", "target_disk_serial", "created_at", "updated_at",
}  # fmt: skip
ADDED = {"flashed_at", "uefi_local_boot", "boot_state", "cycle_state", "cycle_attempts", "flash_error", "last_flash", "progress"}


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as made:
        await made.log_in()
        yield made


async def flash(daemon: Daemon) -> None:
    """Let the machine go once through a cycle, as far as the receipt."""
    await daemon.client.get(f"/pxe/{MAC}")
    await daemon.client.get(f"/boot/x?mac={MAC}")
    assert (await daemon.client.post(f"/pxe/{MAC}/done")).status == 204


async def test_a_machine_is_made_by_put(daemon):
    """PUT makes a machine with defaults for what it leaves out, answers the predecessor's fields, and records machine.created."""
    machine = await put(daemon, labels=["rack 1", "a.b_c-d"])
    (event,) = await daemon.events(kind="machine.created")

    assert set(machine) == FIELDS | ADDED
    assert (machine["boot_mode"], machine["labels"], machine["bty_image_ref"]) == ("ipxe-exit", ["a.b_c-d", "rack 1"], None)
    assert (machine["discovered_at"], machine["known_disks"]) == (None, None)
    assert (event["subject_id"], event["actor"], event["source_ip"]) == (MAC, "operator", "127.0.0.1")
    assert set(event["details"]) == {"boot_mode", "bty_image_ref", "labels", "sanboot_drive", "target_disk_serial", "uefi_local_boot"}


async def test_put_replaces_everything(daemon):
    """A second PUT sets what it leaves out back to its default, keeps when the machine was made, and records machine.upserted."""
    first = await put(
        daemon, boot_mode="bty-tui", bty_image_ref=REF, labels=["x"], sanboot_drive="0x81", target_disk_serial="S1", uefi_local_boot="exit"
    )
    second = await put(daemon)

    names = ("boot_mode", "bty_image_ref", "labels", "sanboot_drive", "target_disk_serial", "uefi_local_boot")
    assert [second[name] for name in names] == [
        "ipxe-exit", None, [], None, None, "chain",
    ]  # fmt: skip
    assert second["created_at"] == first["created_at"]
    assert second["updated_at"] > first["updated_at"]
    assert len(await daemon.events(kind="machine.upserted")) == 1


async def test_adding_can_refuse_to_overwrite(daemon):
    """With `If-None-Match: *` PUT makes a machine and never touches one that is there."""
    await put(daemon, labels=["kept"])
    status, body = await daemon.call("PUT", URL, json={}, headers={"If-None-Match": "*"})
    fresh, _ = await daemon.call("PUT", "/machines/52:54:00:00:00:02", json={}, headers={"If-None-Match": "*"})

    assert (status, fresh) == (409, 200)
    assert MAC in body["detail"]
    assert (await daemon.call("GET", URL))[1]["labels"] == ["kept"]


async def test_patch_changes_only_what_it_names(daemon):
    """PATCH leaves every other field as it was; null clears; an empty object changes nothing and records nothing."""
    before = await put(daemon, boot_mode="bty-tui", bty_image_ref=REF, labels=["x"], target_disk_serial="S1")
    _, labels = await daemon.call("PATCH", URL, json={"labels": ["y", "y"]})
    _, cleared = await daemon.call("PATCH", URL, json={"target_disk_serial": None})
    _, same = await daemon.call("PATCH", URL, json={})

    assert labels == before | {"labels": ["y"], "updated_at": labels["updated_at"]}
    assert cleared == labels | {"target_disk_serial": None, "updated_at": cleared["updated_at"]}
    assert same == cleared
    assert len(await daemon.events(kind="machine.upserted")) == 2


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {}), ("DELETE", None)])
async def test_an_unknown_machine_is_404(daemon, method, body):
    """What is not there is neither made nor deleted."""
    assert await daemon.call(method, URL, json=body) == (404, {"detail": f"no machine record for {MAC}"})
    assert await daemon.call("GET", "/machines") == (200, [])


@pytest.mark.parametrize("spelling", ["52-54-00-00-00-01", "52:54:00:00:00:01", "52-54:00-00:00-01"])
async def test_a_mac_may_be_spelled_in_several_ways(daemon, spelling):
    """Upper case and hyphens mean the same machine."""
    assert (await put(daemon, spelling.upper()))["mac"] == MAC


@pytest.mark.parametrize(
    "mac", ["525400000001", "5254.0000.0001", "52:54:00:00:00", "52:54:00:00:00:0g", "52:54:00:00:00:01:02", "52:54:00:00:00:01%0a",
            "52:54:00:00:00:01%22", "%22%3e%3cb", "52:54:00:00:00:\u0660\u0661"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_a_malformed_mac_is_400(daemon, mac, method):
    """Anything but six pairs of hex digits is refused, and no machine is made of it."""
    status, body = await daemon.call(method, f"/machines/{mac}", json={})

    assert status == 400
    assert body["detail"].startswith("invalid MAC")
    assert await daemon.call("GET", "/machines") == (200, [])


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"bty_image_ref": "A" * 64}, "bty_image_ref"), ({"bty_image_ref": "a" * 63}, "bty_image_ref"),
        ({"bty_image_ref": "a" * 64 + "\n"}, "bty_image_ref"), ({"bty_image_ref": ""}, "bty_image_ref"),
        ({"labels": ["a\n"]}, "labels"), ({"labels": ["a\nb"]}, "labels"), ({"labels": [""]}, "labels"), ({"labels": [" a"]}, "labels"),
        ({"labels": ["a" * 65]}, "labels"), ({"labels": ["${net0/mac}"]}, "labels"), ({"labels": ["a\"b"]}, "labels"),
        ({"labels": [str(n) for n in range(17)]}, "labels"), ({"labels": "a"}, "labels"), ({"labels": None}, "labels"),
        ({"boot_mode": "sanboot"}, "boot_mode"), ({"boot_mode": None}, "boot_mode"), ({"boot_mode": 1}, "boot_mode"),
        ({"sanboot_drive": "0x800"}, "sanboot_drive"), ({"sanboot_drive": "128"}, "sanboot_drive"),
        ({"sanboot_drive": "0x80\n"}, "sanboot_drive"), ({"uefi_local_boot": "sanboot"}, "uefi_local_boot"),
        ({"target_disk_serial": "x" * 129}, "target_disk_serial"), ({"target_disk_serial": "a\nb"}, "target_disk_serial"),
        ({"target_disk_serial": "a\x00"}, "target_disk_serial"), ({"hostname": "x"}, "hostname"), ({"mac": MAC}, "mac"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["PUT", "PATCH", "bulk"])
async def test_a_body_that_does_not_fit_is_422(daemon, body, where, method):
    """Each wrong field is refused with its place, and the machine stays as it was."""
    before = await put(daemon, labels=["kept"])
    if method == "bulk":
        status, answer = await daemon.call("POST", "/machines/bulk", json={"label": "kept", "set": body})
    else:
        status, answer = await daemon.call(method, URL, json=body)

    assert status == 422
    assert where in answer["detail"][0]["loc"]
    assert set(answer["detail"][0]) == {"loc", "msg", "type"}
    assert await daemon.call("GET", URL) == (200, before)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"labels": ["\\ud800"]}', b"[" * 100_00])
async def test_a_body_that_is_no_json_object_is_422(daemon, body):
    """Broken JSON, JSON of another kind and nesting without end are refused with a detail."""
    status, answer = await daemon.call("PUT", URL, data=body)

    assert status == 422
    assert answer["detail"][0]["loc"][0] == "body"
    assert await daemon.call("GET", "/machines") == (200, [])


async def test_a_policy_edit_starts_over(daemon):
    """Changing mode, image or disk ends the open cycle and forgets its completion; the same values, labels or drive do not."""
    bound = {"boot_mode": "bty-inventory", "bty_image_ref": REF, "target_disk_serial": "S1"}
    await put(daemon, **bound)
    await daemon.client.get(f"/pxe/{MAC}")
    await daemon.client.get(f"/boot/x?mac={MAC}")
    await daemon.client.post(f"/pxe/{MAC}/inventory", json={"disks": DISKS})
    states = []
    for body in (bound, {**bound, "labels": ["x"], "sanboot_drive": "0x81"}, {**bound, "target_disk_serial": "S2"}):
        machine = await put(daemon, **body)
        states.append(
            (machine["boot_state"], machine["cycle_state"], machine["known_disks_at"] is not None, machine["known_disks"] is not None)
        )

    assert states == [("inventoried; booting disk", "completed", True, True)] * 2 + [("pending inventory", None, False, True)]


async def test_a_reset_starts_over_and_changes_nothing_that_is_bound(daemon):
    """A machine that was flashed once, or that gave up after failures, does its work again at its next boot."""
    status, entry = await daemon.call("POST", "/catalog/entries", json={"image_url": "http://127.0.0.1:9/os.img", "sha256": "b" * 64})
    assert status == 201, entry
    bound = await put(daemon, boot_mode="bty-flash-once", bty_image_ref=entry["bty_image_ref"], target_disk_serial="S1", labels=["rack"])
    await flash(daemon)
    assert "sanboot" in (await daemon.call("GET", f"/pxe/{MAC}"))[1]
    status, after = await daemon.call("POST", f"{URL}/reset")
    assert status == 200
    assert (after["boot_state"], after["cycle_state"], after["last_flashed_at"]) == ("pending flash", None, None)
    assert after["flashed_at"] == after["last_flash"]["at"]
    assert {name: after[name] for name in ("boot_mode", "bty_image_ref", "target_disk_serial", "labels")} == {
        name: bound[name] for name in ("boot_mode", "bty_image_ref", "target_disk_serial", "labels")
    }
    assert "vmlinuz" in (await daemon.call("GET", f"/pxe/{MAC}"))[1]
    assert (await daemon.events(kind="machine.reset"))[0]["subject_id"] == MAC
    assert (await daemon.call("POST", "/machines/52:54:00:00:00:99/reset"))[0] == 404


async def test_a_machine_tells_how_its_flash_went(daemon):
    """The newest receipt, its error, the progress and the log of the live environment are shown; the cycle's token is not."""
    await put(daemon, boot_mode="bty-tui")
    await daemon.client.get(f"/pxe/{MAC}")
    plan = await (await daemon.client.get(f"/pxe/{MAC}/plan")).json()
    token = {"cycle": plan["cycle"]}
    await daemon.client.post(f"/pxe/{MAC}/progress", json={**token, "stage": "write", "bytes": 5, "total": 10})
    await daemon.client.post(f"/pxe/{MAC}/log", json={**token, "lines": ["one", "two"]})
    _, during = await daemon.call("GET", URL)
    await daemon.client.post(f"/pxe/{MAC}/done", json={**token, "error": "no space", "source": "http://x/y.img"})
    _, after = await daemon.call("GET", URL)

    assert (during["progress"]["stage"], during["progress"]["bytes"]) == ("write", 5)
    assert after["flash_error"] == "no space"
    assert (after["last_flash"]["source"], after["progress"]) == ("http://x/y.img", None)
    assert await daemon.call("GET", f"{URL}/log") == (200, {"lines": ["one", "two"], "upto": 2, "whole": True})
    assert plan["cycle"] not in str((during, after, await daemon.events(), (await daemon.call("GET", "/machines"))[1]))


async def test_hardware_is_downloaded_as_it_was_sent(daemon):
    """disks.json and lshw.json are attachments named after the machine; what was never reported is 404."""
    await put(daemon)
    assert (await daemon.call("GET", f"{URL}/lshw.json"))[0] == 404
    await daemon.client.post(f"/pxe/{MAC}/inventory", json={"disks": DISKS, "lshw": {"id": "box"}})
    disks, lshw = await daemon.client.get(f"{URL}/disks.json"), await daemon.client.get(f"{URL}/lshw.json")

    assert (await disks.json())[0]["serial"] == "S1"
    assert await lshw.json() == {"id": "box"}
    assert disks.headers["Content-Disposition"] == 'attachment; filename="52-54-00-00-00-01-disks.json"'
    assert (await daemon.call("GET", URL))[1]["known_disks"][0]["path"] == "/dev/sda"


async def test_a_deleted_machine_is_gone(daemon):
    """DELETE answers 204 once and 404 then, leaves an event, and takes labels and hardware along."""
    await put(daemon, labels=["x"])
    await daemon.client.post(f"/pxe/{MAC}/inventory", json={"disks": DISKS})
    assert (await daemon.call("DELETE", URL))[0] == 204
    assert (await daemon.call("DELETE", URL))[0] == 404
    with closing(sqlite3.connect(daemon.state_dir / "state.db")) as db:
        left = db.execute(
            "SELECT (SELECT count(*) FROM machines), (SELECT count(*) FROM machine_labels), (SELECT count(*) FROM machine_hardware)"
        ).fetchone()

    assert left == (0, 0, 0)
    assert len(await daemon.events(kind="machine.deleted")) == 1


async def page(daemon: Daemon, **query) -> list[int]:
    status, body = await daemon.call("GET", "/machines", params=query)
    assert status == 200, body
    assert set(body) == {"items", "total", "page", "per_page"}
    return [int(item["mac"][-2:], 16) for item in body["items"]]


async def test_the_machines_that_flash_are_a_filter(daemon):
    """`filter=flashing` finds the machines whose flash sends progress, as long as it runs."""
    await fill(daemon)
    mac = f"52:54:00:00:00:{3:02x}"
    assert (await daemon.call("POST", f"/pxe/{mac}/progress", json={"stage": "write", "bytes": 1}))[0] == 204
    assert await page(daemon, filter="flashing") == [3]
    assert await page(daemon, filter="flashing", label="even") == []

    await daemon.call("POST", f"/pxe/{mac}/done", json={"error": "broken"})

    assert await page(daemon, filter="flashing") == []


async def test_the_fleet_at_a_glance(daemon):
    """GET /overview counts the machines in all, by mode and by image, and names those that flash."""
    await fill(daemon)
    await daemon.call("POST", f"/pxe/52:54:00:00:00:{4:02x}/progress", json={"stage": "write", "bytes": 1})
    status, found = await daemon.call("GET", "/overview")

    assert status == 200
    assert (found["total"], found["unassigned"], found["failed"], found["flashing"]) == (12, 6, 1, 1)
    assert sum(mode["machines"] for mode in found["modes"]) == 12
    assert [image["machines"] for image in found["images"]] == sorted((image["machines"] for image in found["images"]), reverse=True)
    assert [machine["mac"][-2:] for machine in found["running"]] == ["04"]
    assert found["last_seen_at"] >= found["running"][0]["last_seen_at"]


async def test_without_a_query_all_machines_come(daemon):
    """GET /machines is the array of all machines, by MAC."""
    await fill(daemon)
    _, machines = await daemon.call("GET", "/machines")

    assert [machine["mac"][-2:] for machine in machines] == [f"{n:02x}" for n in range(12)]


async def test_machines_come_in_pages(daemon):
    """Pages have the size that is asked for, and know how many machines there are; behind the last one is nothing."""
    await fill(daemon)
    _, body = await daemon.call("GET", "/machines?page=3&per_page=5")

    assert (body["total"], body["page"], body["per_page"], len(body["items"])) == (12, 3, 5, 2)
    assert await page(daemon, page=9, per_page=5) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"sort": "last_seen_at"}, [*range(11, -1, -1)]), ({"sort": "last_seen_at", "dir": "desc"}, [*range(12)]),
        ({"dir": "desc"}, [*range(11, -1, -1)]), ({"sort": "bty_image_ref", "dir": "desc", "per_page": 2}, [11, 9]),
        ({"sort": "boot_mode"}, [1, 3, 5, 7, 9, 11, 0, 2, 4, 6, 8, 10]),
        ({"filter": "assigned"}, [1, 3, 5, 7, 9, 11]), ({"filter": "discovered"}, [0, 2, 4, 6, 8, 10]), ({"filter": "failed"}, [3]),
        ({"label": "odd", "dir": "desc", "per_page": 1}, [11]), ({"label": "od"}, []),
        ({"q": "00-0A"}, [10]), ({"q": "192.0.2.1"}, [1, 10, 11]), ({"q": "N7"}, [7]), ({"q": "aaa"}, [1, 3, 5, 7, 9, 11]),
        ({"q": "%"}, []), ({"q": "_"}, []), ({"q": "' OR 1=1 --"}, []), ({"q": "odd", "filter": "discovered"}, []),
    ],
)  # fmt: skip
async def test_machines_are_searched_filtered_and_sorted(daemon, query, found):
    """`q` looks into MAC, labels, ref and address; `filter` and `label` choose; `sort` and `dir` order."""
    await fill(daemon)

    assert await page(daemon, **query) == found


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page=", "per_page=0", "per_page=501", "per_page=1e3", "page=9999999999999999999999",
              "sort=mac;drop", "sort=flash_error", "dir=up", "filter=all", "q=" + "x" * 201, "page=%D9%A1"],
)  # fmt: skip
async def test_a_malformed_query_is_422(daemon, query):
    """A page that is none, an unknown order or filter is refused with the name of the parameter."""
    status, body = await daemon.call("GET", f"/machines?{query}")

    assert status == 422
    assert body["detail"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_machines_are_sorted_by_the_last_flash_that_ended_well(daemon):
    """Neither another disk nor a flash that failed makes a machine one that was never flashed."""
    await fill(daemon, 3)
    times = {}
    for mac in (f"52:54:00:00:00:0{n}" for n in (2, 0)):
        await daemon.client.post(f"/pxe/{mac}/done")
        times[mac] = (await daemon.call("GET", f"/machines/{mac}"))[1]["flashed_at"]
        await daemon.call("PATCH", f"/machines/{mac}", json={"target_disk_serial": "another"})
        await daemon.client.post(f"/pxe/{mac}/done", json={"error": "no such disk"})
    _, answer = await daemon.call("GET", "/machines?sort=last_flashed_at&dir=desc&page=1")
    _, overview = await daemon.call("GET", "/overview")

    assert [(machine["mac"][-1], machine["flashed_at"], machine["last_flashed_at"]) for machine in answer["items"]] == [
        ("0", times["52:54:00:00:00:00"], None),
        ("2", times["52:54:00:00:00:02"], None),
        ("1", None, None),
    ]
    assert overview["last_flashed_at"] == times["52:54:00:00:00:00"]
