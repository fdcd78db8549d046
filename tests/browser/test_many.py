"""A fleet of 10,000 machines: every view opens at once, and what happens beside the page costs the tab nothing."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.bench.lists import mac, seed
from tests.browser.conftest import ENV
from tests.browser.test_table import PLACES
from tests.support.api import eventually
from tests.support.process import DaemonProcess, daemon_process

GIB = 1 << 30
MACHINES, EVENTS = 10_000, 50_000
# From a click, or a typed word, until the wanted rows stand in the table and a frame with them was drawn, in milliseconds.
UNTIL_DRAWN = """([selector, typed, wanted]) => new Promise((resolve) => {
  const began = performance.now();
  const look = () => {
    const there = [...document.querySelectorAll("tbody tr")].map((row) => row.dataset.mac).join() === wanted.join();
    requestAnimationFrame(() => there ? resolve(Math.round(performance.now() - began)) : look());
  };
  const target = document.querySelector(selector);
  if (typed === null) target.click();
  else {
    target.value = typed;
    target.dispatchEvent(new Event("input", {bubbles: true}));
  }
  look();
})"""
# The longest time that the page did not answer to a key, in milliseconds; what took less than 50 does not count.
WATCH = """() => {
  window.longest = 0;
  new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => { window.longest = Math.max(window.longest, duration); }))
    .observe({ type: "longtask" });
}"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon with a large fleet in its database."""
    state = tmp_path_factory.mktemp("many") / "state"
    state.mkdir()
    seed(state / "state.db", MACHINES, EVENTS)
    with daemon_process(state, env=ENV) as running:
        yield running


@pytest.fixture
def daemon(many: DaemonProcess) -> DaemonProcess:
    """The daemon that the tabs and the operator of this module use."""
    return many


def say_progress(daemon: DaemonProcess, number: int, done: int) -> None:
    """Say how far the flash of a machine has come, in GiB of 100."""
    body = json.dumps({"stage": "write", "bytes": done * GIB, "total": 100 * GIB, "rate": 250e6}).encode()
    request = urllib.request.Request(f"{daemon.url}/pxe/{mac(number)}/progress", data=body, headers={"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=20).close()


def heap_mb(page: Any) -> float:
    """What the objects of a page hold once the dead ones are collected, in megabytes."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 1e6


def listen(page: Any) -> list[str]:
    """The paths that a page asks for from now on."""
    asked: list[str] = []
    page.on("request", lambda request: request.resource_type == "fetch" and asked.append(urlsplit(request.url).path))
    return asked


def test_every_view_of_the_table_is_one_request(operator: Any, tab: Any) -> None:
    """Pages, orders, filters and a search show the daemon's rows, have their address, and ask for the list once."""
    page = tab.open("/ui/machines")
    page.get_by_text("10,000 machines").wait_for()
    asked = listen(page)
    for what, query, selector, typed in [
        ("next page", "page=2", "[aria-label='Next page']", None),
        ("last page", "page=400", "[aria-label='Last page']", None),
        ("sort by mode", "sort=boot_mode", "th.c-state a", None),
        ("the other way", "sort=boot_mode&dir=desc", "th.c-state a", None),
        ("sort by last seen", "sort=last_seen_at", "th.c-seen a", None),
        ("sort by image", "sort=bty_image_ref", "th.c-image a", None),
        ("filter", "sort=bty_image_ref&filter=failed", ".chips a[href*='filter=failed']", None),
        ("search", "sort=bty_image_ref&filter=failed&q=rack+1", "#search", "rack 1"),
        ("no search", "sort=bty_image_ref&filter=failed", "#search", ""),
        ("a page of 250", "per_page=250&page=3", "[aria-label='Next page']", None),
    ]:
        if "per_page" in query:
            tab.open("/ui/machines?per_page=250&page=2")
        wanted = operator.call("GET", f"/machines?{query}{'' if 'per_page' in query else '&per_page=25'}")
        asked.clear()
        took = page.evaluate(UNTIL_DRAWN, [selector, typed, [machine["mac"] for machine in wanted["items"]]])
        print(f"{what}: {took} ms, {len(asked)} request(s)")

        assert asked == ["/machines"], what
        assert set(query.split("&")) <= set(urlsplit(page.url).query.split("&")), page.url


def test_what_changes_elsewhere_costs_no_request(daemon: DaemonProcess, tab: Any) -> None:
    """While 50 machines flash, few of them on this page, its rows run in place: nothing moves, nothing is fetched, the choice stays."""
    page = tab.open("/ui/machines?page=3&sort=last_seen_ip")
    page.wait_for_selector(".stream.live")
    page.evaluate(WATCH)
    here = [int(row.replace(":", "")[-4:], 16) for row, _ in page.evaluate(PLACES)]
    numbers = [*here[:5], *range(1000, 10_000, 200)]
    assert len(numbers) == 50
    page.get_by_label(f"Choose {mac(here[1])}").check()
    page.get_by_label(f"Choose {mac(here[7])}").check()
    page.get_by_label(f"Choose {mac(here[7])}").focus()
    say_progress(daemon, here[0], 1)
    page.locator(f"tr[data-mac='{mac(here[0])}']").get_by_text("1 %").wait_for()
    before, held = page.evaluate(PLACES), heap_mb(page)
    asked = listen(page)
    for done in range(2, 12):
        for number in numbers:
            say_progress(daemon, number, done)
    for number in here[:5]:
        page.locator(f"tr[data-mac='{mac(number)}']").get_by_text("11 %").wait_for()
    longest, holds = page.evaluate("window.longest"), heap_mb(page)
    print(f"500 changes, 50 of them here: {len(asked)} requests, longest task {longest:.0f} ms, heap {held:.1f} then {holds:.1f} MB")

    assert asked == []
    assert [row for row, _ in page.evaluate(PLACES)] == [row for row, _ in before]
    assert page.evaluate(PLACES) == before
    assert page.locator("tbody input:checked").count() == 2
    assert page.evaluate("document.activeElement.ariaLabel") == f"Choose {mac(here[7])}"
    assert page.evaluate("document.querySelectorAll('tbody [role=progressbar]').length") == 5


def test_a_change_of_many_machines_costs_few_requests(daemon: DaemonProcess, operator: Any, tab: Any) -> None:
    """A change of thousands of machines has the table fetched once or twice, in place, and the rows are right after it."""
    page = tab.open("/ui/machines?page=2&sort=boot_mode&filter=assigned")
    page.wait_for_selector(".stream.live")
    before = page.evaluate(PLACES)
    chosen = before[3][0]
    page.get_by_label(f"Choose {chosen}").check()
    asked = listen(page)
    half = [mac(number) for number in range(0, MACHINES, 2)]
    operator.call("POST", "/machines/bulk", {"set": {"labels": ["moved"]}, "macs": [*half, chosen]})
    page.locator(f"tr[data-mac='{chosen}']").get_by_text("moved").wait_for()
    page.wait_for_timeout(2000)
    print(f"5,000 machines changed at once: asked for {asked}")

    assert 1 <= asked.count("/machines") <= 3
    assert page.evaluate(PLACES)[0] == before[0]
    assert [row for row, _ in page.evaluate(PLACES)] == [row for row, _ in before]
    assert page.get_by_label(f"Choose {chosen}").is_checked()


def test_the_dashboard_stays_a_glance(daemon: DaemonProcess, tab: Any) -> None:
    """The strip shows some of hundreds of flashes and counts all, and the numbers are fetched at most once a second, whatever happens."""
    page = tab.open("/ui/dashboard")
    page.wait_for_selector(".stream.live")
    page.get_by_text("10,000", exact=True).wait_for()
    page.evaluate(WATCH)
    asked = listen(page)
    for number in range(300, 500):
        say_progress(daemon, number, 10)
    page.get_by_role("heading", name=re.compile("Flashing now: 2")).wait_for()
    for done in range(11, 15):
        for number in range(300, 500):
            say_progress(daemon, number, done)
    bars = page.locator(".strip li")
    eventually(lambda: bars.first.get_by_text("%").count() == 1)
    longest = page.evaluate("window.longest")
    tab.shoot("dashboard-many")
    print(f"1,000 changes: asked for {sorted(asked)}, {bars.count()} bars, longest task {longest:.0f} ms, heap {heap_mb(page):.1f} MB")

    assert bars.count() <= 48


def test_all_machines_are_chosen_and_changed(operator: Any, tab: Any) -> None:
    """All 10,000 can be chosen, the choice stays over pages and a reload, and one change of all is one request."""
    page = tab.open("/ui/machines?per_page=100")
    page.get_by_label("Choose all machines of this page").check()
    asked = listen(page)
    began = page.evaluate("performance.now()")
    page.get_by_role("button", name="Choose all 10,000").click()
    page.get_by_text("10,000 chosen").wait_for()
    print(f"all chosen after {page.evaluate('performance.now()') - began:.0f} ms with {len(asked)} requests, heap {heap_mb(page):.1f} MB")
    page.get_by_label("Next page").click()
    page.locator(f"tr[data-mac='{mac(100)}']").wait_for()
    eventually(lambda: page.locator("tbody input:checked").count() == 100)
    page.get_by_label(f"Choose {mac(100)}").uncheck()
    page.get_by_text("9,999 chosen").wait_for()
    page.reload()
    page.get_by_text("9,999 chosen").wait_for()
    asked.clear()
    page.get_by_role("button", name="Change…").click()
    page.get_by_label("Local disk on UEFI").select_option("exit")
    began = page.evaluate("performance.now()")
    page.get_by_role("button", name="Next: see what happens").click()
    page.get_by_role("dialog").get_by_text("9,999 machines:").wait_for()
    print(f"the question after {page.evaluate('performance.now()') - began:.0f} ms with {len(asked)} requests, heap {heap_mb(page):.1f} MB")
    asked.clear()
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_text("9,999 machines changed.").wait_for()

    assert asked.count("/machines/bulk") == 1
    found = operator.call("GET", "/machines")
    assert [machine["mac"] for machine in found if machine["uefi_local_boot"] != "exit"] == [mac(100)]

    page = tab.open(f"/ui/machines?label=rack+17#sel={','.join(mac(number).replace(':', '') for number in range(1, 3000, 2))}")
    asked.clear()
    page.get_by_role("button", name="Start over…").click()
    began = page.evaluate("performance.now()")
    page.get_by_role("dialog").get_by_role("button").last.click()
    page.get_by_text("1,500 machines started over.").wait_for()
    print(f"1,500 started over after {page.evaluate('performance.now()') - began:.0f} ms")
    assert asked.count("/machines/bulk") == 1
    assert not any(path.endswith("/reset") for path in asked)
