"""Editing the configuration: one key at a time, in the file that counts most, every comment kept."""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bty.errors import BtyError, Conflict, InvalidBody, NotFound
from bty.model.catalog import has_credentials
from bty.services.config import SECTIONS, Config, check_value, env_names

SECRET = frozenset({"admin.password", "admin.password_hash", "server.session_secret", "live.ssh_password_hash"})
# What the daemon looks at anew; everything else it takes when it starts.
LIVE = frozenset({"flash", "security", "events"})
_OF_THIS_HOST = frozenset({"paths", "server"})
_FILE_MODE = 0o640  # a password may lie in it
_IN_PLACE = (errno.EBUSY, errno.EXDEV)  # a file that is mounted into a container cannot be replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the configuration. The value of a secret is never part of it: `is_set` says whether there is one."""

    key: str
    value: Any
    default: Any
    type: str
    origin: str
    env: str
    is_set: bool
    is_secret: bool
    needs_restart: bool
    why_fixed: str | None


class ConfigFile:
    """The configuration of the running daemon, and the file in which it is edited."""

    def __init__(self, config: Config) -> None:
        self.running = config  # what the daemon was started with, and what it took over since
        self.stored = config
        self.apply: Callable[[], None] = _nothing  # takes over what the daemon looks at anew
        self._editing = threading.RLock()  # an edit reads the file, changes it and replaces it

    @property
    def path(self) -> Path | None:
        """The file that is edited, None where none can be."""
        return self.stored.primary

    @property
    def is_restart_needed(self) -> bool:
        """Tell whether the files say something that the daemon only takes at its start."""
        return any(self._values(self.running, key) != self._values(self.stored, key) for key in self.stored.origins)

    def keys(self) -> list[Key]:
        """Return every key, with its value and where that is from."""
        env = {key: name for name, key in env_names()}
        return [self._describe(key, env[key]) for key in self.stored.origins if key in env]

    def portable(self) -> dict[str, Any]:
        """Return the values that another host could take over: no secrets, and nothing that belongs to this one."""
        return {
            key.key: key.value
            for key in self.keys()
            if not key.is_secret and key.key.partition(".")[0] not in _OF_THIS_HOST and not has_credentials(str(key.value))
        }

    def chosen(self) -> dict[str, Any]:
        """Return of `portable` what somebody set."""
        return {key: value for key, value in self.portable().items() if self.stored.origins[key] != "default"}

    def edit(self, key: str, value: Any) -> tuple[Any, Any]:
        """Set *key* in the file, None takes it out of there, and return its value before and after; blocking.

        Raises `NotFound` for no key, `Conflict` where it cannot be edited here, `InvalidBody` for a value that does not fit.
        """
        if key not in self.stored.origins:
            raise NotFound(f"no key {key[:80]!r}")
        if why := self._why_fixed(key):
            raise Conflict(f"{key} cannot be changed here: {why}")
        if value is not None:
            try:
                check_value(key, value, self.path or Path())
            except BtyError as error:
                raise InvalidBody([{"loc": ["body", "value"], "msg": str(error), "type": "value_error"}]) from error
        with self._editing:
            before = _shown(self._values(self.stored, key))
            self.write({key: value})
            return before, _shown(self._values(self.stored, key))

    def write(self, values: dict[str, Any]) -> None:
        """Put *values* into the file, None taking a key out, and read the configuration again; blocking. Raises `Conflict`."""
        path = self.path
        if path is None:
            raise Conflict("no configuration file can be written", hint="the state directory's bty.toml, or one named by --config")
        from tomlkit.exceptions import TOMLKitError  # tomlkit takes a fiftieth of the daemon's start to load, and only an edit needs it

        try:
            with self._editing:
                text = path.read_text(encoding="utf-8") if path.exists() else ""
                _replace(path, _edited(text, values))
                self.stored = self.stored.reload()
        except (OSError, UnicodeDecodeError, TOMLKitError) as error:
            raise Conflict(f"{path}: {getattr(error, 'strerror', None) or error}", hint="check the file's owner, mode and form") from error

    def _describe(self, key: str, env: str) -> Key:
        section, _, name = key.partition(".")
        default = next(entry.default for entry in fields(SECTIONS[section]) if entry.name == name)
        value, secret = self._values(self.stored, key), key in SECRET
        return Key(
            key=key,
            value=None if secret else _shown(value),
            default=None if secret else _shown(default),
            type={bool: "boolean", int: "integer", tuple: "list"}.get(type(default), "string"),
            origin=self.stored.origins[key],
            env=env,
            is_set=self.stored.origins[key] != "default",
            is_secret=secret,
            needs_restart=section not in LIVE,
            why_fixed=self._why_fixed(key),
        )

    def _why_fixed(self, key: str) -> str | None:
        origin = self.stored.origins[key]
        if key.startswith("admin."):
            return "the password is changed at POST /account/password"
        if key in SECRET:
            return "a secret is set in the file or the environment only"
        if key == "paths.state_dir":
            return "the state directory is set by the command line or the environment"
        if not origin.startswith(("default", "toml(")):
            return f"it is set by {origin}"
        if self.path is None:
            return "no configuration file can be written"
        return None

    def _values(self, config: Config, key: str) -> Any:
        section, _, name = key.partition(".")
        return getattr(getattr(config, section), name, None)


def _nothing() -> None:
    """Nobody looks at anything anew."""


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _edited(text: str, values: dict[str, Any]) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    for key, value in values.items():
        section, _, name = key.partition(".")
        if value is None:
            table = document.get(section)
            if isinstance(table, dict):
                table.pop(name, None)
            continue
        if section not in document:
            document.add(section, tomlkit.table())
        document[section][name] = value
    return tomlkit.dumps(document)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except OSError as error:
        if error.errno not in _IN_PLACE:
            raise
        path.write_text(text, encoding="utf-8")
    finally:
        fresh.unlink(missing_ok=True)
