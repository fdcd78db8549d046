"""The table of machines stays still and correct while machines come, change and go."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.fleet import fill, start
from tests.browser.machines import DISK, SECOND
from tests.support.api import eventually
from tests.support.process import DaemonProcess

GIB = 1 << 30
PLACES = "[...document.querySelectorAll('tbody tr')].map((row) => [row.dataset.mac, Math.round(row.getBoundingClientRect().top)])"


def macs(page: Any) -> list[str]:
    return [str(mac)[-2:] for mac, _ in page.evaluate(PLACES)]


def wait_for_row(page: Any, mac: str, text: str) -> None:
    page.locator(f"tr[data-mac='{mac}']").get_by_text(text).first.wait_for()


def test_a_machine_that_flashes_changes_in_its_row(daemon: DaemonProcess, operator: Any, origin: str, tab: Any) -> None:
    """Stage, percent, rate and time left run in the row; no row moves, what is chosen stays chosen, the focus stays."""
    boxes = fill(daemon.url, operator, origin, machines=12)
    page = tab.open("/ui/machines?per_page=10&sort=last_seen_at&dir=desc")
    box = boxes[9]
    page.get_by_label(f"Choose {box.mac}").check()
    page.get_by_label(f"Choose {boxes[10].mac}").check()
    page.get_by_label(f"Choose {boxes[10].mac}").focus()
    before = page.evaluate(PLACES)

    start(box)
    box.progress("write", 7 * GIB, 14 * GIB, 500e6)
    wait_for_row(page, box.mac, "50 %")
    box.progress("verify", 14 * GIB, 14 * GIB, 900e6)
    wait_for_row(page, box.mac, "Reading back")
    row = page.locator(f"tr[data-mac='{box.mac}']").inner_text()
    box.done(name="Debian 13 server", seconds=30, verified=["wire"])
    wait_for_row(page, box.mac, "flashed; booting disk")

    assert "858 MiB/s" in row
    assert "0 s left" in row
    assert page.evaluate(PLACES) == before
    assert page.get_by_label(f"Choose {box.mac}").is_checked()
    assert page.evaluate("document.activeElement.ariaLabel") == f"Choose {boxes[10].mac}"


@pytest.mark.parametrize("width", [320, 900, 1280])
def test_no_row_moves_on_a_narrow_screen(daemon: DaemonProcess, operator: Any, origin: str, tabs: Any, width: int) -> None:
    """Where the words of a flash take two lines, no row moves when it begins, says more or less, stands still, and ends."""
    boxes = fill(daemon.url, operator, origin, machines=12)
    page = tabs(viewport={"width": width, "height": 900}).open("/ui/machines")
    box = boxes[9]
    wait_for_row(page, box.mac, "ready to flash")
    before = page.evaluate(PLACES)
    start(box)
    seen = [before]
    refused = "images.lab.example.org:8080: Connection refused, no byte for 42 s " + "x" * 200
    for stage, done, total, rate, words, trouble in [
        ("open", 0, None, None, "Opening", None), ("write", GIB, 14 * GIB, 12e6, "Writing", None),
        ("write", 2 * GIB, None, 858e6, "2.00 GiB", None),
        ("write", 3 * GIB, 14 * GIB, 0.0, "waiting: images.lab", refused), ("verify", 14 * GIB - 1, 14 * GIB, 858e6, "Reading back", None),
    ]:  # fmt: skip
        box.progress(stage, done, total, rate, trouble)
        wait_for_row(page, box.mac, words)
        seen.append(page.evaluate(PLACES))
    box.done(name="Debian 13 server", seconds=30, verified=["wire"])
    wait_for_row(page, box.mac, "flashed; booting disk")

    assert [*seen, page.evaluate(PLACES)] == [before] * 7


def test_an_order_that_changed_is_only_told(daemon: DaemonProcess, operator: Any, origin: str, tab: Any) -> None:
    """Where machines would stand elsewhere a line says so, and the order changes when it is asked for."""
    boxes = fill(daemon.url, operator, origin, machines=8)
    page = tab.open("/ui/machines?sort=last_seen_at&dir=desc")
    page.wait_for_selector("tbody tr")
    before = macs(page)
    moved = boxes[0]
    moved.contact()
    page.get_by_text("would now stand elsewhere").wait_for()

    assert macs(page) == before
    page.get_by_role("button", name="Show the current order").click()
    page.get_by_text("would now stand elsewhere").wait_for(state="detached")
    eventually(lambda: macs(page)[0] == moved.mac[-2:])


def test_rows_are_right_under_a_filter_and_on_a_later_page(daemon: DaemonProcess, operator: Any, origin: str, tab: Any) -> None:
    """A row that leaves a filter stays until the order is asked for; one of another page brings nothing in; a deleted one is struck out."""
    boxes = fill(daemon.url, operator, origin, machines=24)
    page = tab.open("/ui/machines?filter=discovered&q=52:54")
    page.wait_for_selector("tbody tr")
    before = macs(page)
    ref = operator.call("GET", "/catalog/entries")[0]["bty_image_ref"]
    operator.call("PATCH", f"/machines/{boxes[0].mac}", {"bty_image_ref": ref})
    wait_for_row(page, boxes[0].mac, "Debian 13 server")
    assert macs(page) == before

    page = tab.open("/ui/machines?per_page=10&page=2")
    page.wait_for_selector("tbody tr")
    second = macs(page)
    page.get_by_label(f"Choose {boxes[12].mac}").check()
    operator.call("PATCH", f"/machines/{boxes[1].mac}", {"labels": ["elsewhere"]})
    operator.call("PATCH", f"/machines/{boxes[11].mac}", {"labels": ["here"]})
    wait_for_row(page, boxes[11].mac, "here")
    operator.call("DELETE", f"/machines/{boxes[12].mac}")
    wait_for_row(page, boxes[12].mac, "deleted")

    assert macs(page) == second
    assert page.get_by_text("would now stand elsewhere").count() == 0
    assert page.get_by_role("region", name="What to do with the chosen machines").count() == 0


def test_the_first_machine_appears_by_itself(tab: Any, box: Any) -> None:
    """On the empty table a machine that boots appears without a reload; a further one is told and shown when asked for."""
    page = tab.open("/ui/machines")
    page.get_by_text("No machine has been seen yet.").wait_for()
    page.wait_for_selector(".stream.live")
    box(1).contact()
    page.wait_for_selector("tr[data-mac='52:54:00:00:00:01']")
    box(2).contact()
    page.get_by_role("button", name="Show the current order").click()
    page.wait_for_selector("tr[data-mac='52:54:00:00:00:02']")


def test_the_address_holds_the_view(daemon: DaemonProcess, operator: Any, origin: str, tab: Any) -> None:
    """Search, filter, order, page size and what is chosen survive a reload, and back goes back."""
    fill(daemon.url, operator, origin, machines=14)
    page = tab.open("/ui/machines")
    page.wait_for_selector("tbody tr")
    page.get_by_role("link", name="With an image", exact=True).click()
    page.get_by_label("Search machines").fill("rack-1")
    page.wait_for_url(re.compile("q=rack-1"))
    page.get_by_role("link", name="Machine", exact=True).click()
    page.wait_for_url(re.compile("dir=desc"))
    page.get_by_label("Rows").select_option("10")
    page.wait_for_url(re.compile("per_page=10"))
    eventually(lambda: (macs(page)[0], len(macs(page))) == ("0a", 7))
    page.get_by_label("Choose 52:54:00:00:00:02").check()
    page.get_by_label("Choose 52:54:00:00:00:08").click(modifiers=["Shift"])
    chosen = page.locator("tbody input:checked")
    eventually(lambda: chosen.count() == 6)
    before = macs(page)
    page.reload()

    eventually(lambda: macs(page) == before)
    eventually(lambda: chosen.count() == 6)
    assert page.get_by_label("Search machines").input_value() == "rack-1"
    page.go_back()
    page.wait_for_url(re.compile("^((?!per_page).)*$"))
    eventually(lambda: page.get_by_label("Rows").input_value() == "25")


def test_one_question_says_who_loses_which_disk(daemon: DaemonProcess, operator: Any, origin: str, box: Any, tab: Any) -> None:
    """A change of many names each machine with its disk by model, size and serial, and those that lose nothing with the reason."""
    ref = operator.call("POST", "/catalog/entries", {"image_url": f"{origin}/debian.img.gz", "name": "Debian"})["bty_image_ref"]
    box(1).discover({**DISK, "serial": "ONE"})
    box(2).discover({**DISK, "serial": "SMALL"}, SECOND)
    box(3).contact()
    page = tab.open("/ui/machines#sel=525400000001,525400000002,525400000003")
    page.get_by_role("button", name="Change…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Boot mode").select_option("bty-flash-once")
    dialog.get_by_label("Image").select_option("Debian")
    dialog.get_by_label("Target disk").select_option("smallest")
    dialog.get_by_role("button", name="Next: see what happens").click()
    lost = dialog.get_by_label("Disks that will be overwritten")
    lost.wait_for()
    tab.shoot("bulk-question")
    assert lost.locator("li").all_inner_texts() == [
        "52:54:00:00:00:01\nSAMSUNG MZQL2960HCJR, 960 GB, serial ONE, /dev/nvme0n1",
        "52:54:00:00:00:02\nSAMSUNG MZQL2960HCJR, 960 GB, serial SMALL, /dev/nvme0n1",
    ]
    assert dialog.get_by_label("Machines whose disks stay").locator("li").all_inner_texts() == ["52:54:00:00:00:03\nIt has no target disk."]
    eventually(lambda: page.evaluate("document.activeElement.innerText") == "Cancel")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}") if request.method != "GET" else None)
    dialog.get_by_role("button", name="Overwrite 2 disks").click()
    page.get_by_text("3 machines changed.").wait_for()
    assert asked == [f"POST {daemon.url}/machines/bulk"]

    kept = [operator.call("GET", f"/machines/52:54:00:00:00:0{number}") for number in (1, 2, 3)]
    assert [(machine["boot_mode"], machine["bty_image_ref"], machine["target_disk_serial"]) for machine in kept] == [
        ("bty-flash-once", ref, "ONE"),
        ("bty-flash-once", ref, "SMALL"),
        ("bty-flash-once", ref, None),
    ]


def test_a_disk_that_went_meanwhile_refuses_the_whole_change(operator: Any, box: Any, tab: Any) -> None:
    """Where a machine lost its disk between question and answer nothing is changed, and the machine is named."""
    box(1).discover({**DISK, "serial": "ONE"})
    box(2).discover({**DISK, "serial": "TWO"})
    page = tab.open("/ui/machines#sel=525400000001,525400000002")
    page.get_by_role("button", name="Change…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Boot mode").select_option("bty-flash-once")
    dialog.get_by_label("Target disk").select_option("only")
    dialog.get_by_role("button", name="Next: see what happens").click()
    dialog.get_by_role("button", name="Change", exact=True).wait_for()
    box(2).inventory({**DISK, "serial": "OTHER"})
    dialog.get_by_role("button", name="Change", exact=True).click()
    dialog.get_by_role("heading", name="Nothing was changed").wait_for()
    dialog.get_by_text("52:54:00:00:00:02 reports no disk with serial TWO").wait_for()
    tab.shoot("bulk-refused")
    dialog.get_by_role("button", name="Close").click()

    assert {(machine["boot_mode"], machine["target_disk_serial"]) for machine in operator.call("GET", "/machines")} == {
        ("bty-inventory", None)
    }


def test_all_that_match_can_be_chosen(operator: Any, tab: Any) -> None:
    """Once a whole page is chosen all pages of the view can be, and only those."""
    for number in range(30):
        operator.call("PUT", f"/machines/52:54:00:00:00:{number:02x}", {"labels": ["rack"] if number < 27 else []})
    page = tab.open("/ui/machines?label=rack&per_page=10")
    page.get_by_label("Choose all machines of this page").check()
    page.get_by_text("10 chosen").wait_for()
    page.get_by_role("button", name="Choose all 27 that match").click()
    page.get_by_text("27 chosen, 17 not on this page").wait_for()
    page.get_by_role("button", name="Change…").click()
    page.get_by_label("Boot mode").select_option("bty-tui")
    page.get_by_role("button", name="Next: see what happens").click()
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_text("27 machines changed.").wait_for()

    modes = [machine["boot_mode"] for machine in operator.call("GET", "/machines")]
    assert modes == ["bty-tui"] * 27 + ["ipxe-exit"] * 3


def test_many_are_deleted_or_start_over_together(daemon: DaemonProcess, operator: Any, origin: str, tab: Any) -> None:
    """Deleting and starting over ask once and are told; the rows are struck out where they are."""
    boxes = fill(daemon.url, operator, origin, machines=8)
    page = tab.open("/ui/machines#sel=525400000006,525400000007")
    page.get_by_role("button", name="Start over…").click()
    page.get_by_role("button", name="Overwrite 2 disks").click()
    page.get_by_text("2 machines started over.").wait_for()
    wait_for_row(page, boxes[6].mac, "pending flash")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 2 machines").click()
    wait_for_row(page, boxes[6].mac, "deleted")

    assert len(operator.call("GET", "/machines")) == 6
