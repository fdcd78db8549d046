"""What this machine is made of, as lshw tells it."""

from __future__ import annotations

import json
from typing import Any

from bty.errors import CommandFailed
from bty.host import proc

_TIMEOUT_S = 30.0


def read_lshw() -> dict[str, Any] | list[Any] | None:
    """Return what `lshw -json` prints, None where it is missing, fails or takes over 30 s. Blocks."""
    try:
        _, output = proc.run(["lshw", "-json", "-quiet"], timeout_s=_TIMEOUT_S)
        hardware = json.loads(output)
    except (CommandFailed, ValueError):
        return None
    return hardware if isinstance(hardware, dict | list) else None
