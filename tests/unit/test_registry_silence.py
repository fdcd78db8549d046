"""A registry that gives no answer: why, in words of people, said once."""

from __future__ import annotations

import errno
import socket
import ssl
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message

import pytest

from bty.errors import SourceFailed
from bty.sources import oras
from bty.sources.documents import HttpStatus, fetch_document
from bty.sources.oras import resolve
from bty.sources.reasons import reason_of
from tests.support.listening import answering


@contextmanager
def saying(words: bytes) -> Iterator[str]:
    """Something at an address of ours that answers whatever comes with the same bytes, TLS or not."""

    def say(connection: socket.socket) -> None:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)

    with answering(say) as url:
        yield url.removeprefix("http://")


def told(host: str) -> str:
    with pytest.raises(SourceFailed) as caught:
        resolve(f"oras://{host}/lab/debian:1", timeout_s=5)
    return str(caught.value)


def test_a_port_that_nobody_listens_at() -> None:
    """The registry is named once, and so is the reason."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"

    assert told(host) == f"the registry {host} cannot be reached: Connection refused"


def test_a_registry_without_tls() -> None:
    """A server that speaks plain http is no dead one."""
    with saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as host:
        assert told(host) == f"the registry {host} cannot be reached: it does not speak TLS"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (socket.EAI_NONAME, "nobody knows its name"),
        (socket.EAI_NODATA, "nobody knows its name"),
        (socket.EAI_AGAIN, "its name cannot be looked up"),
    ],
)
def test_a_name_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    """An unknown name is another thing than a name server that does not answer."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(number, "words of the C library")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    assert told("registry.example") == f"the registry registry.example cannot be reached: {words}"


def test_a_certificate_that_nobody_vouches_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as such, since a certificate can be installed."""
    failure = ssl.SSLCertVerificationError()
    failure.verify_message = "self-signed certificate"

    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", fail)
    with saying(b"") as host:
        assert told(host) == f"the registry {host} cannot be reached: its certificate is not trusted: self-signed certificate"


def test_a_registry_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects and hears nothing is told that, and not how the connection was cut."""
    monkeypatch.setattr(oras.oras, "fetch_anonymous_token", lambda *_, **__: (_ for _ in ()).throw(TimeoutError("timed out")))
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(SourceFailed, match=f"^the registry {host} does not answer$"):
            resolve(f"oras://{host}/lab/debian:1", timeout_s=0.3)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (urllib.error.URLError(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")), "Connection refused"),
        (urllib.error.URLError("unknown url type: socks5"), "unknown url type: socks5"),
        (urllib.error.HTTPError("http://x/", 401, "Unauthorized", Message(), None), "Unauthorized"),
        (ssl.SSLError("Underlying socket has been closed."), "Underlying socket has been closed."),
        (ssl.SSLCertVerificationError(1, "bad"), "its certificate is not trusted: bad"),
        (TimeoutError("timed out"), "timed out"),
        (ValueError(), "ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_library_says_becomes_words(error: Exception, words: str) -> None:
    """Neither a number nor a wrapper is left, and an error that lacks what others have is told too."""
    assert reason_of(error) == words


def test_a_token_server_that_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry answers, and sends its readers to a server that does not."""

    def fail(*_: object, **__: object) -> None:
        raise urllib.error.URLError(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))

    monkeypatch.setattr(oras.oras, "_token_from_endpoint", fail)
    monkeypatch.setattr(oras.oras, "_discover_bearer_challenge", lambda *_, **__: {"realm": "http://127.0.0.1:9/token"})
    monkeypatch.setattr(oras, "fetch_document", lambda url, **_: (_ for _ in ()).throw(HttpStatus(f"{url}: 401 Unauthorized", 401)))
    assert told("registry.example") == "the registry registry.example gave no token: Connection refused"


def test_a_document_whose_server_is_dead() -> None:
    """No number of the C library stands before the words."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/catalog.toml"
    with pytest.raises(SourceFailed) as caught:
        fetch_document(url, max_bytes=1)
    assert str(caught.value) == f"{url}: Connection refused"
