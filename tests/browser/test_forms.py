"""Every form: what it does, and what it says where it cannot."""

from __future__ import annotations

import re
import socket
from typing import Any

from tests.browser.fleet import fill
from tests.browser.machines import DISK, LSHW, SECOND, STICK
from tests.browser.test_access import findings
from tests.support.api import eventually
from tests.support.process import DaemonProcess

MACHINE = "/ui/machines/52-54-00-00-00-01"


def test_logging_in_and_out(daemon: DaemonProcess, tab: Any) -> None:
    """A wrong password is told on the login page; the right one leads to the page that was asked for; logging out ends it."""
    page = tab.page
    page.context.clear_cookies()
    page.goto(f"{daemon.url}/ui/events?failed=1")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("alert").get_by_text("wrong password").wait_for()
    page.get_by_label("Password").fill("bty-lab")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/ui/events?failed=1")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/ui/login")
    page.goto(f"{daemon.url}/ui/dashboard")
    page.wait_for_url("**/ui/login")


def test_an_image_is_added_found_and_deleted(operator: Any, origin: str, tab: Any) -> None:
    """An image comes by its address; mistakes are told in the daemon's words beside the field; deleting tells who is bound."""
    page = tab.open("/ui/images")
    page.get_by_text("The catalog is empty.").wait_for()
    page.get_by_role("button", name="Add an image").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Address", exact=True).fill("ftp://nowhere/image.img")
    dialog.get_by_role("button", name="Add", exact=True).click()
    dialog.locator("#image_url-problem").wait_for()
    assert dialog.get_by_label("Address", exact=True).get_attribute("aria-invalid") == "true"
    dialog.get_by_label("Address", exact=True).fill(f"{origin}/debian.img.gz")
    dialog.get_by_text("More").click()
    dialog.get_by_label("SHA-256").fill("ab" * 32)
    dialog.get_by_label("Description").fill("for the lab")
    dialog.get_by_role("button", name="Add", exact=True).click()
    row = page.locator("tbody tr", has_text="debian.img.gz")
    row.get_by_text("293 KiB").wait_for()
    assert operator.call("GET", "/catalog/entries")[0]["description"] == "for the lab"

    page.get_by_role("button", name="Add an image").click()
    dialog.get_by_label("Address", exact=True).fill(f"{origin}/debian.img.gz")
    dialog.get_by_role("button", name="Add", exact=True).click()
    dialog.get_by_role("alert").wait_for()
    page.keyboard.press("Escape")

    page.get_by_label("Search images").fill("nothing like it")
    page.get_by_text("No image matches.").wait_for()
    page.get_by_role("link", name="Show all images").click()
    operator.call("PUT", "/machines/52:54:00:00:00:01", {"bty_image_ref": operator.call("GET", "/catalog/entries")[0]["bty_image_ref"]})
    row.get_by_role("button", name="Delete").click()
    page.get_by_text("1 machine is bound to it").wait_for()
    page.get_by_role("button", name="Delete the image").click()
    page.get_by_text("The catalog is empty.").wait_for()


def test_an_image_is_looked_for(operator: Any, origin: str, tab: Any) -> None:
    """A check tells whether the origin answers, and why not, in the row of the image."""
    operator.call("POST", "/catalog/entries", {"image_url": f"{origin}/debian.img.gz", "name": "there"})
    operator.call("POST", "/catalog/entries", {"image_url": f"{origin}/gone.img.gz", "name": "not there"})
    page = tab.open("/ui/images")
    page.get_by_role("button", name="Check there").click()
    page.locator("tr", has_text="debian.img.gz").get_by_text("origin answers").wait_for()
    page.get_by_role("button", name="Check not there").click()
    page.locator("tr", has_text="gone.img.gz").get_by_text("origin does not answer").wait_for()


def test_a_catalog_is_imported(operator: Any, origin: str, tab: Any) -> None:
    """A catalog comes by its address, as a file, or from where the settings say; the page tells how it went, image by image."""
    page = tab.open("/ui/images")
    page.get_by_role("button", name="Import a catalog").click()
    page.get_by_label("Address of a catalog.toml").fill(f"{origin}/debian.img.gz")
    page.get_by_role("button", name="Import", exact=True).click()
    card = page.get_by_role("region", name="Import", exact=True)
    card.get_by_role("alert").wait_for()
    page.get_by_role("button", name="Import a catalog").click()
    page.get_by_label("Address of a catalog.toml").fill(f"{origin}/catalog.toml")
    page.get_by_role("button", name="Import", exact=True).click()
    card.get_by_text("1 image imported, 0 skipped.").wait_for()
    card.get_by_text("Imported (1)").click()
    card.get_by_text("from the catalog", exact=True).wait_for()
    tab.shoot("images-imported")
    assert findings(page) == []
    page.locator("tbody").get_by_text("from the catalog").wait_for()
    page.get_by_role("button", name="Import a catalog").click()
    page.get_by_role("button", name="Fetch the one that the settings name").click()
    page.get_by_role("dialog").get_by_role("alert").wait_for()
    text = b'version = 1\n[[images]]\nname = "from a file"\nsrc = "https://images.invalid/f.img.xz"\n'
    page.get_by_label("Or a file").set_input_files(files=[{"name": "catalog.toml", "mimeType": "application/toml", "buffer": text}])
    page.get_by_role("button", name="Import", exact=True).click()
    page.locator("tbody").get_by_text("from a file").wait_for()
    card.get_by_role("button", name="Close").click()
    card.wait_for(state="detached")


def test_an_import_that_takes_its_time_is_shown_and_cancelled(operator: Any, tab: Any) -> None:
    """An import under way shows how far it is, also to who opens the page later, and ends on the press of a button."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never says a word
        text = f'version = 1\n[[images]]\nname = "slow"\nsrc = "oras://127.0.0.1:{silent.getsockname()[1]}/a/b:1"\n'
        page = tab.open("/ui/images")
        page.get_by_role("button", name="Import a catalog").click()
        page.get_by_label("Or a file").set_input_files(
            files=[{"name": "catalog.toml", "mimeType": "application/toml", "buffer": text.encode()}]
        )
        page.get_by_role("button", name="Import", exact=True).click()
        page.get_by_text("0 of 1 image looked at").wait_for()
        page.reload()
        page.get_by_text("0 of 1 image looked at").wait_for()
        tab.shoot("images-importing")
        assert findings(page) == []
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("Nothing was imported.").wait_for()
    assert operator.call("GET", "/catalog/entries") == []


def test_a_machine_is_added_and_never_overwritten(operator: Any, tab: Any) -> None:
    """A machine comes by its MAC; one that is there keeps everything."""
    operator.call("PUT", "/machines/52:54:00:00:00:09", {"labels": ["kept"]})
    page = tab.open("/ui/machines")
    page.get_by_role("button", name="Add a machine").click()
    page.get_by_label("MAC address").fill("nonsense")
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("#mac-problem").wait_for()
    page.get_by_label("MAC address").fill("52-54-00-00-00-09")
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("#mac-problem").get_by_text("there is a machine").wait_for()
    page.get_by_label("MAC address").fill("52:54:00:00:00:0A")
    page.get_by_role("button", name="Add", exact=True).click()
    page.wait_for_url("**/ui/machines/52-54-00-00-00-0a")

    assert operator.call("GET", "/machines/52:54:00:00:00:09")["labels"] == ["kept"]


def test_a_machine_is_bound_to_image_and_disk(operator: Any, origin: str, box: Any, tab: Any) -> None:
    """Saving a flash names the disk by model, size and serial, and needs a yes; what is typed is not lost when the machine changes."""
    operator.call("POST", "/catalog/entries", {"image_url": f"{origin}/debian.img.gz", "name": "Debian"})
    machine = box(1)
    machine.discover(DISK, SECOND, STICK, lshw=LSHW)
    page = tab.open(MACHINE)
    page.get_by_label("Image", exact=True).select_option("Debian · img.gz · 293 KiB")
    page.get_by_label(re.compile("SAMSUNG")).check()
    page.get_by_label("Flash once").check()
    page.get_by_label("Labels").fill("ci, rack 1, CI")
    assert page.get_by_label(re.compile("Flash Disk")).is_disabled()
    machine.contact()
    page.get_by_text("Its next network boot overwrites").wait_for()
    page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("SAMSUNG MZQL2960HCJR, 960 GB, serial S64FNE0R801234").wait_for()
    tab.shoot("question-one-disk")
    dialog.get_by_role("button", name="Cancel").click()
    assert operator.call("GET", "/machines/52:54:00:00:00:01")["boot_mode"] == "bty-inventory"
    page.get_by_role("button", name="Save").click()
    dialog.get_by_role("button", name="Overwrite this disk").click()
    page.get_by_text("52:54:00:00:00:01 was saved.").wait_for()

    saved = operator.call("GET", "/machines/52:54:00:00:00:01")
    assert (saved["boot_mode"], saved["target_disk_serial"], saved["labels"]) == ("bty-flash-once", "S64FNE0R801234", ["CI", "rack 1"])
    eventually(page.get_by_role("button", name="Save").is_disabled)


def test_what_the_daemon_refuses_is_told_at_the_field(operator: Any, tab: Any) -> None:
    """Wrong labels and drives are refused in the daemon's words, beside the field, and nothing that was typed is lost."""
    operator.call("PUT", "/machines/52:54:00:00:00:01", {})
    page = tab.open(MACHINE)
    page.get_by_label("Labels").fill("<b>bold</b>")
    page.get_by_role("button", name="Save").click()
    page.locator("#labels-problem").wait_for()
    assert page.get_by_label("Labels").input_value() == "<b>bold</b>"
    page.get_by_label("Labels").fill("fine")
    page.get_by_text("How the local disk is booted").click()
    page.get_by_label("On BIOS: drive").fill("first")
    page.get_by_role("button", name="Save").click()
    page.locator("#sanboot_drive-problem").wait_for()
    page.get_by_label("On BIOS: drive").fill("0x81")
    page.get_by_label("On UEFI").select_option("exit")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("was saved.").wait_for()

    saved = operator.call("GET", "/machines/52:54:00:00:00:01")
    assert (saved["labels"], saved["sanboot_drive"], saved["uefi_local_boot"]) == (["fine"], "0x81", "exit")


def test_a_serial_can_be_typed_before_the_machine_has_reported(operator: Any, tab: Any) -> None:
    """A machine that never booted can be bound to a disk by its serial."""
    operator.call("PUT", "/machines/52:54:00:00:00:01", {})
    page = tab.open(MACHINE)
    page.get_by_label("Serial of the disk").fill("WD-123")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("was saved.").wait_for()

    assert operator.call("GET", "/machines/52:54:00:00:00:01")["target_disk_serial"] == "WD-123"


def test_a_machine_is_watched_from_flash_to_disk(daemon: DaemonProcess, operator: Any, origin: str, tabs: Any) -> None:
    """Page and dashboard show the running flash, its log, the steps of its cycle and the receipt, without a reload."""
    boxes = fill(daemon.url, operator, origin, machines=8)
    machine, strip = tabs(), tabs()
    page, board = machine.open("/ui/machines/52-54-00-00-00-08"), strip.open("/ui/dashboard")
    page.wait_for_selector(".stream.live")
    board.get_by_text("Flashing now: 3").wait_for()
    box = boxes[7]
    box.contact()
    box.plan()
    box.log("bty: auto-flash starting")
    box.progress("write", 3 << 30, 4 << 30, 1e9)
    page.get_by_role("progressbar").wait_for()
    eventually(lambda: page.get_by_role("progressbar").get_attribute("aria-valuenow") == "75")
    board.get_by_text("Flashing now: 4").wait_for()
    page.get_by_text("bty: auto-flash starting").wait_for()
    page.locator(".cycle .running", has_text="Write").wait_for()
    box.done(name="Debian 13 server", seconds=42.0, image_bytes=4 << 30, verified=["wire"], sha256="cd" * 32, target_path="/dev/nvme0n1")
    page.get_by_role("progressbar").wait_for(state="detached")
    page.locator(".receipts").get_by_text("digest as promised").wait_for()
    board.get_by_text("Flashing now: 3").wait_for()
    box.contact()
    page.locator(".cycle .done", has_text="Disk boot").wait_for()
    strip.shoot("dashboard-flashing")


def test_failures_are_found_and_marked_as_seen(daemon: DaemonProcess, operator: Any, origin: str, tab: Any) -> None:
    """The audit log filters, tells what is new without moving, and takes the mark that a failure was seen."""
    boxes = fill(daemon.url, operator, origin, machines=8)
    page = tab.open("/ui/events")
    page.get_by_role("link", name="Failures", exact=True).click()
    page.wait_for_url("**failed=1")
    row = page.locator("tbody tr")
    row.filter(has_text="the digest of the bytes read").wait_for()
    eventually(lambda: row.count() == 1)
    row.get_by_role("button", name=re.compile("Mark as seen")).click()
    row.get_by_role("button", name=re.compile("Mark as new")).wait_for()
    eventually(lambda: operator.events("machine.flash.failed")[0]["acknowledged"])
    boxes[7].contact()
    boxes[7].plan()
    boxes[7].done(error="no such disk")
    page.get_by_text("1 new event").wait_for()
    page.get_by_role("button", name="Show", exact=True).click()
    row.filter(has_text="no such disk").wait_for()
    page.get_by_label("Search events").fill("no such")
    page.wait_for_url("**q=no+such")
    eventually(lambda: row.count() == 1)
    page.get_by_role("link", name="Failures", exact=True).click()
    page.get_by_role("link", name="Open failures").click()
    page.get_by_role("button", name="Mark 1 failure as seen").click()
    eventually(lambda: all(event["acknowledged"] for event in operator.events("machine.flash.failed")))
    row.first.get_by_role("link", name="machine.flash.failed").click()
    page.wait_for_url("**kind=machine.flash.failed")
    row.first.get_by_role("link", name=boxes[7].mac).first.click()
    page.wait_for_url(f"**/ui/machines/{boxes[7].mac.replace(':', '-')}")


def test_a_theme_is_chosen_and_kept(tab: Any) -> None:
    """The theme goes from auto over light to dark, and stays over a reload."""
    page = tab.open("/ui/dashboard")
    page.get_by_role("button", name="Theme: auto").click()
    page.get_by_role("button", name="Theme: light").click()
    page.get_by_role("button", name="Theme: dark").wait_for()
    dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.reload()
    page.wait_for_selector("h1")

    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == dark == "rgb(11, 15, 21)"
