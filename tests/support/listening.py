"""Servers that answer byte by byte: an accept loop for those that say something else than HTTP's libraries would."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def listening(serve: Callable[[socket.socket], None], port: int = 0) -> Iterator[str]:
    """Let *serve* have each connection to *port* of loopback, 0 for a free one, in a thread of its own; yields the base address.

    A connection that *serve* leaves open stays open. Leaving the block ends all of them and waits for every *serve*.
    """
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the peer left, or the block was left
            serve(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threads.append(threading.Thread(target=one, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for connection in connections:
            with contextlib.suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.close()


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Let *answer* speak on each connection once its request has come; yields the base address."""

    def one(connection: socket.socket) -> None:
        if connection.recv(65536):
            answer(connection)

    with listening(one) as url:
        yield url


def trickle_headers(connection: socket.socket) -> None:
    """Begin an answer whose headers never end: a byte now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        threading.Event().wait(0.05)
