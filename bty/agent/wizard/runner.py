"""Does what the state machine wants done, each piece in a thread, and tells the outcome as an event. Knows no terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

from bty.agent.choices import ImageChoice, SourceList, default_sources, load_source
from bty.agent.report import Reporter
from bty.agent.server import Server
from bty.agent.unattended import Unattended
from bty.agent.wizard.batch import Batch
from bty.agent.wizard.events import (
    CancelFlash,
    ContentsRead,
    DisksListed,
    Effect,
    Event,
    FindSources,
    FlashEnded,
    FollowPlan,
    ImageProbed,
    ListDisks,
    LoadSource,
    PlanEnded,
    ProbeImage,
    ReadContents,
    Reboot,
    SourceLoaded,
    SourcesFound,
    StartFlash,
    Told,
)
from bty.agent.wizard.narrate import ScreenNarrator
from bty.errors import BtyError
from bty.host import power
from bty.host.console import Console
from bty.host.contents import read_contents
from bty.host.disks import list_disks
from bty.sources.opening import open_image

_Post = Callable[[Event], None]


class Runner:
    """*post* is called from other threads. *server* is whose plan is followed, and who hears of flashes by hand.

    *overprinted* is called after the machine's console was written to, which may be the terminal of the screen.
    """

    def __init__(
        self,
        post: _Post,
        *,
        server: Server | None,
        image_root: Path | None,
        reboot: bool,
        overprinted: Callable[[], None],
        console: Console | None = None,
    ) -> None:
        self._post = post
        self._server = server
        self._image_root = image_root
        self._reboot = reboot
        self._console = console or Console(beside_screen=True)
        self._console.overprinted = overprinted
        self._flashing: threading.Thread | None = None
        self._cancel: Callable[[], None] | None = None
        self._idle: Callable[[], bool] = lambda: False

    def perform(self, effect: Effect) -> bool:
        """Start to do *effect* and return at once; false where it is the terminal's to do."""
        match effect:
            case FindSources():
                self._start("find", lambda: self._find(effect.server))
            case LoadSource():
                self._start("load", lambda: self._load(effect.location))
            case ListDisks():
                self._start("disks", self._list_disks)
            case ReadContents():
                self._start("contents", lambda: self._read_contents(effect.path))
            case ProbeImage():
                self._start("probe", lambda: self._probe(effect.image))
            case StartFlash():
                batch = Batch(effect, self._post, self._server)
                self._cancel, self._idle = batch.cancel, lambda: False
                self._flashing = self._start("batch", lambda: self._run_batch(batch))
            case FollowPlan():
                narrator = ScreenNarrator(self._post, _log())
                self._cancel, self._idle = narrator.cancel, lambda: narrator.idle
                self._flashing = self._start("plan", lambda: self._follow_plan(narrator))
            case CancelFlash():
                self.cancel()
            case Reboot():
                self._start("reboot", self._restart)
            case _:
                return False
        return True

    def busy(self) -> bool:
        """Tell whether a flash goes on, or its report to the server."""
        return self._flashing is not None and self._flashing.is_alive() and not self._idle()

    def cancel(self) -> None:
        """Have the flash stop; returns at once."""
        if self._cancel:
            self._start("cancel", self._cancel)

    def leave_idle(self) -> None:
        """See to it that an unattended run which still waits for its plan begins nothing any more."""
        if self._idle() and self._cancel:
            self._cancel()

    def wait(self) -> None:
        """Wait for the flash to end."""
        if self._flashing:
            self._flashing.join()

    def _start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def _find(self, server: str | None) -> None:
        self._answer(lambda: SourcesFound(default_sources(server=server, image_root=self._image_root)), lambda why: SourcesFound((), why))

    def _load(self, location: str) -> None:
        def failed(why: str) -> Event:
            return SourceLoaded(location, SourceList(label=location, location=location, images=(), error=why, hint=None))

        self._answer(lambda: SourceLoaded(location, load_source(location)), failed)

    def _list_disks(self) -> None:
        self._answer(lambda: DisksListed(list_disks()), lambda why: DisksListed((), why))

    def _read_contents(self, path: str) -> None:
        self._answer(lambda: ContentsRead(path, read_contents(path)), lambda why: ContentsRead(path, None, why))

    def _probe(self, image: ImageChoice) -> None:
        def probe() -> Event:
            source, _ = open_image(image.src, image_format=image.format, sha256=image.sha256, origin=image.origin)
            try:
                source.open()
                return ImageProbed(image.src, source.size)
            finally:
                source.close()

        self._answer(probe, lambda why: ImageProbed(image.src, None, why))

    def _answer(self, work: Callable[[], Event], failed: Callable[[str], Event]) -> None:
        """Post what *work* gives, or what *failed* makes of the reason: an answer that never comes would look like one to come."""
        try:
            event = work()
        except Exception as error:  # noqa: BLE001 - the screen waits for this event
            event = failed(_tell(error))
        self._post(event)

    def _run_batch(self, batch: Batch) -> None:
        try:
            batch.run()
        except Exception as error:  # noqa: BLE001 - the screen waits for this event
            self._post(Told(_tell(error)))
            self._post(FlashEnded(1))

    def _follow_plan(self, narrator: ScreenNarrator) -> None:
        assert self._server is not None
        try:
            code = Unattended(self._server, narrator, reboot=self._reboot, console=self._console).run()
        except Exception as error:  # noqa: BLE001 - the screen waits for this event
            code, narrator.text = 1, _tell(error)
        self._post(PlanEnded(exit_code=code, mode=narrator.mode, text=narrator.text))

    def _restart(self) -> None:
        try:
            power.reboot()
        except BtyError as error:
            self._post(Told(f"cannot reboot: {error}"))


def _log() -> Reporter | None:
    """Return who writes plain lines to standard error, where that is not the terminal of the screen."""
    return Reporter(as_json=False, output=sys.stderr) if sys.stderr and not sys.stderr.isatty() else None


def _tell(error: Exception) -> str:
    return str(error) if isinstance(error, BtyError) else f"internal error: {error!r}"
