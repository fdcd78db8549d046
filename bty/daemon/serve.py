"""`bty-web`: reads the configuration, runs the daemon until it is told to stop, and says in one line what went wrong."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from bty import __version__
from bty.errors import BtyError, ConfigFailed
from bty.services.config import Config, load_config

log = logging.getLogger(__name__)

BACKLOG = 1024  # a rack that powers on connects within the same second
FILES_MAX = 65536
# Ladder: requests end (6 s) < the services end < whoever stops us loses patience (10 s).
SHUTDOWN_S = 6.0


def main(argv: list[str], called: str = "bty-web") -> int:
    """Run the daemon with the arguments behind *called*, the program's name, and return its exit code."""
    arguments = _parser(called).parse_args(argv)
    overrides: dict[str, object] = {
        "server.host": arguments.host,
        "server.port": arguments.port,
        "paths.state_dir": str(arguments.state_dir.absolute()) if arguments.state_dir else None,
    }
    if arguments.command:
        return _run(arguments, overrides)
    under_systemd = "JOURNAL_STREAM" in os.environ  # the journal has the time already
    logging.basicConfig(level=logging.INFO, format=("" if under_systemd else "%(asctime)s ") + "%(levelname)s %(message)s")
    _allow_files()
    gc.disable()  # until we listen: looking through what was just loaded took an eighth of the start (measured)
    try:
        return asyncio.run(_serve(_configure(arguments, overrides)))
    except BtyError as error:
        print(f"bty-web: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace, overrides: dict[str, object]) -> int:
    """Do what a command says, without the server."""
    from bty.daemon.commands import run

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        return run(arguments, _configure(arguments, overrides))
    except BtyError as error:
        print(f"bty-web: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not written a second time at the end
        return 1
    except KeyboardInterrupt:
        return 130


def _configure(arguments: argparse.Namespace, overrides: dict[str, object]) -> Config:
    return load_config(paths=arguments.config, overrides={key: value for key, value in overrides.items() if value is not None})


def _allow_files() -> None:
    """Take as many descriptors as we may, since a rack that boots holds thousands: the usual 1024 are meant for `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _parser(called: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=called, description="The daemon: decides what machines boot and flash.")
    parser.add_argument("--version", action="version", version=f"bty-web {__version__}")
    parser.add_argument(
        "--config",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="a TOML file, or a directory of them, instead of those searched for; may be repeated, the last one wins",
    )
    parser.add_argument("--host", metavar="H", help="the address to listen on")
    parser.add_argument("--port", metavar="P", type=int, help="the port to listen on, 1 to 65535")
    parser.add_argument("--state-dir", metavar="D", type=Path, help="where the state lies")
    _add_commands(parser)
    return parser


def _add_commands(parser: argparse.ArgumentParser) -> None:
    """Without a command the daemon runs. What says where the state lies may stand before the command or behind it."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--config", metavar="PATH", type=Path, action="append", default=argparse.SUPPRESS, help="as for the daemon")
    where.add_argument("--state-dir", metavar="D", type=Path, default=argparse.SUPPRESS, help="where the state lies")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="instead of running the daemon")

    export = commands.add_parser("export", parents=[where], help="write a bundle: machines, catalog and settings")
    export.add_argument("dest", metavar="DEST", help="a file, a directory for inventory.json, or - for standard output")

    take = commands.add_parser("import", parents=[where], help="take a bundle in; no daemon may be running")
    take.add_argument("src", metavar="SRC", help="a bundle, a directory with inventory.json, or - for standard input")
    take.add_argument("--arm", action="store_true", help="machines that were to be flashed will be, at their next boot")

    token = commands.add_parser("token", parents=[where], help="make, list and revoke API tokens, also beside a running daemon")
    actions = token.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("create", parents=[where], help="make one; its secret is printed this once").add_argument("name", metavar="NAME")
    shown = actions.add_parser("list", parents=[where], help="list them, without their secrets")
    shown.add_argument("--json", action="store_true", help="as a JSON array")
    actions.add_parser("revoke", parents=[where], help="end one").add_argument("token", metavar="TOKEN", help="its name or number")


async def _serve(config: Config) -> int:
    from aiohttp import web

    from bty.daemon import keys
    from bty.daemon.app import create_app
    from bty.daemon.protocol import Runner

    for warning in config.warnings:
        log.warning("config.odd %s", warning)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = Runner(create_app(config), access_log=None, shutdown_timeout=SHUTDOWN_S)
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, config.server.host, config.server.port, backlog=BACKLOG).start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigFailed(
                f"cannot listen on {config.server.host} port {config.server.port}: {reason}",
                hint="choose another with --port or BTY_SERVER_PORT",
            ) from error
        _spare_the_collector()
        _announce(config, runner.app[keys.BOOT_LIST].missing())
        await stop.wait()
        log.info("daemon.stopping")
    finally:
        await runner.cleanup()
    return 0


def _spare_the_collector() -> None:
    """Have the garbage collector leave alone what lives as long as we do, and look less often: requests leave next to no cycles.

    A rack that boots was served a tenth faster with it, its slowest answers by more (measured).
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)


def _announce(config: Config, missing: list[str]) -> None:
    """Say that the daemon is ready, what it lacks and what to do next."""
    host = _reachable_name(config.server.host)
    address = f"http://{host}:{config.server.port}/"
    source = config.origins["admin.password_hash" if config.admin.password_hash else "admin.password"]
    password = f"the password is from {source}"
    if config.has_default_password:
        log.warning("auth.default_password anybody can log in with the well-known password: set BTY_ADMIN_PASSWORD or [admin] password")
        password = f"the password is the well-known {config.admin.password!r}"
    print(f"bty-web {__version__} ready on {address} with its state in {config.paths.state_dir}; {password}")
    fetch = ""
    if missing:
        print(f"missing in {config.paths.boot_dir}: {', '.join(missing)}; without them no machine starts its live environment")
        fetch = "fetch them on the page Network boot or upload there what `make media` builds, "
    print(f"next: log in, {fetch}add an image, and let machines boot {address}pxe-bootstrap.ipxe", flush=True)


def _reachable_name(host: str) -> str:
    """Return an address at which others reach a daemon that listens on *host*."""
    if host not in ("0.0.0.0", "::", ""):
        return f"[{host}]" if ":" in host else host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks the routing table. RFC 5737
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
