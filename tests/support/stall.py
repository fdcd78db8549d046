"""An emulated machine whose kernel stands still, and how it is recognised.

In emulation about one boot in fifty stops so, most often in the kernel's second second, before it has run anything of ours.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import NoReturn

SILENT_S = 30.0
_TELLS = re.compile(r"soft lockup - CPU#|rcu: INFO: rcu_\w+ (self-)?detected (expedited )?stalls?")


class Stalled(Exception):
    """The guest's kernel says that its processors are stuck, or has said nothing for half a minute before its first process."""


def listen(line: Path, said: str, what: str) -> None:
    """Raise `Stalled` where *said*, all that the serial line wrote into the file *line*, tells of it; *what* is waited for."""
    if "soft lockup - CPU#0" in said and "soft lockup - CPU#1" in said:
        raise Stalled(f"{what}: the kernel says that both processors are stuck")
    silent_s = time.time() - line.stat().st_mtime
    if silent_s > SILENT_S:
        _, found, rest = said.rpartition("Linux version")
        last = rest.rstrip().rpartition("\n")[2]
        if found and "Run /init" not in rest and re.match(r"\[ *[0-9]+\.[0-9]+\]", last):
            raise Stalled(f"{what}: the kernel has been silent for {silent_s:.0f} s after {last!r}")


def give_up(said: str, problem: str) -> NoReturn:
    """Fail with *problem* after a wait in vain; as `Stalled` where the kernel told in *said* that a processor stood still meanwhile.

    A kernel may recover from that, so it is no excuse before the time is over.
    """
    if found := _TELLS.search(said):
        raise Stalled(f"the kernel says {found[0]!r}; {problem}")
    raise AssertionError(problem)
