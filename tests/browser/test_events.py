"""The audit log: failures are ticked and marked as seen, while more of them come."""

from __future__ import annotations

from typing import Any

from tests.browser.test_keyboard import press_until
from tests.support.api import Operator, eventually

ERRORS = [f"error number {number}" for number in range(6)]


def fail(box: Any, *errors: str) -> None:
    """Have machine 1 report that its flash failed, once for each of *errors*."""
    machine = box(1)
    machine.contact()
    for error in errors:
        machine.done(error=error)


def open_failures(operator: Operator) -> list[str]:
    """The failures that nobody has seen yet, newest first."""
    return [event["summary"].partition("failed: ")[2] for event in operator.call("GET", "/events?unacknowledged=1")["events"]]


def test_chosen_failures_are_marked_together(operator: Operator, box: Any, tab: Any) -> None:
    """What is ticked stays ticked over new events, a filter and a reload; one request marks it, and nothing else."""
    fail(box, *ERRORS)
    page = tab.open("/ui/events")
    page.wait_for_selector(".stream.live")
    region = page.get_by_role("region", name="What to do with the chosen events")
    page.get_by_label(f"Choose: flashing 52:54:00:00:00:01 failed: {ERRORS[4]}").check()
    page.get_by_label(f"Choose: flashing 52:54:00:00:00:01 failed: {ERRORS[2]}").click(modifiers=["Shift"])
    region.get_by_text("3 chosen").wait_for()
    places = page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.getBoundingClientRect().top)")
    fail(box, "one that came later")
    page.get_by_role("status").get_by_text("new event").wait_for()
    assert page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.getBoundingClientRect().top)") == places
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_role("checkbox", name="one that came later").wait_for()
    region.get_by_text("3 chosen").wait_for()
    page.get_by_label("Search events").fill("number 3")
    region.get_by_text("3 chosen, 2 not on this page").wait_for()
    page.reload()
    region.get_by_text("3 chosen, 2 not on this page").wait_for()
    tab.shoot("events-chosen")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.partition("8")[2]) if request.method == "POST" else None)
    region.get_by_role("button", name="Mark as seen").click()
    page.get_by_text("3 failures marked as seen.").wait_for()
    region.wait_for(state="detached")

    assert len(asked) == 1
    assert open_failures(operator) == ["one that came later", ERRORS[5], ERRORS[1], ERRORS[0]]


def test_failures_are_chosen_by_keyboard(operator: Operator, box: Any, tab: Any) -> None:
    """All of a page, then one less, with Tab and Space; what was seen can be made new again."""
    fail(box, *ERRORS[:3])
    page = tab.open("/ui/events?kind=machine.flash.failed")
    page.locator("tbody tr").first.wait_for()
    press_until(page, "Choose all failures of this page")
    page.keyboard.press("Space")
    page.get_by_text("3 chosen").wait_for()
    press_until(page, f"Choose: flashing 52:54:00:00:00:01 failed: {ERRORS[2]}")
    page.keyboard.press("Space")
    page.get_by_text("2 chosen").wait_for()
    press_until(page, "Mark as seen", most=200)
    while page.evaluate("document.activeElement.closest('.bulk') === null"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("2 failures marked as seen.").wait_for()
    assert open_failures(operator) == [ERRORS[2]]
    page.get_by_label("Choose all failures of this page").check()
    page.get_by_role("button", name="Mark as new", exact=True).click()
    eventually(lambda: open_failures(operator) == [ERRORS[2], ERRORS[1], ERRORS[0]])
