"""One image onto the disks that somebody chose: runs in a thread, tells every step as an event, reports to the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from bty.agent.choices import ImageChoice
from bty.agent.follow import follow_many
from bty.agent.server import Server
from bty.agent.unattended import ProgressPoster
from bty.agent.wizard.events import DiskEnded, Event, FlashBegan, FlashEnded, FlashMoved, Said, StartFlash
from bty.errors import BtyError
from bty.flash.bmap import parse_bmap
from bty.flash.engine import ImageJob, ManyFlash, Outcome
from bty.model.image import image_ref
from bty.model.plan import Receipt
from bty.model.progress import Progress
from bty.sources.opening import find_bmap, open_image


class Batch:
    """`run` blocks until every disk has ended; `cancel` may be called from any thread. *server* is told where there is one."""

    def __init__(self, effect: StartFlash, post: Callable[[Event], None], server: Server | None) -> None:
        self._effect = effect
        self._post = post
        self._server = server
        self._poster = ProgressPoster(server) if server else None
        self._lock = threading.Lock()
        self._flash: ManyFlash | None = None
        self._cancelled = False

    def run(self) -> int:
        """Fetch once, write to all, and return the exit code: 0, or that of the first failure."""
        effect = self._effect
        self._post(FlashBegan(image=effect.image, disks=effect.targets, verify=effect.verify, at=time.monotonic()))
        try:
            flash = ManyFlash(self._job(), effect.targets)
        except BtyError as error:
            outcomes = self._fail_all(error)
        else:
            with self._lock:
                self._flash = flash
                if self._cancelled:
                    flash.cancel()
            outcomes = follow_many(flash, self._watch, self._disk_ended)
        exit_code = next((outcome.error.exit_code for outcome in outcomes if outcome.error), 0)
        self._post(FlashEnded(exit_code))
        if self._poster:
            self._poster.finish()
        for outcome in outcomes:
            self._report(outcome.receipt)
        return exit_code

    def cancel(self) -> None:
        """Stop; the disks that have not ended fail with `Cancelled`."""
        with self._lock:
            self._cancelled = True
            flash = self._flash
        if flash:
            flash.cancel()

    def _job(self) -> ImageJob:
        image = self._effect.image
        source, image_format = open_image(image.src, image_format=image.format, sha256=image.sha256, origin=image.origin)
        document = find_bmap(image.origin or image.src, image_format)
        return ImageJob(
            source=source,
            image_format=image_format,
            disks=self._effect.disks,
            sha256=image.sha256,
            bmap=parse_bmap(document) if document else None,
            verify=self._effect.verify,
            name=image.name,
            ref=_ref(image),
        )

    def _fail_all(self, error: BtyError) -> tuple[Outcome, ...]:
        """Tell that no flash could be begun, for every disk."""
        image = self._effect.image
        blank = Receipt(source=image.src, target_path="", name=image.name, ref=_ref(image), format=image.format)
        failed = replace(blank, error=str(error), error_code=error.code)
        disks = self._effect.targets
        outcomes = tuple(Outcome(replace(failed, target_path=disk.path, target_serial=disk.serial), error) for disk in disks)
        for index, outcome in enumerate(outcomes):
            self._disk_ended(index, outcome)
        return outcomes

    def _watch(self, index: int, progress: Progress, rate_bps: float) -> None:
        self._post(FlashMoved(index, progress, rate_bps, time.monotonic()))
        if self._poster:
            self._poster.post(progress, rate_bps)

    def _disk_ended(self, index: int, outcome: Outcome) -> None:
        self._post(DiskEnded(index, outcome.receipt, time.monotonic()))

    def _report(self, receipt: Receipt) -> None:
        """Send the receipt. An older daemon takes any for a success, so it hears of successes only."""
        if self._server is None or (receipt.error and not self._server.tells_failures):
            return
        try:
            self._server.done(receipt)
        except BtyError as error:
            self._post(Said(f"the server did not take the receipt: {error}"))


def _ref(image: ImageChoice) -> str | None:
    """Return the ref by which a daemon knows the image: made of where it came from, not of the cache that serves it."""
    source = image.origin or image.src
    return image_ref(source) if "://" in source else None
