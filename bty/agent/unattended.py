"""A machine that asks the daemon what to do, does it, and says what it did."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from bty.agent.follow import follow
from bty.agent.report import Narrator
from bty.agent.server import Server
from bty.errors import BtyError, Cancelled, CommandFailed
from bty.flash.bmap import parse_bmap
from bty.flash.engine import Flash, FlashJob
from bty.host import disks as host_disks
from bty.host import hardware, power
from bty.host.console import Console
from bty.model.disk import Disk, find_by_serial
from bty.model.plan import Plan, PlanMode, Receipt
from bty.model.progress import Progress, Stage
from bty.sources.opening import find_bmap, open_image

_CHOOSE = "on the server choose image and disk, or start over on the machine's page"
_POST_EVERY_S = 1.0
_LAST_POST_S = 10.0  # as long as a post may take
_RETRY_AFTER_S = 5.0
_INVENTORY_JOIN_S = 45.0  # longer than lshw's 30 s and one post


class Unattended:
    """One run of `bty --server URL --mac MAC`."""

    def __init__(
        self,
        server: Server,
        reporter: Narrator,
        *,
        reboot: bool,
        retry_after_s: float = _RETRY_AFTER_S,
        console: Console | None = None,
    ) -> None:
        self._server = server
        self._server.on_wait = self._say
        self._reporter = reporter
        self._reboot = reboot
        self._retry_after_s = retry_after_s
        self._console = console or Console()

    def run(self) -> int:
        """Do what the plan says and return the exit code."""
        self._console.enter()
        try:
            return self._follow_plan(self._server.plan())
        except BtyError as error:
            self._reporter.failed(error)
            return error.exit_code
        finally:
            self._console.leave()

    def _follow_plan(self, plan: Plan) -> int:
        if not self._reporter.wanted():
            return Cancelled.exit_code
        if plan.mode is PlanMode.EXIT:
            self._say("bty: the plan is to leave this machine as it is; set a boot mode and an image on the server to change that")
            self._reporter.outcome(plan.mode.value)
            return 0
        inventory = threading.Thread(target=self._report_hardware, name="inventory", daemon=True)
        inventory.start()
        if plan.mode is PlanMode.FLASH:
            return self._flash_until_done(plan, inventory)
        if plan.mode is PlanMode.INVENTORY:
            self._say("bty: the plan is to report this machine's hardware")
        inventory.join(_INVENTORY_JOIN_S)
        if plan.mode is PlanMode.INTERACTIVE:
            self._say(f"bty: the plan is interactive{f': {plan.reason}' if plan.reason else ''}; {_CHOOSE}")
            self._reporter.outcome(plan.mode.value, reason=plan.reason)
            return 0
        if not self._reporter.wanted():  # the inventory took its time
            return Cancelled.exit_code
        self._reporter.outcome(plan.mode.value)
        self._restart()
        return 0

    def _flash_until_done(self, plan: Plan, inventory: threading.Thread) -> int:
        """Flash; after a failure ask for the plan again, since it says whether to try once more."""
        while True:
            error = self._flash(plan, inventory)
            if error is None:
                self._console.announce("bty: flash complete; rebooting" if self._reboot else "bty: flash complete")
                self._restart()
                return 0
            if not self._server.tells_failures or error.code == "cancelled":
                return error.exit_code
            again = self._server.plan()
            if again.mode is not PlanMode.FLASH:
                self._say(f"bty: no further attempt{f': {again.reason}' if again.reason else ''}; {_CHOOSE}")
                return error.exit_code
            if not self._reporter.retrying(again, self._retry_after_s):
                return error.exit_code
            plan = again

    def _flash(self, plan: Plan, inventory: threading.Thread) -> BtyError | None:
        """Flash once and send the receipt. Returns why it failed, None after a success."""
        self._console.start_over()
        self._console.announce("bty: auto-flash starting")
        receipt = _blank_receipt(plan)
        failure: BtyError | None = None
        try:
            disks = host_disks.list_disks()
            disk = find_by_serial(str(plan.target_disk_serial), disks)
            receipt = replace(receipt, target_path=disk.path)
            flash = Flash(self._job(plan, disk, disks))
            self._reporter.began(plan, disk, flash)
            watcher = _Watcher(self._server, self._reporter, self._console)
            try:
                receipt = follow(flash, watcher)
            except BtyError as error:
                receipt = flash.receipt(error)
                raise
            finally:
                watcher.finish()
        except BtyError as error:
            failure = error
            receipt = replace(receipt, error=str(error), error_code=error.code)
        self._reporter.result(receipt, failure)
        if failure:
            self._server.log([f"flash failed: {failure}"])
        inventory.join(_INVENTORY_JOIN_S)
        self._send(receipt)
        return failure

    def _send(self, receipt: Receipt) -> None:
        """Send the receipt. An older daemon takes any for a success, so it hears of successes only."""
        if receipt.error and not self._server.tells_failures:
            return
        try:
            self._server.done(receipt)
        except BtyError as error:
            self._say(f"bty: the server did not take the receipt: {error}")

    def _job(self, plan: Plan, disk: Disk, disks: tuple[Disk, ...]) -> FlashJob:
        image = str(plan.image)
        source, image_format = open_image(image, image_format=plan.format, sha256=plan.disk_image_sha, origin=plan.origin)
        document = find_bmap(plan.origin or image, image_format)
        return FlashJob(
            source=source,
            image_format=image_format,
            disk=disk,
            disks=disks,
            sha256=plan.disk_image_sha,
            bmap=parse_bmap(document) if document else None,
            verify=plan.verify,
            name=plan.name,
            ref=plan.ref,
        )

    def _report_hardware(self) -> None:
        try:
            disks = [disk.to_json() for disk in host_disks.list_disks()]
            self._server.inventory(disks, hardware.read_lshw())
        except BtyError as error:
            self._say(f"bty: the server did not take the inventory: {error}")

    def _restart(self) -> None:
        if self._reboot:
            try:
                power.reboot()
            except CommandFailed as error:
                self._say(f"bty: cannot reboot: {error}")

    def _say(self, line: str) -> None:
        self._reporter.say(line)


class _Watcher:
    """Tells console, people and server how far a flash is. A slow server slows nothing: its posts run beside."""

    def __init__(self, server: Server, reporter: Narrator, console: Console) -> None:
        self._poster = ProgressPoster(server)
        self._reporter = reporter
        self._console = console

    def __call__(self, progress: Progress, rate_bps: float) -> None:
        self._reporter.progress(progress, rate_bps)
        self._console.milestones("download", progress.read, progress.read_total)
        if progress.stage is not Stage.VERIFY:
            self._console.milestones("write", progress.done, progress.done_total)
        self._poster.post(progress, rate_bps)

    def finish(self) -> None:
        """Wait for what is still being told."""
        self._poster.finish()


class ProgressPoster:
    """Posts how far a flash is, once a second at most, each post in a thread of its own while no other is on its way."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._posted_at = 0.0
        self._post: threading.Thread | None = None

    def post(self, progress: Progress, rate_bps: float) -> None:
        """Post where it is time to. Returns at once."""
        now = time.monotonic()
        if now - self._posted_at >= _POST_EVERY_S and not (self._post and self._post.is_alive()):
            self._posted_at = now
            self._post = threading.Thread(target=self._server.progress, args=(progress, rate_bps), name="progress", daemon=True)
            self._post.start()

    def finish(self) -> None:
        """Wait for a post that is on its way: one that came after the receipt would tell of a flash that has ended."""
        if self._post:
            self._post.join(_LAST_POST_S)


def _blank_receipt(plan: Plan) -> Receipt:
    return Receipt(
        source=str(plan.image), target_path="", ref=plan.ref, name=plan.name, format=plan.format, target_serial=plan.target_disk_serial
    )
