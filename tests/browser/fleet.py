"""A daemon with enough in it that every page has something to show."""

from __future__ import annotations

from typing import Any

from tests.browser.machines import DISK, LSHW, SECOND, STICK, Box
from tests.support.api import Operator

GIB = 1 << 30


def fill(url: str, operator: Operator, origin: str, machines: int = 30) -> list[Box]:
    """Add images and machines in every state; return the machines."""
    debian = operator.call(
        "POST", "/catalog/entries", {"image_url": f"{origin}/debian.img.gz", "name": "Debian 13 server", "sha256": "ab" * 32}
    )
    fedora = operator.call("POST", "/catalog/entries", {"image_url": f"{origin}/fedora.qcow2", "name": "Fedora 44 CI runner"})
    boxes = [Box(url, f"52:54:00:00:00:{number:02x}") for number in range(1, machines + 1)]
    for number, box in enumerate(boxes):
        box.discover({**DISK, "serial": f"S64FNE0R80{number:04d}"}, SECOND, STICK, lshw=LSHW)
        label = f"rack-{number // 10 + 1}"
        entry: dict[str, Any] = debian if number % 3 else fedora
        if number % 4:
            operator.call(
                "PATCH", f"/machines/{box.mac}",
                {"bty_image_ref": entry["bty_image_ref"], "target_disk_serial": f"S64FNE0R80{number:04d}", "labels": [label, "ci"],
                 "boot_mode": "bty-flash-always" if number % 2 else "bty-flash-once"},
            )  # fmt: skip
    for number in (1, 2, 3):
        start(boxes[number])
        boxes[number].progress("write", number * 3 * GIB, 14 * GIB)
    finish(boxes[5])
    for number in (9, 10, 11, 13, 14, 15, 17):
        if number < machines:
            finish(boxes[number], seconds=55.0 + 7 * (number % 5), image_bytes=(10 + number % 3) * GIB)
    start(boxes[6])
    boxes[6].done(error="the digest of the bytes read is not the one promised: abcd… instead of efgh…", error_code="integrity-failed")
    return boxes


def start(box: Box) -> None:
    """Boot and fetch the plan of a flash."""
    box.contact()
    assert box.plan()["mode"] == "flash"
    box.log("bty: entered v0.61.0", "bty: auto-flash starting")


def finish(box: Box, **receipt: Any) -> None:
    """Flash from the first contact to the boot of the disk."""
    start(box)
    box.progress("write", 14 * GIB, 14 * GIB)
    told = {
        "name": "Debian 13 server", "source": "http://origin/debian.img.gz", "sha256": "ab" * 32, "verified": ["wire", "readback"],
        "bytes_read": 3 * GIB, "image_bytes": 14 * GIB, "bytes_written": 9 * GIB, "target_path": "/dev/nvme0n1",
        "target_serial": "S64FNE0R800005", "seconds": 71.5, "retries": 0,
    }  # fmt: skip
    box.done(**{**told, **receipt})
    box.contact()
