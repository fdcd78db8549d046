"""GPT facts against tables that sfdisk and sgdisk made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bty.flash.gpt import gpt_end, gpt_fits, gpt_sector_size

MIB = 1 << 20
SIZE = 32 * MIB


def made_by_sfdisk(path: Path, label: str = "gpt") -> bytes:
    with path.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["sfdisk", "-q", str(path)], input=f"label: {label}\n,8M\n,\n", text=True, check=True)
    return path.read_bytes()[:MIB]


def made_by_fdisk_for_4096(path: Path) -> bytes:
    with path.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["fdisk", "-b", "4096", str(path)], input="g\nn\n\n\n+8M\nw\n", text=True, check=True, capture_output=True)
    return path.read_bytes()[:MIB]


def test_a_table_for_sectors_of_512_bytes_is_known(tmp_path):
    head = made_by_sfdisk(tmp_path / "disk")
    assert gpt_sector_size(head) == 512
    assert gpt_end(head) == SIZE
    assert gpt_fits(head, 512)


def test_a_table_made_by_sgdisk_is_known(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(bytes(16 * MIB))
    subprocess.run(["sgdisk", "-n", "1:0:+4M", "-n", "2:0:0", str(path)], check=True, capture_output=True)
    assert gpt_end(path.read_bytes()[:MIB]) == 16 * MIB


def test_a_table_for_sectors_of_4096_bytes_does_not_fit_a_disk_of_512(tmp_path):
    head = made_by_fdisk_for_4096(tmp_path / "disk")
    assert gpt_sector_size(head) == 4096
    assert gpt_end(head) == SIZE
    assert gpt_fits(head, 4096)
    assert not gpt_fits(head, 512)


def test_a_table_that_was_written_for_both_sizes_fits_both(tmp_path):
    head = bytearray(made_by_sfdisk(tmp_path / "small"))
    large = made_by_fdisk_for_4096(tmp_path / "large")
    head[4096:8192] = large[4096:8192]
    assert gpt_fits(head, 512)
    assert gpt_fits(head, 4096)


@pytest.mark.parametrize("content", ["dos", "nothing", "short"])
def test_an_image_without_a_gpt_fits_every_disk(tmp_path, content):
    head = {"dos": lambda: made_by_sfdisk(tmp_path / "disk", label="dos"), "nothing": lambda: bytes(MIB), "short": lambda: b"EFI PART"}[
        content
    ]()
    assert gpt_sector_size(head) is None
    assert gpt_end(head) is None
    assert gpt_fits(head, 4096)


@pytest.mark.parametrize("at", [0, 11, 12, 16, 24, 32, 40, 91])
def test_a_damaged_header_does_not_count(tmp_path, at):
    head = bytearray(made_by_sfdisk(tmp_path / "disk"))
    head[512 + at] ^= 0x40
    assert gpt_sector_size(head) is None


@given(st.binary(max_size=64).map(lambda tail: bytes(512) + b"EFI PART" + tail + bytes(9000)))
def test_whatever_follows_the_signature_is_only_data(head):
    assert gpt_sector_size(head) is None
