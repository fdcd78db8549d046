"""Kernel messages: what the kernel prints on a console spoils the picture there, and is not seen by whoever draws it."""

from __future__ import annotations

import os
from pathlib import Path

_LOG = Path("/dev/kmsg")
_LEVELS = Path("/proc/sys/kernel/printk")
_DEFAULT_LEVEL = 7
_MESSAGE_BYTES = 8192


class KernelLog:
    """Tells whether the kernel has printed something since the last look. `fd` is readable when there is something new."""

    def __init__(self, log: Path = _LOG, levels: Path = _LEVELS) -> None:
        """Open the log at its end. Raises `OSError` where that is not allowed."""
        self._levels = levels
        self.fd = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.lseek(self.fd, 0, os.SEEK_END)
        except OSError:
            os.close(self.fd)
            raise

    def printed(self) -> bool:
        """Read what is new and return whether any of it is urgent enough for the consoles."""
        shown = False
        level = self._console_level()
        while True:
            try:
                record = os.read(self.fd, _MESSAGE_BYTES)
            except BrokenPipeError:
                continue  # messages were overwritten before they were read: the next ones follow
            except OSError:
                return shown
            if not record:
                return shown
            head = record.split(b",", 1)[0]
            shown = shown or (head.isdigit() and int(head) & 7 < level)

    def close(self) -> None:
        """Close the log."""
        os.close(self.fd)

    def _console_level(self) -> int:
        try:
            return int(self._levels.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return _DEFAULT_LEVEL
