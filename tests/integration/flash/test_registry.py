"""Images in a real OCI registry on loopback: flashed bit for bit, by tag and by digest, by hand and by plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.flash.conftest import run_bty
from tests.support.api import Operator, eventually
from tests.support.loop import LoopDisk
from tests.support.process import daemon_process
from tests.support.registry import Registry, missing_programs, running_registry

pytestmark = [pytest.mark.loop, pytest.mark.skipif(bool(missing_programs()), reason=f"needs {missing_programs()}")]
MAC = "52:54:00:44:55:66"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(autouse=True)
def trust(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(registry.certificate))


@pytest.mark.parametrize("image_format", ["img", "img.gz", "img.xz", "img.zst", "img.bz2", "qcow2"])
def test_an_image_in_a_registry_is_flashed_bit_for_bit(
    registry: Registry, disk: LoopDisk, images: dict[str, Path], image_format: str
) -> None:
    """The layer's title tells the format, and the registry's digest is what the bytes must have."""
    packed = images[image_format].read_bytes()
    digest = registry.push_disk_image(f"lab/{image_format}", "1", packed, title=f"disk.{image_format}")
    run = run_bty("flash", f"oras://{registry.host}/lab/{image_format}:1", disk.path, "--verify", "--json", "--yes")
    assert run.code == 0, run.stderr
    raw = images["img"].read_bytes()
    assert disk.read(len(raw)) == raw
    assert run.receipt["sha256"] == digest == hashlib.sha256(packed).hexdigest()
    assert run.receipt["verified"] == ["wire", "readback"]


def test_a_tag_that_moved_is_refused_where_a_digest_was_promised(registry: Registry, disk: LoopDisk, images: dict[str, Path]) -> None:
    """With --sha256 the blob of that digest is fetched, whatever the tag says by now."""
    old = images["img.gz"].read_bytes()
    digest = registry.push_disk_image("lab/moving", "latest", old)
    registry.push_disk_image("lab/moving", "latest", old + b"\0" * 64)
    run = run_bty("flash", f"oras://{registry.host}/lab/moving:latest", disk.path, "--sha256", digest, "--json", "--yes")
    assert run.code == 0, run.stderr
    assert run.receipt["sha256"] == digest


def test_a_plan_for_a_rolling_tag_names_the_digest_of_the_moment(
    registry: Registry, disk: LoopDisk, images: dict[str, Path], tmp_path: Path
) -> None:
    """From the registry first, from the cache then; and a tag that moved is flashed as what it is now."""
    raw = images["img"].read_bytes()
    digest = registry.push_disk_image("lab/rolling", "latest", images["img.gz"].read_bytes())
    src = f"oras://{registry.host}/lab/rolling:latest"
    env = {"BTY_WITHCACHE_EMBEDDED": "true", "SSL_CERT_FILE": str(registry.certificate)}
    with daemon_process(tmp_path / "state", env=env) as daemon:
        operator = Operator(daemon.url)
        ref = operator.call("POST", "/catalog/entries", {"image_url": src})["bty_image_ref"]
        operator.bind(MAC, ref, disk.serial, "bty-flash-always")
        for served_from in (src, f"{daemon.url}/b/"):
            operator.boot(MAC)
            disk.fill_with_old_content()
            run = run_bty("--server", daemon.url, "--mac", MAC, "--no-reboot", "--json")
            assert run.code == 0, run.stderr
            assert disk.read(len(raw)) == raw
            receipt = operator.events("machine.flashed")[0]["details"]
            assert receipt["source"].startswith(served_from)
            assert receipt["sha256"] == digest
            assert "sanboot" in operator.boot(MAC)
            eventually(lambda: any(blob["sha256"] for blob in operator.call("GET", "/cache")["blobs"]))
