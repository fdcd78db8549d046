"""First contacts, boot cycles and plans."""

import asyncio
from pathlib import Path

import pytest

from bty.daemon.keys import EVENTS, STORE
from bty.model.catalog import Entry
from bty.model.machine import BootMode, edit
from bty.model.plan import Location
from bty.services.fleet import Fleet, Rules
from bty.units import utc_now
from tests.integration.pxe.rig import DISK, ENTRY, LIVE, MAC, REF, SHA, Rig, Start, add_entry

# --- first contact


async def test_unknown_machine_registers_itself_without_harm(rig: Rig) -> None:
    """A machine never seen before boots the live environment to report its hardware, and is recorded."""
    assert await rig.contact("AA-BB-CC-DD-EE-FF") == LIVE
    assert rig.stored("boot_mode", "aa:bb:cc:dd:ee:ff") == "bty-inventory"
    discovered, offered = await rig.events()
    assert (discovered.kind, discovered.actor, discovered.source_ip) == ("machine.discovered", "pxe-client", "127.0.0.1")
    assert discovered.details == {
        "bty_image_ref": None, "boot_mode": "bty-inventory", "sanboot_drive": None, "labels": [], "target_disk_serial": None,
    }  # fmt: skip
    assert offered.details == {"boot_mode": "bty-inventory", "offer": "bty-inventory", "offer_kind": "bty-inventory"}


async def test_simultaneous_first_contacts_make_one_record(rig: Rig) -> None:
    """Firmware that asks several times at once is discovered once."""
    await asyncio.gather(*(rig.contact() for _ in range(20)))
    kinds = await rig.kinds()
    assert (kinds.count("machine.discovered"), kinds.count("netboot.pxe.offered")) == (1, 20)


async def test_plan_registers_too(rig: Rig) -> None:
    """A flasher started from a stick is recorded by its request for a plan."""
    assert await rig.plan() == {"mode": "inventory"}
    assert await rig.kinds() == ["machine.discovered", "netboot.pxe.plan"]
    assert (await rig.events("netboot.pxe.plan"))[0].details == {
        "plan": "inventory",
        "boot_mode": "bty-inventory",
        "offer_kind": "plan:inventory",
    }


async def test_first_contact_discovers_what_an_operator_entered(rig: Rig) -> None:
    """A machine that an operator entered is discovered when it first asks, and keeps its policy."""
    await rig.put(BootMode.IPXE_EXIT)
    assert rig.stored("discovered_at") is None
    assert await rig.contact() == DISK
    assert rig.stored("discovered_at") is not None
    assert "machine.discovered" not in await rig.kinds()


async def test_bootstrap_touches_nothing(rig: Rig) -> None:
    """The bootstrap names the caller's own way to us and records nothing."""
    answer = await rig.client.get("/pxe-bootstrap.ipxe", headers={"Host": "boot.example:8080"})
    assert "chain --replace http://boot.example:8080/pxe/${mac:hexhyp} " in await answer.text()
    assert await rig.events() == []


# --- cycles


async def test_inventory_alternates(rig: Rig) -> None:
    """Inventory mode boots the live environment, then the disk once, then starts over."""
    assert await rig.contact() == LIVE
    await rig.fetch()
    assert await rig.post("inventory", {"disks": []}) == 204
    assert [await rig.contact(), await rig.contact()] == [DISK, LIVE]


async def test_flash_always_alternates(rig: Rig) -> None:
    """Flash-always flashes, boots the disk once, and flashes again at the next boot."""
    await rig.put(BootMode.FLASH_ALWAYS)
    for _ in range(2):
        assert await rig.contact() == LIVE
        await rig.fetch()
        plan = await rig.plan()
        assert await rig.post("done", {"cycle": plan["cycle"], "target_path": "/dev/sda"}) == 204
        assert await rig.contact() == DISK
    assert (await rig.kinds()).count("machine.flashed") == 2


async def test_flash_once_boots_the_disk_for_ever(rig: Rig) -> None:
    """Flash-once flashes on first contact and then boots the disk until the operator changes the policy."""
    await rig.put(BootMode.FLASH_ONCE)
    assert await rig.contact() == LIVE
    await rig.fetch()
    assert await rig.post("done", {"cycle": (await rig.plan())["cycle"]}) == 204
    assert [await rig.contact() for _ in range(3)] == [DISK] * 3
    await rig.put(BootMode.FLASH_ONCE, serial="S2")
    assert await rig.contact() == LIVE


async def test_crash_in_a_later_cycle_gets_the_chain_again(rig: Rig) -> None:
    """A completion never outlives its cycle: a flasher that dies in the second cycle is not followed by a disk boot."""
    await rig.put(BootMode.FLASH_ALWAYS)
    await rig.contact()
    await rig.fetch()
    await rig.post("done", {"cycle": (await rig.plan())["cycle"]})
    assert await rig.contact() == DISK
    assert await rig.contact() == LIVE
    await rig.fetch()
    await rig.plan()
    assert await rig.contact() == LIVE
    (offer,) = (await rig.events("netboot.pxe.offered"))[-1:]
    assert offer.details["retry_after_armed_no_done"] is True


async def test_restart_in_mid_cycle_changes_nothing(start: Start) -> None:
    """A daemon that restarts between plan and receipt still knows the cycle."""
    first = await start()
    await add_entry(first)
    await first.put(BootMode.FLASH_ONCE)
    await first.contact()
    await first.fetch()
    token = first.fleet.get(MAC).cycle
    before = first.fleet.get(MAC)
    await first.client.close()
    second = await start()
    assert second.fleet.get(MAC) == before
    assert await second.post("done", {"cycle": token}) == 204
    assert await second.contact() == DISK


async def test_chain_keeps_its_token_and_arms_once(rig: Rig) -> None:
    """The chain served twice, and two fetches, are one cycle with one event of arming."""
    await rig.put(BootMode.FLASH_ONCE)
    await rig.contact()
    token = rig.stored("cycle")
    await rig.contact()
    await rig.fetch()
    await rig.contact()
    assert (rig.stored("cycle"), rig.stored("cycle_state")) == (token, "armed")
    assert (await rig.kinds()).count("netboot.flasher.armed") == 1
    assert len(token) >= 32


async def test_arming_a_stranger_records_nothing(rig: Rig) -> None:
    """A tagged fetch by a machine that has no record leaves no trace."""
    await rig.fetch()
    assert rig.fleet.find(MAC) is None
    assert await rig.events() == []


# --- plans


async def test_flash_plan(rig: Rig) -> None:
    """The plan names image, digest, format and disk, the cycle's token and the attempt."""
    await rig.put(BootMode.FLASH_ALWAYS)
    await rig.contact()
    plan = await rig.plan()
    assert plan == {
        "mode": "flash", "image": ENTRY.src, "target_disk_serial": "S1", "name": "debian", "ref": REF, "disk_image_sha": SHA,
        "format": "img.gz", "cycle": rig.stored("cycle"), "attempt": 1, "max_attempts": 3,
    }  # fmt: skip
    details = (await rig.events("netboot.pxe.plan"))[0].details
    assert details["offer_kind"] == "plan:flash:bty-flash-always"
    assert details["withcache"] == {"configured": False, "hit": None, "served_from": "origin"}


@pytest.mark.parametrize(
    ("mode", "ref", "serial", "plan", "kind"),
    [
        (BootMode.FLASH_ONCE, "c" * 64, "S1", "interactive", "plan:interactive:flash-unresolved"),
        (BootMode.FLASH_ONCE, REF, None, "interactive", "plan:interactive:flash-unresolved"),
        (BootMode.FLASH_ONCE, None, "S1", "exit", "plan:exit:bty-flash-once"),
        (BootMode.TUI, None, None, "interactive", "plan:interactive:tui"),
        (BootMode.IPXE_EXIT, REF, "S1", "exit", "plan:exit:ipxe-exit"),
    ],
)
async def test_other_plans(rig: Rig, mode: str, ref: str | None, serial: str | None, plan: str, kind: str) -> None:
    """Where nothing can be flashed the plan says what to do instead, with the catalog to choose from."""
    await rig.put(mode, ref=ref, serial=serial)
    answer = await (await rig.client.get(f"/pxe/{MAC}/plan", headers={"Host": "boot:99"})).json()
    assert answer["mode"] == plan
    assert answer.get("catalog") == ("http://boot:99/catalog.toml" if plan == "interactive" else None)
    assert (await rig.events("netboot.pxe.plan"))[0].details["offer_kind"] == kind


async def test_plan_never_arms_and_never_reopens(rig: Rig) -> None:
    """Reading a plan, which anybody can, does not make a flashed machine flash again."""
    await rig.put(BootMode.FLASH_ONCE)
    await rig.contact()
    await rig.fetch()
    await rig.post("done", {"cycle": (await rig.plan())["cycle"]})
    assert "cycle" not in await rig.plan()
    assert await rig.contact() == DISK


async def test_wizard_mode_gets_a_token(rig: Rig) -> None:
    """The wizard's flash is a verified one too, and every boot is a new cycle."""
    await rig.put(BootMode.TUI)
    await rig.contact()
    token = (await rig.plan())["cycle"]
    assert await rig.post("done", {"cycle": token, "name": "picked", "target_path": "/dev/sdb"}) == 204
    (event,) = await rig.events("machine.flashed")
    assert event.details == {"name": "picked", "target_path": "/dev/sdb"}
    assert rig.stored("bty_image_ref") == REF
    assert await rig.contact() == LIVE
    assert (await rig.plan())["cycle"] != token


async def test_wizard_may_flash_several_disks_in_one_cycle(rig: Rig) -> None:
    """Receipts for other disks are other flashes, though the cycle is the same."""
    await rig.put(BootMode.TUI)
    await rig.contact()
    token = (await rig.plan())["cycle"]
    for path in ("/dev/sda", "/dev/sdb", "/dev/sdb"):
        assert await rig.post("done", {"cycle": token, "target_path": path}) == 204
    assert [event.details["target_path"] for event in await rig.events("machine.flashed")] == ["/dev/sda", "/dev/sdb"]


async def test_plan_follows_a_change_made_while_the_image_was_located(tmp_path: Path, rig: Rig) -> None:
    """When the operator binds another image while the cache is asked, the plan is for the new one."""
    other = Entry(bty_image_ref="c" * 64, src="http://images.example/other.img", name="other", added_at=utc_now())
    entries = {REF: ENTRY, other.bty_image_ref: other}
    asked: list[str] = []

    async def locate(entry: Entry, base_url: str) -> Location:
        asked.append(entry.name)
        if len(asked) == 1:
            await fleet.save([edit(fleet.get(MAC), now=utc_now(), bty_image_ref=other.bty_image_ref)])
        return Location(image=entry.src)

    fleet = await Fleet.load(rig.app[STORE], rig.app[EVENTS], entry=entries.get, locate=locate, rules=Rules(verify=True))
    rig.fleet = fleet
    await rig.put(BootMode.FLASH_ONCE)
    plan = await fleet.plan(MAC, ip="", base_url="http://h")
    assert (plan.name, plan.image, plan.verify) == ("other", other.src, True)
    assert asked == ["debian", "other"]
