"""200 clients of the event stream, one of which does not read: how late each change comes to the others, and the daemon's memory.

python tests/bench/sse.py [--clients N] [--changes N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bty.units import MIB  # noqa: E402
from tests.bench.lists import log_in, mac, memory  # noqa: E402
from tests.support.process import daemon_process  # noqa: E402

GOAL_S = 1.0
EVERY_S = 0.05


async def listen(session: aiohttp.ClientSession, url: str, ready: asyncio.Semaphore, seen: dict[str, float], wanted: int) -> None:
    """Read the stream and note when each machine came, until all did."""
    async with session.get(f"{url}/events/stream") as answer:
        assert answer.status == 200, answer.status
        rest = b""
        async for piece in answer.content.iter_any():  # a process reads for 200: cheaply, or it is itself what is late
            now = time.monotonic()
            *messages, rest = (rest + piece).split(b"\n\n")
            for message in messages:
                if b"event: hello\n" in message:
                    ready.release()
                elif b"event: machine\n" in message:
                    seen.setdefault(message.partition(b'"mac":"')[2][:17].decode(), now)
            if len(seen) == wanted:
                return


async def be_silent(port: int, cookie: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a stream and read nothing of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(f"GET /events/stream HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n".encode())
    await writer.drain()
    return reader, writer


async def measure(url: str, port: int, pid: int, clients: int, changes: int) -> int:
    """Make changes, print how late they came, return 1 where that is too late."""
    cookie = log_in(url)
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers={"Cookie": cookie}, timeout=timeout, connector=connector) as session:
        _, silent = await be_silent(port, cookie)
        before, ready = memory(pid)[0], asyncio.Semaphore(0)
        seen: list[dict[str, float]] = [{} for _ in range(clients - 1)]
        tasks = [asyncio.create_task(listen(session, url, ready, mine, changes)) for mine in seen]
        for _ in tasks:
            await ready.acquire()
        made: dict[str, float] = {}
        for n in range(changes):
            async with session.get(f"{url}/pxe/{mac(n)}") as answer:
                await answer.read()
            made[mac(n)] = time.monotonic()  # the change is durable, and was answered
            await asyncio.sleep(EVERY_S)
        await asyncio.gather(*tasks)
        silent.close()
    late = sorted(came - made[name] for mine in seen for name, came in mine.items())
    now, most = memory(pid)
    print(f"{clients} clients, one of them silent; {changes} changes, each came {len(late) // changes} times")
    print(f"late: median {statistics.median(late):.3f} s, p99 {late[int(len(late) * 0.99)]:.3f} s, worst {late[-1]:.3f} s")
    print(f"memory {before / MIB:.0f} MiB before, {now / MIB:.0f} MiB after, at most {most / MIB:.0f} MiB")
    return int(late[-1] > GOAL_S)


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--changes", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bty-sse-") as folder:
        state = Path(folder) / "state"
        with daemon_process(state, env={"BTY_TUNING_STREAM_CLIENTS_PER_ADDRESS": str(arguments.clients)}) as daemon:
            return asyncio.run(measure(daemon.url, daemon.port, daemon.process.pid, arguments.clients, arguments.changes))


if __name__ == "__main__":
    sys.exit(main())
