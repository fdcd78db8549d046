"""Why a machine does what it does, asked over the API while it goes through its cycle."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from bty.daemon import keys
from bty.model import timeline as model
from bty.model.catalog import Entry
from bty.units import utc_now
from tests.support.daemon import make_config, running

MAC = "52:54:00:00:00:01"
ENTRY = Entry(bty_image_ref="a" * 64, src="http://127.0.0.1:9/d.img", name="debian", added_at=utc_now())
RECEIPT = {"name": "debian", "source": ENTRY.src, "target_path": "/dev/sda", "verified": ["wire"], "bytes_read": 7}


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as made:
        await made.log_in()
        await made.app[keys.CATALOG].insert([ENTRY])
        yield made


async def bind(daemon, mode: str) -> None:
    body = {"boot_mode": mode, "bty_image_ref": ENTRY.bty_image_ref, "target_disk_serial": "S1"}
    assert (await daemon.call("PUT", f"/machines/{MAC}", json=body))[0] == 200


async def stages(daemon) -> dict[str, str]:
    status, body = await daemon.call("GET", f"/machines/{MAC}/timeline")
    assert status == 200
    return {stage["stage"]: stage["state"] for stage in body["stages"]}


async def test_explain_shows_the_script_that_then_comes(daemon):
    """The script that is shown is, to the letter, the one that the machine gets, and looking at it changes nothing."""
    await bind(daemon, "bty-flash-always")
    status, body = await daemon.call("GET", f"/machines/{MAC}/explain")
    before = (await daemon.call("GET", f"/machines/{MAC}"))[1]
    script = (await daemon.call("GET", f"/pxe/{MAC}"))[1]

    assert status == 200
    assert body["now"]["text"] == script
    assert body["now"]["script"] == "flash"
    assert body["now"]["plan"]["mode"] == "flash"
    assert "flashes debian onto the disk with the serial S1" in body["now"]["rule"]
    assert [step["offer_kind"] for step in body["after"]] == [
        "bty-flash-always-sanboot", "bty-flash-always", "bty-flash-always-sanboot",
    ]  # fmt: skip
    assert before["cycle_state"] is None


async def test_what_was_explained_happens(daemon):
    """The contacts that are foreseen are those that come when each flash succeeds."""
    await bind(daemon, "bty-flash-once")
    body = (await daemon.call("GET", f"/machines/{MAC}/explain"))[1]
    foreseen = [step["offer_kind"] for step in (body["now"], *body["after"])]
    happened = []
    for _ in foreseen:
        await daemon.call("GET", f"/pxe/{MAC}")
        happened.append((await daemon.events(kind="netboot.pxe.offered", limit="1"))[0]["details"]["offer_kind"])
        await daemon.call("GET", f"/boot/kernel?mac={MAC}")
        await daemon.call("POST", f"/pxe/{MAC}/done", json=RECEIPT)

    assert foreseen == happened


async def test_the_plan_that_is_shown_is_that_of_a_real_contact(daemon):
    """With each flash that crashes the plan shown is the one that then comes, up to the one that leaves it to a person."""
    await bind(daemon, "bty-flash-always")
    modes = []
    for _ in range(4):
        shown = (await daemon.call("GET", f"/machines/{MAC}/explain"))[1]["now"]["plan"]
        await daemon.call("GET", f"/pxe/{MAC}")
        await daemon.call("GET", f"/boot/kernel?mac={MAC}")
        plan = (await daemon.call("GET", f"/pxe/{MAC}/plan"))[1]
        modes.append(shown["mode"])

        assert {key: plan.get(key) for key in shown} == shown
    assert modes == ["flash", "flash", "flash", "interactive"]


@pytest.mark.parametrize("what", ["explain", "timeline"])
async def test_an_unknown_machine_is_404(daemon, what):
    """A MAC without a record has nothing to explain, and asking makes none."""
    assert (await daemon.call("GET", f"/machines/{MAC}/{what}"))[0] == 404
    assert (await daemon.call("GET", f"/machines/x/{what}"))[0] == 400
    assert (await daemon.call("GET", "/machines"))[1] == []


async def test_the_timeline_follows_a_flash(daemon):
    """Each thing that the machine does shows as its stage, with its time, until its disk boots."""
    await bind(daemon, "bty-flash-always")
    assert set((await stages(daemon)).values()) == {"pending"}
    await daemon.call("GET", f"/pxe/{MAC}")
    assert [stage for stage, state in (await stages(daemon)).items() if state == "done"] == ["script"]
    await daemon.call("GET", f"/boot/kernel?mac={MAC}")
    await daemon.call("GET", f"/pxe/{MAC}/plan")
    await daemon.call("POST", f"/pxe/{MAC}/inventory", json={"disks": [{"path": "/dev/sda"}]})
    assert [stage for stage, state in (await stages(daemon)).items() if state == "done"] == ["script", "kernel", "inventory", "plan"]
    await daemon.call("POST", f"/pxe/{MAC}/progress", json={"stage": "write", "bytes": 1, "total": 4})
    running_now = await stages(daemon)
    assert (running_now["download"], running_now["write"], running_now["verify"]) == ("running", "running", "pending")
    await daemon.call("POST", f"/pxe/{MAC}/done", json=RECEIPT)
    assert {stage: state for stage, state in (await stages(daemon)).items() if state != "done"} == {"verify": "skipped", "disk": "pending"}
    await daemon.call("GET", f"/pxe/{MAC}")
    body = (await daemon.call("GET", f"/machines/{MAC}/timeline"))[1]

    assert [stage["stage"] for stage in body["stages"] if stage["state"] != "done"] == ["verify"]  # nobody asked for a read-back
    times = [stage["at"] for stage in body["stages"]]
    assert times[0] == body["began_at"] <= times[1] <= times[3] <= times[2] <= times[7] <= times[8]
    assert body["stopped"] is None


@pytest.mark.parametrize(
    ("code", "stage"),
    [
        ("fetch_failed", "download"),
        ("write_failed", "write"),
        ("no_such_disk", "write"),
        ("integrity_failed", "download"),
        ("readback_failed", "verify"),
        (None, "write"),
    ],
)
async def test_a_failed_flash_shows_where_and_why(daemon, code, stage):
    """The stage at which a flash failed is named with the flasher's words and the usual causes; another attempt clears it."""
    await bind(daemon, "bty-flash-always")
    await daemon.call("GET", f"/pxe/{MAC}")
    await daemon.call("GET", f"/boot/kernel?mac={MAC}")
    await daemon.call("GET", f"/pxe/{MAC}/plan")
    await daemon.call("POST", f"/pxe/{MAC}/done", json={"error": "it broke", "error_code": code})
    body = (await daemon.call("GET", f"/machines/{MAC}/timeline"))[1]

    assert (body["stopped"]["stage"], body["stopped"]["reason"]) == (stage, "it broke")
    assert body["stopped"]["causes"] == list(model.CAUSES[model.Stage(stage)])
    await daemon.call("GET", f"/pxe/{MAC}/plan")
    assert (await daemon.call("GET", f"/machines/{MAC}/timeline"))[1]["stopped"] is None


async def test_silence_is_named_with_its_usual_causes(daemon, monkeypatch):
    """A machine that got its script and fetches nothing for minutes stopped at the kernel."""
    await bind(daemon, "bty-flash-always")
    await daemon.call("GET", f"/pxe/{MAC}")
    later = (datetime.fromisoformat(utc_now()) + timedelta(minutes=10)).isoformat(timespec="microseconds")
    monkeypatch.setattr("bty.services.insight.utc_now", lambda: later)
    stopped = (await daemon.call("GET", f"/machines/{MAC}/timeline"))[1]["stopped"]

    assert stopped["stage"] == "kernel"
    assert "nothing was heard for 6" in stopped["reason"]
    assert any("boot directory" in cause for cause in stopped["causes"])


async def test_a_crash_shows_as_another_attempt(daemon):
    """Where the chain is served again in the same cycle, the attempts count and what came after the script is open again."""
    await bind(daemon, "bty-flash-always")
    for _ in range(2):
        await daemon.call("GET", f"/pxe/{MAC}")
        await daemon.call("GET", f"/boot/kernel?mac={MAC}")
        await daemon.call("GET", f"/pxe/{MAC}/plan")
    await daemon.call("GET", f"/pxe/{MAC}")
    body = (await daemon.call("GET", f"/machines/{MAC}/timeline"))[1]

    assert body["attempts"] == 2
    assert {stage["stage"]: stage["state"] for stage in body["stages"]}["plan"] == "pending"


async def test_a_new_cycle_begins_a_new_timeline(daemon):
    """After the disk booted, the next chain starts from the first stage."""
    await bind(daemon, "bty-inventory")
    for _ in range(2):
        await daemon.call("GET", f"/pxe/{MAC}")
        await daemon.call("GET", f"/boot/kernel?mac={MAC}")
        await daemon.call("POST", f"/pxe/{MAC}/inventory", json={"disks": []})
        assert (await stages(daemon))["inventory"] == "done"
        await daemon.call("GET", f"/pxe/{MAC}")
        assert (await stages(daemon))["disk"] == "done"
    await daemon.call("GET", f"/pxe/{MAC}")
    now = await stages(daemon)

    assert (now["script"], now["kernel"], now["inventory"], now["write"]) == ("done", "pending", "pending", "skipped")


async def test_a_reset_clears_the_timeline(daemon):
    """After an operator's reset nothing of the old cycle shows."""
    await bind(daemon, "bty-flash-once")
    await daemon.call("GET", f"/pxe/{MAC}")
    await daemon.call("POST", f"/machines/{MAC}/reset")

    assert set((await stages(daemon)).values()) == {"pending"}


async def test_a_machine_that_only_boots_its_disk_has_two_stages(daemon):
    """The mode ipxe-exit has a script and a disk, and nothing in between."""
    await daemon.call("PUT", f"/machines/{MAC}", json={})
    await daemon.call("GET", f"/pxe/{MAC}")
    now = await stages(daemon)

    assert {stage for stage, state in now.items() if state == "done"} == {"script", "disk"}
    assert {state for stage, state in now.items() if stage not in ("script", "disk")} == {"skipped"}
