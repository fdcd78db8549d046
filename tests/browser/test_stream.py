"""The connection is cut and comes back: the page says so, and is right again without a reload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.conftest import ENV
from tests.browser.fleet import fill, start
from tests.browser.machines import Box
from tests.support.api import Operator, eventually
from tests.support.process import daemon_process, free_port

GIB = 1 << 30


def test_a_cut_stream_is_told_and_caught_up(tmp_path: Path, origin: str, browser: Any) -> None:
    """While the daemon is away the page says that it is not live; once it is back every row is as the daemon has it."""
    port, state = free_port(), tmp_path / "state"
    context = browser.new_context()
    page = context.new_page()
    try:
        with daemon_process(state, port=port, env=ENV) as daemon:
            boxes = fill(daemon.url, Operator(daemon.url), origin, machines=8)
            context.request.post(f"{daemon.url}/auth/login", data={"password": "bty-lab"}, headers={"Origin": daemon.url})
            page.goto(f"{daemon.url}/ui/machines?sort=boot_mode")
            page.wait_for_selector(".stream.live")
            before = page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.dataset.mac)")
            page.get_by_label(f"Choose {boxes[4].mac}").check()
        page.wait_for_selector(".stream.lost")
        with daemon_process(state, port=port, env=ENV) as daemon:
            Operator(daemon.url).call("PATCH", f"/machines/{boxes[4].mac}", {"labels": ["meanwhile"]})
            page.wait_for_selector(".stream.live", timeout=20_000)
            page.locator(f"tr[data-mac='{boxes[4].mac}']").get_by_text("meanwhile").wait_for()
            start(boxes[7])
            boxes[7].progress("write", GIB, 2 * GIB)
            page.locator(f"tr[data-mac='{boxes[7].mac}']").get_by_text("50 %").wait_for()

            assert page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.dataset.mac)") == before
            assert page.get_by_label(f"Choose {boxes[4].mac}").is_checked()
    finally:
        context.close()


def test_a_log_is_right_after_the_daemon_was_restarted(tmp_path: Path, origin: str, browser: Any) -> None:
    """A daemon that starts anew numbers the lines of logs anew: the page shows what there is now, once, and goes on from there."""
    port, state = free_port(), tmp_path / "state"
    context = browser.new_context()
    page = context.new_page()
    try:
        with daemon_process(state, port=port, env=ENV) as daemon:
            box = Box(daemon.url, fill(daemon.url, Operator(daemon.url), origin, machines=8)[4].mac)
            box.log("old 1", "old 2")
            context.request.post(f"{daemon.url}/auth/login", data={"password": "bty-lab"}, headers={"Origin": daemon.url})
            page.goto(f"{daemon.url}/ui/machines/{box.mac.replace(':', '-')}")
            page.wait_for_selector(".stream.live")
            page.get_by_role("log").get_by_text("old 2").wait_for()
        page.wait_for_selector(".stream.lost")
        with daemon_process(state, port=port, env=ENV):
            box.log(*(f"new {number}" for number in range(10)))
            page.wait_for_selector(".stream.live", timeout=20_000)
            page.get_by_role("log").get_by_text("new 9").wait_for()
            box.log("and on")
            page.get_by_role("log").get_by_text("and on").wait_for()

            assert page.get_by_role("log").inner_text().splitlines() == [*(f"new {number}" for number in range(10)), "and on"]
    finally:
        context.close()


def test_a_login_that_ended_leads_to_the_login_and_back(tab: Any, operator: Any) -> None:
    """Where the session has ended the page goes to the login page, which leads back to it."""
    page = tab.open("/ui/machines?q=rack")
    page.wait_for_selector(".stream.live")
    page.context.clear_cookies()
    page.get_by_label("Search machines").fill("other")
    page.wait_for_url("**/ui/login?next=**")
    page.get_by_label("Password").fill("bty-lab")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/ui/machines?q=other")


def test_an_idle_page_asks_for_nothing(tab: Any, operator: Any) -> None:
    """Once it is there, and what it shows was looked into, a page that is looked at sends no request but the one that listens."""
    page = tab.open("/ui/dashboard")
    page.wait_for_selector(".stream.live")
    eventually(lambda: not any(check["running"] for check in operator.call("GET", "/health")["checks"]))
    page.wait_for_timeout(1500)  # the page asks again after a second for as long as a check runs
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(3000)

    assert asked == []


def test_the_first_load_takes_few_requests_and_bytes(tabs: Any) -> None:
    """A first visit takes at most 12 requests and 150 kB, with the data of the dashboard."""
    tab = tabs()
    session = tab.page.context.new_cdp_session(tab.page)
    session.send("Network.enable")
    asked: list[str] = []
    sizes: list[float] = []
    session.on("Network.requestWillBeSent", lambda event: asked.append(event["request"]["url"]))
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page = tab.open("/ui/dashboard")
    page.wait_for_selector(".stream.live")
    page.wait_for_timeout(500)

    print(f"first load: {len(asked)} requests, {sum(sizes):.0f} bytes")
    assert len(asked) <= 12, asked
    assert sum(sizes) < 150_000
