"""Sticks among what lsblk lists."""

from __future__ import annotations

from typing import Any

import pytest

from bty.host.sticks import Stick, sticks_of


def node(name: str, label: str | None, *children: dict[str, Any], kind: str = "part", mountpoints: tuple[str | None, ...] = (None,)) -> Any:
    path = f"/dev/mapper/{name}" if kind == "dm" else f"/dev/{name}"
    return {"name": name, "path": path, "type": kind, "label": label, "mountpoints": list(mountpoints), "children": list(children)}


def test_a_partition_is_found_by_its_label() -> None:
    """Whatever the label's case; a whole disk without a table counts too; other labels do not."""
    nodes = [
        node("sda", None, node("sda1", "root", mountpoints=("/",)), node("sda2", "bty_images"), kind="disk"),
        node("sdb", "Ventoy", kind="disk", mountpoints=("/media/stick", None)),
    ]

    assert sticks_of(nodes, ("BTY_IMAGES", "Ventoy")) == (
        Stick(label="BTY_IMAGES", paths=("/dev/sda2",), mountpoint=None),
        Stick(label="Ventoy", paths=("/dev/sdb",), mountpoint="/media/stick"),
    )


def test_what_ventoy_lays_over_its_partition_is_tried_first() -> None:
    """A machine that Ventoy booted can mount the partition only through the mapping over it; it is still one stick."""
    nodes = [node("sdb", None, node("sdb1", "Ventoy", node("sdb1-over", "Ventoy", kind="dm")), kind="disk")]

    assert sticks_of(nodes, ("Ventoy",)) == (Stick(label="Ventoy", paths=("/dev/mapper/sdb1-over", "/dev/sdb1"), mountpoint=None),)


def test_a_mount_of_our_own_does_not_count() -> None:
    """What another run of this program has mounted goes when that run ends."""
    nodes = [node("sdb1", "Ventoy", mountpoints=("/run/bty/sticks/12/sdb1",))]

    assert sticks_of(nodes, ("Ventoy",))[0].mountpoint is None


def test_loop_devices_are_no_sticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They count only where they count as disks."""
    nodes = [node("loop0", "BTY_IMAGES", kind="loop")]

    monkeypatch.delenv("BTY_ALLOW_LOOP", raising=False)
    assert sticks_of(nodes, ("BTY_IMAGES",)) == ()
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    assert len(sticks_of(nodes, ("BTY_IMAGES",))) == 1
