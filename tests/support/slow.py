"""An HTTP server that sends an object slowly, until it is told to hurry: for looking at a flash while it runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE_BYTES = 64 * 1024


@dataclass
class Slow:
    """*rate* in bytes a second; `hurry` ends the waiting."""

    body: bytes
    rate: float
    url: str = ""
    hurry: threading.Event = field(default_factory=threading.Event)


@contextmanager
def slow_server(body: bytes, rate: float) -> Iterator[Slow]:
    """Serve *body* under every name, on loopback, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.send_response(200 if not self.path.endswith(".bmap") else 404)
            self.send_header("Content-Length", str(len(body)) if not self.path.endswith(".bmap") else "0")
            self.send_header("ETag", '"a"')
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            if self.path.endswith(".bmap"):
                return
            with contextlib.suppress(OSError):
                began = time.monotonic()
                for at in range(0, len(body), _PIECE_BYTES):
                    self.wfile.write(body[at : at + _PIECE_BYTES])
                    slow.hurry.wait(max(at / rate - (time.monotonic() - began), 0))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    slow = Slow(body, rate, url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield slow
    finally:
        slow.hurry.set()
        server.shutdown()
        server.server_close()
        thread.join()
