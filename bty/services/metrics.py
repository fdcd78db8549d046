"""Numbers for Prometheus: what happened since the start, counted as it happens, and what is, looked up when somebody asks."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bty import __version__
from bty.model.event import Event, Kind
from bty.model.machine import BootMode, Machine

# From a small image over a fast network to a large one onto a slow disk.
_FLASH_S = (5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560)
_KINDS = frozenset(Kind)
_MODES = frozenset(BootMode)


class Metrics:
    """The numbers of one daemon; `hear` is a listener of its events."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        Gauge("bty_build_info", "The version.", ["version"], registry=registry).labels(__version__).set(1)
        self._events = Counter("bty_events", "Events of the audit log, by kind.", ["kind"], registry=registry)
        self._counters: dict[str, Counter] = {}  # to look one up takes longer than to count
        self._flash_s = Histogram("bty_flash_seconds", "How long flashes took that succeeded.", buckets=_FLASH_S, registry=registry)
        self._flash_bytes = Counter("bty_flash_written_bytes", "What successful flashes wrote.", registry=registry)
        self._machines = Gauge("bty_machines", "Machines, by boot mode.", ["boot_mode"], registry=registry)
        self._failing = Gauge("bty_machines_failed", "Machines whose newest flash failed.", registry=registry)
        self._flashing = Gauge("bty_machines_flashing", "Machines whose flash runs.", registry=registry)
        self._images = Gauge("bty_images", "Images of the catalog.", registry=registry)
        self._open = Gauge("bty_open_failures", "Failures that nobody acknowledged.", registry=registry)
        self._clients = Gauge("bty_stream_clients", "Clients of the event stream.", registry=registry)

    def hear(self, event: Event) -> None:
        """Count an event that was recorded."""
        if not event.id:
            return
        kind = event.kind if event.kind in _KINDS else "other"
        counter = self._counters.get(kind)
        if counter is None:
            counter = self._counters[kind] = self._events.labels(kind)
        counter.inc()
        if event.kind == Kind.MACHINE_FLASHED and event.details:
            seconds, written = event.details.get("seconds"), event.details.get("bytes_written")
            if isinstance(seconds, (int, float)) and seconds >= 0:
                self._flash_s.observe(seconds)
            if isinstance(written, int) and written >= 0:
                self._flash_bytes.inc(written)

    def render(self, machines: Iterable[Machine], *, flashing: int, images: int, open_failures: int, clients: int) -> bytes:
        """Return everything in Prometheus' text form."""
        modes: Tally[str] = Tally({mode: 0 for mode in BootMode})
        failing = 0
        for machine in machines:
            modes[machine.boot_mode if machine.boot_mode in _MODES else "other"] += 1
            failing += machine.flash_error is not None
        for mode, count in modes.items():
            self._machines.labels(str(mode)).set(count)
        values: tuple[tuple[Callable[[float], None], int], ...] = (
            (self._failing.set, failing),
            (self._flashing.set, flashing),
            (self._images.set, images),
            (self._open.set, open_failures),
            (self._clients.set, clients),
        )
        for put, value in values:
            put(value)
        return generate_latest(self._registry)
