"""Below the routes: what every answer carries, also the one to bytes that are no request at all."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import hdrs, web

from bty.daemon.codec import reply

log = logging.getLogger(__name__)

FIRST_REQUEST_S = 30.0
"""How long a connection may be silent, or trickle, before its first request: each one costs a descriptor."""

# No inline script ever runs, no text is ever parsed as HTML by a script, and no other site may frame a page or get its address.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    hdrs.SERVER: "bty",
}


class Runner(web.AppRunner):
    """Runs the application with our `_Protocol`: aiohttp answers what it cannot parse in plain text, and logs a traceback for it."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        options = {**made._kwargs, "auto_decompress": False}  # nobody packs what he sends us, but for bombs

        def begin(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            protocol.expect_no_more()
            return made.request_factory(message, payload, protocol, writer, task)

        return _Server(made.request_handler, request_factory=begin, loop=asyncio.get_running_loop(), **options)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(web.RequestHandler):
    __slots__ = ("_first_request",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client a while for its first request; from then on aiohttp looks after silence."""
        super().connection_made(transport)
        self._first_request = self._loop.call_later(FIRST_REQUEST_S, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the client."""
        self._first_request.cancel()
        super().connection_lost(exc)

    def expect_no_more(self) -> None:
        """Note that a request has come."""
        self._first_request.cancel()

    def log_exception(self, *arguments: Any, **options: Any) -> None:
        """Log what is ours; a body that breaks off or cannot be parsed is its sender's, and was answered."""
        if not isinstance(options.get("exc_info"), (web.RequestPayloadError, ConnectionError)):
            super().log_exception(*arguments, **options)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no request, or a failure outside of every handler, and close the connection."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client is gone: aiohttp notes it and closes
        if status >= 500:
            log.error("request.broken", exc_info=exc)
        else:
            log.info("request.malformed from=%s", request.remote)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is on its way already")
        detail = "internal error" if status >= 500 else f"the request is malformed: {summarize(message or 'not HTTP')}"
        response = reply({"detail": detail}, status=status, headers=HEADERS)
        response.force_close()
        return response


def summarize(message: str) -> str:
    """Return in one line what aiohttp says about bytes that it cannot parse."""
    lines = message.encode("utf-8", "replace").decode().strip().splitlines()
    words = [line.strip() for line in lines if line.strip() and not line.endswith("message:")]
    return words[0].rstrip(":")[:200] if words else "it cannot be parsed"
