"""Pages of the catalog for a screen. The entries are in memory, so a page is cut from them and no table is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bty.model.catalog import Entry, display_arch


class Sort(StrEnum):
    """By what the entries of a page are ordered."""

    NAME = "name"
    SHA256 = "sha256"
    FORMAT = "format"
    ARCH = "arch"
    REF = "ref"
    SIZE = "size_bytes"
    ADDED = "added_at"


class Filter(StrEnum):
    """Which entries: by where they lie, or by what is not known about them."""

    HTTP = "http"
    ORAS = "oras"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One page: the entries whose texts hold `text`, ordered."""

    text: str = ""
    filter: Filter | None = None
    sort: Sort = Sort.ADDED
    descending: bool = False
    page: int = 1
    per_page: int = 50


_KEYS: dict[Sort, Callable[[Entry], str | int]] = {
    Sort.NAME: lambda entry: entry.name.casefold(),
    Sort.SHA256: lambda entry: entry.disk_image_sha or "",
    Sort.FORMAT: lambda entry: entry.format or "",
    Sort.ARCH: lambda entry: display_arch(entry) or "",
    Sort.REF: lambda entry: entry.bty_image_ref,
    Sort.SIZE: lambda entry: entry.size_bytes or 0,
    Sort.ADDED: lambda entry: entry.added_at,
}
_TESTS: dict[Filter, Callable[[Entry], bool]] = {
    Filter.HTTP: lambda entry: not entry.is_oras,
    Filter.ORAS: lambda entry: entry.is_oras,
    Filter.UNVERIFIED: lambda entry: not entry.disk_image_sha,
}


def cut_page(entries: list[Entry], query: Query) -> tuple[list[Entry], int]:
    """Return the entries of one page, and how many there are on all pages."""
    text = query.text.casefold()
    found = [
        entry
        for entry in entries
        if (query.filter is None or _TESTS[query.filter](entry)) and (not text or any(text in word.casefold() for word in _words(entry)))
    ]
    found.sort(key=_KEYS[query.sort], reverse=query.descending)
    first = (query.page - 1) * query.per_page
    return found[first : first + query.per_page], len(found)


def _words(entry: Entry) -> tuple[str, ...]:
    return (
        entry.name,
        entry.src,
        entry.bty_image_ref,
        entry.disk_image_sha or "",
        entry.format or "",
        entry.description or "",
        display_arch(entry) or "",
    )
