"""What is on a disk now, for the eyes of somebody about to overwrite it: its table, its partitions, their file systems."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bty.errors import CommandFailed
from bty.host import proc

_COLUMNS = "PATH,SIZE,TYPE,FSTYPE,LABEL,PARTLABEL,PTTYPE"
_TIMEOUT_S = 10.0
_ESCAPED = re.compile(r"\\(.)")  # blkid escapes blanks as a shell does
_PROBES = 16  # partitions asked one by one where udev knows nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A partition, or a file system on the disk itself. `kind` is a file system's or another content's name."""

    path: str
    size_bytes: int
    kind: str | None = None
    label: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a disk holds; `table` is `gpt` or `dos`, None where it has none."""

    table: str | None = None
    parts: tuple[Part, ...] = ()


def read_contents(path: str) -> Contents:
    """Return what the disk at *path* holds. Blocks, some seconds at most; raises `CommandFailed`."""
    _, output = proc.run(["lsblk", "--json", "--bytes", "--output", _COLUMNS, path], timeout_s=_TIMEOUT_S)
    try:
        nodes = list(_flatten(json.loads(output)["blockdevices"]))
        whole, table = _part(nodes[0], probe=True)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CommandFailed(f"lsblk printed nothing about {path}: {error}") from error
    children = [node for node in nodes[1:] if node.get("type") == "part"]
    parts = [_part(child, probe=index < _PROBES)[0] for index, child in enumerate(children)]
    if not parts and whole.kind:
        parts = [whole]
    return Contents(table=table, parts=tuple(parts))


def _flatten(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the nodes and all below them: lsblk does not always put the partitions of a loop device below it."""
    for node in nodes:
        yield node
        yield from _flatten(node.get("children") or [])


def _part(node: dict[str, Any], *, probe: bool) -> tuple[Part, str | None]:
    """Return a node as a part, and the kind of partition table on it. Where udev knows nothing, look at the device itself."""
    path = str(node["path"])
    kind, label, name, table = (_text(node.get(key)) for key in ("fstype", "label", "partlabel", "pttype"))
    if probe and not kind:
        found = _probe(path)
        kind, label, name = (found.get("TYPE"), found.get("LABEL"), name or found.get("PART_ENTRY_NAME"))
        table = table or found.get("PTTYPE")
    return Part(path=path, size_bytes=int(node.get("size") or 0), kind=kind, label=label, name=name), table


def _probe(path: str) -> dict[str, str]:
    try:
        _, output = proc.run(["blkid", "--probe", "--output", "export", path], timeout_s=_TIMEOUT_S, check=False)
    except CommandFailed:
        return {}
    pairs = (line.split("=", 1) for line in output.decode("utf-8", "replace").splitlines() if "=" in line)
    return {key: text for key, value in pairs if (text := _ESCAPED.sub(r"\1", value).strip())}


def _text(value: object) -> str | None:
    return str(value).strip() or None if value is not None else None
