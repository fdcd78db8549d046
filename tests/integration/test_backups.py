"""Backups over the API: made, listed, fetched, pruned, deleted, taken in again; and the jobs that make them."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from bty.daemon import keys
from bty.daemon.handlers import jobs
from bty.services import backups, bundle
from tests.support.daemon import make_config, running
from tests.support.sse import listening

IMAGE = {"image_url": "http://127.0.0.1:1/a%20name%0Awith%20a%20break.img", "sha256": "b" * 64}
MACS = [f"52:54:00:00:00:{n:02x}" for n in range(3)]
BINDING = {"boot_mode": "bty-flash-always", "bty_image_ref": "a" * 64, "target_disk_serial": "S1", "labels": ["rack 1"]}
LSHW = {"id": "machine", "children": [{"id": "core"}]}


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as made:
        await made.log_in()
        for mac in MACS:
            await made.call("PUT", f"/machines/{mac}", json=BINDING)
        await made.call("POST", f"/pxe/{MACS[0]}/inventory", json={"disks": [{"path": "/dev/sda", "serial": "S1"}], "lshw": LSHW})
        yield made


async def make(daemon, **body) -> dict:
    status, started = await daemon.call("POST", "/workers/backups", json=body)
    assert status == 202, started
    deadline = time.monotonic() + 10
    while True:
        states = (await daemon.call("GET", "/workers/backups"))[1]["backups"]
        (state,) = [state for state in states if state["backup_id"] == started["backup_id"]]
        if state["status"] not in ("queued", "running"):
            return state
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_backup_is_made_and_fetched(daemon):
    """The bundle has every machine, its hardware as it was reported, and what the operator said about it."""
    state = await make(daemon)
    (stored,) = (await daemon.call("GET", "/backups"))[1]["items"]
    status, found = await daemon.call("GET", f"/backups/{stored['backup_id']}")
    old_way = await daemon.client.get(f"/ui/backups/{stored['backup_id']}/download")

    assert (state["status"], state["machines"], state["trigger"]) == ("completed", 3, "manual")
    assert (status, found["bty_export_version"]) == (200, 4)
    assert [machine["mac"] for machine in found["machines"]] == MACS
    assert found["machines"][0]["hw_lshw"] == LSHW
    assert found["machines"][0]["known_disks"][0]["serial"] == "S1"
    assert found["machines"][1] | BINDING == found["machines"][1]
    assert await old_way.json() == found
    assert old_way.headers["Content-Disposition"] == f'attachment; filename="{stored["backup_id"]}.json"'
    kinds = [event["kind"] for event in await daemon.events(subject_kind="backup")]
    assert kinds == ["backup.created", "backup.create.started", "backup.create.requested"]


async def test_a_job_shows_on_the_stream(daemon):
    """Each change of a job comes as a message, until it is over."""
    async with listening(daemon) as listener:
        await make(daemon)
        job = (await listener.until("job", status="completed")).data

    assert job == (await daemon.call("GET", f"/jobs/{job['id']}"))[1]
    assert (await daemon.call("DELETE", f"/jobs/{job['id']}"))[1]["status"] == "completed"
    assert (await daemon.call("GET", "/jobs/nix"))[0] == 404


async def test_only_the_newest_backups_are_kept(daemon):
    """After each success what is over the count goes, the oldest first."""
    await daemon.call("PATCH", "/settings", json={"backup": {"retention_count": 2}})
    made = [(await make(daemon))["backup_id"] for _ in range(3)]

    assert {stored["backup_id"] for stored in (await daemon.call("GET", "/backups"))[1]["items"]} == set(made[1:])
    assert [event["subject_id"] for event in await daemon.events(kind="backup.pruned")] == made[:1]


async def test_a_backup_is_deleted(daemon):
    """It is gone from the disk, and a second time it is not found."""
    backup_id = (await make(daemon))["backup_id"]
    status, body = await daemon.call("DELETE", f"/backups/{backup_id}")

    assert (status, body["backup_id"]) == (200, backup_id)
    assert (await daemon.call("DELETE", f"/ui/backups/{backup_id}"))[0] == 404
    assert (await daemon.call("GET", "/backups"))[1]["items"] == []


@pytest.mark.parametrize("backup_id", ["x", "..%2f..%2fstate.db", "2026-01-01T00-00-00Z", "2026-01-01T00-00-00Z-99999"])
async def test_an_unknown_backup_is_404(daemon, backup_id):
    """No name leads out of the directory."""
    for method, path in (("GET", "/backups/"), ("DELETE", "/backups/"), ("DELETE", "/workers/backups/")):
        assert (await daemon.call(method, path + backup_id))[0] == 404


async def bundle_of(daemon) -> str:
    backup_id = (await make(daemon))["backup_id"]
    return json.dumps((await daemon.call("GET", f"/backups/{backup_id}"))[1])


async def test_a_backup_says_how_much_is_in_it(daemon):
    """The list has what a bundle holds, null for one that does not say; job and event have it too."""
    await daemon.call("POST", "/catalog/entries", json=IMAGE)
    await daemon.call("PATCH", "/settings", json={"upstream": {"netboot_tag": "v9"}, "backup": {"retention_count": 3}})
    backup_id = (await make(daemon))["backup_id"]
    (stored,) = (await daemon.call("GET", "/backups"))[1]["items"]
    holds = {"machines": 3, "images": 1, "settings": 2}

    assert stored | {"version": 4, **holds} == stored
    (job,) = (await daemon.call("GET", "/jobs"))[1]["items"]
    assert job["details"] | holds == job["details"]
    (event,) = await daemon.events(kind="backup.created")
    assert event["summary"] == f"backup {backup_id} has 3 machines, 1 image, 2 settings"
    daemon.app[keys.BACKUPS].root.joinpath(backup_id, "about.json").write_text("[")
    assert (await daemon.call("GET", "/backups"))[1]["items"][0]["machines"] is None


async def test_everything_comes_back_and_no_disk_is_written(daemon, tmp_path):
    """In a new daemon machines, images and settings are as they were, but what would be flashed waits, bound, until somebody says so."""
    await daemon.call("POST", "/catalog/entries", json=IMAGE)
    (image,) = (await daemon.call("GET", "/catalog/entries"))[1]
    await daemon.call("POST", "/catalog/entries", json={"image_url": "http://127.0.0.1:1/gone.img"})
    await daemon.call("DELETE", "/catalog/entries?src=http://127.0.0.1:1/gone.img")
    await daemon.call("PATCH", "/settings", json={"upstream": {"netboot_tag": "v9"}, "backup": {"enabled": True, "cadence": "weekly"}})
    bound = {**BINDING, "bty_image_ref": image["bty_image_ref"], "sanboot_drive": "0x81", "uefi_local_boot": "exit"}
    await daemon.call("PUT", f"/machines/{MACS[1]}", json={**bound, "boot_mode": "bty-flash-once"})
    await daemon.call("PUT", f"/machines/{MACS[2]}", json={**bound, "boot_mode": "bty-flash-once"})
    await daemon.call("GET", f"/pxe/{MACS[2]}")
    await daemon.call("GET", f"/boot/kernel?mac={MACS[2]}")
    await daemon.call("POST", f"/pxe/{MACS[2]}/done", json={"name": "a", "sha256": "b" * 64})
    before = {machine["mac"]: machine for machine in (await daemon.call("GET", "/machines"))[1]}
    content = await bundle_of(daemon)
    async with running(make_config(tmp_path / "other")) as other:
        await other.log_in()
        status, outcome = await other.call("POST", "/backups/import", data=content)
        machines = {machine["mac"]: machine for machine in (await other.call("GET", "/machines"))[1]}
        scripts = [(await other.call("GET", f"/machines/{mac}/explain"))[1]["now"]["offer_kind"] for mac in MACS]
        settings = (await other.call("GET", "/settings"))[1]
        (restored,) = (await other.call("GET", "/catalog/entries"))[1]
        lshw = (await other.call("GET", f"/machines/{MACS[0]}/lshw.json"))[1]
        (event,) = await other.events(kind="backup.imported")
        is_buried = bool(other.app[keys.CATALOG].deleted())

    assert (status, outcome["machines"], outcome["images"], outcome["armed"]) == (200, 3, 1, False)
    assert [(held["mac"], held["boot_mode"]) for held in outcome["held"]] == [(MACS[0], "bty-flash-always"), (MACS[1], "bty-flash-once")]
    assert scripts == ["bty-inventory", "bty-inventory", "bty-flash-once-sanboot"]
    changed = {"boot_mode", "boot_state", "updated_at", "cycle_state"}
    for mac in MACS:
        assert {key: machines[mac][key] for key in before[mac].keys() - changed} == {
            key: before[mac][key] for key in before[mac].keys() - changed
        }
    assert (machines[MACS[2]]["boot_mode"], machines[MACS[2]]["boot_state"]) == ("bty-flash-once", "flashed; booting disk")
    assert restored == image
    assert lshw == LSHW
    assert is_buried
    assert settings == {
        "upstream": {"netboot_repo": "safl/bty", "netboot_tag": "v9", "catalog_url": ""},
        "backup": {"enabled": True, "cadence": "weekly", "retention_count": 7, "last_run_at": None},
    }
    assert sorted(outcome["settings"]) == ["backup.cadence", "backup.enabled", "upstream.netboot_tag"]
    assert event["details"]["held"] == {"bty-flash-always": 1, "bty-flash-once": 1}
    assert event["details"]["held_machines"][MACS[0]] == "bty-flash-always"


async def test_modes_come_back_where_it_is_asked_for(daemon):
    """With `arm=1` machines are to be flashed as they were, and the answer says which."""
    content = await bundle_of(daemon)
    status, outcome = await daemon.call("POST", "/backups/import?arm=1", data=content)

    assert (status, outcome["armed"], len(outcome["held"])) == (200, True, 3)
    assert {machine["boot_mode"] for machine in (await daemon.call("GET", "/machines"))[1]} == {"bty-flash-always"}
    assert (await daemon.call("POST", "/backups/import?arm=maybe", data=content))[0] == 422


async def test_an_image_that_comes_back_flashes_nobody(daemon):
    """A machine that is not part of the bundle and is bound to an image that is waits too: it would be flashed all of a sudden."""
    await daemon.call("POST", "/catalog/entries", json=IMAGE)
    (image,) = (await daemon.call("GET", "/catalog/entries"))[1]
    content = json.loads(await bundle_of(daemon))
    await daemon.call("DELETE", f"/catalog/entries?src={image['src']}".replace("%", "%25"))
    assert (await daemon.call("GET", "/catalog/entries"))[1] == []
    await daemon.call("PUT", f"/machines/{MACS[0]}", json={**BINDING, "bty_image_ref": image["bty_image_ref"]})
    content["machines"] = []
    status, outcome = await daemon.call("POST", "/backups/import", json=content)

    assert (status, outcome["images"], [held["mac"] for held in outcome["held"]]) == (200, 1, MACS[:1])
    assert (await daemon.call("GET", f"/machines/{MACS[0]}"))[1]["boot_mode"] == "bty-inventory"
    assert (await daemon.call("GET", f"/machines/{MACS[1]}"))[1]["boot_mode"] == "bty-flash-always"


async def test_what_is_there_stays_where_a_bundle_does_not_name_it(daemon):
    """An image that is in the catalog keeps what is known of it now; machines and settings that are not in the bundle stay."""
    await daemon.call("POST", "/catalog/entries", json=IMAGE)
    content = json.loads(await bundle_of(daemon))
    content["catalog"][0]["name"] = "older name"
    content["machines"] = content["machines"][:1]
    await daemon.call("PATCH", "/settings", json={"upstream": {"netboot_tag": "v9"}})
    status, outcome = await daemon.call("POST", "/backups/import", json=content)

    assert (status, outcome["images"], outcome["images_kept"], outcome["settings"]) == (200, 0, 1, [])
    assert (await daemon.call("GET", "/catalog/entries"))[1][0]["name"] != "older name"
    assert len((await daemon.call("GET", "/machines"))[1]) == 3
    assert (await daemon.call("GET", "/settings"))[1]["upstream"]["netboot_tag"] == "v9"


CONFIGURED = """
[admin]
password = "open sesame"
[server]
session_secret = "s3cr3t-of-a-session"
trusted_proxy = "10.0.0.0/8"
[flash]
max_attempts = 7
verify = true
[withcache]
url = "http://user:h1dden@cache:3000"
[[webhook]]
url = "http://127.0.0.1:9/in-the-path"
secret = "hush"
"""


async def test_a_configuration_that_differs_is_told_and_left_alone(tmp_path):
    """What was configured goes along, without secrets and what belongs to a host; an import names what differs and changes nothing."""
    async with running(make_config(tmp_path / "state", CONFIGURED)) as daemon:
        await daemon.log_in("open sesame")
        content = await bundle_of(daemon)
    other_config = make_config(tmp_path / "other", "[flash]\nverify = true\n")
    async with running(other_config) as other:
        await other.log_in()
        status, outcome = await other.call("POST", "/backups/import", data=content)
        keys_now = {key["key"]: key["value"] for key in (await other.call("GET", "/config"))[1]["keys"]}
        (event,) = await other.events(kind="backup.imported")

    assert json.loads(content)["configuration"] == {"flash.max_attempts": 7, "flash.verify": True}
    assert (status, outcome["configuration"]) == (200, [{"key": "flash.max_attempts", "value": 7, "here": 3}])
    assert event["details"]["configuration_differs"] == ["flash.max_attempts"]
    assert keys_now["flash.max_attempts"] == 3
    for secret in ("sesame", "s3cr3t", "h1dden", "hush", "in-the-path"):
        assert secret not in content


async def test_no_secret_is_part_of_a_bundle(daemon, tmp_path):
    """No token, no session, no password and no webhook is in it."""
    token = (await daemon.call("POST", "/tokens", json={"name": "ci"}))[1]["token"]
    await daemon.call("PUT", f"/machines/{MACS[1]}", json={**BINDING, "boot_mode": "bty-inventory"})
    await daemon.call("GET", f"/pxe/{MACS[1]}")
    cycle = daemon.app[keys.FLEET].get(MACS[1]).cycle
    content = await bundle_of(daemon)

    assert cycle
    assert cycle not in content
    for secret in (token, "bty-lab", (daemon.state_dir / "session-secret").read_text(), "scrypt", "webhook"):
        assert secret not in content


async def test_the_predecessors_bundle_is_taken_in(daemon):
    """Its fields suffice, also where JSON is a text within JSON."""
    machine = {
        "mac": "AA-BB-CC-DD-EE-FF",
        "known_disks": '[{"path": "/dev/vda"}]',
        "known_disks_at": None,
        "hw_lshw": None,
        "hw_lshw_at": None,
    }
    status, _ = await daemon.call("POST", "/backups/import", json={"bty_export_version": 3, "exported_at": "x", "machines": [machine]})

    assert status == 200
    assert (await daemon.call("GET", "/machines/aa:bb:cc:dd:ee:ff"))[1]["known_disks"] == [{"path": "/dev/vda"}]


MAC = "52:54:00:00:00:01"
REF = hashlib.sha256(b"http://a/b.img").hexdigest()
SAVED = {"bty_image_ref": REF, "src": "http://a/b.img", "name": "b", "added_at": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "not a bundle"), ("x", "not a bundle"), ("[]", "not a bundle"), ({"machines": []}, "bty_export_version"),
     ({"bty_export_version": 2, "machines": []}, "version 2"), ({"bty_export_version": 5, "machines": []}, "version 5"),
     ({"bty_export_version": 4}, "machines"),
     ({"machines": [{"mac": "x"}]}, "invalid MAC: 'x'"),
     ({"machines": [{"mac": MAC, "boot_mode": "x"}]}, f"machine {MAC}: Invalid enum value 'x'"),
     ({"machines": [{"mac": MAC, "labels": ["a\nb"]}]}, f"machine {MAC}: Expected letters, digits, spaces"),
     ({"machines": [{"mac": MAC, "known_disks": "x"}]}, f"machine {MAC}: JSON is malformed"),
     ({"machines": [{"mac": MAC, "known_disks": "[1]"}]}, f"machine {MAC}: Expected `object`"),
     ({"machines": [{"mac": MAC, "known_disks": "5"}]}, f"machine {MAC}: Expected `array`"),
     ({"machines": [{"mac": MAC, "last_flashed_at": "tomorrow"}]}, f"machine {MAC}: Invalid isoformat"),
     ({"machines": [{"mac": MAC}, {"mac": MAC.replace(":", "-")}]}, f"machine {MAC} occurs twice"),
     ({"machines": [{"mac": MAC}], "catalog": [{**SAVED, "src": "http://a/c.img"}]}, "image 'b': its ref is not"),
     ({"machines": [{"mac": MAC}], "catalog": [{**SAVED, "format": "iso"}]}, "image 'b': Invalid enum value 'iso'"),
     ({"machines": [{"mac": MAC}], "catalog": [SAVED, SAVED]}, "image http://a/b.img occurs twice"),
     ({"machines": [{"mac": MAC}], "catalog": [{**SAVED, "sha_url": "http://a:b@c/"}]}, "image 'b': an address of it holds credentials"),
     ({"machines": [{"mac": MAC}], "settings": {"admin": {}}}, "admin"),
     ({"machines": [{"mac": MAC}], "settings": {"backup": {"retention_count": 0}}}, "retention_count")],
)  # fmt: skip
async def test_a_malformed_bundle_changes_nothing(daemon, content, said):
    """A bundle is taken whole or not at all, and the record that is wrong is named."""
    if isinstance(content, dict):
        content = json.dumps(content if said == "bty_export_version" else {"bty_export_version": 4, **content})
    before = (await daemon.call("GET", "/machines"))[1]
    status, body = await daemon.call("POST", "/backups/import", data=content)

    assert status == 422, body
    assert said in body["detail"][0]["msg"]
    assert (await daemon.call("GET", "/machines"))[1] == before
    assert (await daemon.call("GET", "/catalog/entries"))[1] == []
    assert await daemon.events(kind="backup.imported") == []


async def test_an_import_that_cannot_be_stored_changes_nothing(daemon):
    """Where the database refuses one of its rows, machines, images and settings are as before, in the database and in memory."""
    await daemon.call("POST", "/catalog/entries", json=IMAGE)
    content = json.loads(await bundle_of(daemon))
    await daemon.call("DELETE", f"/catalog/entries?src={IMAGE['image_url']}".replace("%", "%25"))
    await daemon.call("PATCH", f"/machines/{MACS[0]}", json={"labels": ["other"]})
    content["settings"] = {"upstream": {"netboot_tag": "v9"}}
    before = [(await daemon.call("GET", path))[1] for path in ("/machines", "/settings", "/catalog/entries")]
    trigger = "CREATE TRIGGER full BEFORE INSERT ON catalog_entries BEGIN SELECT RAISE(FAIL, 'no room'); END"
    await daemon.app[keys.STORE].write((trigger, ()))
    status, body = await daemon.call("POST", "/backups/import", json=content)

    assert (status, "no room" in body["detail"]) == (503, True)
    assert [(await daemon.call("GET", path))[1] for path in ("/machines", "/settings", "/catalog/entries")] == before
    assert [row["key"] for row in await daemon.app[keys.STORE].read("SELECT key FROM settings")] == []
    assert await daemon.events(kind="backup.imported") == []


async def test_a_bundle_over_the_cap_is_told_what_takes_it(daemon, monkeypatch):
    """A fleet's backup can be larger than a request may be: the answer names the command that takes it."""
    monkeypatch.setattr(jobs, "IMPORT_MAX_BYTES", 100)
    status, body = await daemon.call("POST", "/backups/import", data=b" " * 101)

    assert (status, "bty.pyz web import" in body["detail"]) == (413, True)


async def test_every_wrong_record_is_named(daemon):
    """The answer has the mistakes of all records, each with its place, up to a bound."""
    machines = [{"mac": f"52:54:00:00:00:{n:02x}", "boot_mode": "x"} for n in range(30)]
    status, body = await daemon.call("POST", "/backups/import", json={"bty_export_version": 4, "machines": machines})

    assert (status, len(body["detail"])) == (422, 20)
    assert body["detail"][3]["loc"] == ["body", "machines", 3]


async def test_a_backup_that_cannot_be_written_fails_with_its_reason(daemon):
    """The job says why, there is an event, and nothing half is left."""
    daemon.app[keys.BACKUPS].root.parent.joinpath("backups").write_text("not a directory")
    state = await make(daemon)

    assert state["status"] == "failed"
    assert "ot a directory" in state["error"] or "exists" in state["error"]
    assert (await daemon.events(kind="backup.failed"))[0]["details"]["error"] == state["error"]


async def test_a_backup_is_cancelled(daemon, monkeypatch):
    """What was written so far is gone, and the event says who ended it."""
    held = asyncio.Event()

    async def slow(store, holding):
        yield b"{", 0
        held.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(bundle, "write", slow)
    backup_id = (await daemon.call("POST", "/workers/backups"))[1]["backup_id"]
    await held.wait()
    status, state = await daemon.call("DELETE", f"/workers/backups/{backup_id}")

    assert (status, state["status"]) == (200, "cancelled")
    assert list(daemon.app[keys.BACKUPS].root.iterdir()) == []
    assert (await daemon.events(subject_kind="backup"))[0]["kind"] == "backup.create.cancelled"


async def test_a_backup_that_is_cancelled_at_its_very_beginning_leaves_nothing(daemon, monkeypatch):
    """A thread may open its file when nobody wants it any more; nobody waits for that thread, however often cancelled."""
    begun, go_on, gone, opened = threading.Event(), threading.Event(), threading.Event(), []
    begin, take_away = backups._begin, backups._take_away

    def slow(partial):
        begun.set()
        assert go_on.wait(10)
        opened.append(begin(partial))
        return opened[0]

    monkeypatch.setattr(backups, "_begin", slow)
    monkeypatch.setattr(backups, "_take_away", lambda *what: (take_away(*what), gone.set()))
    backup_id = (await daemon.call("POST", "/workers/backups"))[1]["backup_id"]
    await asyncio.to_thread(begun.wait, 10)
    answers = await asyncio.gather(*(daemon.call("DELETE", f"/workers/backups/{backup_id}") for _ in range(2)))
    go_on.set()

    assert [state["status"] for _, state in answers] == ["cancelled", "cancelled"]
    assert await asyncio.to_thread(gone.wait, 10)
    assert opened[0].closed
    assert list(daemon.app[keys.BACKUPS].root.iterdir()) == []


async def test_a_folder_that_cannot_be_looked_at_is_a_failure_with_its_reason(daemon, monkeypatch):
    """A stale network folder ends neither the schedule nor the request."""

    def stale() -> str:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/backups")

    monkeypatch.setattr(daemon.app[keys.BACKUPS], "_free_id", stale)
    status, body = await daemon.call("POST", "/workers/backups", json={})

    assert (status, "/backups: Stale file handle" in body["detail"]) == (503, True)


async def test_a_schedule_is_kept(daemon):
    """A daily backup is due when there was none, or a day has gone by, and not while one is made or it is switched off."""
    backups, now = daemon.app[keys.BACKUPS], datetime.now(UTC)
    assert not backups.is_due(now)
    await daemon.call("PATCH", "/settings", json={"backup": {"enabled": True, "cadence": "daily"}})
    assert backups.is_due(now)
    await make(daemon, trigger="scheduled")
    last = (await daemon.call("GET", "/settings"))[1]["backup"]["last_run_at"]

    assert last is not None
    assert not backups.is_due(now + timedelta(hours=23))
    assert backups.is_due(now + timedelta(hours=25))
