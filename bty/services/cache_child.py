"""The embedded cache's own process: withcache's store, fill queue and server, with what is dangerous in them taken out.

It listens on a socket that the daemon opened on loopback and answers only who knows the daemon's secret. Its bytes come
through our own source, which knows http, https and oras only, continues broken streams, never splices two versions of
an object and takes no credentials to another host. It leaves room on the disk and ends with the daemon, however that
ends. Loads neither the store nor the web server of bty, so it starts in a tenth of a second.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http
import json
import os
import shutil
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from withcache import server

from bty.model.catalog import is_oras
from bty.services.cache_files import FILLS_PATH, SECRET_ENV, SECRET_HEADER
from bty.sources.documents import make_opener
from bty.sources.http import Endpoint, HttpSource, Location
from bty.sources.oras import resolve
from bty.units import GIB, MIB, format_bytes

# Left free for the daemon's state, which lies on the same disk.
RESERVE_BYTES = GIB
_LOOK_EVERY_BYTES = 64 * MIB
_BACKLOG = 128
_REGISTRY_TIMEOUT_S = 15.0


class _Body:
    """An image's bytes with the face of a response of urllib, under which our source repairs what breaks."""

    status = http.HTTPStatus.OK

    def __init__(self, src: str) -> None:
        self._digest = hashlib.sha256()
        self._source = HttpSource([_locate(src)], name=src, digest=_promised(src))
        self._source.open()
        self.headers = Message()
        self.headers["Content-Type"] = "application/octet-stream"
        if self._source.size is not None:
            self.headers["Content-Length"] = str(self._source.size)

    def __enter__(self) -> _Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def read(self, count: int) -> bytes:
        """Return up to *count* of the next bytes; none means the end. Raises `SourceFailed`."""
        block = bytearray(count)
        got = self._source.readinto(memoryview(block), self._digest.hexdigest)
        data = bytes(memoryview(block)[:got])
        self._digest.update(data)
        return data


class _Opener(urllib.request.OpenerDirector):
    """Gives withcache's fill worker a `_Body`, and everything else the bounded opener."""

    def __init__(self) -> None:
        super().__init__()
        self._documents = make_opener()

    def open(self, fullurl: str | urllib.request.Request, data: Any = None, timeout: float | None = 30.0) -> Any:
        """Open *fullurl*."""
        if isinstance(fullurl, urllib.request.Request) and fullurl.get_header("User-agent") == server.USER_AGENT:
            return _Body(fullurl.full_url)
        return self._documents.open(fullurl, data, timeout)


class _Store(server.Store):
    """withcache's store, which stops a fill before the disk is full."""

    def __init__(self, data_dir: str) -> None:
        super().__init__(data_dir, keep_query=True)

    def store_from_origin(self, url: str, progress: Any = None, cancel: Any = None, **_: Any) -> Any:  # type: ignore[override]
        """Fetch *url* to its end in one attempt: the source under it makes the further ones."""
        looked_at = -_LOOK_EVERY_BYTES

        def watched(done: int, total: int | None) -> None:
            nonlocal looked_at
            if done - looked_at >= _LOOK_EVERY_BYTES:
                looked_at = done
                _check_room(self.data_dir, max(total - done, 0) if total else 0)
            if progress:
                progress(done, total)

        return super().store_from_origin(url, watched, cancel, max_resume_attempts=1, fetch_resolver=lambda: (url, {}))


class _HasMachinery(Protocol):
    store: _Store
    mgr: server.DownloadManager


class _Handler(server.Handler):
    """withcache's `GET|HEAD /b/`, for the daemon only, and the state of the fills as JSON."""

    def do_GET(self) -> None:
        self._serve(lambda: self.handle_blob(self._target(), head_only=False))

    def do_HEAD(self) -> None:
        self._serve(lambda: self.handle_blob(self._target(), head_only=True))

    def do_DELETE(self) -> None:
        self._serve(self._forget)

    def do_POST(self) -> None:
        self._reply(http.HTTPStatus.NOT_FOUND, {"detail": "no such path"})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the daemon logs what it asks for."""

    def _target(self) -> SplitResult:
        return urlsplit(self.path)

    def _serve(self, blob: Callable[[], None]) -> None:
        if not hmac.compare_digest(self.headers.get(SECRET_HEADER, "").encode(), os.environ[SECRET_ENV].encode()):
            self._reply(http.HTTPStatus.FORBIDDEN, {"detail": "this cache serves its daemon only"})
        elif self.path.startswith("/b/"):
            blob()
        elif self.path == FILLS_PATH and self.command == "GET":
            machinery: _HasMachinery = self.server  # type: ignore[assignment]
            self._reply(http.HTTPStatus.OK, [_job_to_json(job) for job in reversed(machinery.mgr.list())])
        else:
            self._reply(http.HTTPStatus.NOT_FOUND, {"detail": "no such path"})

    def _forget(self) -> None:
        machinery: _HasMachinery = self.server  # type: ignore[assignment]
        url = self._blob_origin(self._target())
        for job in machinery.mgr.list():
            if job.url == url:
                machinery.mgr.cancel(job.id)
        machinery.mgr.clear_finished()  # type: ignore[no-untyped-call]
        machinery.store.delete_blob(machinery.store.key_of(machinery.store.normalize(url)))
        self._reply(http.HTTPStatus.OK, {})

    def _reply(self, status: http.HTTPStatus, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(server.ThreadingHTTPServer):
    """A server on a socket that is open already, so that its address outlives the process."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)
        host, port = self.socket.getsockname()[:2]
        self.server_address = (host, port)
        self.server_name, self.server_port = host, port
        self.socket.listen(_BACKLOG)


def main(argv: list[str]) -> int:
    """Serve until the daemon closes our standard input, or dies."""
    parser = argparse.ArgumentParser(prog="bty cache", description="the embedded cache; started by the daemon")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()
    urllib.request.install_opener(_Opener())
    for leftover in (Path(args.data_dir) / "tmp").glob("*.part"):
        leftover.unlink(missing_ok=True)
    httpd: Any = _Server(args.listen_fd)
    httpd.store = _Store(args.data_dir)
    httpd.mgr = server.DownloadManager(httpd.store, workers=args.workers)
    httpd.streams = server.StreamRegistry()
    httpd.auto_fetch = True
    httpd.serve_forever()
    return 0


def _end_with_parent() -> None:
    """Wait for the end of standard input, whose other end only the daemon holds: the kernel closes it with the daemon."""
    while os.read(0, 1):
        pass
    os._exit(0)


def _locate(src: str) -> Location:
    if not is_oras(src):
        return Location.of(src)

    def find() -> Endpoint:
        found = resolve(src, timeout_s=_REGISTRY_TIMEOUT_S)
        return Endpoint(found.url, found.headers)

    return Location(find=find, shown=src)


def _promised(src: str) -> str | None:
    """Return the digest that a pinned reference promises; the daemon checks those of other sources afterwards."""
    return src.partition("@sha256:")[2] or None if is_oras(src) else None


def _check_room(directory: str, wanted: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < wanted + RESERVE_BYTES:
        raise server.CacheFull(
            f"no room: {format_bytes(wanted)} to come, {format_bytes(free)} free, {format_bytes(RESERVE_BYTES)} kept free"
        )


def _job_to_json(job: server.Job) -> dict[str, Any]:
    return {"url": job.url, "status": job.status, "bytes_done": job.bytes_done, "bytes_total": job.bytes_total, "error": job.error}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
