"""What kind of terminal this is, from its name, the environment and its device."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bty.agent.wizard.look import Look

_PLAIN_TERMS = ("vt", "ansi", "dumb")  # hardware and what imitates it: no colour, no letters beyond ASCII, one screen
_MOUSE_TERMS = ("xterm", "screen", "tmux", "rxvt", "foot", "alacritty", "kitty", "konsole", "gnome", "putty", "st-", "vte")
_SERIAL_DEVICES = ("/dev/ttyS", "/dev/ttyAMA", "/dev/ttyUSB", "/dev/ttyACM", "/dev/ttyGS", "/dev/hvc")
_LOCALE_NAMES = ("LC_ALL", "LC_CTYPE", "LANG")  # the first that is set counts
_LEAST = (20, 8)
_USUAL = (80, 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a terminal can do. `addressable`: it moves its cursor; `ours`: no terminal emulator of a person, but a console.

    A session that a console shows, such as the live environment's, is one too: there `BTY_CONSOLE` names the console.
    """

    term: str
    look: Look
    colour: bool
    mouse: bool
    alternate: bool
    addressable: bool
    serial: bool
    ours: bool


def recognise(environment: Mapping[str, str], device: str) -> Kind:
    """Return what the terminal called *device* can do."""
    term = environment.get("TERM", "")
    plain = not term or term.startswith(_PLAIN_TERMS)
    unicode = not plain and _is_utf8(environment)
    return Kind(
        term=term,
        look=Look(unicode=unicode, sparks=unicode and term != "linux"),  # the font of the Linux console lacks most of them
        colour=not plain and not environment.get("NO_COLOR"),
        mouse=term.startswith(_MOUSE_TERMS),
        alternate=not plain and term != "linux",
        addressable=term not in ("", "dumb", "unknown"),
        serial=device.startswith(_SERIAL_DEVICES),
        ours=bool(device) and (not device.startswith("/dev/pts/") or bool(environment.get("BTY_CONSOLE"))),
    )


def terminal_kind() -> Kind:
    """Return what the terminal at standard output can do."""
    return recognise(started_with(), device_name(1))


def started_with() -> dict[str, str]:
    """Return the environment that this program was started with: in the C locale, Python has since changed `LC_CTYPE`."""
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in entries)
    return {name: value for name, separator, value in pairs if separator}


def device_name(fd: int) -> str:
    """Return the path of the terminal at *fd*, empty where it is none."""
    try:
        return os.ttyname(fd)
    except OSError:
        return ""


def terminal_size(fd: int) -> tuple[int, int]:
    """Return columns and rows. A serial line knows none, so the environment is asked, and then 80x24 taken."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        columns = rows = 0
    columns = columns or _number("COLUMNS") or _USUAL[0]
    rows = rows or _number("LINES") or _USUAL[1]
    return max(columns, _LEAST[0]), max(rows, _LEAST[1])


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 5 else 0


def _is_utf8(environment: Mapping[str, str]) -> bool:
    """Tell whether the locale that was set has UTF-8. What Python encodes in tells nothing: it takes UTF-8 in the C locale too."""
    locale = next((value for name in _LOCALE_NAMES if (value := environment.get(name))), "")
    return locale.partition(".")[2].partition("@")[0].lower().replace("-", "") == "utf8"
