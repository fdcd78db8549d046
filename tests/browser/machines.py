"""Machines as the daemon sees them: what firmware and a flasher send, without any."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

DISK = {
    "path": "/dev/nvme0n1",
    "size": "960G",
    "vendor": None,
    "model": "SAMSUNG MZQL2960HCJR",
    "serial": "S64FNE0R801234",
    "tran": "nvme",
    "removable": False,
    "readonly": False,
    "size_bytes": 960_197_124_096,
    "wwn": "eui.36344630528012340025384100000001",
}
SECOND = {
    "path": "/dev/sda",
    "size": "4T",
    "vendor": "SEAGATE",
    "model": "ST4000NM0035",
    "serial": "ZC1A7Q4T",
    "tran": "sas",
    "removable": False,
    "readonly": False,
    "size_bytes": 4_000_787_030_016,
    "in_use": ["/dev/sda1 mounted on /srv"],
}
STICK = {
    "path": "/dev/sdb",
    "size": "32G",
    "vendor": "Generic",
    "model": "Flash Disk",
    "serial": None,
    "tran": "usb",
    "removable": True,
    "readonly": False,
}
LSHW = {
    "id": "box",
    "class": "system",
    "vendor": "Supermicro",
    "product": "SYS-1029P",
    "serial": "A1234",
    "children": [
        {"id": "cpu:0", "class": "processor", "product": "Intel(R) Xeon(R) Gold 6230", "configuration": {"cores": "20", "threads": "40"}},
        {
            "id": "memory",
            "class": "memory",
            "size": 206158430208,
            "children": [{"id": f"bank:{n}", "class": "memory", "size": 34359738368} for n in range(6)],
        },
        {
            "id": "network:0",
            "class": "network",
            "logicalname": "eno1",
            "serial": "52:54:00:00:00:01",
            "vendor": "Intel",
            "product": "X722",
            "size": 10_000_000_000,
        },
    ],
}


class Box:
    """One machine on the daemon's network."""

    def __init__(self, url: str, mac: str) -> None:
        self.url = url
        self.mac = mac
        self.token: str | None = None

    def contact(self) -> str:
        """Ask for the script, and fetch the kernel where that is what it says."""
        script = self._get(f"/pxe/{self.mac}").decode()
        if "vmlinuz" in script:
            self._get(f"/boot/kernel?mac={self.mac}", may_fail=True)
        return script

    def inventory(self, *disks: dict[str, Any], lshw: object = None) -> None:
        """Report disks and hardware."""
        self._post("inventory", {"disks": list(disks), "lshw": lshw})

    def discover(self, *disks: dict[str, Any], lshw: object = None) -> None:
        """Boot for the first time, report, and boot the disk."""
        self.contact()
        self.plan()
        self.inventory(*disks, lshw=lshw)
        self.contact()

    def plan(self) -> dict[str, Any]:
        """Ask what to do; what is sent from here on carries the token of that cycle."""
        plan: dict[str, Any] = json.loads(self._get(f"/pxe/{self.mac}/plan"))
        self.token = plan.get("cycle")
        return plan

    def progress(self, stage: str, done: int, total: int | None, rate: float | None = 250e6, trouble: str | None = None) -> None:
        """Say how far the flash has come."""
        self._post("progress", {"stage": stage, "bytes": done, "total": total, "rate": rate, "trouble": trouble})

    def log(self, *lines: str) -> None:
        """Send lines of the log."""
        self._post("log", {"lines": list(lines)})

    def done(self, **receipt: Any) -> None:
        """Send the receipt of a flash."""
        self._post("done", receipt)

    def _post(self, what: str, body: dict[str, Any]) -> None:
        if self.token:
            body = {**body, "cycle": self.token}
        request = urllib.request.Request(
            f"{self.url}/pxe/{self.mac}/{what}", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=20).close()

    def _get(self, path: str, *, may_fail: bool = False) -> bytes:
        try:
            with urllib.request.urlopen(self.url + path, timeout=20) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError:
            if not may_fail:
                raise
            return b""
