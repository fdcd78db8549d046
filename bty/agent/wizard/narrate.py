"""The unattended run, told to a screen: what a `Reporter` prints becomes events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bty.agent.choices import ImageChoice
from bty.agent.report import Reporter
from bty.agent.wizard.events import DiskEnded, Event, FlashBegan, FlashEnded, FlashMoved, RetryAnnounced, Said
from bty.errors import BtyError
from bty.flash.engine import Flash
from bty.model.disk import Disk
from bty.model.plan import Plan, Receipt
from bty.model.progress import Progress


class ScreenNarrator:
    """A `Narrator` that posts events. `mode` and `text` tell afterwards how the run ended.

    What people read goes to *lines* too: the screen is seen by whoever stands there, a log by those who do not.
    """

    def __init__(self, post: Callable[[Event], None], lines: Reporter | None = None) -> None:
        self._post = post
        self._lines = lines
        self._flash: Flash | None = None
        self._stopped = threading.Event()
        self.idle = True
        """Whether nothing was begun that would have to be ended."""
        self.mode = ""
        self.text = ""

    def cancel(self) -> None:
        """Stop the flash, or the wait for the next attempt."""
        self._stopped.set()
        if flash := self._flash:
            flash.cancel()

    def wanted(self) -> bool:
        """Tell whether nobody has stopped the run."""
        return not self._stopped.is_set()

    def _is_left_alone(self) -> bool:
        """Tell whether the run was stopped before it began: the screen may show the flash of somebody who chose by hand."""
        return self.idle and self._stopped.is_set()

    def began(self, plan: Plan, disk: Disk, flash: Flash) -> None:
        """Show the flash."""
        self._flash, self.mode, self.text = flash, plan.mode.value, ""
        if self._stopped.is_set():  # before there was anything to stop
            flash.cancel()
            return
        self.idle = False
        image = choice_of(plan)
        event = FlashBegan(image=image, disks=(disk,), at=time.monotonic(), verify=plan.verify, attempt=plan.attempt, of=plan.max_attempts)
        self._post(event)
        if self._lines:
            self._lines.began(plan, disk, flash)

    def progress(self, progress: Progress, rate_bps: float) -> None:
        """Show how far it is."""
        if self._lines:
            self._lines.progress(progress, rate_bps)
        if not self._is_left_alone():
            self._post(FlashMoved(0, progress, rate_bps, time.monotonic()))

    def result(self, receipt: Receipt, error: BtyError | None) -> None:
        """Show how it ended."""
        self._flash = None
        if self._lines:
            self._lines.result(receipt, error)
        if error:
            self.text = str(error)
        if not self._is_left_alone():
            self._post(DiskEnded(0, receipt, time.monotonic()))
            self._post(FlashEnded(error.exit_code if error else 0))

    def retrying(self, plan: Plan, after_s: float) -> bool:
        """Count down to the next attempt; cancelling ends the wait."""
        if self._stopped.is_set():
            return False
        if self._lines:
            self._lines.announce_retry(plan, after_s)
        self._post(RetryAnnounced(time.monotonic() + after_s, plan.attempt, plan.max_attempts))
        return not self._stopped.wait(after_s)

    def say(self, line: str) -> None:
        """Put a line into the log."""
        if self._lines:
            self._lines.say(line)
        self.text = line.removeprefix("bty: ")
        self._post(Said(self.text))

    def outcome(self, mode: str, **facts: object) -> None:
        """Remember how the run ended."""
        self.mode = mode
        self.text = str(facts.get("reason") or "")  # what was said before is for those who have no screen

    def failed(self, error: BtyError) -> None:
        """Keep why the run ended."""
        self.say(f"bty: {error}")


def choice_of(plan: Plan) -> ImageChoice:
    """Return the image of a plan as one that somebody chose."""
    image = str(plan.image)
    return ImageChoice(
        name=plan.name or image,
        src=image,
        format=plan.format,
        sha256=plan.disk_image_sha,
        size_bytes=None,
        arch=None,
        description=None,
        origin=plan.origin,
        source="plan",
    )
