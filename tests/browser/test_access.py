"""Accessibility as axe-core sees it, and everything by keyboard alone."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest

from tests.browser.fleet import fill
from tests.browser.test_looks import PAGES
from tests.support.process import DaemonProcess

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}


def findings(page: Any) -> list[str]:
    """What axe has to say about a page as it is now: rule, impact, and the elements."""
    package = pytest.importorskip("axe_playwright_python", reason="not installed: axe-playwright-python (dependency group test)")
    page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    page.evaluate(resources.files(package).joinpath("axe.min.js").read_text())
    found = page.evaluate("(options) => axe.run(document, options)", RULES)
    return [
        f"{one['id']} ({one['impact']}): {', '.join(str(node['target']) for node in one['nodes'])[:300]}" for one in found["violations"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(daemon: DaemonProcess, operator: Any, origin: str, tabs: Any, scheme: str) -> None:
    """No page breaks a rule of WCAG 2.2 AA or a best practice, in either scheme, on a desk and on a phone."""
    fill(daemon.url, operator, origin)
    found = []
    for width in (1280, 320):
        tab = tabs(viewport={"width": width, "height": 800}, color_scheme=scheme)
        for name, path in PAGES.items():
            page = tab.open(path)
            found += [f"{name} at {width} px: {one}" for one in findings(page)]

    assert found == []
    print(f"axe: {2 * len(PAGES)} pages, no finding ({scheme})")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_before_the_login_and_in_dialogs(
    daemon: DaemonProcess, operator: Any, origin: str, tabs: Any, scheme: str
) -> None:
    """Neither the login page nor an open question breaks a rule."""
    fill(daemon.url, operator, origin, machines=8)
    tab = tabs(color_scheme=scheme)
    found = []
    for path, button in [
        ("/ui/machines", "Add a machine"),
        ("/ui/machines#sel=525400000001,525400000002", "Change…"),
        ("/ui/machines#sel=525400000001,525400000002", "Start over…"),
        ("/ui/machines#sel=525400000001,525400000002", "Delete…"),
        ("/ui/images", "Add an image"),
        ("/ui/images", "Import a catalog"),
    ]:
        page = tab.open("/ui/account")
        page = tab.open(path)
        page.get_by_role("button", name=button).click()
        page.wait_for_selector("dialog[open]")
        tab.shoot(f"dialog-{button.strip('…').replace(' ', '-').lower()}-{scheme}")
        found += [f"{button}: {one}" for one in findings(page)]
    page.context.clear_cookies()
    page = tab.open("/ui/login")
    tab.shoot(f"login-{scheme}")
    found += [f"login: {one}" for one in findings(page)]

    assert found == []
