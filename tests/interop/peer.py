"""The predecessor as a peer: installed into an environment of its own, run as programs, never read."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PEER = ("bty-lab[tui,web]==0.60.0", "withcache>=0.6.1,<0.9")
PASSWORD = "bty-lab"
READY_S = 30.0


def install_peer(folder: Path) -> str:
    """Install the peer into *folder*; return why that is not possible, or nothing."""
    venv = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True, check=False)
    if venv.returncode != 0:
        return f"no virtual environment: {(venv.stdout + venv.stderr).strip()[-300:]}"
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEER]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=300)
    return "" if installed.returncode == 0 else f"{PEER[0]} cannot be installed: {installed.stderr.strip()[-300:]}"


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Api:
    """An operator's script: logs in as scripts for the predecessor do, by form and cookie."""

    def __init__(self, url: str) -> None:
        self.url = url
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar, _KeepRedirects())

    def login(self) -> None:
        """Log in with the well-known password."""
        form = urllib.parse.urlencode({"password": PASSWORD}).encode()
        with contextlib.suppress(urllib.error.HTTPError):
            self._opener.open(f"{self.url}/ui/login", form, timeout=10).close()

    def call(self, method: str, path: str, body: object = None) -> bytes:
        """Send one request and return the answer's body; raises for an answer that is not a success."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with self._opener.open(request, timeout=20) as answer:
            return bytes(answer.read())

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send one request and return the answer as JSON."""
        return json.loads(self.call(method, path, body))

    def bind(self, mac: str, image_url: str, serial: str) -> dict[str, Any]:
        """Catalog an image and have *mac* flash it once onto the disk *serial*; return the entry."""
        entry: dict[str, Any] = self.ask("POST", "/catalog/entries", {"image_url": image_url})
        machine = {"boot_mode": "bty-flash-once", "bty_image_ref": entry["bty_image_ref"], "target_disk_serial": serial}
        self.ask("PUT", f"/machines/{mac}", machine)
        return entry

    def boot(self, mac: str) -> str:
        """Do what a machine's firmware does: fetch its script, then the kernel that the script names. Return the script."""
        script = self.call("GET", f"/pxe/{mac}").decode()
        with contextlib.suppress(urllib.error.HTTPError):
            self.call("GET", f"/boot/vmlinuz?mac={mac.replace(':', '-')}")
        return script

    def events(self, mac: str) -> list[dict[str, Any]]:
        """Return what the audit log says about *mac*, oldest first."""
        found: list[dict[str, Any]] = self.ask("GET", f"/events?limit=500&subject_id={mac}")["events"]
        return found[::-1]


class _KeepRedirects(urllib.request.HTTPRedirectHandler):
    """A login answers with a page to go to, which a script does not need."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@contextlib.contextmanager
def daemon(program: list[str | Path], state: Path) -> Iterator[Api]:
    """Run *program* as a daemon on loopback with its state under *state*, logged in to."""
    port = free_port()
    state.mkdir()
    settings = {"BTY_SERVER_HOST": "127.0.0.1", "BTY_SERVER_PORT": str(port), "BTY_PATHS_STATE_DIR": str(state)}
    log = state / "daemon.log"
    with log.open("wb") as output, subprocess.Popen(program, env={**os.environ, **settings}, stdout=output, stderr=output) as process:
        api = Api(f"http://127.0.0.1:{port}")
        try:
            wait_for_health(api, process, log)
            api.login()
            yield api
        finally:
            process.terminate()
            process.wait(20)


def wait_for_health(api: Api, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the daemon answers."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            api.call("GET", "/healthz")
        except OSError:
            assert process.poll() is None, f"the daemon ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"no answer in {READY_S} s: {log.read_text()[-2000:]}"
            time.sleep(0.02)
        else:
            return


def wait_until(claim: Callable[[], object]) -> None:
    """Wait until *claim* holds, or fail."""
    deadline = time.monotonic() + READY_S
    while not claim():
        assert time.monotonic() < deadline, f"not so within {READY_S} s"
        time.sleep(0.02)


@contextlib.contextmanager
def origin(objects: dict[str, bytes]) -> Iterator[str]:
    """Serve *objects* by path on loopback, as a plain server without ranges does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = objects.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.send_header("Last-Modified", "Tue, 06 Jan 2026 10:00:00 GMT")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def fake_programs(folder: Path, *, device: str, serial: str) -> Path:
    """Write programs for the front of PATH: an lsblk that knows *device* as a disk, an lshw, a systemctl that takes notes.

    The predecessor takes no loop device for a disk. Every other question to lsblk goes to the real one.
    """
    folder.mkdir()
    node = {"name": Path(device).name, "path": device, "size": "64M", "type": "disk", "vendor": "bty", "model": "loop"}
    listing = {"blockdevices": [{**node, "serial": serial, "rm": False, "ro": False, "mountpoints": [None], "tran": "sata"}]}
    (folder / "listing.json").write_text(json.dumps(listing))
    _program(folder / "lsblk", f'case " $* " in *" -J "*) exec cat "{folder}/listing.json" ;; esac\nexec /usr/bin/lsblk "$@"')
    _program(folder / "lshw", """echo '{"id": "machine", "class": "system"}'""")
    _program(folder / "systemctl", f'echo "$*" >>"{folder}/systemctl.log"')
    return folder


def _program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
