"""Settings, the configuration and health: what an operator adjusts, and what is wrong."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from bty.daemon import keys
from bty.daemon.client import client_ip
from bty.daemon.codec import read_json, reply
from bty.daemon.speech import speaks
from bty.errors import InvalidBody
from bty.model.event import Actor, Kind, Subject
from bty.services.config_file import Key
from bty.services.health import Check, State
from bty.services.settings import Backup, SettingsChange, Upstream


class SettingsRow(msgspec.Struct, kw_only=True):
    """The settings."""

    upstream: Upstream
    backup: Backup


class ConfigRow(msgspec.Struct, kw_only=True):
    """The configuration. `file` is where a change is written; `restart_needed` that the files say more than the daemon does."""

    file: str | None
    restart_needed: bool
    keys: list[Key]


class ConfigChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `PUT /config/{key}`: null takes the key out of the file."""

    value: str | bool | int | list[str] | None


class HealthRow(msgspec.Struct, kw_only=True):
    """What is right and what is wrong; remarks do not count."""

    ok: int
    total: int
    checks: list[Check]


@speaks(reply=SettingsRow)
async def get_settings(request: web.Request) -> web.Response:
    """Return the settings."""
    return _settings(request)


@speaks(body=SettingsChange, reply=SettingsRow)
async def change_settings(request: web.Request) -> web.Response:
    """Change what the body names."""
    body = await read_json(request, SettingsChange)
    await request.app[keys.SETTINGS].change(body, ip=client_ip(request))
    return _settings(request)


@speaks(reply=ConfigRow)
async def get_config(request: web.Request) -> web.Response:
    """Return each key of the configuration with where its value is from; secrets are never shown."""
    return _config(request)


@speaks(body=ConfigChange, reply=ConfigRow)
async def change_config(request: web.Request) -> web.Response:
    """Set one key in the configuration file."""
    body, key = await read_json(request, ConfigChange), request.match_info["key"]
    if isinstance(body.value, str) and any(ord(char) < 32 or ord(char) == 127 for char in body.value):
        raise InvalidBody([{"loc": ["body", "value"], "msg": "control characters are not taken", "type": "value_error"}])
    before, after = await asyncio.to_thread(request.app[keys.CONFIG_FILE].edit, key, body.value)
    await request.app[keys.EVENTS].record(
        Kind.SETTINGS_CONFIG_UPDATED,
        f"{key} was changed",
        subject=(Subject.SETTINGS, key),
        actor=Actor.OPERATOR,
        source_ip=client_ip(request),
        details={"key": key, "from": before, "to": after},
    )
    request.app[keys.CONFIG_FILE].apply()
    return _config(request)


@speaks(reply=HealthRow)
async def get_health(request: web.Request) -> web.Response:
    """Look at everything that machines need, and tell what is wrong."""
    checks = await request.app[keys.HEALTH].check()
    counted = [check for check in checks if check.state is not State.INFO]
    return reply(HealthRow(ok=sum(check.state is State.OK for check in counted), total=len(counted), checks=checks))


def _settings(request: web.Request) -> web.Response:
    settings = request.app[keys.SETTINGS]
    return reply(SettingsRow(upstream=settings.upstream, backup=settings.backup))


def _config(request: web.Request) -> web.Response:
    file = request.app[keys.CONFIG_FILE]
    return reply(ConfigRow(file=str(file.path) if file.path else None, restart_needed=file.is_restart_needed, keys=file.keys()))
