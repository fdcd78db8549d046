"""A flash that runs, as the pages show it while it runs, and what is known of it later."""

from __future__ import annotations

from typing import Any

from tests.browser.machines import DISK, SECOND, Box
from tests.support.api import Operator

MAC = "52:54:00:00:00:01"
MACHINE = "/ui/machines/52-54-00-00-00-01"
GIB = 1 << 30
VIRTIO = {**DISK, "vendor": "0x1af4", "model": None, "serial": "BTYTEST", "tran": None, "path": "/dev/vda"}
# What a browser does when another tab is looked at, and when this one is again.
LOOK_AWAY = "Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})"
LOOK_AGAIN = "delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange'))"


def begin(operator: Operator, origin: str, box: Any, *disks: dict[str, Any]) -> Box:
    """Bind machine 1 to its first disk and have it fetch the plan of a flash."""
    ref = operator.call("POST", "/catalog/entries", {"image_url": f"{origin}/debian.img.gz", "name": "Debian"})["bty_image_ref"]
    machine: Box = box(1)
    machine.discover(*disks)
    bound = {"bty_image_ref": ref, "target_disk_serial": disks[0]["serial"], "boot_mode": "bty-flash-once"}
    operator.call("PATCH", f"/machines/{MAC}", bound)
    machine.contact()
    assert machine.plan()["mode"] == "flash"
    return machine


def test_the_boot_cycle_moves_with_the_flash(operator: Operator, origin: str, box: Any, tab: Any) -> None:
    """The steps that run show amount and percent as they come, and turn into the next ones, without a reload."""
    machine = begin(operator, origin, box, VIRTIO)
    page = tab.open(MACHINE)
    page.wait_for_selector(".stream.live")
    machine.progress("open", 0, None)
    page.locator(".cycle .running", has_text="Download").wait_for()
    assert "0 B" not in page.locator(".cycle").inner_text()
    machine.progress("write", 2 * GIB, None)
    page.locator(".cycle .running", has_text="Write").get_by_text("2.00 GiB").wait_for()
    machine.progress("write", 3 * GIB, None)
    page.locator(".cycle .running", has_text="Write").get_by_text("3.00 GiB").wait_for()
    machine.progress("write", 3 * GIB, None, 0.0, "10.0.0.1: Connection refused")
    page.locator(".cycle .running", has_text="Write").get_by_text("3.00 GiB, waiting: 10.0.0.1: Connection refused").wait_for()
    page.locator(".flash-words .trouble").get_by_text("waiting: 10.0.0.1: Connection refused").wait_for()
    tab.shoot("machine-waiting")
    machine.progress("verify", 3 * GIB, 4 * GIB)
    page.locator(".cycle .running", has_text="Read-back").get_by_text("75 %, 3.00 GiB of 4.00 GiB").wait_for()
    tab.shoot("machine-running")
    machine.done(name="Debian", seconds=42.0, verified=["wire", "readback"])
    page.locator(".cycle .done", has_text="Write").wait_for()
    page.locator(".cycle .done", has_text="Digest as promised").wait_for()


def test_a_running_flash_is_not_told_as_the_next_boot(operator: Operator, origin: str, box: Any, tab: Any) -> None:
    """While a flash runs the page says so, and that the rest is what a boot would do; before and after it speaks of the next boot."""
    machine = begin(operator, origin, box, VIRTIO)
    page = tab.open(MACHINE)
    fate, following = page.locator(".fate"), page.get_by_role("region", name="What happens next")
    fate.get_by_text("Its next network boot overwrites virtio disk, 960 GB, serial BTYTEST.").wait_for()
    following.get_by_text("At its next boot:").wait_for()
    following.get_by_text("If the flash succeeds, and from then on:").wait_for()
    machine.progress("write", GIB, 4 * GIB)
    fate.get_by_text("A flash is running now. If it booted from the network now, that boot would overwrite virtio disk").wait_for()
    following.get_by_text("A flash is running now.").wait_for()
    following.get_by_text("If it booted now:").wait_for()
    assert following.get_by_text("At its next boot").count() == 0
    page.get_by_label("Boot the disk").check()
    fate.get_by_text("A flash is running now. If it booted from the network now, that boot would write nothing").wait_for()
    page.get_by_role("button", name="Discard").click()
    machine.done(name="Debian", seconds=42.0)
    fate.get_by_text("It will not be flashed: it was flashed already.").wait_for()


def test_a_machine_that_is_always_flashed_boots_its_disk_in_between(operator: Operator, origin: str, box: Any, tab: Any) -> None:
    """After a flash the page says that the next boot starts the disk, and that the one after it overwrites it; of many the same."""
    machine = begin(operator, origin, box, VIRTIO)
    operator.call("PATCH", f"/machines/{machine.mac}", {"boot_mode": "bty-flash-always"})
    machine.contact()
    machine.plan()
    machine.done(name="Debian", seconds=42.0)
    page = tab.open(MACHINE)
    page.locator(".fate").get_by_text("The boot after that overwrites virtio disk, 960 GB, serial BTYTEST.").wait_for()
    tab.open("/ui/machines#sel=" + machine.mac.replace(":", ""))
    page.get_by_role("button", name="Change…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Boot mode").select_option("bty-flash-always")
    dialog.get_by_role("button", name="Next: see what happens").click()
    dialog.get_by_text("At their coming network boots these machines lose everything on these disks:").wait_for()
    dialog.get_by_text("the boot after that overwrites it.").wait_for()
    dialog.get_by_role("button", name="Overwrite 1 disk").wait_for()


def test_the_log_grows_by_itself(operator: Operator, origin: str, box: Any, tab: Any) -> None:
    """Lines that come with nothing else appear without a click, the newest in view, each fetched once; an idle page asks for nothing."""
    machine = begin(operator, origin, box, VIRTIO)
    machine.log("first line")
    page = tab.open(MACHINE)
    page.wait_for_selector(".stream.live")
    log = page.get_by_role("log")
    log.get_by_text("first line").wait_for()
    machine.log("second line")
    log.get_by_text("second line").wait_for()
    page.evaluate("window.node = document.querySelector('pre.log span')")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for number in range(60):
        machine.log(f"line {number}", f"more of {number}")
    log.get_by_text("more of 59").wait_for()
    assert len(asked) <= 8, asked  # some sixty messages of a machine are a second or two
    assert all("/log?after=" in url for url in asked), asked
    assert log.inner_text().splitlines()[:3] == ["first line", "second line", "line 0"]
    assert page.evaluate("window.node.isConnected")  # what stood there was not made anew: a marked text stays marked
    assert (
        page.evaluate(
            "(() => { const at = document.querySelector('pre.log'); return at.scrollHeight - at.scrollTop - at.clientHeight; })()"
        )
        < 8
    )
    log.evaluate("(node) => { node.scrollTop = 0; }")
    machine.log("while somebody reads further up")
    log.get_by_text("while somebody reads").wait_for(state="attached")
    assert log.evaluate("(node) => node.scrollTop") == 0
    page.wait_for_timeout(1500)
    asked.clear()
    page.wait_for_timeout(2500)

    assert asked == []


def test_a_page_that_nobody_sees_leaves_the_log_alone(operator: Operator, origin: str, box: Any, tab: Any) -> None:
    """In a tab in the background the log is not fetched, however much happens; once it is looked at the log is up to date."""
    machine = begin(operator, origin, box, VIRTIO)
    with tab.page.expect_response("**/log?after=0"):  # which follows the stream's first word
        page = tab.open(MACHINE)
    page.get_by_text("No lines yet.").wait_for()
    page.evaluate(LOOK_AWAY)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    machine.log("while nobody looked")
    machine.progress("write", GIB, 4 * GIB)
    page.locator(".cycle .running", has_text="Write").get_by_text("25 %").wait_for()
    page.wait_for_timeout(2500)
    assert [url for url in asked if "/log" in url] == []
    page.evaluate(LOOK_AGAIN)
    page.get_by_role("log").get_by_text("while nobody looked").wait_for()


def test_another_disk_does_not_make_the_last_flash_and_report_unknown(operator: Operator, origin: str, box: Any, tab: Any) -> None:
    """After the target disk was changed, page and table still say when the machine was flashed and when it reported its hardware."""
    machine = begin(operator, origin, box, DISK, SECOND)
    machine.done(name="Debian", seconds=42.0)
    changed = operator.call("PATCH", f"/machines/{MAC}", {"target_disk_serial": SECOND["serial"]})
    assert (changed["last_flashed_at"], changed["known_disks_at"]) == (None, None)
    page = tab.open(MACHINE)
    identity = page.get_by_role("region", name="Machine", exact=True)
    for name in ("Last flashed", "Hardware reported"):
        identity.locator("dl.facts > div", has_text=name).locator("time").wait_for()
    operator.call("PUT", "/machines/52:54:00:00:00:02", {})
    table = tab.open("/ui/machines?sort=last_flashed_at&dir=desc")
    table.locator(f"tbody tr:first-child[data-mac='{MAC}'] .c-flashed time").wait_for()
    tab.open("/ui/dashboard").locator("dl.facts > div", has_text="Last flashed").locator("time").wait_for()


def test_the_dashboard_counts_running_flashes_with_the_machines(operator: Operator, origin: str, box: Any, tab: Any) -> None:
    """The card of the machines has the number of running flashes, which leads to them."""
    machine = begin(operator, origin, box, DISK)
    page = tab.open("/ui/dashboard")
    page.wait_for_selector(".stream.live")
    row = page.get_by_role("region", name="Machines", exact=True).locator("dl.facts > div", has_text="Flashing now")
    row.get_by_text("0", exact=True).wait_for()
    machine.progress("write", GIB, 4 * GIB)
    row.get_by_role("link", name="1", exact=True).click()
    page.wait_for_url("**/ui/machines?filter=flashing")
    page.locator(f"tr[data-mac='{MAC}']").wait_for()


def test_one_of_a_thing_is_told_in_the_singular(box: Any, tab: Any) -> None:
    """One disk, one core and one module are not several, and a number of a vendor is not a disk's name."""
    memory = {"id": "memory", "class": "memory", "size": 2 * GIB, "children": [{"id": "bank:0", "class": "memory", "size": 2 * GIB}]}
    cpu = {"id": "cpu", "class": "processor", "product": "QEMU CPU", "configuration": {"cores": "1"}}
    box(1).discover(VIRTIO, lshw={"id": "box", "class": "system", "children": [cpu, memory]})
    page = tab.open(MACHINE)
    page.get_by_text("in 1 module", exact=False).wait_for()
    page.locator(".cycle").get_by_text("1 disk", exact=True).wait_for()
    words = page.get_by_role("main").inner_text()

    assert [wrong for wrong in ("1 disks", "1 modules", "1 cores", "0x1af4") if wrong in words] == []
    assert "Virtio disk 960 GB" in words


def test_many_machines_get_one_way_to_boot_their_disks(operator: Operator, tab: Any) -> None:
    """The way in which UEFI boots the local disk is changed for all chosen machines at once."""
    for number in (1, 2):
        operator.call("PUT", f"/machines/52:54:00:00:00:0{number}", {})
    page = tab.open("/ui/machines#sel=525400000001,525400000002")
    page.get_by_role("button", name="Change…").click()
    page.get_by_label("Local disk on UEFI").select_option("exit-nonzero")
    page.get_by_role("button", name="Next: see what happens").click()
    page.get_by_role("dialog").get_by_text("2 machines: local disk on UEFI: exit-nonzero.").wait_for()
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_text("2 machines changed.").wait_for()

    assert [machine["uefi_local_boot"] for machine in operator.call("GET", "/machines")] == ["exit-nonzero"] * 2
