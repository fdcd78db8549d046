"""Asks a TFTP server for the first loader, to see whether machines would get it. Contract 13.7; RFC 1350."""

from __future__ import annotations

import asyncio
import socket

FILE = b"ipxe.efi"
PORT = 69
WAIT_S = 1.5
_READ, _DATA, _ERROR = 1, 3, 5


async def probe(host: str, port: int = PORT) -> str:
    """Return `present`, `missing` where the server answers but lacks the file, or `unreachable`."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    try:
        # Not connected: a server answers from a port of its own.
        (family, _, _, _, address), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        transport, _ = await loop.create_datagram_endpoint(lambda: _Asking(answer), family=family)
    except (OSError, UnicodeError):  # the latter for a name that no name server could be asked for
        return "unreachable"
    try:
        transport.sendto(_READ.to_bytes(2, "big") + FILE + b"\0octet\0", address)
        async with asyncio.timeout(WAIT_S):
            block = await answer
    except (TimeoutError, OSError):
        return "unreachable"
    finally:
        transport.close()
    return {_DATA: "present", _ERROR: "missing"}.get(int.from_bytes(block[:2], "big"), "unreachable")


class _Asking(asyncio.DatagramProtocol):
    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self._answer = answer

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take the first answer."""
        if not self._answer.done():
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Take a refusal for an answer."""
        if not self._answer.done():
            self._answer.set_exception(exc)
