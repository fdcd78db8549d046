"""What happens around the screen: signals, kernel messages, a terminal that is plugged in to a serial line."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable

from bty.agent.wizard.app import FullScreen
from bty.agent.wizard.kernel import KernelLog
from bty.agent.wizard.runner import Runner
from bty.agent.wizard.terminal import Kind
from bty.errors import Cancelled

_REPAINT_EVERY_S = 30.0  # on a line where nobody tells us that a terminal was plugged in


class Surroundings:
    """Watches for the screen while it is shown."""

    def __init__(self, kind: Kind, runner: Runner) -> None:
        self._kind = kind
        self._runner = runner

    @contextlib.asynccontextmanager
    async def __call__(self, screen: FullScreen) -> AsyncIterator[None]:
        """Watch as long as the block lasts."""
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._terminate(screen),
            signal.SIGTSTP: screen.suspend,
            signal.SIGCONT: screen.repaint_soon,
        }
        outside = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        # Not the loop's own handler: when that is taken away, a second SIGHUP, as a shell sends one that ends, would end the flash.
        before = signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._hang_up, screen))
        log = self._watch_kernel(screen)
        if self._kind.serial:
            tasks.append(asyncio.ensure_future(self._repaint_now_and_then(screen)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for number in handlers:
                loop.remove_signal_handler(number)
                signal.signal(number, outside[number])
            signal.signal(signal.SIGHUP, signal.SIG_IGN if screen.output.gone or self._runner.busy() else before)
            if log:
                loop.remove_reader(log.fd)
                log.close()

    def _watch_kernel(self, screen: FullScreen) -> KernelLog | None:
        if not self._kind.ours:
            return None
        try:
            log = KernelLog()
        except OSError:
            return None
        asyncio.get_running_loop().add_reader(log.fd, lambda: screen.repaint_soon() if log.printed() else None)
        return log

    def _terminate(self, screen: FullScreen) -> None:
        """End as asked: a flash is cancelled first, and its end is waited for after the screen is gone."""
        busy = self._runner.busy()
        self._runner.cancel()  # whatever begins in this moment too
        if not screen.app.is_done:
            screen.app.exit(result=Cancelled.exit_code if busy else 128 + signal.SIGTERM)

    def _hang_up(self, screen: FullScreen) -> None:
        """The terminal is gone, and nobody is there to choose. A flash goes on without a screen, and is waited for."""
        screen.output.gone = True
        with contextlib.suppress(OSError, ValueError):
            asyncio.get_running_loop().remove_reader(screen.app.input.fileno())
        if not screen.app.is_done:
            screen.app.exit(result=128 + signal.SIGHUP)

    async def _repaint_now_and_then(self, screen: FullScreen) -> None:
        while True:
            await asyncio.sleep(_REPAINT_EVERY_S)
            screen.repaint()
