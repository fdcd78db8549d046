"""`bty flash`: an image to a disk, or to several at once."""

from __future__ import annotations

import argparse
import gc
import re
import sys

from bty.agent.follow import follow_many
from bty.agent.report import Reporter
from bty.errors import InvalidInput
from bty.flash.bmap import parse_bmap
from bty.flash.engine import ImageJob, ManyFlash, Outcome
from bty.flash.target import find_disk, refuse
from bty.host.disks import list_disks
from bty.model.disk import Disk
from bty.model.image import ImageFormat
from bty.model.progress import Progress
from bty.sources.opening import find_bmap, open_image, read_document
from bty.units import MIB

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BMAP_LIMIT_BYTES = 64 * MIB
_CONFIRM_CHARACTERS = 4


def flash(argv: list[str]) -> int:
    """Flash as the words behind `flash` say, and return the exit code: 0 where every disk was flashed, else the first failure's."""
    gc.freeze()  # what is loaded stays: no collection looks at it again, the one at the end neither, which took 16 ms (measured)
    arguments = _parse(argv)
    sha256 = arguments.sha256.lower().removeprefix("sha256:") if arguments.sha256 else None
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise InvalidInput(f"not a sha256 in hex: {arguments.sha256[:80]!r}", hint="64 digits 0-9 a-f")
    disks = list_disks()
    targets = _find(arguments.target, disks)
    source, image_format = open_image(arguments.source, image_format=arguments.format, sha256=sha256)
    if arguments.bmap and image_format is ImageFormat.QCOW2:
        raise InvalidInput("a bmap is of a raw image, this one is qcow2", hint="leave out --bmap: qcow2 tells itself what is used")
    document = read_document(arguments.bmap, _BMAP_LIMIT_BYTES) if arguments.bmap else find_bmap(arguments.source, image_format)
    if not arguments.yes:
        for disk in targets:
            _confirm(disk)
    job = ImageJob(
        source=source,
        image_format=image_format,
        disks=disks,
        sha256=sha256,
        bmap=parse_bmap(document) if document else None,
        verify=arguments.verify,
        sparse=not arguments.no_sparse,
    )
    many = ManyFlash(job, targets)
    teller = _Teller(many, targets, as_json=arguments.json)
    outcomes = follow_many(many, teller.progress, teller.ended)
    return next((outcome.error.exit_code for outcome in outcomes if outcome.error), 0)


class _Teller:
    """Tells a program of every disk, and people, who get one line, of the disk that is last."""

    def __init__(self, flash: ManyFlash, targets: tuple[Disk, ...], *, as_json: bool) -> None:
        self._flash = flash
        self._targets = targets
        self._as_json = as_json
        self._reporter = Reporter(as_json=as_json, several=len(targets) > 1)

    def progress(self, index: int, progress: Progress, rate_bps: float) -> None:
        """Tell how far a disk is."""
        if self._as_json or index == self._last():
            self._reporter.progress(progress, rate_bps, self._targets[index].path)

    def ended(self, _index: int, outcome: Outcome) -> None:
        """Tell how the flash of a disk ended."""
        self._reporter.result(outcome.receipt, outcome.error)

    def _last(self) -> int:
        """Return the disk that is least far, of those that have not ended."""
        waiting = [index for index in range(len(self._targets)) if not self._flash.outcome(index)]
        done = self._flash.progress()
        return min(waiting, key=lambda index: done[index].done, default=0)


def _find(names: list[str], disks: tuple[Disk, ...]) -> tuple[Disk, ...]:
    """Return the disks called *names*. Raises where one is not there, is refused, or is named twice: then none is begun."""
    targets: list[Disk] = []
    for name in names:
        disk = find_disk(name, disks)
        if disk in targets:
            raise InvalidInput(f"{disk.path} is named twice", hint="name each disk once")
        refuse(disk, disks)
        targets.append(disk)
    return tuple(targets)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bty flash", description="Write an image to a disk, or to several at once, and prove it.")
    parser.add_argument("source", metavar="SOURCE", help="a file, http(s):// or oras:// address of an image")
    parser.add_argument("target", metavar="TARGET", nargs="+", help="a disk: its path, a link under /dev/disk/by-id, its serial or WWN")
    parser.add_argument("--sha256", metavar="HEX", help="the sha256 that the image, as fetched, must have")
    parser.add_argument("--format", metavar="FMT", help="img, img.gz, img.xz, img.zst, img.bz2 or qcow2; else the name tells")
    parser.add_argument("--bmap", metavar="FILE|URL", help="a block map of a raw image; one beside the image is found by itself")
    parser.add_argument("--verify", action="store_true", help="read the disk back and compare")
    parser.add_argument("--no-sparse", action="store_true", help="write zeros too, instead of having the disk zero them")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: progress, then the result, of each disk")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(argv)


def _confirm(disk: Disk) -> None:
    """Ask for the end of the disk's serial, typed by hand. Raises `InvalidInput` where nobody can, or it differs."""
    if not sys.stdin.isatty():
        raise InvalidInput("nobody is here to confirm", hint="add --yes to write without a question")
    wanted = disk.serial[-_CONFIRM_CHARACTERS:] if disk.serial else "flash"
    what = f"the last {_CONFIRM_CHARACTERS} characters of its serial" if disk.serial else "the word flash"
    print(f"All that is on {disk.describe()} will be lost.", file=sys.stderr)
    try:
        answer = input(f"Type {what} to go on: ").strip()
    except EOFError:
        answer = ""
    if answer != wanted:
        raise InvalidInput("that is not it: nothing was written")
