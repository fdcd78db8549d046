"""What ends a cycle, and what does not."""

import asyncio
import json

import pytest

from bty.model.machine import BootMode
from tests.integration.pxe.rig import DISK, LIVE, MAC, RECEIPT, Rig, Start, add_entry, flashing


async def test_receipt_is_kept(rig: Rig) -> None:
    """The receipt stands in the event and on the machine; keys that nobody knows are left out."""
    token = await flashing(rig)
    assert await rig.post("done", {**RECEIPT, "cycle": token, "error": None, "of_tomorrow": 1}) == 204
    (event,) = await rig.events("machine.flashed")
    assert event.details == RECEIPT
    assert (event.subject_kind, event.subject_id, event.source_ip) == ("machine", MAC, "127.0.0.1")
    kept = json.loads(rig.stored("last_flash"))
    assert {key: kept[key] for key in RECEIPT} == RECEIPT
    assert rig.stored("last_flashed_at") == kept["at"]


async def test_repeated_receipt_is_one_flash(rig: Rig) -> None:
    """A flasher that never got its answer posts again and is told the same; the log has one flash."""
    token = await flashing(rig)
    assert [await rig.post("done", {**RECEIPT, "cycle": token}) for _ in range(3)] == [204] * 3
    assert (await rig.kinds()).count("machine.flashed") == 1


async def test_another_flash_in_the_same_cycle_is_told_too(rig: Rig) -> None:
    """In the wizard a second disk may get the same image at the same path: that is no repeated receipt."""
    token = await flashing(rig)
    await rig.post("done", {**RECEIPT, "cycle": token, "target_serial": "FIRST"})
    await rig.post("done", {**RECEIPT, "cycle": token, "target_serial": "SECOND"})
    assert [event.details["target_serial"] for event in await rig.events("machine.flashed")] == ["FIRST", "SECOND"]


async def test_word_of_a_flash_that_comes_after_its_end_is_dropped(rig: Rig) -> None:
    """A post that was overtaken by the receipt does not make the machine look as if it flashed."""
    token = await flashing(rig)
    told = {"stage": "write", "bytes": 1, "total": 2, "rate": 1, "cycle": token}
    assert await rig.post("progress", told) == 204
    await rig.post("done", {**RECEIPT, "cycle": token})
    assert await rig.post("progress", told) == 204
    assert rig.fleet.live.flashing() == ()


async def test_older_flasher_completes_its_cycle_unverified(rig: Rig) -> None:
    """Without token, body and content type the receipt counts, once though it comes twice, and says that nobody proved it."""
    await flashing(rig)
    assert [await rig.post("done"), await rig.post("done")] == [204, 204]
    (event,) = await rig.events("machine.flashed")
    assert event.details == {"unverified": True}
    assert await rig.contact() == DISK


@pytest.mark.parametrize(
    "headers", [{"Content-Type": ""}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}]
)
async def test_empty_receipt_needs_no_content_type(rig: Rig, headers: dict[str, str]) -> None:
    """An empty post is a receipt whatever it says its content is."""
    await flashing(rig)
    assert await rig.post("done", data=b"", headers=headers) == 204


async def test_post_without_any_body_header(rig: Rig) -> None:
    """A post with neither Content-Type nor Content-Length is a receipt."""
    await flashing(rig)
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.client.port)
    writer.write(f"POST /pxe/{MAC}/done HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 204")
    writer.close()
    await writer.wait_closed()


async def test_token_of_another_cycle_is_refused(rig: Rig) -> None:
    """A wrong token is 409, is recorded, and leaves the machine as it is."""
    await flashing(rig)
    before = rig.fleet.get(MAC)
    assert await rig.post("done", {**RECEIPT, "cycle": "of-yesterday"}) == 409
    assert await rig.post("inventory", {"disks": [], "cycle": "of-yesterday"}) == 409
    assert await rig.post("progress", {"stage": "write", "bytes": 1, "cycle": "of-yesterday"}) == 409
    assert await rig.post("log", {"lines": ["x"], "cycle": "of-yesterday"}) == 409
    assert rig.fleet.get(MAC) == before
    (event,) = await rig.events("machine.cycle.mismatch")
    assert (event.subject_id, event.details) == (MAC, {"signal": "done"})
    assert await rig.contact() == LIVE


async def test_policy_edit_ends_the_cycle_that_runs(rig: Rig) -> None:
    """A flash that was started for another binding completes nothing any more."""
    token = await flashing(rig)
    await rig.put(BootMode.FLASH_ONCE, serial="S2")
    assert await rig.post("done", {**RECEIPT, "cycle": token}) == 409
    assert await rig.contact() == LIVE


async def test_tokens_can_be_required(start: Start) -> None:
    """With require_cycle_token a post without one is refused and says so; with it, it is taken."""
    rig = await start(**{"security.require_cycle_token": True})
    await add_entry(rig)
    token = await flashing(rig)
    answer = await rig.client.post(f"/pxe/{MAC}/done")
    assert (answer.status, "require_cycle_token" in (await answer.json())["detail"]) == (409, True)
    assert await rig.post("done", {"cycle": token}) == 204


async def test_flash_does_not_complete_an_inventory_and_the_other_way_round(rig: Rig) -> None:
    """A cycle is completed only by what its mode is for; the other post is recorded all the same."""
    await flashing(rig)
    assert await rig.post("inventory", {"disks": []}) == 204
    assert await rig.contact() == LIVE
    await rig.put(BootMode.INVENTORY, ref=None)
    await rig.contact()
    await rig.fetch()
    assert await rig.post("done") == 204
    assert await rig.contact() == LIVE
    assert rig.stored("last_flashed_at") is not None


async def test_receipt_without_cycle_is_recorded(rig: Rig) -> None:
    """A flash from a stick, without any cycle, is known afterwards."""
    await rig.put(BootMode.IPXE_EXIT)
    assert await rig.post("done", RECEIPT) == 204
    assert rig.stored("last_flashed_at") is not None
    assert (await rig.events("machine.flashed"))[0].details["unverified"] is True


async def test_flasher_from_a_stick_is_verified(rig: Rig) -> None:
    """A flasher that no chain has booted gets a token with its plan; its flash counts, and the next netboot boots the disk."""
    await rig.put(BootMode.FLASH_ONCE)
    token = (await rig.plan())["cycle"]
    assert await rig.post("done", {**RECEIPT, "cycle": token}) == 204
    assert "unverified" not in (await rig.events("machine.flashed"))[0].details
    assert await rig.contact() == DISK


async def test_stick_may_flash_a_machine_again(rig: Rig) -> None:
    """A flash by plan after a completed cycle is another flash, though nobody opened a cycle for it."""
    token = await flashing(rig)
    await rig.post("done", {**RECEIPT, "cycle": token})
    await rig.plan()
    assert await rig.post("done", RECEIPT) == 204
    assert (await rig.kinds()).count("machine.flashed") == 2
    assert await rig.contact() == DISK


async def test_failures_are_counted_and_end_in_the_wizard(rig: Rig) -> None:
    """Each failed receipt uses an attempt; when none is left the plan is interactive with the reason, and a success clears it."""
    token = await flashing(rig)
    for attempt in (1, 2, 3):
        assert (await rig.plan())["attempt"] == attempt
        assert await rig.post("done", {**RECEIPT, "cycle": token, "error": f"no route to host {attempt}"}) == 204
    assert rig.stored("flash_error") == "no route to host 3"
    assert await rig.contact() == LIVE
    plan = await rig.plan()
    assert (plan["mode"], plan["cycle"]) == ("interactive", token)
    assert "3 flash attempts failed in this cycle; the last one: no route to host 3" in plan["reason"]
    assert await rig.post("done", {**RECEIPT, "cycle": token}) == 204
    assert (rig.stored("flash_error"), rig.stored("cycle_attempts")) == (None, 0)
    assert await rig.contact() == DISK
    kinds = await rig.kinds()
    assert (kinds.count("machine.flash.failed"), kinds.count("machine.flashed")) == (3, 1)


async def test_repeated_failure_is_one_attempt(rig: Rig) -> None:
    """The same failed receipt again is the retry of a lost answer, not another attempt."""
    token = await flashing(rig)
    assert [await rig.post("done", {**RECEIPT, "cycle": token, "error": "e"}) for _ in range(2)] == [204, 204]
    assert rig.stored("cycle_attempts") == 1


async def test_crashes_use_up_attempts_too(rig: Rig) -> None:
    """A machine that dies in each flash waits in the wizard after max_attempts."""
    await flashing(rig)
    modes = []
    for _ in range(3):
        await rig.contact()
        await rig.fetch()
        modes.append((await rig.plan())["mode"])
    assert modes == ["flash", "flash", "interactive"]


async def test_policy_edit_clears_a_failure(rig: Rig) -> None:
    """Another image, mode or disk gives a machine that failed a fresh start."""
    token = await flashing(rig)
    await rig.post("done", {"cycle": token, "error": "e"})
    await rig.put(BootMode.FLASH_ALWAYS)
    assert (rig.stored("flash_error"), rig.stored("cycle_attempts")) == (None, 0)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"status": "done"}, "machine.flashed"),
        ({"status": "failed"}, "machine.flash.failed"),
        ({"status": "failed", "message": "m", "extra": []}, "machine.flash.failed"),
    ],
)
async def test_status_is_a_receipt(rig: Rig, body: dict, kind: str) -> None:
    """Later predecessors say done or failed at another address."""
    token = await flashing(rig)
    assert await rig.post("status", {**body, "cycle": token}) == 204
    assert len(await rig.events(kind)) == 1
