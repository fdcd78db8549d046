"""A realistic disk image and its packings, made of files that every Debian has: no root, no network.

The image has a GPT, a first partition of noise, an ext4 with real files, and holes. `session_images()` makes each file once a
session, when it is first asked for; `Images(folder)` keeps them in a folder of the caller's, for benches that run again.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MIB = 1 << 20
_ESP_BYTES = 8 * MIB
_ROOT_AT = 1 * MIB + _ESP_BYTES
_SOURCES = ("/usr/share", "/usr/lib", "/usr/bin")
# fmt: off
_PACKERS: dict[str, tuple[str, list[str]]] = {
    "img": ("disk.img", []),
    "img.gz": ("disk.img.gz", ["gzip", "-n", "-4", "-c"]),
    "img.xz": ("disk.img.xz", ["xz", "-T2", "-0", "--block-size=8MiB", "-c"]),  # several blocks, so that it unpacks on all processors
    "img.zst": ("disk.img.zst", ["zstd", "-q", "-3", "-c"]),
    "img.bz2": ("disk.img.bz2", ["bzip2", "-1", "-c"]),
    "qcow2": ("disk.qcow2", ["qemu-img", "convert", "-f", "raw", "-O", "qcow2"]),
    "qcow2-c": ("disk-c.qcow2", ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c"]),
    "qcow2-zstd": ("disk-zstd.qcow2", ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd"]),
}
# fmt: on
VARIANTS = tuple(_PACKERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedImage:
    """A file and what it holds: `sha256` is of the file, `raw_sha256` of the disk's content."""

    path: Path
    size: int
    sha256: str
    raw_size: int
    raw_sha256: str


class Images:
    """The image in every packing, in one folder; *big* is 2 GiB with about 832 MiB of it used, instead of 96 MiB."""

    def __init__(self, folder: Path, *, big: bool = False) -> None:
        self._folder = folder / ("big" if big else "small")
        self._size, self._used = (2048 * MIB, 800 * MIB) if big else (96 * MIB, 44 * MIB)

    def get(self, variant: str = "img") -> PackedImage:
        """Return the image packed as one of `VARIANTS`."""
        raw = self._make("img")
        path = self._make(variant)
        return PackedImage(path=path, size=path.stat().st_size, sha256=_sha256(path), raw_size=self._size, raw_sha256=_sha256(raw))

    def _make(self, variant: str) -> Path:
        name, argv = _PACKERS[variant]
        path = self._folder / name
        if path.exists():
            return path
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{name}.part")
        if variant == "img":
            self._make_raw(part)
        elif argv[0] == "qemu-img":
            subprocess.run([*argv, str(self._make("img")), str(part)], check=True)
        else:
            with part.open("wb") as out:
                subprocess.run([*argv, str(self._make("img"))], check=True, stdout=out)
        return part.rename(path)

    def _make_raw(self, path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(self._size)
        table = f"label: gpt\nlabel-id: 6E6F6973-6500-4000-8000-000000000001\nsize={_ESP_BYTES // MIB}M, type=U\ntype=L\n"
        subprocess.run(["sfdisk", "-q", str(path)], input=table, text=True, check=True)
        with path.open("r+b") as file:
            file.seek(1 * MIB)
            file.write(random.Random(1).randbytes(2 * MIB))
        with tempfile.TemporaryDirectory(dir=self._folder) as tree:
            _copy_files(Path(tree), self._used)
            blocks = (self._size - _ROOT_AT - 1 * MIB) // 1024
            # fmt: off
            subprocess.run(
                ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-N", "40000" if self._size > 1024 * MIB else "8000",
                 "-d", tree, "-E", f"offset={_ROOT_AT},root_owner=0:0", str(path), f"{blocks}k"],
                check=True, stdout=subprocess.DEVNULL,
            )
            # fmt: on


@cache
def session_images(*, big: bool = False) -> Images:
    """Return the images of this test session; they are removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="bty-images-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Images(folder, big=big)


@cache
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_files(tree: Path, wanted: int) -> None:
    """Copy real files, from the small to the large of each folder, until *wanted* bytes are there."""
    copied = 0
    for index, source in enumerate(_readable_files()):
        size = source.stat().st_size
        if copied + size > wanted:
            continue
        target = tree / f"{index // 200:04}" / f"{index}-{source.name}"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
        copied += -(-size // 4096) * 4096
        if copied > wanted - 64 * 1024:
            return


def _readable_files() -> Iterator[Path]:
    for top in _SOURCES:
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink() and 8 * 1024 < path.stat().st_size < 16 * MIB and os.access(path, os.R_OK):
                    yield path
