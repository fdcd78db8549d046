"""A list and the place in it: moving, jumping by number, filtering. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bty.agent.wizard.entry import Entry


@dataclass(frozen=True, slots=True)
class Pick:
    """Where somebody is in a list. `filtering` while the filter is being typed; `digits` is a number being typed."""

    cursor: int = 0
    filter: Entry = field(default_factory=Entry)
    filtering: bool = False
    digits: str = ""

    def within(self, count: int) -> Pick:
        """Return the pick with its cursor inside a list of *count*."""
        return replace(self, cursor=max(0, min(self.cursor, count - 1)))

    def move(self, key: str, count: int, page: int) -> Pick | None:
        """Return the pick after a key that moves, None where *key* does not. Digits jump to that number."""
        if len(key) == 1 and key in "0123456789":
            return self._jump(key, count)
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -page, "pagedown": page, "home": -count, "end": count}
        if key not in steps:
            return None
        return replace(self, cursor=self.cursor + steps[key], digits="").within(count)

    def _jump(self, digit: str, count: int) -> Pick:
        for digits in (self.digits + digit, digit):
            if 1 <= int(digits) <= count:
                return replace(self, cursor=int(digits) - 1, digits=digits)
        return replace(self, digits="")

    def rows(self, count: int, height: int) -> range:
        """Return what of a list of *count* is shown in *height* rows: whole pages, so that most moves repaint two rows."""
        top = self.cursor // height * height if height > 0 else 0
        return range(top, min(top + height, count))


def matches(filter_text: str, *fields: str | None) -> bool:
    """Tell whether every word of *filter_text* is in one of the fields, whatever its case."""
    text = " ".join(field for field in fields if field).lower()
    return all(word in text for word in filter_text.lower().split())
