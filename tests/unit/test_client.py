"""The caller's address and our own name, from headers that anybody can forge."""

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request

from bty.daemon.client import base_url, resolve_ip
from bty.errors import InvalidInput

PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("192.0.2.1", [], (), "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], (), "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], PROXIES, "192.0.2.1"),
        ("10.1.2.3", ["198.51.100.9"], PROXIES, "198.51.100.9"),
        ("10.1.2.3", ["198.51.100.9, 10.9.9.9"], PROXIES, "198.51.100.9"),
        ("10.1.2.3", ["203.0.113.5", "198.51.100.9"], PROXIES, "198.51.100.9"),
        ("10.1.2.3", ["<script>"], PROXIES, "10.1.2.3"),
        ("10.1.2.3", [], PROXIES, "10.1.2.3"),
        ("::1", ["2001:db8:0:0:0:0:0:1"], PROXIES, "2001:db8::1"),
        ("::ffff:192.0.2.1", [], (), "192.0.2.1"),
        ("::ffff:10.1.2.3", ["::ffff:192.0.2.7"], PROXIES, "192.0.2.7"),
    ],
)
def test_client_address(peer: str, forwarded: list[str], trusted: tuple, expected: str) -> None:
    """A forwarded address counts only from a trusted proxy, and only the part that the proxy wrote."""
    assert resolve_ip(peer, forwarded, trusted) == expected


@pytest.mark.parametrize("host", ["boot", "boot.example:8080", "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:8080", "bty_web:8080"])
def test_host_is_used_as_it_came(host: str) -> None:
    """A host with or without a port is how the machine reaches us, so it is used to the letter."""
    assert base_url(make_mocked_request("GET", "/", headers={"Host": host})) == f"http://{host}"


@pytest.mark.parametrize(
    "host", ["", " ", "a b", "a\tb", "a/b", "a:b", "a:123456", "${net0/ip}", 'a"', "a'", "a;exit", "[::1", "ü", "-a", "a@b", "a" * 400]
)
def test_other_hosts_are_refused(host: str) -> None:
    """A Host header that is no host and port reaches nothing."""
    with pytest.raises(InvalidInput, match="Host header"):
        base_url(make_mocked_request("GET", "/", headers={"Host": host}))
