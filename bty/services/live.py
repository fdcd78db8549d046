"""What machines say while they work: progress and log lines. Kept in memory, newest only, lost with the process."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

LOG_LINES = 200
LOG_LINE_CHARS = 1000
TROUBLE_CHARS = 300
LOGS_MAX_CHARS = 64 << 20  # of all machines together: the longest silent ones are forgotten first
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a machine says it has come; `rate` is in bytes a second, `trouble` why nothing moves just now."""

    stage: str
    bytes: int
    total: int | None = None
    rate: float | None = None
    trouble: str | None = None
    at: str

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Lines of a log up to the one numbered `upto`. `whole` says that they are all there are, not only what came after others."""

    lines: list[str]
    upto: int
    whole: bool


@dataclass(slots=True)
class _Log:
    """The last lines of one machine, and the number of the newest."""

    upto: int
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    chars: int = 0


class Live:
    """The newest progress and the last log lines of each machine.

    `on_log` is called with a MAC and the number of its newest line, once after each time that somebody read that log: so a
    thousand machines whose log nobody looks at cost nothing.
    """

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        self._chars = 0
        self._lines = 0  # of all logs ever: a log that was forgotten goes on with numbers that it never had
        self._read: set[str] = set()
        self.on_log: Callable[[str, int], None] = _ignore

    def progress(self, mac: str) -> Progress | None:
        """Return how far the flash that runs on a machine has come, if one runs."""
        return self._progress.get(mac)

    def flashing(self) -> tuple[str, ...]:
        """Return the MACs of the machines whose flash runs."""
        return tuple(self._progress)

    def log(self, mac: str, after: int | None = None) -> Tail:
        """Return the last lines that a machine's live environment sent, oldest first; only those *after* a number where it is known."""
        self._read.add(mac)
        log = self._logs.get(mac)
        if log is None:
            return Tail(lines=[], upto=0, whole=True)
        known = len(log.lines) - (log.upto - after) if after is not None and after <= log.upto else 0
        return Tail(lines=list(islice(log.lines, max(0, known), None)), upto=log.upto, whole=known <= 0)

    def set_progress(self, mac: str, progress: Progress) -> None:
        """Remember how far a machine has come."""
        self._progress[mac] = progress

    def end_progress(self, mac: str) -> None:
        """Forget it: the flash ended, or another boot began."""
        self._progress.pop(mac, None)

    def add_log(self, mac: str, lines: Iterable[str]) -> None:
        """Append lines of a machine's log, each cut to `LOG_LINE_CHARS`, control characters replaced."""
        log = self._logs.get(mac)
        if log is None:
            log = self._logs[mac] = _Log(self._lines)
        self._logs.move_to_end(mac)
        before = log.chars
        newest = deque(lines, maxlen=LOG_LINES)  # of half a million lines only these are worth the work
        log.lines.extend(readable(line, LOG_LINE_CHARS) for line in newest)
        log.upto += len(newest)
        log.chars = sum(map(len, log.lines))
        self._lines += len(newest)
        self._chars += log.chars - before
        while self._chars > LOGS_MAX_CHARS:
            self._chars -= self._logs.popitem(last=False)[1].chars
        if newest and mac in self._read:
            self._read.discard(mac)
            self.on_log(mac, log.upto)

    def forget(self, mac: str) -> None:
        """Drop everything about a machine."""
        self._progress.pop(mac, None)
        self._read.discard(mac)
        if log := self._logs.pop(mac, None):
            self._chars -= log.chars


def readable(text: str, most: int) -> str:
    """Return a machine's words, *most* characters at most, control characters replaced."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text[:most])


def _ignore(mac: str, upto: int) -> None:
    """Nobody listens."""
