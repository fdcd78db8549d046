"""What was typed is not lost: leaving asks first, and nothing that comes meanwhile writes over it."""

from __future__ import annotations

from typing import Any

from tests.browser.machines import DISK, SECOND
from tests.support.api import Operator, eventually

MACHINE = "/ui/machines/52-54-00-00-00-01"


def test_leaving_an_edited_machine_asks(operator: Operator, tab: Any) -> None:
    """A link and the way back ask before edits are lost; staying keeps page, address and edits; without edits nothing asks."""
    operator.call("PUT", "/machines/52:54:00:00:00:01", {})
    page = tab.open("/ui/events")
    page.get_by_role("link", name="Machines", exact=True).click()
    page.get_by_role("link", name="52:54:00:00:00:01").click()
    labels, dialog = page.get_by_label("Labels"), page.get_by_role("dialog")
    labels.fill("half-typed")
    page.get_by_role("link", name="Images", exact=True).click()
    dialog.get_by_role("heading", name="Leave without saving?").wait_for()
    tab.shoot("leave-question")
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    assert (page.url.endswith(MACHINE), labels.input_value()) == (True, "half-typed")

    page.evaluate("history.back()")
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    eventually(lambda: page.url.endswith(MACHINE))
    assert labels.input_value() == "half-typed"

    page.evaluate("history.back()")
    dialog.get_by_role("button", name="Leave without saving").click()
    page.wait_for_url("**/ui/machines")
    page.evaluate("history.forward()")
    page.wait_for_url(f"**{MACHINE}")
    eventually(lambda: labels.input_value() == "")
    labels.fill("saved")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("was saved.").wait_for()
    page.get_by_role("link", name="Images", exact=True).click()
    page.wait_for_url("**/ui/images")
    page.evaluate("history.go(-3)")
    page.wait_for_url("**/ui/events")


def test_closing_the_tab_asks_only_where_something_would_be_lost(operator: Operator, tab: Any) -> None:
    """The browser's own question comes with edits, on any page, and not without them or once they are saved."""
    operator.call("PUT", "/machines/52:54:00:00:00:01", {})
    asked: list[str] = []
    page = tab.page
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    for path, label in [(MACHINE, "Labels"), ("/ui/settings", "Live environment: release"), ("/ui/account", "Name of a new token")]:
        tab.open(path)
        before = page.get_by_label(label).input_value()
        page.get_by_label(label).fill("typed")
        page.get_by_label(label).fill(before)
        page.reload()
        assert asked == [], path
        page.get_by_label(label).fill("v0.0.1")
        page.reload()
        assert asked == ["beforeunload"], path
        asked.clear()
    tab.open("/ui/settings")
    page.get_by_label("Live environment: release").fill("v9")
    page.get_by_role("region", name="Where things come from").get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    page.get_by_label("Catalog", exact=True).fill("no address")
    page.get_by_role("region", name="Where things come from").get_by_role("button", name="Save").click()
    page.get_by_role("alert").first.wait_for()  # refused: what was typed is still to be saved
    page.reload()
    assert asked == ["beforeunload"]
    page.goto(f"{tab.url}/ui/machines")
    page.get_by_label("Search machines").fill("no edit")
    page.reload()
    assert asked == ["beforeunload"]


def test_a_live_change_never_writes_over_what_is_typed(operator: Operator, box: Any, tab: Any) -> None:
    """While somebody types labels and a serial, the machine boots, reports, is changed by another operator, and flashes: the words stay."""
    machine = box(1)
    machine.contact()
    page = tab.open(MACHINE)
    page.wait_for_selector(".stream.live")
    page.get_by_label("Labels").press_sequentially("rack")
    operator.call("PATCH", "/machines/52:54:00:00:00:01", {"labels": ["other"], "boot_mode": "bty-tui"})
    page.locator(".page-head").get_by_text("other").wait_for()
    page.get_by_label("Labels").press_sequentially(" 1")
    machine.inventory(DISK, SECOND)
    page.get_by_role("radio", name="SAMSUNG").wait_for()
    page.get_by_label("Labels").press_sequentially(", ci")
    machine.progress("write", 1 << 30, 4 << 30)
    page.get_by_role("progressbar").wait_for()

    assert page.get_by_label("Labels").input_value() == "rack 1, ci"
    assert page.evaluate("document.activeElement.id") == "labels"
    assert page.get_by_role("radio", name="Wizard").is_checked()  # what nobody touched follows
    page.get_by_role("button", name="Save").click()
    page.get_by_text("was saved.").wait_for()
    saved = operator.call("GET", "/machines/52:54:00:00:00:01")
    assert (saved["labels"], saved["boot_mode"]) == (["ci", "rack 1"], "bty-tui")


def test_a_flash_is_asked_about_while_the_images_are_not_known(operator: Operator, origin: str, box: Any, tab: Any) -> None:
    """Where the list of images does not come, saving a mode that flashes still asks first, for one machine and for many."""
    machine = box(1)
    machine.discover(DISK)
    ref = operator.call("POST", "/catalog/entries", {"image_url": f"{origin}/debian.img.gz", "name": "Debian"})["bty_image_ref"]
    operator.call("PATCH", f"/machines/{machine.mac}", {"bty_image_ref": ref, "target_disk_serial": DISK["serial"]})
    tab.page.route("**/catalog/entries", lambda route: route.fulfill(status=503, json={"detail": "busy"}))
    page = tab.open(MACHINE)
    dialog = page.get_by_role("dialog")
    page.get_by_label("Flash always").check()
    page.get_by_role("button", name="Save").click()
    dialog.get_by_text(f"and gets the image {ref[:12]}…, then again at every second boot.").wait_for()
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Discard").click()

    tab.open("/ui/machines#sel=525400000001")
    page.get_by_role("button", name="Change…").click()
    dialog.get_by_label("Boot mode").select_option("bty-flash-once")
    dialog.get_by_role("button", name="Next: see what happens").click()
    dialog.get_by_role("button", name="Overwrite 1 disk").wait_for()
    assert operator.call("GET", f"/machines/{machine.mac}")["boot_mode"] == "bty-inventory"
