"""How far a flash has come."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    """The stages of a flash, in order."""

    OPEN = "open"
    WRITE = "write"
    VERIFY = "verify"
    FINISH = "finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A moment of a flash. `read` counts bytes of the source, `done` bytes of the raw image in this stage.

    Totals are None where nothing tells them beforehand.
    """

    stage: Stage
    read: int = 0
    read_total: int | None = None
    done: int = 0
    done_total: int | None = None
    retries: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the wire form of a progress line."""
        return {
            "stage": self.stage.value,
            "read": self.read,
            "read_total": self.read_total,
            "done": self.done,
            "done_total": self.done_total,
            "retries": self.retries,
        }
