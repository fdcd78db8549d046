"""An http server that holds images and counts who asks for them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web


async def eventually(claim: Callable[[], object], what: str = "the claim", timeout_s: float = 20.0) -> None:
    """Wait until *claim* holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, f"{what} did not come true in {timeout_s} s"
        await asyncio.sleep(0.02)


@dataclass
class Origin:
    """Objects by path and query. `gate`, when set, holds back every answer until it is opened."""

    objects: dict[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    gate: asyncio.Event | None = None
    cut_at: int | None = None
    versioned: bool = True
    broken: bool = False
    url: str = ""

    def put(self, path: str, content: bytes) -> tuple[str, str]:
        """Hold an object; return its URL and its digest."""
        self.objects[path] = content
        return f"{self.url}{path}", hashlib.sha256(content).hexdigest()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path_qs
        self.asked[f"{request.method} {path}"] += 1
        if self.gate:
            await self.gate.wait()
        content = self.objects.get(path)
        if self.broken:
            return web.Response(status=503)
        if content is None:
            return web.Response(status=404)
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start = request.http_range.start or 0
        if request.headers.get("If-Range", etag) != etag:
            start = 0
        headers = {"Content-Length": str(len(content) - start)}
        if self.versioned:
            headers["ETag"] = etag
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        if self.cut_at and start < self.cut_at:
            await response.write(content[start : self.cut_at])
            await asyncio.sleep(0)
            assert request.transport
            request.transport.abort()
            return response
        await response.write(content[start:])
        return response

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.answer)
        return app
