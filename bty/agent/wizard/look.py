"""What a terminal can show, as far as the pictures have to know. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_SPARKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Look:
    """*unicode* for lines and bars beyond ASCII, *sparks* where the font surely has eighths of blocks."""

    unicode: bool = False
    sparks: bool = False

    @property
    def rule(self) -> str:
        """The character of a horizontal line."""
        return "─" if self.unicode else "-"

    def bar(self, done: int, total: int, columns: int) -> tuple[str, str]:
        """Return the full and the empty part of a bar, together *columns* long."""
        full = min(done * columns // total, columns) if total else 0
        return ("█" if self.unicode else "#") * full, ("░" if self.unicode else ".") * (columns - full)

    def spark(self, rates: tuple[float, ...]) -> str:
        """Return *rates* as a line of small bars; the scale moves in powers of two, so that old bars rarely change."""
        if not self.sparks or not rates:
            return ""
        top = 1.0
        while top < max(rates):
            top *= 2
        return "".join(_SPARKS[min(int(rate / top * len(_SPARKS)), len(_SPARKS) - 1)] for rate in rates)
