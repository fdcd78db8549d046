"""File systems on sticks, found by their label and mounted read-only, each in a mount point of this process's own."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bty.errors import CommandFailed
from bty.host import proc

_MOUNTS = Path("/run/bty/sticks")
_UDEV = Path("/run/udev")
_COLUMNS = "NAME,PATH,TYPE,LABEL,MOUNTPOINTS"
_LIST_TIMEOUT_S = 10.0
_MOUNT_TIMEOUT_S = 20.0  # a worn stick takes seconds
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stick:
    """A labelled file system. `paths` are the devices that show it, the best to mount first: Ventoy puts one over the partition."""

    label: str
    paths: tuple[str, ...]
    mountpoint: str | None


def find_sticks(labels: Collection[str]) -> tuple[Stick, ...]:
    """Return the file systems that have one of *labels*, in the kernel's order. Blocks; raises `CommandFailed`.

    Loop devices count when the environment says `BTY_ALLOW_LOOP=1`, as they do among the disks.
    """
    _, output = proc.run(["lsblk", "--json", "--output", _COLUMNS], timeout_s=_LIST_TIMEOUT_S)
    try:
        nodes = json.loads(output)["blockdevices"]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed(f"lsblk printed no list of devices: {error}") from error
    if not _UDEV.is_dir():
        _read_labels(nodes)
    return sticks_of(nodes, labels)


def sticks_of(nodes: list[dict[str, Any]], labels: Collection[str]) -> tuple[Stick, ...]:
    """Return the file systems that have one of *labels* among what lsblk lists."""
    wanted = {label.casefold(): label for label in labels}
    return tuple(stick for node in nodes for stick in _sticks(node, wanted))


def open_stick(stick: Stick) -> Path:
    """Return the folder of what is on *stick*, which is mounted where it is not yet. Blocks; raises `CommandFailed`."""
    if stick.mountpoint:
        return Path(stick.mountpoint)
    folder = _MOUNTS / str(os.getpid()) / Path(stick.paths[0]).name
    with _lock:
        if folder.is_mount():
            return folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except PermissionError as error:
            raise CommandFailed(f"the stick {stick.label} is not mounted", hint="mount it, or run as root") from error
        failure: CommandFailed | None = None
        for path in stick.paths:
            try:
                proc.run(["mount", "--options", "ro,nosuid,nodev,noexec", path, str(folder)], timeout_s=_MOUNT_TIMEOUT_S)
                return folder
            except CommandFailed as error:
                failure = failure or error
        folder.rmdir()
        raise failure or CommandFailed(f"the stick {stick.label} has no device")


def close_sticks() -> None:
    """Unmount what `open_stick` has mounted here, and what processes that are gone have left. Blocks; what is busy stays."""
    if not _MOUNTS.is_dir():
        return
    with _lock:
        for owner in _MOUNTS.iterdir():
            if owner.name != str(os.getpid()) and Path("/proc", owner.name).exists():
                continue
            for folder in owner.iterdir():
                with contextlib.suppress(CommandFailed):
                    if folder.is_mount():
                        proc.run(["umount", str(folder)], timeout_s=_MOUNT_TIMEOUT_S)
                    folder.rmdir()
            with contextlib.suppress(OSError):
                owner.rmdir()


def _read_labels(nodes: list[dict[str, Any]]) -> None:
    """Ask blkid for what lsblk knows from udev only, where there is no udev."""
    for node in nodes:
        argv = ["blkid", "--probe", "--match-tag", "LABEL", "--output", "value", str(node.get("path") or f"/dev/{node['name']}")]
        _, output = proc.run(argv, timeout_s=_LIST_TIMEOUT_S, check=False)
        node["label"] = output.decode("utf-8", "replace").strip() or None
        _read_labels(node.get("children") or [])


def _sticks(node: dict[str, Any], wanted: dict[str, str]) -> Iterator[Stick]:
    if node.get("type") == "loop" and os.environ.get("BTY_ALLOW_LOOP") != "1":
        return
    label = wanted.get(str(node.get("label") or "").casefold())
    if label is None:
        for child in node.get("children") or []:
            yield from _sticks(child, wanted)
        return
    shown = [node, *(child for child in node.get("children") or [] if str(child.get("label") or "").casefold() == label.casefold())]
    places = [str(place) for device in shown for place in device.get("mountpoints") or [] if place and _is_public(str(place))]
    paths = tuple(str(device.get("path") or f"/dev/{device['name']}") for device in reversed(shown))
    yield Stick(label=label, paths=paths, mountpoint=places[0] if places else None)


def _is_public(place: str) -> bool:
    """Tell whether a mount point is not one of ours: those go when the process that made them goes."""
    return not place.startswith(f"{_MOUNTS}/")
