"""What the daemon tells the flasher to do, and what the flasher says it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

_TEXT_LIMIT = 4000
_NOTES_LIMIT = 16


class PlanMode(StrEnum):
    """What a booted machine is to do."""

    FLASH = "flash"
    INTERACTIVE = "interactive"
    INVENTORY = "inventory"
    EXIT = "exit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer of `GET /pxe/{mac}/plan`.

    `image` and `origin` are locations of the same bytes: where `image` fails the flasher goes on at `origin`.
    `disk_image_sha` is the sha256 in hex of the bytes as fetched. `cycle` is absent in a predecessor's plan.
    """

    mode: PlanMode
    image: str | None = None
    target_disk_serial: str | None = None
    name: str | None = None
    ref: str | None = None
    disk_image_sha: str | None = None
    format: str | None = None
    origin: str | None = None
    catalog: str | None = None
    cycle: str | None = None
    verify: bool = False
    attempt: int | None = None
    max_attempts: int | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the wire form: absent values are left out, as older flashers expect."""
        wire = {key: value for key in _FIELDS if (value := getattr(self, key)) is not None and value is not False}
        wire["mode"] = self.mode.value
        return wire

    @classmethod
    def from_json(cls, wire: object) -> Plan:
        """Read a plan; an unknown mode, or one that lacks what it needs, means interactive."""
        if not isinstance(wire, dict):
            return cls(mode=PlanMode.INTERACTIVE, reason="the plan is not a JSON object")
        texts: dict[str, Any] = {key: value for key, value in wire.items() if key in _TEXTS and isinstance(value, str)}
        numbers: dict[str, Any] = {key: value for key, value in wire.items() if key in _NUMBERS and type(value) is int}
        mode = str(wire.get("mode"))
        if mode not in set(PlanMode):
            mode = PlanMode.INTERACTIVE
            texts["reason"] = f"the plan's mode is unknown: {wire.get('mode')!r}"
        elif mode == PlanMode.FLASH and not (texts.get("image") and texts.get("target_disk_serial")):
            mode = PlanMode.INTERACTIVE
            texts["reason"] = "the plan names no image or no disk"
        return cls(mode=PlanMode(mode), verify=wire.get("verify") is True, **texts, **numbers)


_NUMBERS = ("attempt", "max_attempts")
_FIELDS = tuple(Plan.__dataclass_fields__)
_TEXTS = frozenset(_FIELDS) - {"mode", "verify", *_NUMBERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where the bytes of an image are to be read, decided when a plan is made.

    `image` and `origin` as in a plan, `sha` the sha256 in hex that the bytes must have, `decision` what the event says about it.
    """

    image: str
    origin: str | None = None
    sha: str | None = None
    decision: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What one flash did: the body of `POST /pxe/{mac}/done`, and the result line of `--json`.

    `sha256` covers the bytes as fetched (compressed where the image is). `verified` holds `wire` where that digest
    was compared with a promised one, `bmap` where the ranges of a block map were, `readback` where the disk was read back
    and compared. `bytes_read` are bytes
    of the source, `image_bytes` the size of the raw image, `bytes_written` those sent to the disk (holes are not).
    """

    source: str
    target_path: str
    ref: str | None = None
    name: str | None = None
    format: str | None = None
    sha256: str | None = None
    verified: tuple[str, ...] = ()
    bytes_read: int = 0
    image_bytes: int = 0
    bytes_written: int = 0
    target_serial: str | None = None
    seconds: float = 0.0
    retries: int = 0
    error: str | None = None
    error_code: str | None = None
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the wire form, every field present; long texts are cut to what the daemon takes."""
        wire = {key: value[:_TEXT_LIMIT] if isinstance(value, str) else value for key, value in asdict(self).items()}
        wire["verified"] = list(self.verified)
        wire["notes"] = [note[:_TEXT_LIMIT] for note in self.notes[:_NOTES_LIMIT]]
        return wire
