"""Bodies: read under a cap and checked against a type, or made from JSON values."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import LooseHeaders

from bty.errors import InvalidBody, TooLarge
from bty.services.text import explain
from bty.units import KIB

Body = TypeVar("Body")

DEFAULT_MAX_BODY = 64 * KIB
# Also what ends a request whose body cannot be parsed half-way: aiohttp lets its reader wait then.
BODY_IDLE_S = 30.0

_encode = msgspec.json.Encoder().encode
_FIELD_MISTAKES = (("Object missing required field ", "missing"), ("Object contains unknown field ", "extra_forbidden"))
_PATH_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


def check_length(request: web.Request, max_bytes: int) -> None:
    """Refuse a body whose announced length is over *max_bytes*. Raises `TooLarge`; reads nothing."""
    if (request.content_length or 0) > max_bytes:
        raise TooLarge(f"the body has {request.content_length} bytes, at most {max_bytes} are taken")


async def read_blocks(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body as it comes. A client that sends nothing for too long is answered with 408."""
    while True:
        try:
            async with asyncio.timeout(BODY_IDLE_S):
                block = await request.content.readany()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        if not block:
            return
        yield block


async def read_body(request: web.Request, max_bytes: int = DEFAULT_MAX_BODY) -> bytes:
    """Return the whole body. Raises `TooLarge` as soon as it is known to be over *max_bytes*."""
    check_length(request, max_bytes)
    body = bytearray()
    async for block in read_blocks(request):
        body += block
        if len(body) > max_bytes:
            raise TooLarge(f"the body has more than {max_bytes} bytes")
    return bytes(body)


async def read_json(request: web.Request, body_type: type[Body], max_bytes: int = DEFAULT_MAX_BODY) -> Body:
    """Return the body as a *body_type*. Raises `InvalidBody` where it is not one, and `TooLarge`."""
    return decode(await read_body(request, max_bytes), body_type)


def decode(body: bytes, body_type: type[Body]) -> Body:
    """Return JSON text as a *body_type*. Raises `InvalidBody` with the place of the first mistake."""
    try:
        return msgspec.json.decode(body, type=body_type)
    except msgspec.ValidationError as error:
        raise InvalidBody([problem(str(error))]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        kind = "missing" if not body else "json_invalid"
        raise InvalidBody([{"loc": ["body"], "msg": str(error), "type": kind}]) from error


def reply(value: Any, *, status: int = 200, headers: LooseHeaders | None = None) -> web.Response:
    """Return a JSON response."""
    return web.Response(body=_encode(value), status=status, headers=headers, content_type="application/json")


def no_content() -> web.Response:
    """Return the empty 204."""
    return web.Response(status=204)


def problem(message: str, place_in: str = "body") -> dict[str, object]:
    """Return what msgspec says, `Expected ... - at `$.disks[0].path``, as the place and the mistake."""
    text, _, path = explain(message).partition(" - at `")
    place: list[object] = [place_in]
    for name, index in _PATH_STEP.findall(path.rstrip("`")):
        place.append(name or (int(index) if index.isdigit() else index))
    for opening, kind in _FIELD_MISTAKES:
        if text.startswith(opening):
            return {"loc": [*place, text.removeprefix(opening).strip("`")], "msg": text, "type": kind}
    return {"loc": place, "msg": text, "type": "value_error"}
