"""What happens, in words: the daemon's events and the marks on the serial line, each with what comes next."""

from __future__ import annotations

import time
from typing import Any

from console import Console

from bty import __version__
from tests.pxe.harness import TRIO, Site
from tests.pxe.image import HOST_NAME, LOGIN_PROMPT
from tests.pxe.qemu import Power

_ENTERED = "bty: entered"
_WHATEVER = "what is on the disk, if anything is"
_MIB = 1 << 20


class Story:
    """Tells one event after the other. `seen` counts what was told, by the event's kind or one of the words below."""

    LOGIN, LOCAL_DISK, INVENTORY = "login", "local disk", "machine.inventory"

    def __init__(self, site: Site, console: Console, *, at_login: str = "", at_local_disk: str = "") -> None:
        """Tell of *site*; *at_login* and *at_local_disk* are what the operator may do then."""
        self.seen: dict[str, int] = {}
        self._at_login = at_login
        self._at_local_disk = at_local_disk or _WHATEVER
        self._site = site
        self._console = console
        self._began = time.monotonic()
        self._last_event = self._entered = self._logins = 0
        self._awaits_login = False
        self._last_offer = ""
        events = site.operator.call("GET", "/events?limit=1")["events"]
        if events:  # a state that was kept
            self._last_event = events[0]["id"]

    def begin(self) -> None:
        """Count seconds and marks from now: the machine is switched on."""
        self._began = time.monotonic()
        self._entered = self._logins = 0

    def tell(self, now: str, following: str = "") -> None:
        """Say what happens now, and what comes next."""
        seconds = f"{time.monotonic() - self._began:4.0f} s  "
        self._console.say(f"== {seconds}{now}" + (f"\n           next: {following}" if following else ""))

    def turn(self, power: Power) -> None:
        """Tell what is new."""
        events = self._site.operator.call("GET", "/events?limit=100")["events"]
        for event in reversed([event for event in events if event["id"] > self._last_event]):
            self._last_event = event["id"]
            self._count(event["kind"])
            self._tell_event(event["kind"], event["details"] or {}, event["summary"])
        said = power.said
        if (entered := said.count(_ENTERED)) > self._entered:
            self._entered = entered
            self.tell(f"the live environment runs bty {__version__}, which asks the daemon for its plan", "it does what the plan says")
        if (logins := said.count(LOGIN_PROMPT)) > self._logins:
            self._logins = logins
            if self._awaits_login:
                self._awaits_login = False
                self._count(self.LOGIN)
                self.tell(f"the system that was flashed is at its login prompt: {HOST_NAME}", self._at_login)
                self._console.is_raw = True

    def _count(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def _tell_event(self, kind: str, details: dict[str, Any], summary: str) -> None:
        match kind:
            case "netboot.pxe.offered" if details["offer_kind"] == self._last_offer == "bty-inventory-sanboot":
                self.tell("the machine asked once more; the daemon's answer is the same")
            case "netboot.pxe.offered":
                self._last_offer = details["offer_kind"]
                self._tell_offer(str(details.get("offer")), details)
            case "machine.inventory":
                disks = ", ".join(details.get("serials", ())) or "none"
                self.tell(f"the machine has told the daemon what it is made of; disks: {disks}", "the flasher does what it was started for")
            case "machine.flashed":
                size, written = details["image_bytes"] / _MIB, details["bytes_written"] / _MIB
                self.tell(
                    f"flashed: an image of {size:.0f} MiB in {details['seconds']:.1f} s onto {details['target_path']}, of which "
                    f"{written:.0f} MiB had to be written;\n           sha256 {details['sha256'][:12]}... is the one of the catalog",
                    "the machine restarts, and asks the daemon again",
                )
            case "machine.flash.failed":
                self.tell(f"the flash failed: {details.get('error') or summary}", "it is tried three times, then a person is asked")
            case "machine.upserted" | "machine.reset":
                self.tell(f"in the app: {summary}", "it counts when the machine starts the next time")
            case _:
                pass

    def _tell_offer(self, offer: str, details: dict[str, Any]) -> None:
        self._console.is_raw = False
        size = sum(path.stat().st_size for path in TRIO) / _MIB
        live = f"it fetches kernel, initrd and live environment over HTTP, {size:.0f} MiB in all, and starts them"
        match offer:
            case "bty-flash-once" | "bty-flash-always":
                self.tell(f"the machine asked for its script; the daemon's answer: flash {details['image_name']!r}", live)
            case "bty-inventory":
                self.tell("the machine asked for its script; the daemon does not know it: tell me what you are made of", live)
            case "bty-tui":
                self.tell("the machine asked for its script; the daemon's answer: ask the person in front of you", live)
            case "sanboot" | "ipxe-exit":
                self._awaits_login = True
                self._count(self.LOCAL_DISK)
                flashed = bool(details.get("sanboot_after_flash"))
                answer = "the flash is done, start your own disk" if flashed else "start your own disk"
                self.tell(f"the machine asked again; the daemon's answer: {answer}", _WHATEVER if flashed else self._at_local_disk)
            case other:
                self.tell(f"the daemon's answer to the machine: {other}", "its firmware goes on")
