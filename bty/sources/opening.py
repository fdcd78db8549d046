"""From what a person or a plan calls an image to a source of its bytes and its format.

What speaks to a network is loaded where it is needed: it takes a third of the time in which a flash from a file starts (measured).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bty.errors import InvalidInput, SourceFailed
from bty.model.image import ImageFormat, detect_format, is_tarball, parse_format, source_basename
from bty.sources.files import FileSource
from bty.sources.source import ImageSource
from bty.units import MIB

if TYPE_CHECKING:
    from bty.sources.http import Endpoint, Location
    from bty.sources.oras import ResolvedImage

_PACKINGS = (".gz", ".xz", ".zst", ".bz2")
_BMAP_LIMIT_BYTES = 64 * MIB
_BMAP_TIMEOUT_S = 3.0  # looked for on the off chance, so a slow server may not hold up a flash


def open_image(
    image: str, *, image_format: str | None = None, sha256: str | None = None, origin: str | None = None
) -> tuple[ImageSource, ImageFormat]:
    """Return the source called *image* and its format. Asks a registry where it is an `oras://` reference.

    *origin* is a second location of the same bytes. A format that is given wins over what the name says; nothing is
    ever guessed from the bytes. Raises `InvalidInput`, `SourceFailed`.
    """
    if not _is_remote(image):
        path = _path(image)
        if Path(path).is_dir():
            raise InvalidInput(f"{path} is a folder", hint="name one of the images in it")
        source: ImageSource = FileSource(path)
        return source, _choose_format(image_format, source.name)
    return _open_remote(image, image_format, sha256, origin)


def _open_remote(image: str, image_format: str | None, sha256: str | None, origin: str | None) -> tuple[ImageSource, ImageFormat]:
    from bty.sources.http import HttpSource, Location

    try:
        urlsplit(image), urlsplit(origin or "")
    except ValueError as error:
        raise InvalidInput(f"not an address: {image[:200]!r}: {error}") from error
    locations, digest, size, title = [], sha256, None, None
    if _is_oras(image):
        from bty.sources import oras

        resolved = oras.resolve(oras.pin(image, sha256) if sha256 else image)
        digest, size, title = resolved.digest, resolved.size_bytes, resolved.title
        locations.append(_registry_location(image, [resolved], digest))
    else:
        locations.append(Location.of(image))
    if origin and origin != image:
        locations.append(_registry_location(origin, [], digest) if _is_oras(origin) else Location.of(origin))
    name = title or source_basename(image)
    fallback = ImageFormat.IMG_GZ if _is_oras(image) and title is None else None
    chosen = _choose_format(image_format, name, fallback)
    stream = HttpSource(locations, name=name, digest=digest, size=size)
    if chosen is not ImageFormat.QCOW2:
        return stream, chosen
    from bty.sources.spool import SpoolWhereNeeded

    return SpoolWhereNeeded(stream), chosen


def read_document(location: str, limit_bytes: int) -> bytes:
    """Return a small document from a path or an http address. Raises `InvalidInput`, `SourceFailed`."""
    if _is_remote(location):
        from bty.sources import documents

        return documents.fetch_document(location, max_bytes=limit_bytes).body
    try:
        return Path(_path(location)).read_bytes()
    except OSError as error:
        raise SourceFailed(f"cannot read {location}: {error.strerror}") from error


def find_bmap(image: str, image_format: ImageFormat) -> bytes | None:
    """Return the bmap that lies beside *image*, under its name with `.bmap`, with or without the packing's suffix.

    None for qcow2, whose own tables tell what is used.
    """
    if image_format is ImageFormat.QCOW2:
        return None
    stem = next((image.removesuffix(packing) for packing in _PACKINGS if image.endswith(packing)), None)
    names = [f"{name}.bmap" for name in (stem, image) if name]
    if not _is_remote(image):
        return next((document for name in names if (document := _read_beside(Path(_path(name))))), None)
    if _is_oras(image) or "?" in image:
        return None
    from bty.sources import documents

    until = time.monotonic() + _BMAP_TIMEOUT_S
    for name in names:
        left_s = max(until - time.monotonic(), 0.1)
        try:
            return _bmap_or_none(documents.fetch_document(name, max_bytes=_BMAP_LIMIT_BYTES, timeout_s=left_s).body)
        except documents.HttpStatus:
            continue
        except (SourceFailed, InvalidInput):
            return None
    return None


def _read_beside(path: Path) -> bytes | None:
    try:
        return _bmap_or_none(path.read_bytes()) if path.is_file() else None
    except OSError:  # one letter too long, for example
        return None


def _bmap_or_none(document: bytes) -> bytes | None:
    """Return *document* if it is a bmap: some servers answer every name with something."""
    return document if b"<bmap" in document[:4096] else None


def _registry_location(src: str, answers: list[ResolvedImage], digest: str | None) -> Location:
    """Return a location that asks the registry before each connection, since its tokens run out.

    *answers* are used first; then always *digest* is asked for, so that a tag that moves meanwhile changes nothing.
    """
    from bty.sources.http import Endpoint, Location

    def find() -> Endpoint:
        from bty.sources import oras

        resolved = answers.pop() if answers else oras.resolve(oras.pin(src, digest) if digest else src)
        return Endpoint(resolved.url, resolved.headers)

    return Location(find=find, shown=src)


def _choose_format(given: str | None, name: str, fallback: ImageFormat | None = None) -> ImageFormat:
    chosen = parse_format(given) if given else detect_format(name) or fallback
    if chosen is None:
        formats = f"say it with --format: {', '.join(ImageFormat)}"
        hint = "an archive of files cannot be flashed, an image of a disk can" if is_tarball(name) else formats
        raise InvalidInput(f"the name {name[:200]!r} does not tell the format of the image", hint=hint)
    return chosen


def _path(location: str) -> str:
    """Return the path of a file of this machine. Raises `InvalidInput` for an address of another kind."""
    scheme, mark, rest = location.partition("://")
    if mark and scheme.lower() != "file":
        raise InvalidInput(f"unsupported source {location[:200]!r}", hint="a path, file://, http://, https:// or oras://")
    return rest if mark else location


def _is_remote(location: str) -> bool:
    return location.lower().startswith(("http://", "https://", "oras://"))


def _is_oras(location: str) -> bool:
    return location.lower().startswith("oras://")
