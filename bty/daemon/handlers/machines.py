"""The operator's machines: contract 1.6, with pages, partial changes and changes of many."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from aiohttp import hdrs, web

from bty.daemon import keys
from bty.daemon.client import client_ip
from bty.daemon.codec import no_content, read_json, reply
from bty.daemon.query import Direction, PageNumber, PerPage, RowId, Words, is_asked, read_query
from bty.daemon.rows import MachinePage, MachineRow, machine_row
from bty.daemon.speech import speaks
from bty.errors import NotFound
from bty.model.machine import BootMode, LocalBoot
from bty.services.machines import Filter, MachineView, Query, Sort
from bty.services.text import Drive, Label, Labels, Ref, Short
from bty.units import MIB, parse_mac

BULK_MAX_BYTES = 4 * MIB  # ten thousand machines, each with a disk of its own
_BULK_MAX = 10_000
_ON_LOOP_MAX = 200  # more machines than this are encoded in a thread

Mac = Annotated[str, msgspec.Meta(max_length=17)]


class MachineBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `PUT /machines/{mac}`: what it leaves out gets its default."""

    bty_image_ref: Ref | None = None
    labels: Labels = []
    boot_mode: BootMode = BootMode.IPXE_EXIT
    sanboot_drive: Drive | None = None
    uefi_local_boot: LocalBoot = LocalBoot.CHAIN
    target_disk_serial: Short | None = None


class MachineChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /machines/{mac}`: what it leaves out stays."""

    bty_image_ref: Ref | msgspec.UnsetType | None = msgspec.UNSET
    labels: Labels | msgspec.UnsetType = msgspec.UNSET
    boot_mode: BootMode | msgspec.UnsetType = msgspec.UNSET
    sanboot_drive: Drive | msgspec.UnsetType | None = msgspec.UNSET
    uefi_local_boot: LocalBoot | msgspec.UnsetType = msgspec.UNSET
    target_disk_serial: Short | msgspec.UnsetType | None = msgspec.UNSET


class OwnChange(MachineChange, kw_only=True, forbid_unknown_fields=True):
    """What is changed of one machine among many."""

    mac: Mac


class Deed(StrEnum):
    """What is done to many machines where nothing is set: they start over, or are forgotten."""

    RESET = "reset"
    DELETE = "delete"


class BulkChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /machines/bulk`: machines by MAC, or all with a label, and what is set on all, on each of some, or done to them."""

    deed: Deed | None = msgspec.field(name="do", default=None)
    change: MachineChange | msgspec.UnsetType = msgspec.field(name="set", default=msgspec.UNSET)
    macs: Annotated[list[Mac], msgspec.Meta(max_length=_BULK_MAX)] | None = None
    label: Label | None = None
    each: Annotated[list[OwnChange], msgspec.Meta(max_length=_BULK_MAX)] = []

    def __post_init__(self) -> None:
        if self.macs is not None and self.label is not None:
            raise ValueError("either `macs` or `label`, not both")
        is_named = self.macs is not None or self.label is not None
        if self.deed is not None:
            if not is_named or self.change is not msgspec.UNSET or self.each:
                raise ValueError("`do` goes with `macs` or `label`, and not with `set` or `each`")
            return
        if is_named == (self.change is msgspec.UNSET) or not (is_named or self.each):
            raise ValueError("`set` or `do` with `macs` or `label` is needed, or `each`")


class MachineQuery(msgspec.Struct, kw_only=True):
    """The query of `GET /machines`; without any of it all machines come."""

    q: Words = ""
    label: Words = ""
    filter: Filter | None = None
    sort: Sort = Sort.MAC
    dir: Direction = Direction.ASCENDING
    page: PageNumber = 1
    per_page: PerPage = 50


class Changed(msgspec.Struct, kw_only=True):
    """Which machines were changed."""

    changed: int
    macs: list[str]


class LogQuery(msgspec.Struct, kw_only=True):
    """The query of `GET /machines/{mac}/log`: only lines that came `after` the one of that number."""

    after: RowId | None = None


class Log(msgspec.Struct, kw_only=True):
    """Lines of a live environment, oldest first, up to the one numbered `upto`: those after another, or `whole` all there are."""

    lines: list[str]
    upto: int
    whole: bool


@speaks(query=MachineQuery, reply=MachinePage | list[MachineRow])
async def list_machines(request: web.Request) -> web.Response:
    """List all machines by MAC; with a query about pages, one page of them."""
    machines = request.app[keys.MACHINES]
    if not is_asked(request, MachineQuery):
        views = await machines.list_all()
        return reply(await asyncio.to_thread(_many, views) if len(views) > _ON_LOOP_MAX else _many(views))
    query = _query(request)
    page = await machines.list_page(query)
    return reply({"items": _many(page.items), "total": page.total, "page": query.page, "per_page": query.per_page})


@speaks(reply=MachineRow)
async def get_machine(request: web.Request) -> web.Response:
    """Return one machine."""
    return reply(machine_row(await request.app[keys.MACHINES].get(_mac(request))))


@speaks(body=MachineBody, reply=MachineRow)
async def put_machine(request: web.Request) -> web.Response:
    """Replace what the operator says about a machine; with `If-None-Match: *` only where there is none."""
    mac, body = _mac(request), await read_json(request, MachineBody)
    only_new = request.headers.get(hdrs.IF_NONE_MATCH, "").strip() == "*"
    view = await request.app[keys.MACHINES].put(mac, msgspec.structs.asdict(body), ip=client_ip(request), only_new=only_new)
    return reply(machine_row(view))


@speaks(body=MachineChange, reply=MachineRow)
async def patch_machine(request: web.Request) -> web.Response:
    """Change only what the body names."""
    mac, body = _mac(request), await read_json(request, MachineChange)
    return reply(machine_row(await request.app[keys.MACHINES].change(mac, _named(body), ip=client_ip(request))))


@speaks(body=BulkChange, reply=Changed)
async def change_machines(request: web.Request) -> web.Response:
    """Change many machines, start them over or forget them, all or none."""
    body, machines, ip = await read_json(request, BulkChange, BULK_MAX_BYTES), request.app[keys.MACHINES], client_ip(request)
    macs = [parse_mac(mac) for mac in body.macs or ()]
    match body.deed:
        case Deed.RESET:
            changed = await machines.reset_many(macs=macs, label=body.label, ip=ip)
        case Deed.DELETE:
            changed = await machines.delete_many(macs=macs, label=body.label, ip=ip)
        case _:
            fields = {} if body.change is msgspec.UNSET else _named(body.change)
            each = {parse_mac(own.mac): _named(own) for own in body.each}
            changed = await machines.change_many(fields, macs=macs, label=body.label, each=each, ip=ip)
    return reply(Changed(changed=len(changed), macs=changed))


@speaks(reply=MachineRow)
async def reset_machine(request: web.Request) -> web.Response:
    """Start a machine's work over."""
    return reply(machine_row(await request.app[keys.MACHINES].reset(_mac(request), ip=client_ip(request))))


@speaks(status=204)
async def delete_machine(request: web.Request) -> web.Response:
    """Forget a machine."""
    await request.app[keys.MACHINES].delete(_mac(request), ip=client_ip(request))
    return no_content()


@speaks(reply=Any)
async def get_lshw(request: web.Request) -> web.Response:
    """Return the lshw report of a machine."""
    mac = _mac(request)
    return _attachment(mac, "lshw", (await request.app[keys.MACHINES].hardware(mac)).lshw)


@speaks(reply=list[Any])
async def get_disks(request: web.Request) -> web.Response:
    """Return the disks that a machine reported."""
    mac = _mac(request)
    return _attachment(mac, "disks", (await request.app[keys.MACHINES].hardware(mac)).disks)


@speaks(query=LogQuery, reply=Log)
async def get_log(request: web.Request) -> web.Response:
    """Return the last lines of a machine's live environment; the event stream then tells once that there are more."""
    tail = request.app[keys.MACHINES].log(_mac(request), read_query(request, LogQuery).after)
    return reply(Log(lines=tail.lines, upto=tail.upto, whole=tail.whole))


def _mac(request: web.Request) -> str:
    return parse_mac(request.match_info["mac"])


def _named(body: MachineChange) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET and name != "mac"}


def _query(request: web.Request) -> Query:
    asked = read_query(request, MachineQuery)
    return Query(
        text=asked.q.strip(),
        label=asked.label.strip(),
        filter=asked.filter,
        sort=asked.sort,
        descending=asked.dir is Direction.DESCENDING,
        page=asked.page,
        per_page=asked.per_page,
    )


def _many(views: list[MachineView]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode([machine_row(view) for view in views]))


def _attachment(mac: str, what: str, text: str | None) -> web.Response:
    if text is None:
        raise NotFound(f"{mac} has not reported its {what} yet")
    headers = {hdrs.CONTENT_DISPOSITION: f'attachment; filename="{mac.replace(":", "-")}-{what}.json"'}
    return web.Response(text=text, content_type="application/json", headers=headers)
