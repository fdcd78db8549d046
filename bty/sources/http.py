"""Image bytes over http and https, continued where the stream broke.

A broken stream is never started anew: the next connection asks for the rest with `Range` and `If-Range`. Where that
cannot be had, or nothing proves that it is the same object, the object is read again from zero and skipped up to the
byte reached, while its digest is compared with that of the bytes delivered. An object that changed is a failure.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from bty.errors import SourceFailed
from bty.sources.connection import Broken, Refused, Response
from bty.sources.deadline import shut_down
from bty.sources.reasons import CUT_OFF
from bty.sources.source import DeliveredDigest, NoRanges
from bty.sources.trouble import Trouble
from bty.sources.waiting import wait_unless
from bty.units import MIB, format_bytes

STALL_LIMIT_S = 60.0
"""A minute without a byte is the end (decision F2)."""
_READ_TIMEOUT_S = STALL_LIMIT_S / 4  # so that a dead connection is given up and tried anew well within that minute
_BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)
_FRUITLESS_LIMIT = 12  # connections in a row that bring no new byte; a server that never ranges and always cuts ends here
_REDIRECT_LIMIT = 5
_READ_BYTES = MIB
_PACKED = (".gz", ".xz", ".zst", ".bz2")
_AGAIN_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask next, with which headers. Headers never follow a redirect to another host."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Location:
    """One place that has the bytes. `find` is asked before each connection, because tokens and signed URLs expire."""

    find: Callable[[], Endpoint]
    shown: str
    etag: str | None = None
    modified: str | None = None

    @classmethod
    def of(cls, url: str) -> Location:
        """Return the location of a plain URL."""
        return cls(find=lambda: Endpoint(url), shown=url)

    def validator(self) -> str | None:
        """Return what `If-Range` may carry: a strong ETag or a date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class HttpSource:
    """One image that lies at one or more locations; the later ones are asked when the earlier ones fail.

    *digest* is the promised sha256 in hex, if any: with it, bytes of a second location can be joined to those of the
    first without reading them again, since the whole is proved at the end.
    """

    def __init__(
        self,
        locations: list[Location],
        *,
        name: str,
        digest: str | None = None,
        size: int | None = None,
        stall_limit_s: float = STALL_LIMIT_S,
    ) -> None:
        self.name = name
        self.digest = digest
        self.size = size
        self.retries = 0
        self.served_from = locations[0].shown
        self._locations = locations
        self._stall_limit_s = stall_limit_s
        self._read_timeout_s = min(_READ_TIMEOUT_S, stall_limit_s / 2)
        self._position = 0
        self._response: Response | None = None
        self._read: tuple[Location, Response] | None = None  # the last read of its own: the next may go on its connection
        self._keeps = True
        self._fruitless = 0
        self._last_byte_at = 0.0
        self._trouble = Trouble()
        self._aborted = threading.Event()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    @property
    def trouble(self) -> str | None:
        """Return why no bytes come just now, None while they do."""
        return self._trouble.words()

    @property
    def last_break(self) -> str:
        """Return why the stream had to be continued the last time."""
        return self._trouble.last_break

    def open(self) -> None:
        """Reach the image and learn its size. Raises `SourceFailed`."""
        self._last_byte_at = time.monotonic()
        self._reconnect(lambda: hashlib.sha256().hexdigest())
        self._trouble.came()

    def readinto(self, view: memoryview, delivered: DeliveredDigest) -> int:
        """Put the next bytes into *view*, on a new connection where need be. Raises `SourceFailed`."""
        while True:
            if self.size is not None and self._position >= self.size:
                return 0
            if self._response is None:
                self._reconnect(delivered)
            assert self._response is not None
            self._trouble.asked()
            try:
                count = self._response.readinto(view[:_READ_BYTES])
                if not count and self.size is None and self._response.ended_whole:
                    self._trouble.came()
                    self.size = self._position
                    return 0
                if not count:
                    raise Broken(f"{self._response.host}: {CUT_OFF}")
            except Broken as error:
                self._broke(error)
                continue
            self._trouble.came()
            self._position += count
            self._fruitless = 0
            self._last_byte_at = time.monotonic()
            return count

    def pread(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset* by a range request of its own, tried at each location in turn.

        Reads that follow each other go on one connection where the server keeps it: the tables of an image are many.
        """
        error: SourceFailed = NoRanges(f"{self.served_from} does not answer range requests")
        for location in self._locations:
            for pause_s in (*_BACKOFF_S[:3], None):
                try:
                    data = self._pread_once(location, offset, length)
                    self._trouble.came()
                    return data
                except Broken as broken:
                    error = SourceFailed(f"{location.shown}: {broken}")
                    self._trouble.broke(str(broken))
                    if pause_s is None or self._aborted.wait(pause_s):
                        break
                except SourceFailed as failed:
                    error = failed
                    self._trouble.came()
                    break
        raise error

    def abort(self) -> None:
        """Make a blocked read return at once."""
        self._aborted.set()
        for sock in list(self._sockets):
            shut_down(sock)

    def close(self) -> None:
        """Close the connections."""
        if self._response:
            self._response.close()
            self._response = None
        if self._read:
            self._read[1].close()
            self._read = None

    def _broke(self, error: Exception) -> None:
        """Note that the stream broke; raise `SourceFailed` when it is not worth another try."""
        self.close()
        self._check_aborted()
        self._trouble.broke(str(error))
        self.retries += 1
        self._fruitless += 1
        silent_s = time.monotonic() - self._last_byte_at
        where = f"{self.served_from} at byte {self._position}" + (f" of {self.size}" if self.size else "")
        if silent_s >= self._stall_limit_s:
            raise SourceFailed(f"{where}: no byte for {silent_s:.0f} s: {error}") from error
        if self._fruitless >= _FRUITLESS_LIMIT:
            raise SourceFailed(f"{where}: {self._fruitless} connections in a row brought nothing: {error}") from error
        if self._fruitless > 1:
            pause_s = _BACKOFF_S[min(self._fruitless - 2, len(_BACKOFF_S) - 1)]
            self._aborted.wait(min(pause_s, max(0.05, self._stall_limit_s - silent_s)))
        self._check_aborted()

    def _connected(self, sock: socket.socket) -> None:
        self._sockets.add(sock)
        self._check_aborted()

    def _check_aborted(self) -> None:
        if self._aborted.is_set():
            raise SourceFailed("the fetch was stopped")

    def _reconnect(self, delivered: DeliveredDigest) -> None:
        """Connect until a response stands at the byte reached. Goes to the next location where one is gone."""
        while self._response is None:
            location = self._locations[0]
            self.served_from = location.shown
            try:
                self._response = self._continue(location, delivered)
            except Broken as error:
                # A second location is there for a first that died: do not wait for the whole minute.
                if len(self._locations) > 1 and self._fruitless >= 2:
                    self._next_location(error)
                else:
                    self._broke(error)
            except Refused as error:
                if len(self._locations) == 1:
                    raise
                self._next_location(error)

    def _next_location(self, error: Exception) -> None:
        self._trouble.broke(str(error))
        self._locations.pop(0)
        self._fruitless = 0
        self.retries += 1
        self._last_byte_at = time.monotonic()

    def _continue(self, location: Location, delivered: DeliveredDigest) -> Response:
        """Return a response whose next byte is the one that the reader needs."""
        headers = {}
        if self._position and (location.validator() is not None or self.digest is not None):
            headers["Range"] = f"bytes={self._position}-"
            if validator := location.validator():
                headers["If-Range"] = validator
        response = self._request(location, headers)
        if response.status == 416 and self.size is None and response.header("Content-Range") == f"bytes */{self._position}":
            response.close()  # all of it had come, but for the word that this was all
            headers = {}
            response = self._request(location, headers)
        try:
            if response.status == 206 and headers:
                self._check_continuation(response, location)
            elif response.status == 200:
                self._skip(response, location, delivered, could_go_on=not headers)
            elif response.status == 416:
                raise Refused(f"{location.shown} has changed: it ends before byte {self._position}")
            else:
                raise _failure(response, location)
        except BaseException:
            response.close()
            raise
        return response

    def _skip(self, response: Response, location: Location, delivered: DeliveredDigest, *, could_go_on: bool) -> None:
        """Check that a whole-object response is the known object, and read it up to the byte reached."""
        encoding = (response.header("Content-Encoding") or "identity").lower()
        if encoding != "identity" and not self.name.lower().endswith(_PACKED):  # some servers say it of any .gz file
            raise Refused(f"{location.shown} sends the image packed ({encoding[:40]!r}) although it was asked not to")
        length = response.length
        if self.size is not None and length is not None and length != self.size:
            raise Refused(f"{location.shown} has changed, or is not what was promised: {length} bytes instead of {self.size}")
        known = location.validator()
        self._remember(response, location)
        if self._position == 0:
            if length is not None:
                self.size = length
            return
        if known is not None and location.validator() != known:
            raise Refused(f"{location.shown} has changed during the flash")
        why = "nothing proves that it is still the same image" if could_go_on else "its server cannot go on in mid-image"
        self._trouble.goes_back(f"reading the first {format_bytes(self._position)} again: {why}")
        digest = hashlib.sha256()
        scratch = memoryview(bytearray(_READ_BYTES))
        left, moved_at = self._position, time.monotonic()
        while left:
            count = response.readinto(scratch[: min(left, _READ_BYTES)])
            if not count:
                raise Broken(f"{response.host}: the connection was closed while reading up to the byte reached")
            self._trouble.moved()
            digest.update(scratch[:count])
            left -= count
            now = time.monotonic()
            # Reading again takes its time but brings nothing: the silence before it is not forgotten, and its own is not added.
            self._last_byte_at, moved_at = self._last_byte_at + now - moved_at, now
            self._check_aborted()
        if digest.hexdigest() != delivered():
            raise Refused(f"{location.shown} has changed: its first {self._position} bytes are not those delivered before")

    def _check_continuation(self, response: Response, location: Location) -> None:
        match = _CONTENT_RANGE.fullmatch(response.header("Content-Range") or "")
        start, total = (int(match[1]), match[3]) if match else (-1, "*")
        problem = None
        if start != self._position:
            problem = f"it answered a range from byte {self._position} with {response.header('Content-Range')!r}"
        elif total != "*" and self.size is not None and int(total) != self.size:
            problem = f"it has {total} bytes instead of {self.size}"
        elif location.etag and response.header("ETag") not in (None, location.etag):
            problem = "its ETag is another one"
        elif location.modified and response.header("Last-Modified") not in (None, location.modified):
            problem = "its date is another one"  # whoever ignores If-Range may have replaced it
        if problem:
            raise Refused(f"{location.shown} has changed during the flash: {problem}")
        self._remember(response, location)
        if self.size is None and total != "*":
            self.size = int(total)

    @staticmethod
    def _remember(response: Response, location: Location) -> None:
        location.etag = response.header("ETag")
        location.modified = response.header("Last-Modified")

    def _pread_once(self, location: Location, offset: int, length: int) -> bytes:
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        response = self._ask_again(location, headers) or self._request(location, headers, keep=self._keeps)
        try:
            data = self._read_range(response, location, offset, length)
            self._read = location, response
            return data
        finally:
            if self._read is None:
                response.close()

    def _ask_again(self, location: Location, headers: dict[str, str]) -> Response | None:
        """Ask where the last read was answered, on its connection; None where that gives no part of the image any more."""
        if self._read is None:
            return None
        (place, response), self._read = self._read, None
        try:
            if self._keeps and place is location and response.is_kept:
                self._trouble.asked()
                response = response.again(headers)
                if response.status == 206:
                    return response
        except Broken:
            self._keeps = False  # it said that it would keep the connection: each further try might cost a timeout
        response.close()
        return None

    def _read_range(self, response: Response, location: Location, offset: int, length: int) -> bytes:
        """Return the *length* bytes at *offset* that were asked for, as many of them as there are."""
        if response.status == 416:
            return b""
        if response.status == 200:
            raise NoRanges(f"{location.shown} does not answer range requests")
        if response.status != 206:
            raise _failure(response, location)
        match = _CONTENT_RANGE.fullmatch(response.header("Content-Range") or "")
        if not match or int(match[1]) != offset or int(match[2]) < offset:
            raise NoRanges(f"{location.shown} answered another range than it was asked for")
        wanted = min(length, int(match[2]) - offset + 1)
        data = bytearray(wanted)
        done = 0
        while done < wanted and (count := response.readinto(memoryview(data)[done:])):
            done += count
            self._trouble.asked()
        if done < wanted:
            raise Broken(f"{response.host}: {CUT_OFF}")
        return bytes(data)

    def _request(self, location: Location, headers: dict[str, str], *, keep: bool = False) -> Response:
        """Send one GET, through redirects. Raises `Broken` where no answer came."""
        self._check_aborted()
        self._trouble.asked()
        response = wait_unless(self._aborted, lambda: self._ask(location, headers, keep))
        if response is None:
            raise SourceFailed("the fetch was stopped")
        return response

    def _ask(self, location: Location, headers: dict[str, str], keep: bool) -> Response:
        try:
            endpoint = location.find()
        except SourceFailed as error:  # a registry that does not answer just now
            raise Broken(error.message) from error
        url = endpoint.url
        origin = urlsplit(url).netloc
        for _ in range(_REDIRECT_LIMIT + 1):
            extra = endpoint.headers if urlsplit(url).netloc == origin else {}
            response = Response.get(url, {**extra, **headers}, self._read_timeout_s, self._connected, keep=keep)
            target = response.header("Location")
            if response.status not in (301, 302, 303, 307, 308) or not target:
                return response
            response.close()
            try:
                url = urljoin(url, target)
            except ValueError as error:
                raise Refused(f"{location.shown} redirects to {target[:200]!r}, which is no address") from error
        raise Refused(f"{location.shown} redirects more than {_REDIRECT_LIMIT} times")


def _failure(response: Response, location: Location) -> Exception:
    message = f"{location.shown}: HTTP {response.status} {response.reason}"
    return Broken(message) if response.status in _AGAIN_STATUSES else Refused(message)
