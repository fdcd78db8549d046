"""How a flash is told on standard output: JSON lines for programs, plain lines for people."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from bty.errors import BtyError, PersonWanted
from bty.host.console import tell
from bty.model.disk import Disk
from bty.model.plan import Plan, PlanMode, Receipt
from bty.model.progress import STAGE_WORDS, Progress, Stage
from bty.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from bty.flash.engine import Flash

_LINE_EVERY_S = 5.0  # where the output is no terminal

_PROOFS = {"wire": "digest as promised", "bmap": "as its bmap says", "readback": "read back"}


class Narrator(Protocol):
    """Whom an unattended run tells what it does."""

    def progress(self, progress: Progress, rate_bps: float) -> None:
        """A flash has come so far."""

    def began(self, plan: Plan, disk: Disk, flash: Flash) -> None:
        """A flash begins."""

    def retrying(self, plan: Plan, after_s: float) -> bool:
        """The flash failed and is tried again. Waits; returns whether to go on."""

    def say(self, line: str) -> None:
        """Something for people."""

    def result(self, receipt: Receipt, error: BtyError | None) -> None:
        """A flash has ended."""

    def outcome(self, mode: str, **facts: object) -> None:
        """A run that flashed nothing has ended."""

    def failed(self, error: BtyError) -> None:
        """A run has ended before a flash could begin, or between two."""

    def wanted(self) -> bool:
        """Whether the plan that has come is still to be done: somebody may have chosen by hand meanwhile, or ended the program."""


class Reporter:
    """Prints progress and the result. With *as_json* each is one JSON object a line, on standard output alone.

    With *several* disks a line for people names its disk.
    """

    def __init__(self, *, as_json: bool, several: bool = False, output: TextIO | None = None) -> None:
        """Lines go to *output*, which is standard output if nothing is said."""
        self.mode = ""
        """The plan's, once a run has ended that flashed nothing."""
        self._as_json = as_json
        self._several = several
        self._output = output or sys.stdout
        self._terminal = not as_json and self._output is not None and self._output.isatty()
        self._stage: Stage | None = None
        self._spoke_at = 0.0
        self._open_line = False

    def progress(self, progress: Progress, rate_bps: float, target: str | None = None) -> None:
        """Print how far a flash is; *target* is the path of its disk."""
        if self._as_json:
            named = {"target": target} if target else {}
            self._object({"event": "progress", **named, **progress.to_json(), "rate": round(rate_bps)})
            return
        now = time.monotonic()
        if not self._terminal and progress.stage is self._stage and now - self._spoke_at < _LINE_EVERY_S:
            return
        self._stage, self._spoke_at = progress.stage, now
        line = (f"{target}  " if self._several else "") + progress_line(progress, rate_bps)
        if self._terminal:
            # A line that wraps could not be painted over.
            tell(line[: shutil.get_terminal_size().columns - 1], self._output, start="\r\x1b[K", end="")
            self._open_line = True
        else:
            tell(line, self._output)

    def began(self, plan: Plan, disk: Disk, _flash: Flash) -> None:
        """Print what is flashed where."""
        self.say(f"bty: {plan.name or plan.image} to {disk.describe()}")

    def retrying(self, plan: Plan, after_s: float) -> bool:
        """Say that the plan has the flash tried again, and wait for that. Returns whether to go on."""
        self.announce_retry(plan, after_s)
        time.sleep(after_s)
        return True

    def announce_retry(self, plan: Plan, after_s: float) -> None:
        """Say that the plan has the flash tried again."""
        self.say(f"bty: attempt {plan.attempt} of {plan.max_attempts} in {after_s:g} s")

    def say(self, line: str) -> None:
        """Print a line for people; programs that read JSON get it on standard error."""
        self._close_line()
        tell(line, sys.stderr if self._as_json else self._output)

    def result(self, receipt: Receipt, error: BtyError | None) -> None:
        """Print what was done."""
        self._close_line()
        code = error.exit_code if error else 0
        if self._as_json:
            self._object(
                {"event": "result", "target": receipt.target_path, "ok": error is None, "exit_code": code, "receipt": receipt.to_json()}
            )
            return
        if error:
            tell(f"bty: failed: {f'{receipt.target_path}: ' if self._several else ''}{error}", sys.stderr)
            return
        for line in receipt_lines(receipt):
            tell(line, self._output)

    def outcome(self, mode: str, **facts: object) -> None:
        """Print the end of a run that flashed nothing; that was the plan, unless it leaves the rest to a person who reads no JSON."""
        self.mode = mode
        if self._as_json:
            code = PersonWanted.exit_code if mode == PlanMode.INTERACTIVE else 0
            self._object({"event": "result", "ok": code == 0, "exit_code": code, "mode": mode, **facts})

    def failed(self, error: BtyError) -> None:
        """Print why a run has ended."""
        self.say(f"bty: {error}")
        if self._as_json:
            tell(failure_line(error), self._output)

    def wanted(self) -> bool:
        """Say yes: nobody chooses by hand beside plain lines."""
        return True

    def _object(self, value: dict[str, Any]) -> None:
        tell(json.dumps(value, separators=(",", ":")), self._output)

    def _close_line(self) -> None:
        if self._open_line:
            tell("", self._output)
            self._open_line = False


def failure_line(error: BtyError) -> str:
    """Return the result, as a program reads it, of a run that ended where no flash was under way."""
    result = {"event": "result", "ok": False, "exit_code": error.exit_code, "error": str(error), "error_code": error.code}
    return json.dumps(result, separators=(",", ":"))


def receipt_lines(receipt: Receipt) -> list[str]:
    """Say what a receipt says, in lines for people."""
    if receipt.error:
        where = receipt.target_path or receipt.target_serial or "the disk"
        return [f"failed: {where}: {receipt.error}"]
    proof = ", ".join(_PROOFS[way] for way in receipt.verified) or "no digest was promised"
    return [
        f"flashed {receipt.target_path}: {format_bytes(receipt.image_bytes)} image, {format_bytes(receipt.bytes_written)} written,"
        f" {receipt.seconds:.1f} s, {proof}",
        f"sha256 {receipt.sha256} of {format_bytes(receipt.bytes_read)} from {receipt.source}",
        *[f"note: {note}" for note in receipt.notes],
    ]


def progress_line(progress: Progress, rate_bps: float) -> str:
    """Say how far a flash is, in one line."""
    words = [STAGE_WORDS[progress.stage]]
    if progress.trouble:  # first of all: a terminal may be too narrow for the rest
        words.append(f"waiting: {progress.trouble}")
    if progress.done_total:
        words.append(f"{progress.done * 100 // progress.done_total} %")
    words.append(format_bytes(progress.done) + (f" of {format_bytes(progress.done_total)}" if progress.done_total else ""))
    if progress.stage is Stage.WRITE and progress.read_total:
        words.append(f"download {progress.read * 100 // progress.read_total} %")
    if rate_bps:
        words.append(f"{format_bytes(rate_bps)}/s")
        if left := progress.seconds_left(rate_bps):
            words.append(f"{format_seconds(left)} left")
    if progress.retries:
        words.append(f"{progress.retries} reconnects")
    return "  ".join(words)
