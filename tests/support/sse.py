"""A reader of the event stream that checks its form while it reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse, ClientTimeout

from tests.support.daemon import Daemon

WAIT_S = 10.0


@dataclass
class Message:
    """One message. `data` is decoded."""

    name: str
    data: Any
    id: str


@dataclass
class Listener:
    """An open stream. `messages` are all that were read so far."""

    answer: ClientResponse
    messages: list[Message] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    @property
    def last_id(self) -> str:
        return self.messages[-1].id

    async def read(self) -> Message | None:
        """Return the next message, None where the stream ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(WAIT_S):
            while line := (await self.answer.content.readline()).decode():
                assert line.endswith("\n")
                text = line[:-1]
                if not text and "data" in fields:
                    message = Message(fields["event"], json.loads(fields["data"]), fields["id"])
                    self.messages.append(message)
                    return message
                if text.startswith(":"):
                    self.comments.append(text)
                elif text:
                    name, _, value = text.partition(": ")
                    fields[name] = value
        return None

    async def until(self, name: str, **data: Any) -> Message:
        """Read on until a message *name* whose data has *data*."""
        while message := await self.read():
            if message.name == name and all(message.data.get(key) == value for key, value in data.items()):
                return message
        raise AssertionError(f"the stream ended without {name} {data}: {[(m.name, m.data) for m in self.messages]}")


@asynccontextmanager
async def listening(daemon: Daemon, path: str = "/events/stream", **options: Any) -> AsyncIterator[Listener]:
    """Open a stream and read its greeting."""
    async with daemon.client.get(path, timeout=ClientTimeout(total=None), **options) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        listener = Listener(answer)
        hello = await listener.read()
        assert hello is not None
        assert hello.name == "hello"
        yield listener
