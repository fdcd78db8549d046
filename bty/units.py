"""Numbers and identifiers as people write them: parse and print, pure."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import lru_cache

from bty.errors import InvalidInput

_LONGEST_S = 100 * 3600 - 1
KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


def parse_mac(text: str) -> str:
    """Return *text* as a lower-case MAC with colons.

    Six groups of two hex digits, joined by colons or hyphens. Raises `InvalidInput` otherwise.
    """
    mac = text.lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise InvalidInput(f"invalid MAC: {text[:64]!r}", hint="six hex pairs joined by ':' or '-'")
    return mac


def utc_now() -> str:
    """Return this moment as ISO 8601 in UTC with microseconds, the form every stored time has."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}+00:00"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """Return a second since 1970 as ISO 8601 without its zone: made once, a busy daemon asks for thousands of moments in it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def format_bytes(count: float) -> str:
    """Return *count* bytes in binary units with one decimal: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def plural(count: int, noun: str) -> str:
    """Return `1 disk` or `3 disks`, for nouns that take an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def plain_text(text: str) -> str:
    """Return *text* as a terminal may be given it: on one line, without control, format or direction characters."""
    return "".join(character if character.isprintable() else " " if character.isspace() else "" for character in text)


def format_seconds(seconds: float) -> str:
    """Return a duration as people say it: `0:07`, `12:34`, `1:02:03`; from a hundred hours on `99:59:59`."""
    minutes, rest = divmod(int(min(max(seconds, 0), _LONGEST_S)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
