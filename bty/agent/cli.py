"""The command line of the flasher: `flash`, `disks`, the unattended run, and the wizard where a person is at a terminal."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bty import __version__
from bty.errors import BtyError, InvalidInput, PersonWanted
from bty.model.disk import refusals
from bty.units import format_bytes, parse_mac, plain_text

if TYPE_CHECKING:
    from bty.host.console import Console

_INTERRUPTED = 128 + 2  # as a shell says it of SIGINT
_DESCRIPTION = "Write ready-made system images onto disks."
_EPILOG = """without a command, on a terminal: the wizard, which asks for image and disk

commands:
  flash SOURCE TARGET   write an image to a disk, or to several at once (see `flash --help`)
  disks                 list the disks and why one is refused
  web                   the daemon (see `web --help`)

exit codes: 0 done, 1 something else went wrong, 2 wrong words, 10 no such disk, 11 refused by a guard, 12 fetch failed,
13 integrity failed, 14 write failed, 15 cancelled, 16 no plan, 17 the plan waits for a person, 130 interrupted before a flash"""


def main(argv: list[str]) -> int:
    """Run the flasher with the arguments behind the program's name and return its exit code."""
    commands = {"flash": _flash, "disks": _disks}
    try:
        if argv and argv[0] in commands:
            return commands[argv[0]](argv[1:])
        if argv and not argv[0].startswith("-"):
            raise InvalidInput(f"no command {argv[0][:80]!r}", hint=f"there are {', '.join(commands)} and web; see bty --help")
        return _unattended(argv)
    except BtyError as error:
        print(f"bty: {plain_text(str(error))}", file=sys.stderr)
        return _ended(argv, error)
    except SystemExit as end:
        if end.code == InvalidInput.exit_code:  # argparse has said what was wrong, and how it is right
            _ended(argv, InvalidInput("the arguments are wrong; standard error says why"))
        raise
    except KeyboardInterrupt:  # a flash that runs takes it as a cancel
        print("bty: interrupted; no flash was under way", file=sys.stderr)
        return _INTERRUPTED


def _ended(argv: list[str], error: BtyError) -> int:
    """Tell a program that reads JSON lines that this was all, and why; return the exit code."""
    if "--json" in argv and argv[0] != "disks":
        from bty.agent.report import failure_line

        print(failure_line(error))
    return error.exit_code


def _flash(argv: list[str]) -> int:
    from bty.agent.flash_command import flash

    return flash(argv)


def _disks(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bty disks", description="List the disks of this machine, and why one would be refused.")
    parser.add_argument("--json", action="store_true", help="one JSON array")
    arguments = parser.parse_args(argv)

    from bty.host.disks import list_disks

    disks = list_disks()
    if arguments.json:
        print(json.dumps([{**disk.to_json(), "refused": refusals(disk, disks)} for disk in disks], indent=2))
        return 0
    if not disks:
        print("no disks here")
    for disk in disks:
        reasons = refusals(disk, disks)
        model = " ".join(word for word in (disk.vendor, disk.model, disk.tran) if word) or "-"
        verdict = "refused" if reasons else "free"
        print(f"{disk.path:14} {format_bytes(disk.size_bytes):>11}  {disk.serial or 'no serial':24} {model:30} {verdict}")
        for reason in reasons:
            print(f"{'':14} {'':>11}  {reason}")
    return 0


def _unattended(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bty", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"bty {__version__}")
    parser.add_argument("--server", metavar="URL", help="the daemon; a bare host means http:// and port 80")
    parser.add_argument("--mac", metavar="MAC", help="this machine's address: do what the server's plan says, unattended")
    parser.add_argument("--catalog", metavar="SOURCE", action="append", default=[], help="images to choose from: a path, URL or oras://")
    parser.add_argument("--image-root", metavar="DIR", help="a folder of images (default $BTY_IMAGE_ROOT, else /var/lib/bty/images)")
    parser.add_argument("--no-reboot", action="store_true", help="leave the machine running afterwards")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: progress, then the result")
    arguments = parser.parse_args(argv)
    if arguments.mac and not arguments.server:
        parser.error("--mac needs --server")

    asks = not arguments.json and _has_terminal()
    if asks and not arguments.mac:
        return _wizard(arguments)
    if asks and _moves_cursor():
        return _wizard(arguments, _entered(arguments, beside_screen=True))
    if not arguments.mac:
        parser.print_help(sys.stderr)
        raise InvalidInput("no terminal is here to ask at", hint="flash SOURCE TARGET --yes, or --server and --mac, need none")
    mode, code = _follow_plan(arguments)
    if mode != "interactive":  # the model is loaded by whoever follows a plan
        return code
    return _wizard(arguments) if asks else PersonWanted.exit_code


def _follow_plan(arguments: argparse.Namespace) -> tuple[str, int]:
    """Do what the plan says, told in plain lines; return its mode where nothing was flashed, and the exit code."""
    console = _entered(arguments, beside_screen=False)

    from bty.agent.report import Reporter
    from bty.agent.server import Server
    from bty.agent.unattended import Unattended

    reporter = Reporter(as_json=arguments.json)
    code = Unattended(Server(arguments.server, parse_mac(arguments.mac)), reporter, reboot=not arguments.no_reboot, console=console).run()
    return reporter.mode, code


def _entered(arguments: argparse.Namespace, *, beside_screen: bool) -> Console:
    """Say that we are here before the rest is loaded: on a slow machine that takes seconds, and somebody watches."""
    from bty.host.console import Console

    parse_mac(arguments.mac)
    console = Console(beside_screen=beside_screen)
    console.enter()
    return console


def _wizard(arguments: argparse.Namespace, console: Console | None = None) -> int:
    """Ask the person at this terminal, or show there how the server's plan is done."""
    from bty.agent.wizard.start import Options, run_wizard

    return run_wizard(
        Options(
            server=arguments.server,
            mac=arguments.mac,
            catalogs=tuple(arguments.catalog),
            image_root=Path(arguments.image_root) if arguments.image_root else None,
            reboot=not arguments.no_reboot,
        ),
        console,
    )


def _moves_cursor() -> bool:
    """Tell whether the terminal can show a screen."""
    from bty.agent.wizard.terminal import terminal_kind  # little is loaded for it: the machine has not yet said that it is here

    return terminal_kind().addressable


def _has_terminal() -> bool:
    """Tell whether a person can be at both ends: standard input and output are terminals."""
    return bool(sys.stdin and sys.stdout and sys.stdin.isatty() and sys.stdout.isatty())
