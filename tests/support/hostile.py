"""An HTTP server that does to a client what real ones have done: cut, stall, lie, forget ranges, swap the object."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.support.listening import listening


class End(Enum):
    """How a response ends."""

    WHOLE = "whole"
    CLOSE = "close"  # the connection is closed in an orderly way, too early
    RESET = "reset"  # the connection is reset
    STALL = "stall"  # nothing more comes, and nothing is closed


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered. Offsets are those of the object, lengths those of the body sent."""

    end: End = End.WHOLE
    end_after: int = 0
    status: int | None = None
    ignore_range: bool = False
    shift_range: int = 0
    length_delta: int = 0
    flip_at: int | None = None
    swapped: bool = False
    chunked: bool = False
    no_length: bool = False
    encoding: str | None = None


@dataclass
class Hostile:
    """The server's script: one behaviour a request, the last for all that follow."""

    body: bytes
    other_body: bytes = b""
    script: list[Behaviour] = field(default_factory=list)
    validators: str = "strong"  # strong | weak | date | none
    keeps: bool = False  # a connection is kept after an answer that was told to be whole, whether or not its length was true
    connections: int = 0
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def next_behaviour(self) -> Behaviour:
        if not self.script:
            return Behaviour()
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def validator_headers(self, swapped: bool) -> dict[str, str]:
        mark = "b" if swapped else "a"
        return {
            "strong": {"ETag": f'"{mark}"'},
            "weak": {"ETag": f'W/"{mark}"'},
            "date": {"Last-Modified": f"Mon, 0{2 if swapped else 1} Jan 2024 00:00:00 GMT"},
            "none": {},
        }[self.validators]


@contextmanager
def hostile_server(hostile: Hostile, port: int = 0) -> Iterator[Hostile]:
    """Serve *hostile* on loopback until the block ends."""
    with listening(lambda connection: _answer(connection, hostile), port) as hostile.url:
        yield hostile


def _answer(connection: socket.socket, hostile: Hostile) -> None:
    with connection:
        connection.settimeout(10)
        hostile.connections += 1
        while (request := _request(connection)) and _answer_one(connection, hostile, request):
            pass


def _request(connection: socket.socket) -> str:
    request = b""
    while b"\r\n\r\n" not in request:
        chunk = connection.recv(65536)
        if not chunk:
            return ""
        request += chunk
    return request.decode()


def _answer_one(connection: socket.socket, hostile: Hostile, text: str) -> bool:
    """Answer a request as the script says; tell whether the connection takes another."""
    if text.split()[1].endswith(".bmap"):  # looked for on the off chance, and no part of a script
        connection.sendall(b"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n")
        return False
    hostile.requests.append(text)
    behaviour = hostile.next_behaviour()
    head, body = _response(text, hostile, behaviour)
    limit = len(body) if behaviour.end is End.WHOLE else min(behaviour.end_after, len(body))
    connection.sendall(head)
    connection.sendall(_framed(body[:limit], behaviour, whole=behaviour.end is End.WHOLE))
    if behaviour.end is End.RESET:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif behaviour.end is End.STALL:
        connection.settimeout(None)
        while connection.recv(4096):
            pass
    return b"Connection: close" not in head and behaviour.end is End.WHOLE and behaviour.status is None


def _response(request: str, hostile: Hostile, behaviour: Behaviour) -> tuple[bytes, bytes]:
    body = hostile.other_body if behaviour.swapped else hostile.body
    if behaviour.flip_at is not None and behaviour.flip_at < len(body):
        flipped = bytearray(body)
        flipped[behaviour.flip_at] ^= 0x10
        body = bytes(flipped)
    if behaviour.status is not None:
        return f"HTTP/1.1 {behaviour.status} Whatever\r\nContent-Length: 0\r\n\r\n".encode(), b""
    headers = hostile.validator_headers(behaviour.swapped)
    total = len(body)
    start, stop = _range(request, total)
    condition = re.search(r"(?im)^if-range: (.*?)\r$", request)
    fresh = condition is None or condition[1] in headers.values()
    if start is not None and not behaviour.ignore_range and fresh:
        if start >= total:
            return f"HTTP/1.1 416 Range\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\n\r\n".encode(), b""
        begin = min(max(0, start + behaviour.shift_range), total - 1)
        body = body[begin : stop + 1]
        status = "206 Partial"
        headers["Content-Range"] = f"bytes {begin}-{begin + len(body) - 1}/{total}"
    else:
        status = "200 OK"
        headers["Accept-Ranges"] = "bytes"
    if behaviour.encoding:
        headers["Content-Encoding"] = behaviour.encoding
    if behaviour.chunked:
        headers["Transfer-Encoding"] = "chunked"
    elif not behaviour.no_length:
        headers["Content-Length"] = str(max(0, len(body) + behaviour.length_delta))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if not hostile.keeps or behaviour.no_length or re.search(r"(?im)^connection: close\r$", request):
        lines += "Connection: close\r\n"
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode(), body


def _range(request: str, total: int) -> tuple[int | None, int]:
    match = re.search(r"(?im)^range: bytes=(\d+)-(\d*)\r$", request)
    if not match:
        return None, total - 1
    return int(match[1]), min(int(match[2]), total - 1) if match[2] else total - 1


def _framed(body: bytes, behaviour: Behaviour, *, whole: bool) -> bytes:
    if not behaviour.chunked:
        return body
    pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    framed = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return framed + (b"0\r\n\r\n" if whole else b"")
