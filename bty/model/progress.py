"""How far a flash has come."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_FORESEEN_S = 100 * 3600  # as far as it is shown


class Stage(StrEnum):
    """The stages of a flash, in order."""

    OPEN = "open"
    WRITE = "write"
    VERIFY = "verify"
    FINISH = "finish"


STAGE_WORDS = {Stage.OPEN: "opening", Stage.WRITE: "writing", Stage.VERIFY: "reading back", Stage.FINISH: "finishing"}
"""The stages as people are told of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A moment of a flash. `read` counts bytes of the source, `done` bytes of the raw image in this stage.

    Totals are None where nothing tells them beforehand. `trouble` is why nothing moves just now, None while it does,
    and `last_break` why the connection broke the last time.
    """

    stage: Stage
    read: int = 0
    read_total: int | None = None
    done: int = 0
    done_total: int | None = None
    retries: int = 0
    trouble: str | None = None
    last_break: str = ""

    def seconds_left(self, rate_bps: float) -> float | None:
        """Return how long the stage goes on at *rate_bps*; where the size of the raw image is unknown, what was read tells.

        None where nothing tells, and where it would take more than four days: then it stands still.
        """
        if rate_bps <= 0 or self.stage not in (Stage.WRITE, Stage.VERIFY):
            return None
        total: float | None = self.done_total
        if total is None and self.read_total and self.read:
            total = self.done * self.read_total / self.read
        left_s = max(total - self.done, 0) / rate_bps if total else None
        return left_s if left_s is not None and left_s < _FORESEEN_S else None

    def to_json(self) -> dict[str, Any]:
        """Return the wire form of a progress line."""
        return {
            "stage": self.stage.value,
            "read": self.read,
            "read_total": self.read_total,
            "done": self.done,
            "done_total": self.done_total,
            "retries": self.retries,
            "trouble": self.trouble,
        }
