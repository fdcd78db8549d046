"""The rate over the time of a flash, in a fixed number of cells that never move: a picture of it costs one cell a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass

CELLS = 32
_FIRST_CELL_S = 1.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Mean rates, in bytes a second, each over *cell_s* seconds. When all cells are full they are merged by twos."""

    rates: tuple[float, ...] = ()
    cell_s: float = _FIRST_CELL_S
    since_at: float | None = None
    since_bytes: int = 0

    def add(self, done: int, at: float) -> Samples:
        """Return the samples after *done* bytes were counted *at* a time; fewer than before begin a new stage."""
        if self.since_at is None or done < self.since_bytes:
            return Samples(self.rates, self.cell_s, at, done)
        passed = at - self.since_at
        if passed < self.cell_s:
            return self
        rates = (*self.rates, (done - self.since_bytes) / passed)
        if len(rates) < CELLS:
            return Samples(rates, self.cell_s, at, done)
        merged = tuple((first + second) / 2 for first, second in zip(rates[::2], rates[1::2], strict=True))
        return Samples(merged, self.cell_s * 2, at, done)
