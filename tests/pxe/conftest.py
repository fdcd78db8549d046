"""The rows of the boot chain: what they need, where their logs are kept, and the table of how long each stage took."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.pxe import image as images
from tests.pxe.harness import TRIO, Site, site
from tests.pxe.qemu import accelerator

OUTPUT = images.ROOT / "build" / "pxe"
_STAGES = pytest.StashKey[dict[str, list[tuple[str, float]]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pxe(every_run=True): boots machines of QEMU's; with every_run=False only where BTY_PXE_ALL=1")
    config.stash[_STAGES] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("pxe"):
            item.add_marker("emulated")


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("pxe")
    if mark is None:
        return
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if missing := [path.name for path in TRIO if not path.exists()]:
        pytest.skip(f"not built: {', '.join(missing)} (make media VARIANT=netboot-pc)")
    if not mark.kwargs.get("every_run", True) and os.environ.get("BTY_PXE_ALL") != "1":
        pytest.skip("a row of `make test-pxe-all`")


@pytest.fixture(scope="session")
def image() -> images.BootableImage:
    """The image that the rows flash."""
    return images.bootable_image()


@pytest.fixture(scope="session")
def accel(image: images.BootableImage, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """KVM where it works, the emulator elsewhere."""
    return accelerator(image.kernel, tmp_path_factory.mktemp("kvm"))


@pytest.fixture
def build_site(
    request: pytest.FixtureRequest, image: images.BootableImage, accel: tuple[str, ...], pytestconfig: pytest.Config
) -> Iterator[Callable[..., Site]]:
    """Build a site of the row's own; its logs stay below build/pxe."""
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with (OUTPUT / ".lock").open("w") as lock, ExitStack() as stack:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once would share folders, and each spoil the other's times
        built: list[Site] = []
        began, worked = time.monotonic(), _worked_s()

        def build(dhcp: str | None = "dhcp", **looks: Any) -> Site:
            built.append(stack.enter_context(site(OUTPUT / name, accel=accel, images=image.path.parent, dhcp=dhcp, **looks)))
            return built[-1]

        yield build
        stack.close()
        stages = [stage for one in built for machine in one.machines for stage in machine.stages]
        pytestconfig.stash[_STAGES][name] = [*stages, ("row", time.monotonic() - began), ("of processors", _worked_s() - worked)]


def _worked_s() -> float:
    """Return the processors' time in the programs that have ended so far, which says more than the clock of a busy machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def lab(build_site: Callable[..., Site]) -> Site:
    """A site with our DHCP server."""
    return build_site()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[_STAGES]
    if not rows:
        return
    terminalreporter.section("seconds from power-on")
    for name, stages in rows.items():
        terminalreporter.write_line(f"{name:52} " + "  ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages))
    sums = [sum(seconds for stages in rows.values() for stage, seconds in stages if stage == wanted) for wanted in ("row", "of processors")]
    terminalreporter.write_line(f"{len(rows)} rows: {sums[0]:.0f} s, {sums[1]:.0f} s of processors")
    known = _read(OUTPUT / "stages.json")
    (OUTPUT / "stages.json").write_text(json.dumps(known | rows, indent=1))


def _read(path: Path) -> dict[str, list[tuple[str, float]]]:
    return json.loads(path.read_text()) if path.exists() else {}
