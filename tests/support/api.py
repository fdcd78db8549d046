"""A logged-in operator of a daemon, for tests that do not await."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

PASSWORD = "bty-lab"  # the default, written out: a copy of it needs nothing of the server


class Operator:
    """Calls the JSON API with a session of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        self.call("POST", "/auth/login", {"password": PASSWORD})

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the decoded answer; raises `urllib.error.HTTPError` where it is no success."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={"Content-Type": "application/json"})
        with self._opener.open(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def fetch(self, path: str) -> str:
        """Return what a machine would get."""
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return str(answer.read().decode())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind, newest first."""
        return list(self.call("GET", f"/events?kind={kind}&limit=500")["events"])

    def bind(self, mac: str, ref: str | None, serial: str | None, mode: str = "bty-flash-once") -> None:
        """Set what a machine is to become."""
        self.call("PUT", f"/machines/{mac}", {"bty_image_ref": ref, "target_disk_serial": serial, "boot_mode": mode})

    def boot(self, mac: str) -> str:
        """Do what firmware does: fetch the script, and where it is the chain, the kernel; return the script."""
        script = self.fetch(f"/pxe/{mac}")
        if "vmlinuz" in script:
            request = urllib.request.Request(f"{self.url}/boot/kernel?mac={mac}")
            with contextlib.suppress(urllib.error.HTTPError):  # asking is what counts, not that it is there
                urllib.request.urlopen(request, timeout=20).close()
        return script


def eventually(claim: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until *claim* holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, f"did not come true in {timeout_s} s"
        time.sleep(0.02)
