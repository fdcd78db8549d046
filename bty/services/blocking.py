"""Calls that wait for the network, beside the loop, in threads that never hold up the end of the daemon."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Args = ParamSpec("Args")
Value = TypeVar("Value")


class Blocking:
    """Runs blocking functions, at most *limit* at a time. A pool of the library would be waited for at exit; this is not."""

    def __init__(self, limit: int) -> None:
        self._slots = asyncio.Semaphore(limit)

    async def run(self, function: Callable[Args, Value], /, *args: Args.args, **kwargs: Args.kwargs) -> Value:
        """Return what *function* returns, or raise what it raises. When cancelled, the thread ends in its own time."""
        async with self._slots:
            loop = asyncio.get_running_loop()
            done: asyncio.Future[Value] = loop.create_future()

            def settle(value: Value | None, error: BaseException | None) -> None:
                if done.done():
                    return
                if error is None:
                    done.set_result(value)  # type: ignore[arg-type]
                else:
                    done.set_exception(error)

            def work() -> None:
                value, failure = None, None
                try:
                    value = function(*args, **kwargs)
                except BaseException as error:  # noqa: BLE001 - carried to the caller, whatever it is
                    failure = error
                if not loop.is_closed():
                    loop.call_soon_threadsafe(settle, value, failure)

            threading.Thread(target=work, name=getattr(function, "__name__", "blocking"), daemon=True).start()
            return await done
