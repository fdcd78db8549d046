"""The settings page on webhooks: how each goes, and what to do about what it did not take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_access import findings
from tests.support.api import eventually
from tests.support.process import DaemonProcess, daemon_process, free_port


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon with a webhook that refuses everything: a path of the daemon that is not there."""
    state, port = tmp_path / "state", free_port()
    state.mkdir()
    (state / "bty.toml").write_text(f'[[webhook]]\nurl = "http://127.0.0.1:{port}/hush"\nevents = ["machine.*"]\n')
    with daemon_process(state, port=port, env={"BTY_WITHCACHE_EMBEDDED": "false"}) as running:
        yield running


def test_what_a_webhook_did_not_take_is_shown_and_forgotten(operator: Any, tab: Any) -> None:
    """The page names host, kind and reason, never the address; it is sent again or forgotten on the press of a button."""
    page = tab.open("/ui/settings")
    page.get_by_text("0 delivered · 0 waiting").wait_for()
    page.wait_for_selector(".stream.live")
    operator.call("PUT", "/machines/52:54:00:00:00:01", {})
    page.get_by_text("1 event not taken:").wait_for()
    tab.shoot("settings-webhook")
    assert findings(page) == []
    assert "hush" not in page.content()
    page.get_by_role("button", name="Send again").click()
    eventually(lambda: not operator.call("GET", "/webhooks")["items"][0]["dead"][0]["again"])
    page.get_by_role("button", name="Forget", exact=True).click()
    page.get_by_role("button", name="Forget them").click()
    page.get_by_text("1 event not taken:").wait_for(state="detached")
    assert operator.call("GET", "/webhooks")["items"][0]["dead"] == []
