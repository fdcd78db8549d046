"""A bmap beside the image is found and honoured; it proves the image where nobody promised a digest."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from bty.flash.writer import HEAD_BYTES
from bty.units import MIB
from tests.integration.flash.conftest import run_bty
from tests.support.hostile import Hostile, hostile_server
from tests.support.loop import LoopDisk

pytestmark = [pytest.mark.loop, pytest.mark.needs("bmaptool")]


@pytest.fixture
def mapped(images: dict[str, Path], tmp_path: Path) -> Path:
    """An image with holes on the disk, packed, with the map that bmaptool makes of it."""
    raw = tmp_path / "mapped.img"
    subprocess.run(["cp", "--sparse=always", images["img"], raw], check=True)
    subprocess.run(["bmaptool", "--quiet", "create", "-o", tmp_path / "mapped.img.bmap", raw], check=True)
    packed = tmp_path / "mapped.img.gz"
    packed.write_bytes(gzip.compress(raw.read_bytes(), 1))
    return packed


def test_the_map_beside_a_file_proves_it(disk: LoopDisk, mapped: Path, images: dict[str, Path]) -> None:
    """The receipt says so, and the disk is the whole image all the same."""
    run = run_bty("flash", str(mapped), disk.path, "--json", "--yes")
    assert run.code == 0, run.stderr
    raw = images["img"].read_bytes()
    assert disk.read(len(raw)) == raw
    assert run.receipt["verified"] == ["bmap"]


def test_a_map_that_is_named_is_used_for_an_image_on_a_server(disk: LoopDisk, mapped: Path, images: dict[str, Path]) -> None:
    """From another place than the image."""
    with hostile_server(Hostile(body=mapped.read_bytes())) as server:
        run = run_bty("flash", f"{server.url}/x.img.gz", disk.path, "--bmap", f"{mapped.parent}/mapped.img.bmap", "--json", "--yes")
    assert run.code == 0, run.stderr
    assert run.receipt["verified"] == ["bmap"]
    raw = images["img"].read_bytes()
    assert disk.read(len(raw)) == raw


def test_an_image_that_differs_from_its_map_is_no_success(disk: LoopDisk, mapped: Path) -> None:
    """One wrong byte in a mapped range, in an image that unpacks without complaint."""
    raw = bytearray(gzip.decompress(mapped.read_bytes()))
    place = next(at for at in range(2 * MIB, len(raw)) if raw[at])
    raw[place] ^= 1
    mapped.write_bytes(gzip.compress(bytes(raw), 1))
    run = run_bty("flash", str(mapped), disk.path, "--json", "--yes")
    assert run.code == 13
    assert "differs from its bmap" in run.receipt["error"]
    assert disk.read(HEAD_BYTES) == bytes(HEAD_BYTES)


def test_a_map_of_another_image_is_refused(disk: LoopDisk, mapped: Path, images: dict[str, Path]) -> None:
    """Before the first write, where the sizes tell."""
    before = disk.read(MIB)
    run = run_bty("flash", str(images["img.xz"]), disk.path, "--bmap", str(_map_of(mapped.parent, 5 * MIB)), "--json", "--yes")
    assert run.code == 13
    assert "the bmap is of an image of" in run.receipt["error"]
    assert disk.read(MIB) == before


def _map_of(folder: Path, size: int) -> Path:
    other = folder / "other.img"
    other.write_bytes(b"o" * size)
    subprocess.run(["bmaptool", "--quiet", "create", "-o", folder / "other.bmap", other], check=True)
    return folder / "other.bmap"
