"""Everything by keyboard alone: no mouse, and the focus is always somewhere sensible."""

from __future__ import annotations

from typing import Any

from tests.browser.machines import DISK
from tests.support.api import eventually
from tests.support.process import DaemonProcess

FOCUS = (
    "() => { const at = document.activeElement; return (at.getAttribute('aria-label') || at.name || at.innerText || at.tagName).trim(); }"
)


def press_until(page: Any, wanted: str, key: str = "Tab", most: int = 80) -> None:
    """Press a key until the focus is on *wanted*."""
    seen = []
    for _ in range(most):
        page.keyboard.press(key)
        seen.append(page.evaluate(FOCUS))
        if seen[-1].startswith(wanted):
            return
    raise AssertionError(f"{wanted} was not reached: {seen}")


def test_a_machine_is_bound_by_keyboard_alone(daemon: DaemonProcess, operator: Any, origin: str, box: Any, tab: Any) -> None:
    """From the login to a bound machine: Tab, arrows, Space and Enter are enough."""
    operator.call("POST", "/catalog/entries", {"image_url": f"{origin}/debian.img.gz", "name": "Debian"})
    box(1).discover(DISK)
    page = tab.page
    page.context.clear_cookies()
    page.goto(f"{daemon.url}/ui/login")
    eventually(lambda: page.evaluate(FOCUS) == "password")
    page.keyboard.type("bty-lab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/dashboard")
    page.wait_for_selector("h1")
    press_until(page, "Machines")
    page.keyboard.press("Enter")
    page.wait_for_selector("tbody tr")
    eventually(lambda: page.evaluate(FOCUS) == "Machines")  # the heading, so that a reader hears where it is
    press_until(page, "52:54:00:00:00:01")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/machines/52-54-00-00-00-01")
    page.wait_for_selector("#image")
    press_until(page, "image")
    page.keyboard.type("Debian")
    press_until(page, "disk")
    page.keyboard.press("ArrowDown")
    press_until(page, "mode")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    press_until(page, "Save")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    eventually(lambda: page.evaluate(FOCUS) == "Cancel")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    eventually(lambda: page.evaluate(FOCUS) == "Save")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("was saved.").wait_for()

    saved = operator.call("GET", "/machines/52:54:00:00:00:01")
    assert (saved["boot_mode"], saved["target_disk_serial"]) == ("bty-flash-once", DISK["serial"])


def test_rows_are_chosen_and_changed_by_keyboard(operator: Any, box: Any, tab: Any) -> None:
    """Boxes are ticked with Space, and the bar of what to do is reached with Tab."""
    for number in (1, 2, 3):
        box(number).discover(DISK)
    page = tab.open("/ui/machines")
    page.wait_for_selector("tbody tr")
    press_until(page, "Choose all machines")
    page.keyboard.press("Space")
    page.get_by_text("3 chosen").wait_for()
    press_until(page, "Change…")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.type("Wizard")
    press_until(page, "Next: see what happens")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Change", exact=True).wait_for()
    press_until(page, "Change")
    page.keyboard.press("Enter")
    page.get_by_text("3 machines changed.").wait_for()

    assert {machine["boot_mode"] for machine in operator.call("GET", "/machines")} == {"bty-tui"}


def test_the_first_tab_skips_to_the_content_and_the_menu_closes(tabs: Any) -> None:
    """The first stop leads past the navigation; on a phone the menu opens with Enter and closes with Escape."""
    page = tabs(viewport={"width": 320, "height": 640}).open("/ui/images")
    page.wait_for_selector("h1")
    page.keyboard.press("Tab")
    eventually(lambda: page.evaluate(FOCUS) == "Skip to the content")
    page.keyboard.press("Enter")
    press_until(page, "Menu", key="Shift+Tab")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Events", exact=True).wait_for()
    press_until(page, "Images")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Events", exact=True).wait_for(state="hidden")
    eventually(lambda: page.evaluate(FOCUS) == "Menu")


def test_skipping_to_the_content_keeps_what_is_chosen(operator: Any, tab: Any) -> None:
    """The first stop of the page moves the focus into the content, and neither the address nor the choice in it is lost."""
    operator.call("PUT", "/machines/52:54:00:00:00:01", {})
    page = tab.open("/ui/machines?per_page=50#sel=525400000001")
    page.get_by_text("1 chosen").wait_for()
    page.keyboard.press("Tab")
    eventually(lambda: page.evaluate(FOCUS) == "Skip to the content")
    page.keyboard.press("Enter")

    eventually(lambda: page.evaluate("document.activeElement.id") == "main")
    assert page.url.endswith("/ui/machines?per_page=50#sel=525400000001")
    assert page.get_by_label("Choose 52:54:00:00:00:01").is_checked()
