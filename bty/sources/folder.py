"""Images that lie in a folder of this machine: its own files only, no links, known by their suffix (contract 6.9)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bty.errors import InvalidInput, SourceFailed
from bty.model.catalog import parse_digest
from bty.model.image import ImageFormat, detect_format
from bty.units import KIB

_DIGEST_SUFFIX = ".sha256"
_DIGEST_MAX_BYTES = 4 * KIB  # a digest, a file name and some air


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderImage:
    """One image file. `sha256` is what the file of that suffix beside it promises."""

    path: str
    format: ImageFormat
    size_bytes: int
    sha256: str | None


def list_folder(folder: Path) -> tuple[tuple[FolderImage, ...], tuple[InvalidInput, ...]]:
    """Return the images of *folder* by name, and what is wrong with others. Blocks; raises `SourceFailed`."""
    images: list[FolderImage] = []
    wrong: list[InvalidInput] = []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                image_format = detect_format(entry.name)
                if image_format is None or not entry.is_file(follow_symlinks=False):
                    continue
                try:
                    sha256 = read_sidecar(Path(entry.path))
                except InvalidInput as error:
                    wrong.append(error)
                    continue
                size_bytes = entry.stat(follow_symlinks=False).st_size
                images.append(FolderImage(path=entry.path, format=image_format, size_bytes=size_bytes, sha256=sha256))
    except OSError as error:
        raise SourceFailed(f"cannot read {folder}: {error.strerror}") from error
    return tuple(images), tuple(wrong)


def read_sidecar(image: Path) -> str | None:
    """Return the digest in the `.sha256` file beside *image*, None where there is none. Raises `InvalidInput`, `OSError`."""
    sidecar = image.with_name(image.name + _DIGEST_SUFFIX)
    if not sidecar.is_file():
        return None
    with sidecar.open("rb") as file:
        words = file.read(_DIGEST_MAX_BYTES).decode("utf-8", "replace").split(None, 1)
    try:
        return parse_digest(words[0] if words else "")
    except InvalidInput as error:
        raise InvalidInput(f"{sidecar.name}: {error.message}", hint="remove it, or make it anew with sha256sum") from error
