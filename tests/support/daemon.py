"""A real daemon on a real socket, within this process, with its state in a directory of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from bty.daemon import keys
from bty.daemon.app import create_app
from bty.daemon.protocol import Runner
from bty.services.config import DEFAULT_PASSWORD, Config, load_config


def make_config(state_dir: Path, toml: str = "") -> Config:
    """The configuration of a daemon below *state_dir*, with *toml* on top of the defaults; the environment does not count."""
    state_dir.mkdir(parents=True, exist_ok=True)
    (state_dir / "bty.toml").write_text(toml)
    return load_config(overrides={"paths.state_dir": str(state_dir)}, environ={}, etc=state_dir / "etc")


@dataclass
class Daemon:
    """A daemon within this process: its application and a client that is not logged in until `log_in`."""

    app: web.Application
    client: TestClient[Any, Any]
    state_dir: Path

    @property
    def boot_dir(self) -> Path:
        return self.app[keys.CONFIG].paths.boot_dir

    @property
    def address(self) -> str:
        return f"{self.client.host}:{self.client.port}"

    async def log_in(self, password: str = DEFAULT_PASSWORD) -> None:
        answer = await self.client.post("/auth/login", json={"password": password})
        assert answer.status == 204, await answer.text()

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Return status and body, decoded where it is JSON."""
        async with self.client.request(method, path, allow_redirects=False, **options) as answer:
            return answer.status, await _body(answer)

    async def events(self, **query: str) -> list[dict[str, Any]]:
        """The audit log, newest first; needs a login."""
        status, body = await self.call("GET", "/events", params=query)
        assert status == 200, body
        return list(body["events"])


async def _body(answer: ClientResponse) -> Any:
    if answer.content_type == "application/json":
        return await answer.json()
    return await answer.text()


class _Server(TestServer):
    async def _make_runner(self, **options: Any) -> Runner:
        return Runner(self.app, **options)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Daemon]:
    """Run a daemon within this process."""
    app = create_app(config)
    async with _Server(app) as server, TestClient(server) as client:
        yield Daemon(app, client, config.paths.state_dir)


async def raw(port: int, request: bytes, *, until: bytes | None = None, timeout_s: float = 10.0) -> bytes:
    """Send bytes to a local port and return the answer: all of it, or up to *until*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(timeout_s):
            return await (reader.readuntil(until) if until else reader.read())
    finally:
        writer.close()
