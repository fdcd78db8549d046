"""One GET on a connection, which another thread can shut down, and more of them while it stays open."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from bty import __version__
from bty.errors import SourceFailed
from bty.sources.deadline import Deadline
from bty.sources.reasons import reason_of
from bty.units import KIB, plain_text

_CONNECT_TIMEOUT_S = 10.0
_REASON_CHARACTERS = 100
_CHUNK_BYTES = 256 * KIB
_HEADERS_TIMES = 4  # headers that trickle may take as many read timeouts as a silence may


class Broken(Exception):
    """A connection that could not be made, or that ended too early: worth another try."""


class Refused(SourceFailed):
    """This address will not serve the image; another one may."""


_Ask = Callable[[Mapping[str, str]], http.client.HTTPResponse]


class Response:
    """An answer whose headers have come, and the socket under it. `host` is whose it is."""

    def __init__(self, host: str, sock: socket.socket, response: http.client.HTTPResponse, ask: _Ask) -> None:
        self.host = host
        self.status = response.status
        self.reason = plain_text(response.reason)[:_REASON_CHARACTERS]
        self.length = response.length
        self._sock = sock
        self._response = response
        self._ask = ask
        self._is_drained = False  # whether what came with the headers has been read

    @classmethod
    def get(
        cls,
        url: str,
        headers: Mapping[str, str],
        read_timeout_s: float,
        connected: Callable[[socket.socket], None],
        *,
        keep: bool = False,
    ) -> Response:
        """Connect, send one GET and wait for its headers; redirects are the caller's. Raises `Broken`, `Refused`.

        *connected* is told the socket before the first wait, so that another thread can shut it down. With *keep* the server is
        asked to keep the connection, for `again`.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Refused(f"not an http address: {url[:200]!r}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"not an http address: {url[:200]!r}")
        try:
            connection = _connection(parts.scheme, parts.hostname, port)
        except http.client.InvalidURL as error:
            raise Refused(f"not an http address: {url[:200]!r}: {error}") from error
        host, stands = host_of(url), False
        try:
            connection.connect()
            connection.auto_open = 0  # a connection that *connected* is not told of is none
            stands = True
            sock = connection.sock
            sock.settimeout(read_timeout_s)
            connected(sock)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            always = {"User-Agent": f"bty/{__version__}", "Connection": "keep-alive" if keep else "close", **headers}

            def ask(others: Mapping[str, str]) -> http.client.HTTPResponse:
                connection.request("GET", target, headers={**always, **others})
                return _headers(connection, sock, read_timeout_s * _HEADERS_TIMES)

            return cls(host, sock, ask({}), ask)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise Refused(f"{host}: {reason_of(error)}") from error
        except (http.client.InvalidURL, ValueError) as error:
            connection.close()
            raise Refused(f"not an http address: {url[:200]!r}: {error}") from error
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            raise Broken(f"{host}: {reason_of(error, in_stream=stands)}") from error
        except SourceFailed:
            connection.close()
            raise

    @property
    def is_kept(self) -> bool:
        """Tell whether `again` may be called: the server keeps the connection, and the body has been read to its end."""
        return not self._response.will_close and self._response.length == 0

    def again(self, headers: Mapping[str, str]) -> Response:
        """Ask for the same address once more, with other *headers*, on the same connection. Raises `Broken`."""
        try:
            self._response.close()
            return Response(self.host, self._sock, self._ask(headers), self._ask)
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise Broken(f"{self.host}: {reason_of(error, in_stream=True)}") from error

    def header(self, name: str) -> str | None:
        """Return a header of the answer."""
        return self._response.getheader(name)

    @property
    def ended_whole(self) -> bool:
        """Tell whether an end without a known length is a proper end: chunked says so, a closed connection may."""
        return self.length is None

    def readinto(self, view: memoryview) -> int:
        """Put the next bytes of the body into *view* as they come, however few; 0 is its end, or a cut. Raises `Broken`."""
        try:
            return self._read_once(view)
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise Broken(f"{self.host}: {reason_of(error, in_stream=True)}") from error

    def _read_once(self, view: memoryview) -> int:
        """Read what is there: `HTTPResponse.readinto` waits until *view* is full, and loses what came of it where the rest does not.

        So would a buffered file that holds some of it. It holds none once `read1` has read as much as it may hold, and as long as no
        less than that is asked for in another way.
        """
        response = self._response
        if response.length is not None:
            view = view[: response.length]
        is_large = len(view) > io.DEFAULT_BUFFER_SIZE
        if response.chunked or response.isclosed() or not self._is_drained or not is_large:
            data = response.read1(min(len(view), _CHUNK_BYTES if response.chunked else io.DEFAULT_BUFFER_SIZE))
            self._is_drained = self._is_drained or is_large
            view[: len(data)] = data
            return len(data)
        count = response.fp.readinto1(view)
        if response.length is not None:
            response.length -= count
        return count

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._sock.close()


def host_of(url: str) -> str:
    """Return the host of *url*, and its port where one is named: what may be told to anybody."""
    return plain_text(urlsplit(url).netloc.rpartition("@")[2])


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=_CONNECT_TIMEOUT_S, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=_CONNECT_TIMEOUT_S)


def _headers(connection: http.client.HTTPConnection, sock: socket.socket, limit_s: float) -> http.client.HTTPResponse:
    """Wait for the headers, *limit_s* at most, however they trickle."""
    with Deadline(limit_s) as deadline:
        deadline.watch(sock)
        response = connection.getresponse()
    if deadline.expired:  # half of them, which nothing else can tell from the whole
        response.close()
        raise http.client.HTTPException(f"no whole answer in {limit_s:g} s")
    return response
