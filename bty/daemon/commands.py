"""`bty-web export`, `import` and `token`: what is done to a state directory from the command line, without the server.

Export and tokens work beside a running daemon, since the database lets several read and one write. An import does not: the daemon has
the machines in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import BinaryIO

from bty.errors import InvalidBody, InvalidInput, NotFound, StoreFailed, StoreLocked
from bty.model.session import ApiToken
from bty.services import bundle, transfer
from bty.services.config import Config
from bty.services.config_file import ConfigFile
from bty.services.events import Events
from bty.services.restore import Outcome, summarize
from bty.services.text import TOKEN_NAME, WORDS
from bty.services.tokens import Tokens
from bty.store.db import Store
from bty.units import plural

DATABASE = "state.db"
_FILE_MODE = 0o600  # what a fleet consists of is nobody else's business
_HELD_SHOWN = 10


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what the command says and return the exit code. Raises `BtyError`."""
    return asyncio.run(_COMMANDS[arguments.command](arguments, config))


async def _export(arguments: argparse.Namespace, config: Config) -> int:
    store = await Store.join(_database(config.paths.state_dir))
    try:
        holding = await transfer.hold(store, ConfigFile(config))
        if arguments.dest == "-":
            await _write(store, holding, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return 0
        path = _bundle_at(arguments.dest)
        await _write_file(store, holding, path)
    finally:
        await store.close()
    said = ", ".join(plural(count, name.removesuffix("s")) for name, count in holding.counts.items())
    print(f"bty-web: exported {said} to {path}", file=sys.stderr)
    return 0


async def _write_file(store: Store, holding: bundle.Holding, path: Path) -> None:
    """Write a bundle that is whole or not there."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE), "wb") as file:
            await _write(store, holding, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StoreFailed(f"{path}: {error.strerror}", hint="name another place to export to") from error
    finally:
        partial.unlink(missing_ok=True)


async def _write(store: Store, holding: bundle.Holding, file: BinaryIO) -> None:
    async for block, _ in bundle.write(store, holding):
        file.write(block)


async def _import(arguments: argparse.Namespace, config: Config) -> int:
    content, state_dir = _read(arguments.src), config.paths.state_dir
    try:
        store = await _open_alone(state_dir)
    except StoreLocked as error:
        hint = "stop it first, or import into it: on its page Backups, or POST /backups/import"
        raise StoreFailed(f"a daemon uses {state_dir}", hint=hint) from error
    try:
        outcome = await transfer.take_in(store, ConfigFile(config), content, arm=arguments.arm)
    except InvalidBody as error:
        for problem in error.problems:
            print(f"bty-web: {problem['msg']}", file=sys.stderr)
        raise InvalidInput(f"nothing was imported from {arguments.src}", hint="mend what is named above") from error
    finally:
        await store.close()
    _tell(outcome)
    return 0


def _read(src: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if src == "-" else _bundle_at(src).read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"{error.filename or src}: {error.strerror}", hint="name a bundle, or a directory with inventory.json"
        ) from error


def _bundle_at(place: str) -> Path:
    return Path(place) / "inventory.json" if Path(place).is_dir() else Path(place)


def _tell(outcome: Outcome) -> None:
    print(f"bty-web: {summarize(outcome)}", file=sys.stderr)
    for one in outcome.configuration:
        print(f"  the configuration had {one.key} = {json.dumps(one.value)}; here it is {json.dumps(one.here)}", file=sys.stderr)
    if outcome.armed:
        return
    for held in outcome.held[:_HELD_SHOWN]:
        print(f"  {held.mac} waits; it was {held.boot_mode}", file=sys.stderr)
    if len(outcome.held) > _HELD_SHOWN:
        print(f"  and {len(outcome.held) - _HELD_SHOWN} more: the event backup.imported names them", file=sys.stderr)
    if outcome.held:
        print("bty-web: give them their mode back on the page Machines, or import again with --arm", file=sys.stderr)


async def _token(arguments: argparse.Namespace, config: Config) -> int:
    store = await _open_for_tokens(arguments.action, config.paths.state_dir)
    try:
        tokens = Tokens(store, Events(store))
        if arguments.action == "create":
            if not re.fullmatch(TOKEN_NAME, arguments.name):
                raise InvalidInput(f"not a name for a token: {arguments.name[:80]!r}", hint=WORDS[TOKEN_NAME])
            token, secret = await tokens.create(arguments.name, ip=None)
            print(
                f"bty-web: the token {token.name!r} has the number {token.id}; its secret is shown this once:", file=sys.stderr, flush=True
            )
            print(secret)
        elif arguments.action == "revoke":
            gone = await tokens.revoke(_number(await tokens.all(), arguments.token), ip=None)
            print(f"bty-web: the token {gone.name!r} is revoked", file=sys.stderr)
        else:
            _list(await tokens.all(), as_json=arguments.json)
    finally:
        await store.close()
    return 0


def _number(tokens: list[ApiToken], wanted: str) -> int:
    found = [token.id for token in tokens if token.name == wanted] or [token.id for token in tokens if str(token.id) == wanted]
    if not found:
        raise NotFound(f"no token has the name or number {wanted[:80]!r}", hint="the command `token list` shows those there are")
    return found[0]


def _list(tokens: list[ApiToken], *, as_json: bool) -> None:
    if as_json:
        rows = [{"id": one.id, "name": one.name, "created_at": one.created_at, "last_used_at": one.last_used_at} for one in tokens]
        print(json.dumps(rows, indent=2))
        return
    print(f"{'NUMBER':>6}  {'CREATED':<19}  {'LAST USED':<19}  NAME")
    for one in tokens:
        print(f"{one.id:>6}  {one.created_at[:19]:<19}  {(one.last_used_at or 'never')[:19]:<19}  {one.name}")


async def _open_for_tokens(action: str, state_dir: Path) -> Store:
    """Open the database beside a daemon; a new token may also be the first thing that is in it."""
    path = _database(state_dir)
    if action != "create" or path.is_file():
        return await Store.join(path)
    return await _open_alone(state_dir)


async def _open_alone(state_dir: Path) -> Store:
    path = _database(state_dir)
    if path.is_file():
        await (await Store.join(path)).close()  # one of another schema is not set aside here, as a daemon would do
    store = await Store.open(path)
    _hand_over(state_dir)
    return store


def _database(state_dir: Path) -> Path:
    if not state_dir.is_dir():
        raise InvalidInput(f"{state_dir}: no such directory", hint="name the state directory with --state-dir or BTY_PATHS_STATE_DIR")
    return state_dir / DATABASE


def _hand_over(state_dir: Path) -> None:
    """Where root calls, give what was made to the owner of the directory: the daemon has to be able to write it."""
    owner = state_dir.stat()
    for path in state_dir.glob(f"{DATABASE}*") if os.geteuid() == 0 else ():
        os.chown(path, owner.st_uid, owner.st_gid)


_COMMANDS = {"export": _export, "import": _import, "token": _token}
