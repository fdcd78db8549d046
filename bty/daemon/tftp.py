"""TFTP, read-only, from a port of our own: Debian's signed GRUB for the network speaks nothing else, and needs a script that depends
on its machine. RFC 1350, with the options of RFC 2347 to 2349. What a path means is not known here.

Each transfer has a thread, which mostly waits: nothing of it blocks the loop. Who finds no thread free gets no answer and asks again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

from bty.errors import BtyError, ConfigFailed, InvalidInput, NotFound

log = logging.getLogger(__name__)

TRANSFERS_MAX = 64
_READ, _DATA, _ACK, _ERROR, _OPTIONS = 1, 3, 4, 5, 6
_BLOCK_BYTES, _BLOCK_LEAST, _BLOCK_MOST = 512, 8, 1468  # an Ethernet frame without the headers of IPv4, UDP and TFTP
# Ladder: a packet is sent again (1 s), somebody who never answered is given up (5 s), a client that fell silent (30 s).
_AGAIN_S, _STRANGER_S, _SILENT_S = 1.0, 5.0, 30.0
_NO_SUCH_FILE, _FORBIDDEN = 1, 2  # RFC 1350; everything else is 0, which says: read the text


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a path stands for. Whoever gets it closes `file`."""

    file: BinaryIO
    size_bytes: int


Find = Callable[[str, str], Awaitable[Content]]
"""Returns the content of a path for the client at an address, or raises `BtyError`."""


class Tftp(asyncio.DatagramProtocol):
    """The server: takes requests on one port and answers each from a port of its own."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._host = ""
        self._threads = ThreadPoolExecutor(TRANSFERS_MAX, "tftp")
        self._stopping = threading.Event()
        self._transfers: dict[Any, asyncio.Task[None]] = {}
        self._transport: asyncio.BaseTransport | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises `ConfigFailed` where that is not possible."""
        self._host = host
        try:
            self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(host, port))
        except OSError as error:
            hint = "choose another with [netboot] tftp_port"
            raise ConfigFailed(f"cannot listen on {host} UDP port {port}: {error.strerror or error}", hint=hint) from error

    async def stop(self) -> None:
        """Take no more requests and end the transfers that run; their threads notice within a second."""
        if self._transport:
            self._transport.close()
        self._stopping.set()
        await asyncio.gather(*self._transfers.values(), return_exceptions=True)
        self._threads.shutdown(wait=False)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Begin a transfer; a request that is repeated while its answer is on its way, or one too many, is dropped."""
        if addr in self._transfers or len(self._transfers) >= TRANSFERS_MAX:
            return
        task = asyncio.get_running_loop().create_task(self._answer(data, addr))
        self._transfers[addr] = task
        task.add_done_callback(lambda ended: self._forget(addr, ended))

    def _forget(self, addr: Any, task: asyncio.Task[None]) -> None:
        del self._transfers[addr]
        if not task.cancelled() and (error := task.exception()):
            log.error("tftp.broken", exc_info=error)

    async def _answer(self, request: bytes, addr: Any) -> None:
        link = self._open_link(addr)
        try:
            path, options = parse_request(request)
            content = await self._find(path, str(addr[0]))
        except BtyError as error:
            with link:
                _refuse(link, error)
            return
        except BaseException:
            link.close()
            raise
        # The thread owns the link and the file: it closes them whatever becomes of this task.
        await asyncio.get_running_loop().run_in_executor(self._threads, _transfer, link, content, options, self._stopping)

    def _open_link(self, addr: Any) -> socket.socket:
        """Return a socket that talks to the client and to nobody else, from the address that the client asked where that is known."""
        link = socket.socket(socket.AF_INET6 if ":" in addr[0] else socket.AF_INET, socket.SOCK_DGRAM)
        if self._host not in ("", "0.0.0.0", "::"):
            link.bind((self._host, 0))
        link.connect(addr)
        return link


def parse_request(data: bytes) -> tuple[str, dict[str, str]]:
    """Return path and options of a read request. Raises `InvalidInput` for anything else."""
    fields = data[2:].split(b"\0")
    if len(data) < 2 or struct.unpack("!H", data[:2]) != (_READ,) or len(fields) < 3 or fields[-1]:
        raise InvalidInput("only files can be read")
    try:
        path, mode, *rest = (field.decode("ascii") for field in fields[:-1])
    except UnicodeDecodeError:
        raise InvalidInput("the request is not ASCII") from None
    if mode.lower() != "octet":
        raise InvalidInput("only the mode octet is known")
    pairs = zip(rest[::2], rest[1::2], strict=False)
    return path, {name.lower(): value for name, value in pairs}


def _agree(options: dict[str, str], size: int) -> tuple[int, bytes]:
    """Return the size of a block, and the packet that says which options count; empty where there is none."""
    block, agreed = _BLOCK_BYTES, b""
    wanted = options.get("blksize", "")
    if wanted.isdecimal() and int(wanted) >= _BLOCK_LEAST:
        block = min(int(wanted), _BLOCK_MOST)
        agreed += f"blksize\0{block}\0".encode()
    if "tsize" in options:
        agreed += f"tsize\0{size}\0".encode()
    return block, struct.pack("!H", _OPTIONS) + agreed if agreed else b""


def _transfer(link: socket.socket, content: Content, options: dict[str, str], stopping: threading.Event) -> None:
    """Send everything; blocking. A client that goes away ends it without a word: it has told the person in front of it."""
    with link, content.file:
        block, agreed = _agree(options, content.size_bytes)
        known = False
        try:
            if agreed:
                known = _exchange(link, agreed, 0, _STRANGER_S, stopping)
                if not known:
                    return
            for number in itertools.count(1):
                data = content.file.read(block)
                packet = struct.pack("!HH", _DATA, number & 0xFFFF) + data
                known = _exchange(link, packet, number & 0xFFFF, _SILENT_S if known else _STRANGER_S, stopping)
                if not known or len(data) < block:
                    return
        except OSError as error:
            log.info("tftp.broken_off %s", error.strerror or error)


def _exchange(link: socket.socket, packet: bytes, number: int, patience_s: float, stopping: threading.Event) -> bool:
    """Send *packet* until the client has confirmed it by its *number*; tell whether it did."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and not stopping.is_set():
        link.send(packet)
        again_at = time.monotonic() + _AGAIN_S
        while (left_s := again_at - time.monotonic()) > 0:  # a confirmation that comes twice must not send the next packet twice
            link.settimeout(left_s)
            try:
                answer = link.recv(_BLOCK_BYTES + 4)
            except TimeoutError:
                break
            if answer[:4] == struct.pack("!HH", _ACK, number):
                return True
            if answer[:2] == struct.pack("!H", _ERROR):
                return False
    return False


def _refuse(link: socket.socket, error: BtyError) -> None:
    code = _NO_SUCH_FILE if isinstance(error, NotFound) else _FORBIDDEN if isinstance(error, InvalidInput) else 0
    try:
        link.send(struct.pack("!HH", _ERROR, code) + str(error).encode("ascii", "replace")[:400] + b"\0")
    except OSError as broken:
        log.info("tftp.broken_off %s", broken.strerror or broken)
