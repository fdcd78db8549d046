"""What pictures are made of: lines of styled text, lists, and how the rows of a terminal are shared out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bty.agent.wizard.pick import Pick
from bty.agent.wizard.state import Size
from bty.agent.wizard.text import fit, width

Fragment = tuple[str, str]
"""The name of a style, and text."""
Line = tuple[Fragment, ...]

_TALL_ROWS = 16  # from here on there is room for lines between the parts
_DETAIL_ROWS = 5
_DETAILS_FROM_ROWS = 14  # of the body


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The middle of a picture. `targets` maps rows to items of the list that can be clicked; `cursor` is row and column."""

    lines: tuple[Line, ...]
    cursor: tuple[int, int] | None = None
    targets: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A whole picture."""

    lines: tuple[Line, ...]
    cursor: tuple[int, int] | None
    targets: Mapping[int, int]


def is_tall(size: Size) -> bool:
    """Tell whether the terminal has rows to spare."""
    return size.rows >= _TALL_ROWS


def body_area(size: Size) -> Size:
    """Return what header and footer leave of a terminal."""
    return Size(size.columns - 1, max(size.rows - (6 if is_tall(size) else 4), 3))


def detail_rows(area: Size) -> int:
    """Return how many rows below a list tell more about one item."""
    return _DETAIL_ROWS if area.rows >= _DETAILS_FROM_ROWS else 0


def list_rows(size: Size) -> int:
    """Return how many items of a list are shown at once: also how far a page key goes."""
    area = body_area(size)
    return max(area.rows - 2 - detail_rows(area), 1)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a list: its head, its width, and from which width of the terminal on it is shown. 0 takes what is left."""

    head: str
    columns: int
    right: bool = False
    shown_from: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list. `row` gives the style and the cells of an item, `empty` is said in place of an empty one."""

    title: str
    columns: tuple[Column, ...]
    remark: str = ""
    count: int
    row: Callable[[int], tuple[str, tuple[str, ...]]]
    pick: Pick
    empty: tuple[str, ...] = ()
    details: tuple[Line, ...] = ()


def list_body(listing: Listing, area: Size, rule: str) -> Body:
    """Return the picture of a list, with details of the item at the cursor below it where there is room."""
    pick = listing.pick.within(listing.count)
    below = detail_rows(area)
    height = max(area.rows - 2 - below, 1)
    widths = _widths(listing.columns, area.columns)
    lines: list[Line] = [_title(listing, pick, height)]
    lines.append((("dim", "     " + _cells(tuple(column.head for column in listing.columns), listing.columns, widths)),))
    targets = {}
    for index in pick.rows(listing.count, height):
        style, cells = listing.row(index)
        on = index == pick.cursor
        number = f"{index + 1:>3}" if index < 999 else "   "
        line = f"{'>' if on else ' '}{number} {_cells(cells, listing.columns, widths)}"
        targets[len(lines)] = index
        lines.append((("row.on" if on else style, line),))
    if not listing.count:
        lines += [(("text", f"    {line}"),) for line in listing.empty]
    lines = lines[: height + 2]
    if below:
        lines += [()] * (height + 2 - len(lines))
        lines += [(("rule", rule * area.columns),), *listing.details][:below]
    cursor = (0, width(lines[0][0][1]) + pick.filter.at) if pick.filtering else None
    return Body(lines=tuple(lines), targets=targets, cursor=cursor)


def _title(listing: Listing, pick: Pick, height: int) -> Line:
    text = f" {listing.title}"
    if pick.filtering:
        return (("title", f"{text}  /"), ("text", pick.filter.text))
    if pick.filter.text:
        text += f"  filter: {pick.filter.text}"
    pages = -(-listing.count // height)
    page = f"  page {pick.cursor // height + 1} of {pages}" if pages > 1 else ""
    return (("title", text), ("dim", page + (f"  {listing.remark}" if listing.remark else "")))


def _widths(columns: tuple[Column, ...], total: int) -> list[int]:
    widths = [column.columns if total >= column.shown_from else -1 for column in columns]
    taken = 5 + sum(one + 1 for one in widths if one > 0)
    return [max(total - taken, 8) if one == 0 else one for one in widths]


def _cells(cells: tuple[str, ...], columns: tuple[Column, ...], widths: list[int]) -> str:
    shown = [fit(cell, one, right=column.right) for cell, column, one in zip(cells, columns, widths, strict=True) if one > 0]
    return " ".join(shown)
