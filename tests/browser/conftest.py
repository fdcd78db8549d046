"""A real browser on a real daemon. What a page says on its console is a failure, too."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.browser.machines import Box
from tests.support.api import Operator
from tests.support.process import DaemonProcess, daemon_process

playwright_api = pytest.importorskip("playwright.sync_api", reason="not installed: playwright (dependency group test)")

SHOTS = Path(__file__).resolve().parents[2] / "build" / "browser"
ENV = {"BTY_WITHCACHE_EMBEDDED": "false"}
# What a browser says about answers that a test wants: they are no failure of the page.
_EXPECTED = re.compile(r"Failed to load resource: .*(?:status of (?:4\d\d|503)|ERR_CONNECTION|ERR_INCOMPLETE)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.needs("chromium"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window; gone with the module, because its driver keeps an event loop running in this thread."""
    with playwright_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon with nothing in it."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "bty.toml").write_text("# kept\n[flash]\nmax_attempts = 4\n")
    with daemon_process(state, env=ENV) as running:
        yield running


@pytest.fixture
def operator(daemon: DaemonProcess) -> Operator:
    """The operator of `daemon`, by the API."""
    return Operator(daemon.url)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    """The address of a server with images: `debian.img.gz`, `fedora.qcow2`, `SHA256SUMS`."""
    folder = tmp_path / "origin"
    folder.mkdir()
    (folder / "debian.img.gz").write_bytes(b"d" * 300_000)
    (folder / "fedora.qcow2").write_bytes(b"f" * 500_000)
    (folder / "catalog.toml").write_text('version = 1\n[[images]]\nname = "from the catalog"\nsrc = "https://images.invalid/c.img.xz"\n')
    handler = partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        pass


class Tab:
    """A page of the application, and what went wrong on it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []
        page.set_default_timeout(20_000)  # a busy machine takes its time
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))

    def open(self, path: str) -> Any:
        """Go to a page and wait until it is there, with what it shows."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector("h1")
        self.page.get_by_text("Loading…").first.wait_for(state="hidden")
        return self.page

    def shoot(self, name: str) -> None:
        """Keep a picture for a person to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning") and not _EXPECTED.search(message.text):
            self.problems.append(f"{message.type}: {message.text}")


@pytest.fixture
def tabs(browser: Any, daemon: DaemonProcess) -> Iterator[Any]:
    """Make tabs that are logged in; options are those of a browser context."""
    made: list[Tab] = []
    contexts = []

    def make(**options: Any) -> Tab:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "timezone_id": "UTC", **options})
        contexts.append(context)
        context.request.post(f"{daemon.url}/auth/login", data={"password": "bty-lab"}, headers={"Origin": daemon.url})
        made.append(Tab(context.new_page(), daemon.url))
        return made[-1]

    yield make
    for context in contexts:
        context.close()
    assert [problem for tab in made for problem in tab.problems] == []


@pytest.fixture
def tab(tabs: Any) -> Tab:
    """One tab that is logged in."""
    return tabs()


@pytest.fixture
def box(daemon: DaemonProcess) -> Any:
    """Make machines on the network of `daemon`."""
    return lambda number: Box(daemon.url, f"52:54:00:00:00:{number:02x}")
