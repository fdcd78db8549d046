"""Text that has to fit: how wide it is, cutting, wrapping, and letters that a terminal must never get. Pure."""

from __future__ import annotations

import textwrap
import unicodedata

# Format characters, surrogates and the like: they move the cursor, turn the direction of writing, or show nothing.
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: str, *, unicode: bool = True) -> str:
    """Return *text* with what a terminal would act upon, and without *unicode* what is not ASCII, as `?`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if (unicode or char.isascii()) and unicodedata.category(char) not in _UNSHOWN else "?" for char in text)


def width(text: str) -> int:
    """Return how many columns *text* takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, columns: int, *, right: bool = False) -> str:
    """Return *text* in exactly *columns*: filled with blanks, before it if *right*, or cut, which a `~` tells."""
    if columns <= 0:
        return ""
    lack = columns - width(text)
    if lack >= 0:
        return " " * lack + text if right else text + " " * lack
    kept, taken = [], 1
    for char in text:
        taken += _char_width(char)
        if taken > columns:
            break
        kept.append(char)
    cut = "".join(kept) + "~"
    return cut + " " * (columns - width(cut))


def wrap(text: str, columns: int, rows: int) -> list[str]:
    """Return *text* in at most *rows* lines; what does not fit ends in `~`."""
    lines = textwrap.wrap(text, max(columns, 1), break_long_words=True, break_on_hyphens=False)
    if len(lines) <= rows:
        return lines
    return [*lines[: rows - 1], fit(" ".join(lines[rows - 1 :]), columns)] if rows > 0 else []
