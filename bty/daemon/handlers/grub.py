"""What GRUB asks for by TFTP: the script of its machine, and the files that the script names. The same as by HTTP."""

from __future__ import annotations

import contextlib
import io
from urllib.parse import parse_qs

from aiohttp import web

from bty.daemon import keys, scripts
from bty.daemon.client import resolve_ip, url_of
from bty.daemon.scripts import Dialect
from bty.daemon.tftp import Content, Find
from bty.errors import InvalidInput, NotFound
from bty.units import parse_mac


def finder(app: web.Application) -> Find:
    """Return what finds `/pxe/{mac}/grub.cfg?host=HOST:PORT` and `/boot/{name}?mac={mac}` in *app*."""

    async def find(path: str, address: str) -> Content:
        ip = resolve_ip(address, [], ())
        place, _, query = path.lstrip("/").partition("?")
        words = {name: values[-1] for name, values in parse_qs(query).items()}
        match place.split("/"):
            case ["pxe", mac, "grub.cfg"]:
                text = (await render(app, parse_mac(mac), ip=ip, base=url_of(words.get("host", ""), what="?host="))).encode()
                return Content(file=io.BytesIO(text), size_bytes=len(text))
            case ["boot", name]:
                with contextlib.suppress(InvalidInput):
                    await app[keys.FLEET].arm(parse_mac(words.get("mac", "")), ip=ip)
                found = await app[keys.BOOT_FILES].open(name)
                return Content(file=found.file, size_bytes=found.size_bytes)
            case _:
                raise NotFound(f"no such file: {place[:80]}")

    return find


async def render(app: web.Application, mac: str, *, ip: str, base: str) -> str:
    """Return the script that this machine boots now, for GRUB."""
    machine, offer = await app[keys.FLEET].contact(mac, ip=ip)
    return scripts.render(offer, machine, base, Dialect.GRUB)
