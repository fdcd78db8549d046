"""Starts the wizard: on the terminal that is there, with a full screen or, where the cursor cannot be moved, with plain lines."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bty import __version__
from bty.agent.choices import close_sources
from bty.agent.report import receipt_lines
from bty.agent.server import Server, normalise_server
from bty.agent.wizard.dumb import Lines
from bty.agent.wizard.events import Event
from bty.agent.wizard.inbox import Inbox
from bty.agent.wizard.runner import Runner
from bty.agent.wizard.session import Session
from bty.agent.wizard.state import Size, Source, State
from bty.agent.wizard.terminal import Kind, terminal_kind, terminal_size
from bty.errors import Cancelled
from bty.host.console import Console, tell
from bty.units import parse_mac


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    server: str | None = None
    mac: str | None = None
    catalogs: tuple[str, ...] = ()
    image_root: Path | None = None
    reboot: bool = True


MakeRunner = Callable[[Callable[[Event], None], Callable[[], None]], Runner]


def run_wizard(options: Options, console: Console | None = None) -> int:
    """Show the wizard until somebody leaves it, and return the exit code. Raises `BtyError` for words that are wrong.

    *console* is the machine's, where its flasher has said already that it is there.
    """
    kind = terminal_kind()
    state = first_state(options)
    server = Server(options.server, parse_mac(options.mac)) if options.server and options.mac else None

    def make_runner(post: Callable[[Event], None], overprinted: Callable[[], None]) -> Runner:
        return Runner(post, server=server, image_root=options.image_root, reboot=options.reboot, console=console, overprinted=overprinted)

    try:
        return _full_screen(kind, state, make_runner) if kind.addressable else Lines(state, make_runner).run()
    finally:
        close_sources()


def first_state(options: Options) -> State:
    """Return the state before anything happened, with the catalogs that were named."""
    server = normalise_server(options.server) if options.server else None
    sources = tuple(Source(location=location) for location in dict.fromkeys(options.catalogs))
    columns, rows = terminal_size(1)
    return State(version=__version__, server=server, mac=options.mac, size=Size(columns, rows), sources=sources)


def _full_screen(kind: Kind, state: State, make_runner: MakeRunner) -> int:
    inbox = Inbox()
    runner = make_runner(inbox.post, inbox.tell_overprinted)
    session = Session(state, runner)
    with _signals():
        code = _code_of_screen(kind, session, runner, inbox)
        _heed(runner)
        runner.leave_idle()
        if runner.busy():
            _wait(runner)
        session.terminal = lambda _effect: None
        for event in inbox.take():
            session.dispatch(event)
        return _tell_end(session.state, code)


def _code_of_screen(kind: Kind, session: Session, runner: Runner, inbox: Inbox) -> int:
    try:
        session.begin()  # what the first screen needs, or the plan, comes while the screen is loaded
        return _show(kind, session, runner, inbox)
    except _HungUp:
        return 128 + signal.SIGHUP
    except KeyboardInterrupt as error:  # before the screen was there to ask
        busy = runner.busy()
        runner.cancel()
        return Cancelled.exit_code if busy else 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)
    except Exception:  # noqa: BLE001 - a defect of the screen must not end a flash
        tell(traceback.format_exc(), sys.stderr)
        return 1


class _HungUp(Exception):
    """The terminal went away before its screen was there."""


class _Terminated(KeyboardInterrupt):
    """Somebody ended the program before its screen was there."""


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Have a signal end no flash unheard: work begins before the screen is there to take signals, and goes on after it.

    The screen has handlers of its own and puts these back. SIGINT is taken up too, since a shell starts its background programs
    with it ignored, and is not given back: the exit code of a flash that has ended is not to be lost to one that comes late.
    """

    def hang_up(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        raise _HungUp

    def terminate(_number: int, _frame: object) -> None:
        raise _Terminated

    signal.signal(signal.SIGINT, signal.default_int_handler)
    handlers = {signal.SIGTERM: terminate, signal.SIGHUP: hang_up}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heed(runner: Runner) -> None:
    """Have SIGINT and SIGTERM cancel what still runs; its report is waited for all the same."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: runner.cancel())


def _wait(runner: Runner) -> None:
    """Wait for the flash."""
    tell("bty: the screen is gone, the flash is not: waiting for its end", sys.stdout)
    runner.wait()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is told, and its exit code is what happened


def _show(kind: Kind, session: Session, runner: Runner, inbox: Inbox) -> int:
    from bty.agent.wizard.app import FullScreen
    from bty.agent.wizard.watch import Surroundings

    return asyncio.run(FullScreen(kind, session, inbox).run(Surroundings(kind, runner)))


def _tell_end(state: State, code: int) -> int:
    """Say on the ordinary screen what was done, and return the exit code: that of a flash that failed, if nothing else did."""
    receipts = [run.receipt for run in state.job.runs if run.receipt] if state.job else []
    for receipt in receipts:
        for line in receipt_lines(receipt):
            tell(f"bty: {line}", sys.stdout)
    if state.plan_text:
        tell(f"bty: {state.plan_text}", sys.stdout)
    return code or state.exit_code
