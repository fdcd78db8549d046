"""The wizard's state machine in the hands of a test: disks and images to choose from, keys and their effects."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.choices import ImageChoice, SourceList
from bty.agent.wizard.events import DisksListed, Effect, Event, FindSources, FlashBegan, Key, Paste, SourceLoaded, SourcesFound
from bty.agent.wizard.frame import paint
from bty.agent.wizard.look import Look
from bty.agent.wizard.state import Size, Source, State
from bty.agent.wizard.update import begin, update
from bty.model.disk import Disk
from bty.units import GIB

LOCAL = "/images"
REMOTE = "https://images.example/Catalog.toml"
SSD = Disk(path="/dev/sda", size_bytes=500 * GIB, device="8:0", model="Fast SSD", serial="S3Z9NB0K12345A", tran="sata")
NVME = Disk(path="/dev/nvme0n1", size_bytes=1000 * GIB, device="259:0", model="Quick NVMe", serial="NV-0042", tran="nvme")
NAMELESS = Disk(path="/dev/vdb", size_bytes=20 * GIB, device="254:16")
SYSTEM = Disk(path="/dev/vda", size_bytes=20 * GIB, device="254:0", serial="root", in_use=("/dev/vda1 holds the running system",))
DISKS = (SSD, NVME, NAMELESS, SYSTEM)


def image(name: str = "debian-13.img.zst", **facts: object) -> ImageChoice:
    """Return an image with facts of choice."""
    known = {"src": f"{LOCAL}/{name}", "format": "img.zst", "sha256": None, "size_bytes": GIB, "arch": "x86_64"}
    rest = {"description": None, "origin": None, "source": LOCAL}
    return ImageChoice(name=name, **{**known, **rest, **facts})


IMAGES = tuple(image(name) for name in ("debian-13.img.zst", "fedora-43.img.zst", "ubuntu-26.img.zst"))


class Hands:
    """Presses keys and keeps the effects. `state` is what came out."""

    def __init__(self, *, server: str | None = None, mac: str | None = None, locations: tuple[str, ...] = (LOCAL,)) -> None:
        sources = tuple(Source(location=location) for location in locations)
        self.state = State(version="0.61.0", server=server, mac=mac, sources=sources)
        self.effects: list[Effect] = []
        self._take(begin(self.state))
        if self.state.looking:
            assert self.effects.pop() == FindSources(server)
            self.event(SourcesFound(()))

    def _take(self, step: tuple[State, tuple[Effect, ...]]) -> None:
        self.state, effects = step
        self.effects += effects

    def event(self, *events: Event) -> Hands:
        for event in events:
            self._take(update(self.state, event))
        return self

    def press(self, *keys: str) -> Hands:
        return self.event(*(Key(key) for key in keys))

    def type(self, text: str) -> Hands:
        return self.press(*("space" if char == " " else char for char in text))

    def paste(self, text: str) -> Hands:
        return self.event(Paste(text))

    def loaded(self, location: str = LOCAL, images: tuple[ImageChoice, ...] = IMAGES, error: str | None = None) -> Hands:
        listing = SourceList(label=location, location=location, images=images, error=error, hint="is it plugged in?" if error else None)
        return self.event(SourceLoaded(location, listing))

    def at_disks(self, disks: tuple[Disk, ...] = DISKS) -> Hands:
        return self.loaded().press("enter").event(DisksListed(disks))

    def flashing(self, *disks: Disk, at: float = 100.0) -> Hands:
        return self.at_disks().event(FlashBegan(image=IMAGES[0], disks=disks or (SSD,), at=at))

    def take_effects(self) -> list[Effect]:
        taken, self.effects = self.effects, []
        return taken

    def resized(self, columns: int, rows: int) -> Hands:
        self.state = replace(self.state, size=Size(columns, rows))
        return self

    def screen(self, look: Look | None = None) -> str:
        frame = paint(self.state, look or Look())
        return "\n".join("".join(text for _, text in line) for line in frame.lines)
