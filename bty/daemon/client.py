"""Who calls, and by which name they call us: two headers that anybody can forge, checked before they are used."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import hdrs, web

from bty.daemon.keys import CONFIG
from bty.errors import InvalidInput

Networks = tuple[IPv4Network | IPv6Network, ...]

# Only this reaches scripts: a name or an address, and a port.
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def client_ip(request: web.Request) -> str:
    """Return the caller's address; behind a trusted proxy, the one that the proxy names."""
    return resolve_ip(request.remote or "", request.headers.getall(hdrs.X_FORWARDED_FOR, []), request.app[CONFIG].server.trusted_proxy)


def base_url(request: web.Request) -> str:
    """Return `http://` and the name by which the caller reached us. Raises `InvalidInput` for a Host header that is no host and port."""
    host = request.headers.get(hdrs.HOST)
    if host is None:  # HTTP/1.0
        name = request.transport.get_extra_info("sockname") if request.transport else None
        host = _own_host(name)
    return url_of(host, what="the Host header")


def url_of(host: str, *, what: str) -> str:
    """Return `http://` and *host*. Raises `InvalidInput`, naming it by *what* it is, where that is no host or host and port."""
    if not _HOST.fullmatch(host):
        raise InvalidInput(f"{what} is not a host and a port: {host[:64]!r}")
    return f"http://{host}"


def resolve_ip(peer: str, forwarded: list[str], trusted: Networks) -> str:
    """Return the address nearest to us that is not a trusted proxy; what a client writes itself into the header does not count."""
    address = _normalise(peer) or peer
    if not trusted:
        return address
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while hops and _is_trusted(address, trusted):
        hop = _normalise(hops.pop())
        if hop is None:
            break
        address = hop
    return address


@lru_cache(maxsize=4096)
def _normalise(text: str) -> str | None:
    """Return an address in its shortest form, IPv4 where it is one in IPv6's clothes, or None where it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _is_trusted(address: str, trusted: Networks) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)


def _own_host(name: object) -> str:
    match name:
        case (str() as address, int() as port, *_):
            return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        case _:
            return "127.0.0.1:8080"
