"""The way from this computer's loopback into the network of the demo: bytes in both directions, whatever they mean."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK_BYTES = 64 << 10


def listen(port: int) -> socket.socket:
    """Listen on 127.0.0.1 at *port*, or at any free one where that is taken. A socket stays in the network that it was made in."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


@contextmanager
def forwarding(entrance: socket.socket, host: str, port: int) -> Iterator[None]:
    """Hand every connection at *entrance* on to *host*:*port*, which is looked for in the network of the calling thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="forward", daemon=True)
    thread.start()
    task = asyncio.run_coroutine_threadsafe(_serve(entrance, host, port), loop)
    try:
        yield
    finally:
        task.cancel()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_end_all(loop))
        loop.close()


async def _serve(entrance: socket.socket, host: str, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            # Nobody is there yet, or any more, or the demo ends: the browser is told by the end of its connection.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                inner_reader, inner_writer = await asyncio.open_connection(host, port)
                ends.append(inner_writer)
                await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
                for end in ends:  # what is written is not what is sent: the end of an answer may still be here
                    end.close()
                    await end.wait_closed()
        finally:
            for end in ends:
                end.transport.abort()

    async with await asyncio.start_server(connected, sock=entrance) as server:
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the sender has no more, and say so to the receiver, who may still be answering."""
    with contextlib.suppress(ConnectionError):  # the other end is gone: so is what it would have been sent
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


async def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.sleep(0)  # a connection that was accepted last gets as far as where it is ended
    others = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # what was aborted is closed at the loop's next turn
