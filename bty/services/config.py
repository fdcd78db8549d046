"""The configuration: files in layers, the environment above them, the command line on top; each key remembers where it is from."""

from __future__ import annotations

import functools
import ipaddress
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bty.errors import ConfigFailed, InvalidInput
from bty.services.live_access import LiveAccess, ssh_keys, ssh_password_hash

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_PASSWORD = "bty-lab"
DEFAULT_UPLOAD_BYTES = 200 * 2**30

_ETC = Path("/etc/bty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """Who may log in. A hash counts before a password."""

    password: str = field(default=DEFAULT_PASSWORD, repr=False)
    password_hash: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the daemon listens. Forwarded headers count only from `trusted_proxy`."""

    host: str = "0.0.0.0"
    port: int = 8080
    trusted_proxy: tuple[Network, ...] = ()
    session_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where things lie."""

    state_dir: Path = Path("/var/lib/bty")
    boot_dir: Path = Path()
    backup_dir: Path = Path()
    catalog_file: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Withcache:
    """The cache in front of the origins: one elsewhere (`url`), or one of our own (`embedded`)."""

    url: str = ""
    embedded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Netboot:
    """The TFTP server's address, where it is not this host; and the port of the daemon's own TFTP for Secure Boot, 0 for none."""

    tftp_probe_host: str = ""
    tftp_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Limits."""

    backup_max_parallel: int = 1
    max_upload_bytes: int = DEFAULT_UPLOAD_BYTES
    stream_clients_max: int = 256
    stream_clients_per_address: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """How often a flash is tried in one cycle, and whether the disk is read back."""

    max_attempts: int = 3
    verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Whether a machine's posts must carry the token of its cycle."""

    require_cycle_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLog:
    """How long, and how many, events are kept."""

    retention_days: int = 90
    max_rows: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Who is told of events: `events` are kinds, or with a star their beginning or end; `secret` signs what is sent."""

    url: str = field(default="", repr=False)
    events: tuple[str, ...] = ("*",)
    secret: str = field(default="", repr=False)


def load_nothing() -> Config:
    """Return the defaults: what a configuration that came from nowhere is read again from."""
    return Config()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be configured. `origins` tells for `section.key` where its value is from.

    `primary` is the file that counts most and can be written, `reload` reads everything once more from where it was read.
    """

    admin: Admin = Admin()
    server: Server = Server()
    paths: Paths = Paths()
    withcache: Withcache = Withcache()
    netboot: Netboot = Netboot()
    tuning: Tuning = Tuning()
    flash: Flash = Flash()
    security: Security = Security()
    events: EventLog = EventLog()
    webhooks: tuple[Webhook, ...] = ()
    live: LiveAccess = field(default_factory=LiveAccess)
    origins: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    primary: Path | None = None
    reload: Callable[[], Config] = field(default=load_nothing, repr=False, compare=False)

    @property
    def trusted_proxy(self) -> tuple[Network, ...]:
        """The networks whose forwarded headers count."""
        return self.server.trusted_proxy

    @property
    def has_default_password(self) -> bool:
        """Tell whether everybody who has read the manual can log in."""
        return not self.admin.password_hash and self.admin.password == DEFAULT_PASSWORD


SECTIONS: dict[str, type] = {
    "admin": Admin,
    "server": Server,
    "paths": Paths,
    "withcache": Withcache,
    "netboot": Netboot,
    "tuning": Tuning,
    "flash": Flash,
    "security": Security,
    "events": EventLog,
    "live": LiveAccess,
}
_LEGACY_ENV = {"BTY_STATE_DIR": "paths.state_dir", "BTY_CATALOG_FILE": "paths.catalog_file"}
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def load_config(
    *,
    paths: Sequence[Path] = (),
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    etc: Path = _ETC,
) -> Config:
    """Return the configuration; blocking.

    *paths*, files or directories of `*.toml`, replace the places that are searched otherwise. *overrides* are values by
    `section.key` from the command line. Raises `ConfigFailed` naming file and key, and `InvalidInput` for a port that is none.
    """
    environ = os.environ if environ is None else environ
    overrides = overrides or {}
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    warnings: list[str] = []
    hooks: list[Webhook] = []

    def layer(found: Iterable[tuple[str, object]], origin: str) -> None:
        for key, value in found:
            values[key] = value
            origins[key] = origin

    for path in _explicit(paths) if paths else _searched(environ, overrides, etc):
        layer(_read(path, warnings, hooks), f"toml({path})")
    for name, key in env_names():
        if text := environ.get(name, "").strip():
            layer([(key, _from_text(key, text, name))], f"env({name})")
    for key, value in overrides.items():
        layer([(key, value)], "command line")
    again = functools.partial(load_config, paths=paths, overrides=overrides, environ=environ, etc=etc)
    places = list(paths) if paths else _places(environ, overrides, etc)
    return replace(_build(values, origins, warnings), webhooks=tuple(hooks), primary=_primary(places), reload=again)


def check_value(key: str, value: object, path: Path) -> None:
    """Raise `ConfigFailed` or `InvalidInput` where *value* may not stand for *key* in the file *path*."""
    found = _from_toml(key, value, path)
    if key in _FINISH:
        _FINISH[key](found, str(path))


def _primary(places: Sequence[Path]) -> Path | None:
    """Return the file that counts most among those that can be written."""
    for place in reversed(places):
        writable = os.access(place if place.exists() else place.parent, os.W_OK)
        if place.suffix == ".toml" and not place.is_dir() and writable:
            return place
    return None


def _explicit(paths: Sequence[Path]) -> list[Path]:
    for path in paths:
        if not path.exists():
            raise ConfigFailed(f"{path}: no such file or directory")
    return [file for path in paths for file in _files(path)]


def _searched(environ: Mapping[str, str], overrides: Mapping[str, object], etc: Path) -> list[Path]:
    return [file for place in _places(environ, overrides, etc) if place.exists() for file in _files(place)]


def _places(environ: Mapping[str, str], overrides: Mapping[str, object], etc: Path) -> list[Path]:
    """Return the files and directories to look at, the last one winning (contract 11)."""
    state_dir = overrides.get("paths.state_dir") or environ.get("BTY_PATHS_STATE_DIR") or environ.get("BTY_STATE_DIR") or Paths().state_dir
    places = [etc / "conf.d", etc / "bty.toml"]
    places += [Path(environ[name]) for name in ("BTY_CONFIG_DIR", "BTY_CONFIG_FILE") if environ.get(name)]
    places.append(Path(str(state_dir)) / "bty.toml")
    return places


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.toml")) if path.is_dir() else [path]


def _read(path: Path, warnings: list[str], hooks: list[Webhook]) -> Iterable[tuple[str, object]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigFailed(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigFailed(f"{path}: not TOML: {error}") from error
    hooks += [_webhook(table, path) for table in _tables(document.pop("webhook", []), path)]
    for section, table in document.items():
        known = {entry.name for entry in fields(SECTIONS[section])} if section in SECTIONS else set()
        if not isinstance(table, dict):
            warnings.append(f"{path}: {section}: no such section (ignored)")
            continue
        for name, value in table.items():
            key = f"{section}.{name}"
            if name in known:
                yield key, _from_toml(key, value, path)
            else:
                warnings.append(f"{path}: {key}: no such key (ignored)")


def _tables(found: object, path: Path) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise ConfigFailed(f"{path}: webhook: an array of tables is needed", hint="[[webhook]]")
    return found


def _webhook(table: dict[str, Any], path: Path) -> Webhook:
    if odd := set(table) - {"url", "events", "secret"}:
        raise ConfigFailed(f"{path}: webhook: no such key: {', '.join(sorted(odd))}", hint="url, events and secret")
    url, events, secret = table.get("url", ""), table.get("events", ["*"]), table.get("secret", "")
    if not isinstance(url, str) or not url.lower().startswith(("http://", "https://")):
        raise ConfigFailed(f"{path}: webhook: url is not an address", hint="http://host/path")
    if not isinstance(events, list) or not all(isinstance(kind, str) and kind for kind in events) or not isinstance(secret, str):
        raise ConfigFailed(f"{path}: webhook: events is a list of strings, secret a string")
    return Webhook(url=url, events=tuple(events), secret=secret)


def env_names() -> Iterable[tuple[str, str]]:
    """Yield the variable and the key of everything that the environment can say; the last variable of a key is its own."""
    yield from _LEGACY_ENV.items()
    for section, cls in SECTIONS.items():
        for entry in fields(cls):
            yield f"BTY_{section}_{entry.name}".upper(), f"{section}.{entry.name}"


def _default(key: str) -> Any:
    section, _, name = key.partition(".")
    return next(entry.default for entry in fields(SECTIONS[section]) if entry.name == name)


def _from_toml(key: str, value: object, path: Path) -> object:
    default = _default(key)
    if isinstance(default, tuple):
        if isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return ",".join(value)
        raise ConfigFailed(f"{path}: {key}: a list of strings or one string is needed, not {value!r}")
    wanted: type = str if isinstance(default, Path) else type(default)
    if type(value) is not wanted:
        shown = "" if "password" in key or "secret" in key else f" {value!r}"
        raise ConfigFailed(f"{path}: {key}: {_TYPE_NAMES[wanted]} is needed, not {_TYPE_NAMES.get(type(value), 'this')}{shown}")
    return value


_TYPE_NAMES = {str: "a string", int: "an integer", bool: "true or false", float: "a number", list: "a list", dict: "a table"}


def _from_text(key: str, text: str, name: str) -> object:
    default = _default(key)
    if isinstance(default, bool):
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ConfigFailed(f"{name}: true or false is needed, not {text!r}")
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise ConfigFailed(f"{name}: an integer is needed, not {text!r}") from None
    return text


def _build(values: dict[str, object], origins: dict[str, str], warnings: list[str]) -> Config:
    for key, finish in _FINISH.items():
        if key in values:
            values[key] = finish(values[key], origins[key])
    state_dir = values.get("paths.state_dir", Paths().state_dir)
    assert isinstance(state_dir, Path)
    for name, leaf in (("boot_dir", "boot"), ("backup_dir", "backups"), ("catalog_file", "catalog.toml")):
        given = values.get(f"paths.{name}")
        values[f"paths.{name}"] = Path(str(given)) if given else state_dir / leaf
    if values.get("admin.password_hash") and "admin.password" in values:
        warnings.append("admin.password and admin.password_hash are both set: the hash counts")
    built: dict[str, Any] = {}
    for section, cls in SECTIONS.items():
        names = [entry.name for entry in fields(cls)]
        built[section] = cls(**{name: values[f"{section}.{name}"] for name in names if f"{section}.{name}" in values})
    every = {f"{section}.{entry.name}": "default" for section, cls in SECTIONS.items() for entry in fields(cls)}
    return Config(**built, origins={**every, **origins}, warnings=tuple(warnings))


def _networks(value: object, origin: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in str(value).split(",") if part.strip())
    except ValueError as error:
        raise ConfigFailed(f"{origin}: server.trusted_proxy: {error}", hint="addresses or networks such as 10.0.0.0/8") from None


def _port(value: object, origin: str) -> object:
    if not isinstance(value, int) or not 1 <= value <= 65535:
        raise InvalidInput(f"{origin}: server.port: {value} is not a port", hint="1 to 65535")
    return value


def _port_or_none(value: object, origin: str) -> object:
    if not isinstance(value, int) or not 0 <= value <= 65535:
        raise InvalidInput(f"{origin}: netboot.tftp_port: {value} is not a port", hint="1 to 65535, or 0 for none")
    return value


def _url(value: object, origin: str) -> str:
    text = str(value).strip()
    if text and not text.lower().startswith(("http://", "https://")):
        raise ConfigFailed(f"{origin}: withcache.url: {text!r} is not an address", hint="http://host:port")
    return text


def _at_least_one(value: object, _origin: str) -> object:
    return max(1, value) if isinstance(value, int) else value


_FINISH = {
    "admin.password": lambda value, _: str(value).strip() or DEFAULT_PASSWORD,
    "admin.password_hash": lambda value, _: str(value).strip(),
    "server.host": lambda value, _: value or Server().host,
    "server.port": _port,
    "server.trusted_proxy": _networks,
    "netboot.tftp_port": _port_or_none,
    "paths.state_dir": lambda value, _: Path(str(value)) if value else Paths().state_dir,
    "withcache.url": _url,
    "tuning.backup_max_parallel": _at_least_one,
    "tuning.max_upload_bytes": lambda value, _: value if isinstance(value, int) and value > 0 else DEFAULT_UPLOAD_BYTES,
    "tuning.stream_clients_max": _at_least_one,
    "tuning.stream_clients_per_address": _at_least_one,
    "flash.max_attempts": _at_least_one,
    "events.retention_days": _at_least_one,
    "events.max_rows": _at_least_one,
    "live.ssh_authorized_keys": ssh_keys,
    "live.ssh_password_hash": ssh_password_hash,
}
