"""An end in time for what a socket timeout does not end: it counts each wait anew, and a peer that trickles never lets one expire."""

from __future__ import annotations

import socket
import threading
from types import TracebackType


class Deadline:
    """Within its `with`, whoever waits on a watched socket is woken after *limit_s*; `expired` then tells why."""

    def __init__(self, limit_s: float) -> None:
        self.expired = False
        self._is_over = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(limit_s, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._timer.cancel()
        with self._lock:  # a timer that woke just now finds it over, or has said so: `expired` is final from here on
            self._is_over = True

    def watch(self, sock: socket.socket) -> None:
        """Shut *sock* down when the time is up, or now where it is."""
        with self._lock:
            self._sockets.append(sock)
            expired = self.expired
        if expired:
            shut_down(sock)

    def _expire(self) -> None:
        with self._lock:
            if self._is_over:
                return
            self.expired = True
            sockets = tuple(self._sockets)
        for sock in sockets:
            shut_down(sock)


def shut_down(sock: socket.socket) -> None:
    """Make a read on *sock* that blocks in another thread return."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was closed already, which is what was wanted
