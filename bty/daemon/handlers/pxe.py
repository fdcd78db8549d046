"""What machines ask and say: their script, their plan, their hardware, how a flash goes and how it ended. Open by nature."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from bty.daemon import scripts
from bty.daemon.client import base_url, client_ip
from bty.daemon.codec import decode, no_content, read_body, read_json, reply
from bty.daemon.handlers import grub
from bty.daemon.keys import CONFIG, FLEET
from bty.daemon.speech import TEXT, speaks
from bty.errors import NotFound
from bty.services.fleet import Report
from bty.services.live import TROUBLE_CHARS, Progress, readable
from bty.units import KIB, MIB, parse_mac, utc_now

INVENTORY_MAX_BYTES = 8 * MIB
LOG_MAX_BYTES = MIB
LSHW_MAX_BYTES = 4 * MIB
_PARSE_ON_LOOP_BYTES = 64 * KIB  # a larger body is parsed in a thread: a megabyte of lshw takes many milliseconds
_COUNT_MAX = (1 << 63) - 1

Text = Annotated[str, msgspec.Meta(max_length=4096)]
Short = Annotated[str, msgspec.Meta(max_length=128)]
Texts = Annotated[list[Text], msgspec.Meta(max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=_COUNT_MAX)]


class DoneBody(msgspec.Struct, kw_only=True):
    """The receipt of a flash (`Receipt` of the model), every field optional."""

    cycle: Text | None = None
    ref: Text | None = None
    name: Text | None = None
    source: Text | None = None
    format: Text | None = None
    sha256: Text | None = None
    verified: Texts | None = None
    bytes_read: Count | None = None
    image_bytes: Count | None = None
    bytes_written: Count | None = None
    target_path: Text | None = None
    target_serial: Text | None = None
    seconds: float | None = None
    retries: Count | None = None
    error: Text | None = None
    error_code: Text | None = None
    notes: Texts | None = None


class StatusBody(DoneBody, kw_only=True):
    """The receipt as later predecessors send it."""

    status: Literal["done", "failed"]
    message: Text | None = None


class DiskBody(msgspec.Struct, kw_only=True):
    """One disk of an inventory; what comes after `readonly` is only sent by our own flasher."""

    path: Annotated[str, msgspec.Meta(max_length=255)]
    size: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    vendor: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    model: Short | None = None
    serial: Short | None = None
    tran: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    removable: bool = False
    readonly: bool = False
    size_bytes: Count | msgspec.UnsetType = msgspec.UNSET
    logical_sector_bytes: Count | msgspec.UnsetType = msgspec.UNSET
    wwn: Short | msgspec.UnsetType | None = msgspec.UNSET
    by_id: Texts | msgspec.UnsetType = msgspec.UNSET
    in_use: Texts | msgspec.UnsetType = msgspec.UNSET


class InventoryBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A machine's hardware."""

    cycle: Text | None = None
    disks: Annotated[list[DiskBody], msgspec.Meta(max_length=64)] = []
    lshw: dict[str, Any] | list[Any] | None = None


class ProgressBody(msgspec.Struct, kw_only=True):
    """How far a flash has come."""

    cycle: Text | None = None
    stage: Annotated[str, msgspec.Meta(max_length=64)]
    bytes: Count
    total: Count | None = None
    rate: float | None = None
    trouble: Text | None = None


class LogBody(msgspec.Struct, kw_only=True):
    """Lines of the live environment's log."""

    cycle: Text | None = None
    lines: list[str]


class CycleQuery(msgspec.Struct, kw_only=True):
    """The token of the machine's cycle, where the body has no place for it."""

    cycle: Text


class SshBody(msgspec.Struct, kw_only=True):
    """Who may log in to a live environment as root: public keys, and a password as its hash."""

    authorized_keys: tuple[str, ...]
    password_hash: str | None


@speaks(reply=TEXT)
async def bootstrap(request: web.Request) -> web.Response:
    """Answer the script that sends any machine to its own."""
    return _script(scripts.bootstrap(base_url(request)))


@speaks(reply=TEXT)
async def script(request: web.Request) -> web.Response:
    """Answer the script that this machine boots now."""
    mac, base = _mac(request), base_url(request)
    machine, offer = await request.app[FLEET].contact(mac, ip=client_ip(request))
    return _script(scripts.render(offer, machine, base))


@speaks(reply=TEXT)
async def grub_script(request: web.Request) -> web.Response:
    """Answer the script that this machine boots now, for a GRUB that speaks HTTP."""
    return _script(await grub.render(request.app, _mac(request), ip=client_ip(request), base=base_url(request)))


@speaks(reply=dict[str, Any])
async def plan(request: web.Request) -> web.Response:
    """Answer what this machine's live environment is to do."""
    made = await request.app[FLEET].plan(_mac(request), ip=client_ip(request), base_url=base_url(request))
    return reply(made.to_json(), headers={"Cache-Control": "no-store"})


@speaks(body=DoneBody, status=204)
async def done(request: web.Request) -> web.Response:
    """Take the receipt of a flash; an older flasher sends no body."""
    body = await read_body(request)
    return await _done(request, decode(body, DoneBody) if body else DoneBody())


@speaks(body=StatusBody, status=204)
async def status(request: web.Request) -> web.Response:
    """Take the receipt of a flash in the words of later predecessors."""
    body = await read_json(request, StatusBody)
    if body.status == "failed":
        body.error = body.error or body.message or "the flasher gave no reason"
    else:
        body.error = None
    return await _done(request, body)


@speaks(body=InventoryBody, status=204)
async def inventory(request: web.Request) -> web.Response:
    """Take a machine's hardware."""
    mac, body = _mac(request), await read_body(request, INVENTORY_MAX_BYTES)
    if len(body) > _PARSE_ON_LOOP_BYTES:
        report, token = await asyncio.to_thread(_pack_inventory, body)
    else:
        report, token = _pack_inventory(body)
    await request.app[FLEET].inventory(mac, ip=client_ip(request), report=report, token=token)
    return no_content()


@speaks(body=ProgressBody, status=204)
async def progress(request: web.Request) -> web.Response:
    """Take word of how far a flash has come."""
    mac, body = _mac(request), await read_json(request, ProgressBody)
    trouble = readable(body.trouble, TROUBLE_CHARS) if body.trouble else None
    moment = Progress(stage=body.stage, bytes=body.bytes, total=body.total, rate=body.rate, trouble=trouble, at=utc_now())
    await request.app[FLEET].progress(mac, ip=client_ip(request), progress=moment, token=body.cycle)
    return no_content()


@speaks(body=LogBody, status=204)
async def log(request: web.Request) -> web.Response:
    """Take lines of the live environment's log, as JSON or as plain text."""
    mac, body = _mac(request), await read_body(request, LOG_MAX_BYTES)
    if request.content_type == "text/plain":  # has no place for a token: it is in the query
        said = LogBody(cycle=request.query.get("cycle"), lines=body.decode(errors="replace").splitlines())
    else:
        said = decode(body, LogBody)
    await request.app[FLEET].log(mac, ip=client_ip(request), lines=said.lines, token=said.cycle)
    return no_content()


@speaks(query=CycleQuery, reply=SshBody)
async def ssh(request: web.Request) -> web.Response:
    """Answer who may log in to this machine's live environment, as long as its cycle is open."""
    mac, live = _mac(request), request.app[CONFIG].live
    if not live.ssh_authorized_keys and not live.ssh_password_hash:
        raise NotFound("no ssh: neither a key nor a password is configured", hint="[live] ssh_authorized_keys or ssh_password_hash")
    count = len(live.ssh_authorized_keys)
    kinds = [f"{count} key{'s' * (count > 1)}"] * bool(count) + ["a password"] * bool(live.ssh_password_hash)
    await request.app[FLEET].admit(mac, ip=client_ip(request), token=request.query.get("cycle"), what=", ".join(kinds))
    body = SshBody(authorized_keys=live.ssh_authorized_keys, password_hash=live.ssh_password_hash or None)
    return reply(body, headers={"Cache-Control": "no-store"})


async def _done(request: web.Request, body: DoneBody) -> web.Response:
    receipt = {key: value for key, value in msgspec.structs.asdict(body).items() if value is not None}
    token = receipt.pop("cycle", None)
    receipt.pop("status", None)
    await request.app[FLEET].done(_mac(request), ip=client_ip(request), receipt=receipt, token=token)
    return no_content()


def _pack_inventory(body: bytes) -> tuple[Report, str | None]:
    """Return an inventory checked and packed as it is stored, and its token. Raises `InvalidBody`."""
    inventory = decode(body, InventoryBody)
    lshw = None if inventory.lshw is None else msgspec.json.encode(inventory.lshw, order="sorted")
    too_large = lshw is not None and len(lshw) > LSHW_MAX_BYTES
    report = Report(
        disks=msgspec.json.encode(inventory.disks, order="sorted").decode(),
        serials=tuple(disk.serial for disk in inventory.disks if disk.serial),
        count=len(inventory.disks),
        lshw=lshw.decode() if lshw is not None and not too_large else None,
        lshw_too_large=too_large,
    )
    return report, inventory.cycle


def _mac(request: web.Request) -> str:
    return parse_mac(request.match_info["mac"])


def _script(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/plain", headers={"Cache-Control": "no-store"})
