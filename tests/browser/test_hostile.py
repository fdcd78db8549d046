"""A script, an element or a line break in anything that a client can set reaches no page alive."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from tests.browser.test_looks import PAGES
from tests.support.process import DaemonProcess

EVIL = [
    "<script>window.broken=1</script>",
    "<img src=x onerror=window.broken=2>",
    '"><svg onload=window.broken=3>',
    "javascript:window.broken=4",
    "'+alert(1)+'",
    "{{7*7}}${7*7}",
    "line\nbreak\r\nhttp://x/ chain",
    "\u202etxt.exe\u202c\u0000\u001b[2J",
    "]]>--><!--",
]
PROBE = """() => ({
  broken: window.broken ?? null,
  scripts: [...document.scripts].map((script) => script.getAttribute("src")),
  strange: document.querySelectorAll("main img, main iframe, main object, main embed, main script, [href^='javascript']").length,
  handlers: [...document.querySelectorAll("*")].filter((node) => [...node.attributes].some(({ name }) => name.startsWith("on"))).length,
})"""


def post(url: str, body: object, *, expect: int = 204) -> None:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    try:
        status = urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        status = error.code
    assert status == expect, url


def test_nothing_that_a_client_sends_comes_alive(daemon: DaemonProcess, operator: Any, origin: str, tab: Any) -> None:
    """Disks, hardware, logs, progress, receipts, orphans and image names full of scripts are shown as text on every page."""
    page = tab.page
    mac = "52:54:00:00:00:02"
    for number, evil in enumerate(EVIL):
        each = f"52:54:00:00:00:{number + 2:02x}"
        urllib.request.urlopen(f"{daemon.url}/pxe/{each}", timeout=20).close()
        disk = {
            "path": evil,
            "size": evil[:32],
            "vendor": evil[:64],
            "model": evil,
            "serial": evil,
            "tran": evil[:32],
            "by_id": [evil],
            "in_use": [evil],
        }
        lshw = {
            "class": "system", "vendor": evil, "product": evil, "serial": evil,
            "children": [{"class": "processor", "product": evil}, {"class": "network", "logicalname": evil, "serial": evil}],
        }  # fmt: skip
        url = f"{daemon.url}/pxe/{each}"
        post(f"{url}/inventory", {"disks": [disk], "lshw": lshw})
        post(f"{url}/log", {"lines": [evil]})
        post(
            f"{url}/done",
            {"error": evil, "name": evil, "source": evil, "target_path": evil, "notes": [evil], "sha256": evil, "verified": [evil]},
        )
        post(f"{url}/progress", {"stage": evil[:64], "bytes": 5, "total": 10, "rate": 1})
        post(f"{daemon.url}/pxe/02-00-00-00-00-{number:02x}/done", {}, expect=404)
        operator.call(
            "POST",
            "/catalog/entries",
            {
                "image_url": f"{origin}/{number}.img?x=<script>window.broken=5</script>".replace(" ", ""),
                "name": evil.replace("\n", " ").replace("\r", " ").replace("\0", "").replace("\x1b", ""),
                "description": "<b>x</b>",
            },
        )
    pages = {**PAGES, **{f"machine {number}": f"/ui/machines/52-54-00-00-00-{number + 2:02x}" for number in range(len(EVIL))}}
    found = {}
    for name, path in pages.items():
        tab.open(path)
        for summary in page.locator("main summary").all()[:40]:
            summary.click()
        state = page.evaluate(PROBE)
        if (
            state["broken"]
            or state["strange"]
            or state["handlers"]
            or any("/ui/assets/" not in (source or "") for source in state["scripts"])
        ):
            found[name] = state
    shown = tab.open(f"/ui/machines/{mac.replace(':', '-')}").locator("main").inner_text()

    assert found == {}
    assert "<script>window.broken=1</script>" in shown


def test_no_way_to_make_html_of_text(tab: Any) -> None:
    """Neither an inline script nor a string that a script would parse as HTML is taken by a page."""
    page = tab.open("/ui/dashboard")
    made = page.evaluate("() => { try { document.body.innerHTML = '<b>x</b>'; return 'made'; } catch (error) { return error.name; } }")
    assert made == "TypeError"
    ran = page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.append("window.broken = 1");
          document.head.append(script);
          return window.broken ?? null;
        }"""
    )
    assert ran is None
    tab.problems.clear()  # the browser tells that it has refused
