"""The daemon as a machine sees it: plan, inventory, progress, log, done."""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bty import __version__
from bty.errors import BtyError, InvalidInput, PlanUnreachable
from bty.model.plan import Plan, Receipt
from bty.model.progress import Progress
from bty.units import MIB

_PLAN_TIMEOUT_S = 15.0
_POST_TIMEOUT_S = 10.0
_PATIENCE_S = 60.0  # a daemon that restarts, a switch that learns: all over within a minute
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
_ANSWER_LIMIT_BYTES = MIB
# Answers of a daemon that does not know a route or a body: an older one. Nothing to retry and nothing to say.
_UNKNOWN_STATUSES = frozenset({404, 405, 422})


class _Refused(BtyError):
    """The daemon answered, but not with success."""

    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


class Server:
    """Speaks for one machine. Every method blocks; what is retried is retried with back-off for a minute."""

    def __init__(self, base_url: str, mac: str, *, patience_s: float = _PATIENCE_S) -> None:
        self.base_url = normalise_server(base_url)
        self._machine = f"{self.base_url}/pxe/{mac}"
        self._cycle: str | None = None
        self.tells_failures = False
        """Whether the daemon knows failed receipts; an older one, whose plan counts no attempts, takes any for a success."""
        self.on_wait: Callable[[str], None] = lambda _line: None
        """Told once, in a line, that the plan did not come at once and is waited for."""
        self._patience_s = patience_s
        self._silent: set[str] = set()

    def plan(self) -> Plan:
        """Fetch the plan. Raises `PlanUnreachable` after a minute without one."""
        try:
            body = self._retry(lambda: self._call("GET", "/plan", None, _PLAN_TIMEOUT_S), told=self.on_wait)
            plan = Plan.from_json(json.loads(body))
        except (BtyError, ValueError, RecursionError) as error:
            hint = "is the daemon running, and is its address right?"
            raise PlanUnreachable(f"no plan from {self.base_url}: {error}", hint=hint) from error
        self._cycle = plan.cycle
        _leave_token(plan.cycle)
        self.tells_failures = plan.max_attempts is not None
        return plan

    def inventory(self, disks: list[dict[str, Any]], lshw: object) -> None:
        """Report the hardware. Raises `BtyError` where the daemon does not take it."""
        body: dict[str, Any] = {"disks": disks}
        if lshw is not None:
            body["lshw"] = lshw
        self._retry(lambda: self._call("POST", "/inventory", self._tagged(body), _POST_TIMEOUT_S))

    def done(self, receipt: Receipt) -> None:
        """Report a flash, done or failed. Raises `BtyError` where the daemon does not take it."""
        body = self._tagged(receipt.to_json())
        self._retry(lambda: self._call("POST", "/done", body, _POST_TIMEOUT_S))

    def progress(self, progress: Progress, rate_bps: float) -> None:
        """Tell how far a flash is; never fails, never retried, silent for good where the daemon knows no such route."""
        done, total = progress.done, progress.done_total
        if total is None and progress.read_total and done:  # where the image's size is not known, all three are of the download
            done, total, rate_bps = progress.read, progress.read_total, rate_bps * progress.read / done
        body = {"stage": progress.stage.value, "bytes": done, "total": total, "rate": round(rate_bps)}
        if progress.trouble:
            body["trouble"] = progress.trouble
        self._mention("/progress", body)

    def log(self, lines: list[str]) -> None:
        """Send lines for the operator's eyes; never fails, like `progress`."""
        self._mention("/log", {"lines": lines})

    def _mention(self, path: str, body: dict[str, Any]) -> None:
        if path in self._silent:
            return
        try:
            self._call("POST", path, self._tagged(body), _POST_TIMEOUT_S)
        except _Refused as error:
            if error.http_status in _UNKNOWN_STATUSES:
                self._silent.add(path)
        except BtyError:
            return  # the next one tells more anyway

    def _tagged(self, body: dict[str, Any]) -> dict[str, Any]:
        return body if self._cycle is None else {"cycle": self._cycle, **body}

    def _retry(self, call: Callable[[], bytes], told: Callable[[str], None] | None = None) -> bytes:
        deadline = time.monotonic() + self._patience_s
        attempt = 0
        while True:
            try:
                return call()
            except _Refused as error:
                if error.http_status < 500 and error.http_status != 429:
                    raise
                last: BtyError = error
            except BtyError as error:
                last = error
            pause_s = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
            attempt += 1
            if told and attempt == 2:  # not of what one try more mends
                told(f"bty: {self.base_url} does not answer as it should: {last}; trying again for {self._patience_s:.0f} s")
            if time.monotonic() + pause_s > deadline:
                raise last
            time.sleep(pause_s)

    def _call(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "User-Agent": f"bty/{__version__}"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self._machine + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return bytes(answer.read(_ANSWER_LIMIT_BYTES))
        except urllib.error.HTTPError as error:
            raise _Refused(f"{method} {urlsplit(request.full_url).path}: HTTP {error.code}: {_detail(error)}", error.code) from error
        except (OSError, HTTPException) as error:
            raise BtyError(f"{method} {urlsplit(request.full_url).path}: {getattr(error, 'reason', None) or error}") from error


def normalise_server(text: str) -> str:
    """Return a base URL: a bare host gets `http://`, a slash at the end goes. Raises `InvalidInput` where it is no address."""
    url = (text if "://" in text else f"http://{text}").rstrip("/")
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and url.isascii()
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput(f"not an address of a server: {text[:200]!r}", hint="http://HOST:PORT")
    return url


def _leave_token(token: str | None) -> None:
    """Leave the cycle's token to whatever else on this machine speaks to the daemon: in the file `BTY_CYCLE_FILE`, root's alone."""
    name = os.environ.get("BTY_CYCLE_FILE")
    if name and token:
        with contextlib.suppress(OSError):  # only ssh for triage and the log miss it
            fresh = Path(f"{name}.new")
            fresh.touch(mode=0o600)
            fresh.write_text(token, encoding="ascii")
            fresh.replace(name)


def _detail(error: urllib.error.HTTPError) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(error.read(65536))["detail"])[:500]
    return str(error.reason)
