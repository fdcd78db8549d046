"""How an error leaves: one JSON object with `detail`, whatever went wrong and wherever."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from bty.daemon.codec import reply
from bty.daemon.protocol import summarize
from bty.errors import BtyError, InvalidBody, TooLarge, TooMany

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PHRASES = {
    404: "no such route",
    405: "method not allowed",
    408: "the body did not come",
    413: "the body is too large",
    415: "a packed body is not taken: send it as it is",
}
_KEPT = (hdrs.ALLOW, hdrs.RETRY_AFTER, hdrs.CONTENT_RANGE)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure of a handler as `{"detail": ...}`."""
    try:
        return await handler(request)
    except BtyError as error:
        return _answer(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        kept = {name: error.headers[name] for name in _KEPT if name in error.headers}
        response = reply({"detail": _PHRASES.get(error.status, error.reason.lower())}, status=error.status, headers=kept)
        return _closing(response) if error.status == 408 else response
    except web.RequestPayloadError as error:
        return _closing(reply({"detail": f"the body is malformed: {summarize(str(error))}"}, status=400))
    except ConnectionError:
        raise  # the client is gone: nobody is left to be told
    except Exception:
        log.exception("request.failed method=%s path=%r", request.method, request.path)
        return reply({"detail": "internal error"}, status=500)


def _answer(error: BtyError) -> web.Response:
    detail: object = error.problems if isinstance(error, InvalidBody) else str(error)
    headers = {hdrs.RETRY_AFTER: str(error.retry_after_s)} if isinstance(error, TooMany) else None
    response = reply({"detail": detail}, status=error.status, headers=headers)
    if error.status >= 500:
        log.error("request.refused %s", error)
    return _closing(response) if isinstance(error, TooLarge) else response


def _closing(response: web.Response) -> web.Response:
    """Have the connection closed: the rest of a body that nobody reads is still on its way."""
    response.force_close()
    return response
