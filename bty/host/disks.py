"""The disks of this machine, read from lsblk and sysfs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from bty.errors import CommandFailed
from bty.host import proc
from bty.model.disk import Disk

_COLUMNS = "NAME,PATH,MAJ:MIN,SIZE,TYPE,VENDOR,MODEL,SERIAL,WWN,RM,RO,MOUNTPOINTS,TRAN,LOG-SEC"
_TIMEOUT_S = 10.0
# Slow controllers spin up their disks one after the other; what is not there after this long is not waited for.
_UDEV_S = 30.0
_UDEV = Path("/run/udev/control")
_LOOK_S = 0.05
_BY_ID = Path("/dev/disk/by-id")
_SYS_BLOCK = Path("/sys/class/block")


def list_disks() -> tuple[Disk, ...]:
    """Return the whole disks of this machine, in the kernel's order. Blocks; raises `CommandFailed`.

    Where udev runs, from which serials and by-id names come, this waits up to 30 s until it has looked at every device. With
    `BTY_AWAIT_UDEV=1`, as in the live environment whose flasher starts first, udev itself is waited for as long. Loop devices
    with a backing file count as disks when the environment says `BTY_ALLOW_LOOP=1`.
    """
    _await_udev()
    _, output = proc.run(["lsblk", "--json", "--bytes", "--output", _COLUMNS], timeout_s=_TIMEOUT_S)
    try:
        nodes = json.loads(output)["blockdevices"]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed(f"lsblk printed no list of devices: {error}") from error
    by_id = _by_id_names()
    swaps = _swap_devices()
    return tuple(_disk(node, by_id, swaps) for node in nodes if _counts(node))


def _await_udev() -> None:
    """Wait until udev is through with the devices that are there. Where it is not through in time, what is known is listed."""
    deadline = time.monotonic() + _UDEV_S
    while os.environ.get("BTY_AWAIT_UDEV") == "1" and not _UDEV.exists() and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    if _UDEV.exists() and proc.which("udevadm"):
        proc.run(["udevadm", "settle", f"--timeout={_UDEV_S:.0f}"], timeout_s=_UDEV_S + _TIMEOUT_S, check=False)


def _counts(node: dict[str, Any]) -> bool:
    name = str(node["name"])
    if node["type"] == "disk":
        return not name.startswith(("zram", "ram", "fd"))
    return node["type"] == "loop" and os.environ.get("BTY_ALLOW_LOOP") == "1" and _backing_file(name) is not None


def _disk(node: dict[str, Any], by_id: dict[str, tuple[str, ...]], swaps: frozenset[str]) -> Disk:
    name = str(node["name"])
    path = str(node.get("path") or f"/dev/{name}")
    backing = _backing_file(name) if node["type"] == "loop" else None
    serial = f"loop-{Path(backing).name}" if backing else _text(node.get("serial"))
    return Disk(
        path=path,
        device=str(node["maj:min"]),
        size_bytes=int(node.get("size") or 0),
        logical_sector_bytes=int(node.get("log-sec") or 512),
        serial=serial,
        wwn=_text(node.get("wwn")),
        vendor=_text(node.get("vendor")),
        model=_text(node.get("model")),
        tran=_text(node.get("tran")),
        removable=bool(node.get("rm")),
        readonly=bool(node.get("ro")),
        by_id=by_id.get(name, ()),
        in_use=tuple(_uses(node, swaps)),
    )


def _uses(node: dict[str, Any], swaps: frozenset[str]) -> list[str]:
    """Say what uses a device or anything on it: mounts, swap, and holders such as md, lvm and dm."""
    name = str(node["name"])
    path = str(node.get("path") or f"/dev/{name}")
    reasons = []
    for mountpoint in dict.fromkeys(node.get("mountpoints") or []):
        if mountpoint == "[SWAP]" or (mountpoint is None and path in swaps):
            reasons.append(f"{path} is swap")
        elif mountpoint:
            reasons.append(f"{path} holds the running system" if mountpoint == "/" else f"{path} is mounted at {mountpoint}")
    if path in swaps and f"{path} is swap" not in reasons:
        reasons.append(f"{path} is swap")
    holders = _SYS_BLOCK / name / "holders"
    if holders.is_dir():
        reasons += [f"{path} is held by {_holder_name(holder)}" for holder in sorted(holders.iterdir())]
    for child in node.get("children") or []:
        reasons += [reason for reason in _uses(child, swaps) if reason not in reasons]
    return reasons


def _holder_name(holder: Path) -> str:
    mapper = holder / "dm" / "name"
    return f"{holder.name} ({mapper.read_text().strip()})" if mapper.is_file() else holder.name


def _backing_file(name: str) -> str | None:
    try:
        return (_SYS_BLOCK / name / "loop" / "backing_file").read_text().strip() or None
    except OSError:
        return None


def _by_id_names() -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    if _BY_ID.is_dir():
        for link in sorted(_BY_ID.iterdir()):
            target = Path(os.path.realpath(link)).name
            names[target] = (*names.get(target, ()), str(link))
    return names


def _swap_devices() -> frozenset[str]:
    try:
        lines = Path("/proc/swaps").read_text().splitlines()[1:]
    except OSError:
        return frozenset()
    return frozenset(os.path.realpath(line.split()[0]) for line in lines if line)


def _text(value: object) -> str | None:
    return str(value).strip() or None if value is not None else None
