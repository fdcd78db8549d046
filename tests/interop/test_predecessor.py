"""The predecessor's daemon with our flasher, and its flasher with our daemon: unmodified, and bit for bit."""

from __future__ import annotations

import gzip
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bty.agent.choices import default_sources, load_source
from tests.conftest import IN_CI, ROOT
from tests.interop.peer import Api, daemon, fake_programs, install_peer, origin, wait_until
from tests.support.loop import LoopDisk, loop_disk

pytestmark = [pytest.mark.loop, pytest.mark.timeout(300)]

MAC = "52:54:00:11:22:33"
MIB = 1 << 20
IMAGE = random.Random(60).randbytes(9 * MIB + 512)
OURS: list[str | Path] = [sys.executable, "-m", "bty"]


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the predecessor's programs."""
    folder = tmp_path_factory.mktemp("peer") / "venv"
    if lack := install_peer(folder):
        (pytest.fail if IN_CI else pytest.skip)(lack)
    return folder / "bin"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with loop_disk(tmp_path / "interop.img", 32 * MIB) as attached:
        yield attached


@pytest.fixture
def image_url() -> Iterator[str]:
    with origin({"/system.img.gz": gzip.compress(IMAGE, 1)}) as url:
        yield f"{url}/system.img.gz"


def test_our_flasher_obeys_a_daemon_of_the_predecessor(peer: Path, disk: LoopDisk, image_url: str, tmp_path: Path) -> None:
    """Without cycle tokens, and with 404 to progress and log, the disk is the image and nobody complains."""
    with daemon([peer / "bty-web"], tmp_path / "state") as api:
        api.bind(MAC, image_url, disk.serial)
        chain = api.boot(MAC)
        ran = subprocess.run(
            [*OURS, "--server", api.url, "--mac", MAC, "--no-reboot"],
            cwd=ROOT, env={**os.environ, "BTY_ALLOW_LOOP": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        local = api.boot(MAC)
        kinds = [event["kind"] for event in api.events(MAC)]

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not re.search(r"\b404\b", ran.stdout + ran.stderr)  # a digest may hold the three digits
    assert disk.read(len(IMAGE)) == IMAGE
    assert "kernel" in chain
    assert "kernel" not in local
    assert kinds == [
        "machine.created",
        "netboot.pxe.offered",
        "netboot.flasher.armed",
        "netboot.pxe.plan",
        "machine.inventory",
        "machine.flashed",
        "netboot.pxe.offered",
    ]


def test_our_wizard_lists_the_catalog_of_a_daemon_of_the_predecessor(peer: Path, tmp_path: Path) -> None:
    """It is asked for images without a digest too, which it does not know of, and lists those that have one."""
    objects = {"/a.img.gz": b"a", "/b.img.gz": b"b", "/sums": f"{'ab' * 32}  a.img.gz\n".encode()}
    with daemon([peer / "bty-web"], tmp_path / "state") as api, origin(objects) as url:
        api.ask("POST", "/catalog/entries", {"image_url": f"{url}/a.img.gz", "sha_url": f"{url}/sums"})
        api.ask("POST", "/catalog/entries", {"image_url": f"{url}/b.img.gz"})
        location = default_sources(server=api.url, image_root=None)[-2]
        listed = load_source(location)

    assert [(image.src, image.sha256) for image in listed.images] == [(f"{url}/a.img.gz", "ab" * 32)]
    assert (listed.error, listed.hint) == (None, None)


def test_our_flasher_tells_a_daemon_of_the_predecessor_no_failure(peer: Path, disk: LoopDisk, tmp_path: Path) -> None:
    """The predecessor takes any receipt for a success, so a failed flash stays untold and the machine's cycle open."""
    broken = gzip.compress(IMAGE, 1)[:-4000]
    with origin({"/system.img.gz": broken}) as url, daemon([peer / "bty-web"], tmp_path / "state") as api:
        api.bind(MAC, f"{url}/system.img.gz", disk.serial)
        api.boot(MAC)
        ran = subprocess.run(
            [*OURS, "--server", api.url, "--mac", MAC, "--no-reboot"],
            cwd=ROOT, env={**os.environ, "BTY_ALLOW_LOOP": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        again = api.boot(MAC)
        kinds = [event["kind"] for event in api.events(MAC)]

    assert ran.returncode in (13, 14), ran.stdout + ran.stderr
    assert "machine.flashed" not in kinds
    assert "kernel" in again
    assert disk.read(MIB) != IMAGE[:MIB]


def _run_peer(peer: Path, api: Api, fakes: Path) -> None:
    """Run the predecessor's flasher once, to its success and the reboot that it asks for."""
    environment = {**os.environ, "PATH": f"{fakes}:{os.environ['PATH']}", "TERM": "dumb"}
    ran = subprocess.run(
        [peer / "bty", "--server", api.url, "--mac", MAC],
        cwd=fakes, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (fakes / "systemctl.log").read_text().split() == ["reboot"]
    (fakes / "systemctl.log").unlink()


def test_the_flasher_of_the_predecessor_obeys_our_daemon(peer: Path, disk: LoopDisk, image_url: str, tmp_path: Path) -> None:
    """Without token and receipt its posts are taken, marked as unverified; one flash is one event though it posts twice."""
    fakes = fake_programs(tmp_path / "fakes", device=disk.path, serial="PEER-1")
    with daemon([*OURS, "web"], tmp_path / "state") as api:
        api.bind(MAC, image_url, "PEER-1")
        chain = api.boot(MAC)
        _run_peer(peer, api, fakes)
        local = api.boot(MAC)
        events = api.events(MAC)
        machine = api.ask("GET", f"/machines/{MAC}")

    assert disk.read(len(IMAGE)) == IMAGE
    assert "kernel" in chain
    assert "kernel" not in local
    kinds = [event["kind"] for event in events if event["kind"] != "machine.inventory"]
    assert kinds == [
        "machine.created",
        "netboot.pxe.offered",
        "netboot.flasher.armed",
        "netboot.pxe.plan",
        "machine.flashed",
        "netboot.pxe.offered",
    ]
    (flashed,) = [event for event in events if event["kind"] == "machine.flashed"]
    assert flashed["details"]["unverified"] is True
    assert machine["last_flashed_at"]
    assert [disk["serial"] for disk in machine["known_disks"]] == ["PEER-1"]


def test_the_flasher_of_the_predecessor_reads_from_our_cache(
    peer: Path, disk: LoopDisk, image_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first flash reads at the origin and fills the embedded cache; the second reads from there, and the events say so."""
    monkeypatch.setenv("BTY_WITHCACHE_EMBEDDED", "true")
    fakes = fake_programs(tmp_path / "fakes", device=disk.path, serial="PEER-1")
    with daemon([*OURS, "web"], tmp_path / "state") as api:
        api.bind(MAC, image_url, "PEER-1")
        api.ask("PATCH", f"/machines/{MAC}", {"boot_mode": "bty-flash-always"})
        for _ in range(2):
            api.boot(MAC)
            _run_peer(peer, api, fakes)
            api.boot(MAC)
            wait_until(lambda: api.ask("GET", "/cache")["blobs"])
            flashed = disk.read(len(IMAGE))
            disk.fill_with_old_content()

            assert flashed == IMAGE

        events = api.events(MAC)

    plans = [event["details"]["withcache"]["served_from"] for event in events if event["kind"] == "netboot.pxe.plan"]
    assert plans == ["origin", "withcache"]
    assert [event["kind"] for event in events].count("machine.flashed") == 2
