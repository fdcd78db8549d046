"""What a flash by hand tells."""

from __future__ import annotations

from bty.agent.wizard.batch import Batch
from bty.agent.wizard.events import DiskEnded, Event, FlashEnded, StartFlash
from bty.model.image import image_ref
from tests.support.wizard import SSD, image


def test_the_ref_of_an_image_from_the_daemons_cache_is_that_of_its_origin() -> None:
    """The daemon knows its images by where they come from, whatever address serves them."""
    origin = "https://images.example/debian.img.odd"
    chosen = image("debian", src="http://cache/b/x/debian.img.odd", origin=origin, format="odd")
    events: list[Event] = []

    code = Batch(StartFlash(image=chosen, targets=(SSD,), disks=(SSD,), verify=False), events.append, None).run()

    (ended,) = [event for event in events if isinstance(event, DiskEnded)]
    assert ended.receipt.ref == image_ref(origin)
    assert "unknown image format" in str(ended.receipt.error)
    assert code == 2
    assert isinstance(events[-1], FlashEnded)
