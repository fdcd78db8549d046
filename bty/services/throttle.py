"""How often somebody may try: token buckets, one for each address and one for all."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from bty.errors import TooMany

ADDRESS_BURST, ADDRESS_EVERY_S = 5, 12.0
# Many addresses together get no further than one try a second, which is hopeless against any password worth the name.
TOTAL_BURST, TOTAL_EVERY_S = 50, 1.0
_ADDRESSES_MAX = 4096


@dataclass(slots=True)
class _Bucket:
    size: int
    every_s: float
    tokens: float
    since: float

    def fill(self, now: float) -> None:
        self.tokens = min(self.size, self.tokens + (now - self.since) / self.every_s)
        self.since = now

    def wait_s(self) -> float:
        return max(0.0, (1 - self.tokens) * self.every_s)


class Throttle:
    """Counts failed logins."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total = _Bucket(TOTAL_BURST, TOTAL_EVERY_S, TOTAL_BURST, clock())
        self._addresses: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, address: str) -> None:
        """Count one try as failed, until `give_back` says otherwise. Raises `TooMany` where there were too many."""
        now = self._clock()
        buckets = (self._bucket(_neighbourhood(address), now), self._total)
        for bucket in buckets:
            bucket.fill(now)
        if wait_s := max(bucket.wait_s() for bucket in buckets):
            raise TooMany("too many failed logins", hint="wait a moment", retry_after_s=math.ceil(wait_s))
        for bucket in buckets:
            bucket.tokens -= 1

    def give_back(self, address: str) -> None:
        """Take back one try of *address*: it was none that failed."""
        for bucket in (self._bucket(_neighbourhood(address), self._clock()), self._total):
            bucket.tokens = min(bucket.size, bucket.tokens + 1)

    def _bucket(self, key: str, now: float) -> _Bucket:
        bucket = self._addresses.get(key)
        if bucket is None:
            bucket = self._addresses[key] = _Bucket(ADDRESS_BURST, ADDRESS_EVERY_S, ADDRESS_BURST, now)
        self._addresses.move_to_end(key)
        if len(self._addresses) > _ADDRESSES_MAX:
            self._addresses.popitem(last=False)
        return bucket


def _neighbourhood(address: str) -> str:
    """Return what one attacker has many of as one: an IPv6 host gets 2^64 addresses."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Address(int(parsed) >> 64 << 64)) if isinstance(parsed, IPv6Address) else address
