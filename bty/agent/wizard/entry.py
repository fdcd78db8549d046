"""A line that somebody types: the text, the cursor in it, and what each key does to it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """A typed line; *at* is the cursor's place in it."""

    text: str = ""
    at: int = 0

    @classmethod
    def of(cls, text: str) -> Entry:
        """Return an entry that holds *text*, the cursor behind it."""
        return cls(text, len(text))

    def insert(self, text: str) -> Entry:
        """Return the entry after *text* was typed or pasted; letters keep their case, line ends and controls are dropped."""
        kept = "".join(char for char in text if char.isprintable())[: _LIMIT - len(self.text)]
        return Entry(self.text[: self.at] + kept + self.text[self.at :], self.at + len(kept))

    def press(self, key: str) -> Entry | None:
        """Return the entry after *key*, None where the key means nothing to it."""
        text, at = self.text, self.at
        match key:
            case "left":
                return Entry(text, max(at - 1, 0))
            case "right":
                return Entry(text, min(at + 1, len(text)))
            case "home" | "ctrl-a":
                return Entry(text, 0)
            case "end" | "ctrl-e":
                return Entry.of(text)
            case "backspace":
                return Entry(text[: max(at - 1, 0)] + text[at:], max(at - 1, 0))
            case "delete":
                return Entry(text[:at] + text[at + 1 :], at)
            case "ctrl-u":
                return Entry(text[at:], 0)
            case "ctrl-w":
                keep = text[:at].rstrip()
                keep = keep[: keep.rfind(" ") + 1]
                return Entry(keep + text[at:], len(keep))
            case _:
                return self.insert(key) if len(key) == 1 else None
