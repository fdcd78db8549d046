"""Small documents over http: catalogs, digest lists, registry answers. Size, time, schemes and redirects are bounded.

Everything here blocks; a caller with an event loop runs it in a thread.
"""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

from bty import __version__
from bty.errors import InvalidInput, SourceFailed
from bty.sources.deadline import Deadline
from bty.sources.reasons import reason_of
from bty.units import KIB, format_bytes, plain_text

MAX_REDIRECTS = 5
_BLOCK_BYTES = 64 * KIB
_Connected = Callable[[socket.socket], None]


class HttpStatus(SourceFailed):
    """A server answered, but not with the document; `http_status` is what it said."""

    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document and what its server said about it; `version` is its ETag, or else its date, with its length."""

    body: bytes
    content_type: str
    length: int | None
    version: str | None = None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, to http and https only, and takes no credentials to another host."""

    max_redirections = MAX_REDIRECTS
    max_repeats = 2

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(req.full_url, code, f"redirected to {newurl[:100]!r}, which is not http", headers, fp)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and _origin(newurl) != _origin(req.full_url):
            following.headers.pop("Authorization", None)
        return following


class _Http(urllib.request.HTTPHandler):
    def __init__(self, connected: _Connected) -> None:
        super().__init__()
        self._connected = connected

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connected = self._connected

        class Connection(http.client.HTTPConnection):
            def connect(self) -> None:
                super().connect()
                connected(self.sock)

        return self.do_open(Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, connected: _Connected) -> None:
        super().__init__()
        self._connected = connected

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connected = self._connected

        class Connection(http.client.HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                connected(self.sock)

        return self.do_open(Connection, req)


def make_opener(connected: _Connected = lambda _sock: None) -> urllib.request.OpenerDirector:
    """Return an opener that speaks http and https and nothing else, with bounded redirects.

    *connected* is told each socket before the first wait for an answer.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        _Http(connected),
        _Https(connected),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def fetch_document(url: str, *, max_bytes: int, timeout_s: float = 30.0, headers: Mapping[str, str] | None = None) -> Document:
    """Return what is at *url*, an http or https address. Blocks, *timeout_s* at most.

    Raises `InvalidInput` for another kind of address, `SourceFailed` where it cannot be had or is over *max_bytes*.
    """
    return _request("GET", url, max_bytes=max_bytes, timeout_s=timeout_s, headers=headers)


def fetch_length(url: str, *, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None) -> int | None:
    """Return the length in bytes that the server of *url* states, None where it states none. Blocks; raises as `fetch_document`."""
    return _request("HEAD", url, max_bytes=0, timeout_s=timeout_s, headers=headers).length


def fetch_version(url: str, *, timeout_s: float = 10.0) -> str | None:
    """Return what tells this version of the object at *url* from others, None where its server does not tell.

    Blocks; raises as `fetch_document`.
    """
    try:
        return _request("HEAD", url, max_bytes=0, timeout_s=timeout_s, headers=None).version
    except HttpStatus as error:
        if error.http_status in (405, 501):
            return None
        raise


def _request(method: str, url: str, *, max_bytes: int, timeout_s: float, headers: Mapping[str, str] | None) -> Document:
    _check_url(url)
    document, failure = None, None
    with Deadline(timeout_s) as deadline:
        try:
            document = _ask(make_opener(deadline.watch), method, url, max_bytes, timeout_s, headers)
        except SourceFailed as error:
            failure = error
    if deadline.expired:  # what it cut off can look whole
        raise SourceFailed(f"{url[:300]}: not there in {timeout_s:.3g} s") from failure
    if document is None:
        assert failure
        raise failure
    return document


def _ask(
    opener: urllib.request.OpenerDirector, method: str, url: str, max_bytes: int, timeout_s: float, headers: Mapping[str, str] | None
) -> Document:
    try:
        request = urllib.request.Request(url, method=method, headers={"User-Agent": f"bty/{__version__}", **(headers or {})})
        with opener.open(request, timeout=timeout_s) as response:
            message: Message = response.headers
            length = message.get("Content-Length", "")
            body = b"" if method == "HEAD" else _read(response, url, max_bytes)
            mark = message.get("ETag") or message.get("Last-Modified")
            return Document(
                body=body,
                content_type=message.get_content_type(),
                length=int(length) if length.isdecimal() else None,
                version=f"{mark} {length}" if mark else None,
            )
    except urllib.error.HTTPError as error:
        with error:
            raise HttpStatus(f"{url[:300]}: {error.code} {plain_text(str(error.reason))[:200]}", error.code) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        stood = not isinstance(error, urllib.error.URLError)  # which stands for all that fails until the request was sent
        raise SourceFailed(f"{url[:300]}: {reason_of(error, in_stream=stood)}") from error


def _read(response: http.client.HTTPResponse, url: str, max_bytes: int) -> bytes:
    body = bytearray()
    while block := response.read1(_BLOCK_BYTES):
        body += block
        if len(body) > max_bytes:
            raise SourceFailed(f"{url[:300]}: larger than {format_bytes(max_bytes)}")
    if response.length:
        raise SourceFailed(f"{url[:300]}: cut off, {response.length} bytes are missing")
    return bytes(body)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        raise InvalidInput(f"not an http or https address: {url[:200]!r}")


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port
