"""The event stream over HTTP: docs/reference/stream.md."""

from __future__ import annotations

import msgspec
from aiohttp import hdrs, web

from bty.daemon import keys
from bty.daemon.client import client_ip
from bty.daemon.guards import is_admitted
from bty.daemon.speech import SSE, speaks
from bty.daemon.stream import TOPICS, cutter
from bty.services.changes import Topic

_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",  # a proxy that gathers would hold every message back
}
_LAST_ID_MAX = 64


class Resume(msgspec.Struct, kw_only=True):
    """The query of a stream: the id of the last message that was read, where no header can say it."""

    last_event_id: str = ""


@speaks(query=Resume, reply=SSE)
async def get_stream(request: web.Request) -> web.StreamResponse:
    """Send everything that changes."""
    return await _stream(request, TOPICS)


@speaks(query=Resume, reply=SSE)
async def get_machines(request: web.Request) -> web.StreamResponse:
    """Send what changes about machines: the predecessor's route."""
    return await _stream(request, frozenset({Topic.MACHINE, Topic.PROGRESS}))


@speaks(query=Resume, reply=SSE)
async def get_workers(request: web.Request) -> web.StreamResponse:
    """Send what changes about jobs: the predecessor's route."""
    return await _stream(request, frozenset({Topic.JOB}))


async def _stream(request: web.Request, topics: frozenset[Topic]) -> web.StreamResponse:
    stream = request.app[keys.STREAM]
    last_id = request.headers.get("Last-Event-ID") or request.query.get("last_event_id", "")
    with stream.join(client_ip(request), topics, cutter(request.transport)) as client:
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        await stream.greet(client, last_id[:_LAST_ID_MAX])
        async for block in client.blocks():
            if not await is_admitted(request):
                break
            await response.write(block)
    await response.write_eof()
    return response
