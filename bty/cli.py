"""Which program am I? Chosen by the name it is called by, or else by the first word (decision S1).

Every program is loaded only when it is the one, so that each starts fast.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run `bty`, `bty-web` or `bty-lab`: the zipapp's entry point."""
    called = Path(sys.argv[0]).name.removesuffix(".pyz")
    words = sys.argv[1:]
    if called == "bty-web":
        return main_web(words)
    if called == "bty-lab":
        return main_lab(words)
    if words and words[0] == "web":
        return main_web(words[1:], "bty web")
    if words and words[0] == "lab":
        return main_lab(words[1:])
    return main_flasher(words)


def main_flasher(argv: list[str] | None = None) -> int:
    """Run the flasher and return its exit code."""
    from bty.agent.cli import main as flasher

    return flasher(sys.argv[1:] if argv is None else argv)


def main_web(argv: list[str] | None = None, called: str = "bty-web") -> int:
    """Run the daemon and return its exit code; *called* is what its help calls it."""
    from bty.daemon.serve import main as web

    return web(sys.argv[1:] if argv is None else argv, called)


def main_lab(argv: list[str] | None = None) -> int:
    """Say that deployment is not in this version, and what to do instead."""
    print("bty-lab: this version has no deployment commands; run the daemon with `bty.pyz web`", file=sys.stderr)
    return 2
