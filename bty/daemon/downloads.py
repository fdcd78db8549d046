"""Large files to a client: ranges, validators and sendfile, over a file that is open already.

aiohttp's own file response is not used: it may answer `disk.img` with a neighbouring `disk.img.gz`, takes no ETag in
`If-Range`, and looks at the path again after the caller has decided what may be sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import BinaryIO

from aiohttp import hdrs, web

_RANGE = re.compile(r"bytes=(?:([0-9]{1,19})-([0-9]{1,19})?|-([0-9]{1,19}))")
_SEVERAL = re.compile(r"bytes=[0-9 ,-]+,[0-9 ,-]+")


async def send_file(
    request: web.Request, file: BinaryIO, *, size: int, etag: str, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Answer a GET or HEAD with *size* bytes of *file*, or with the range that is asked for. The caller closes the file.

    *etag* is a strong validator without its quotes. A range that does not fit or is malformed is 416; several ranges
    at once are answered with everything, as RFC 9110 allows.
    """
    quoted = f'"{etag}"'
    common = {hdrs.ETAG: quoted, hdrs.ACCEPT_RANGES: "bytes", hdrs.CONTENT_TYPE: "application/octet-stream", **(headers or {})}
    if _names(request.headers.get(hdrs.IF_NONE_MATCH), quoted):
        return web.Response(status=304, headers={hdrs.ETAG: quoted})
    first, count, status = 0, size, 200
    asked = request.headers.get(hdrs.RANGE)
    if asked is not None and request.headers.get(hdrs.IF_RANGE, quoted) == quoted and not _SEVERAL.fullmatch(asked):
        found = parse_range(asked, size)
        if found is None:
            raise web.HTTPRequestRangeNotSatisfiable(headers={hdrs.CONTENT_RANGE: f"bytes */{size}"})
        first, count = found
        status = 206
        common[hdrs.CONTENT_RANGE] = f"bytes {first}-{first + count - 1}/{size}"
    response = web.StreamResponse(status=status, headers=common)
    response.content_length = count
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD and count:
        if request.transport is None:
            raise ConnectionResetError("the client is gone")
        await asyncio.get_running_loop().sendfile(request.transport, file, first, count)
    await response.write_eof()
    return response


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return first byte and length of the one range of a `Range` header over *size* bytes; None where it cannot be met."""
    match = _RANGE.fullmatch(text.strip())
    if not match:
        return None
    begin, end, suffix = match.groups()
    if suffix is not None:
        count = min(int(suffix), size)
        return (size - count, count) if count else None
    first, last = int(begin), min(int(end), size - 1) if end else size - 1
    return (first, last - first + 1) if first <= last else None


def _names(header: str | None, quoted: str) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or quoted in [tag.strip().removeprefix("W/") for tag in header.split(",")]
