"""Every page, dark and light, on a phone, a desk and a wall: pictures for a person, and no page wider than its screen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.fleet import fill
from tests.support.process import DaemonProcess

MACHINE = "/ui/machines/52-54-00-00-00"
PAGES = {
    "dashboard": "/ui/dashboard",
    "machines": "/ui/machines",
    "machine": f"{MACHINE}-02",
    "failed": f"{MACHINE}-07",
    "flashed": f"{MACHINE}-06",
    "images": "/ui/images",
    "netboot": "/ui/netboot",
    "backups": "/ui/backups",
    "events": "/ui/events",
    "settings": "/ui/settings",
    "account": "/ui/account",
}
SCREENS = {"phone": (320, 640), "desk": (1280, 800), "wall": (2560, 1440)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_its_screen(daemon: DaemonProcess, operator: Any, origin: str, tabs: Any, scheme: str) -> None:
    """On a phone, a desk and a wall no page has to be scrolled sideways, and each has one heading."""
    fill(daemon.url, operator, origin)
    wide = []
    for screen, (width, height) in SCREENS.items():
        tab = tabs(viewport={"width": width, "height": height}, color_scheme=scheme)
        for name, path in PAGES.items():
            page = tab.open(path)
            tab.shoot(f"{name}-{screen}-{scheme}")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(f"{name} at {width} px")
            assert page.locator("h1").count() == 1

    assert wide == []
