"""Sentences about disks, stages and receipts, the same on every screen and terminal. Pure."""

from __future__ import annotations

from bty.host.contents import Contents, Part
from bty.units import format_bytes


def describe_contents(contents: Contents | str | None) -> list[str]:
    """Say what is on a disk, a line for each partition; a text is the reason why that is not known."""
    if contents is None:
        return ["looking ..."]
    if isinstance(contents, str):
        return [f"not known: {contents}"]
    if not contents.parts:
        return [f"a partition table ({contents.table}), no partitions seen" if contents.table else "nothing that is known"]
    return [_describe_part(part) for part in contents.parts]


def _describe_part(part: Part) -> str:
    names = [f'"{name}"' for name in (part.label, part.name) if name]
    return " ".join([part.path, format_bytes(part.size_bytes), part.kind or "unknown content", *dict.fromkeys(names)])
