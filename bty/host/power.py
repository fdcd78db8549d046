"""Starting this machine anew."""

from __future__ import annotations

from bty.host import proc

_TIMEOUT_S = 15.0


def reboot() -> None:
    """Ask the system to reboot. Returns at once; raises `CommandFailed` where it refuses."""
    proc.run(["systemctl", "reboot"], timeout_s=_TIMEOUT_S)
