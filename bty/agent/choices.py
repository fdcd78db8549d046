"""What images a person can choose from: lists of images from folders, sticks, catalogs and the daemon.

A list that fails says why and can be loaded again, while the others work. All texts are plain: they may go to a terminal
as they are, all but `src` and `origin`, which are for fetching.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bty.agent.server import normalise_server
from bty.errors import BtyError, InvalidInput, SourceFailed
from bty.host.sticks import Stick, close_sticks, find_sticks, open_stick
from bty.model.catalog import ManifestImage, is_http, is_oras, salvage_manifest
from bty.model.image import detect_format, guess_arch, source_basename
from bty.sources.catalogs import read_catalog
from bty.sources.documents import HttpStatus, fetch_length
from bty.sources.folder import FolderImage, list_folder, read_sidecar
from bty.units import plain_text

DEFAULT_CATALOG = "https://github.com/safl/nosi/releases/latest/download/catalog.toml"
DEFAULT_IMAGE_ROOT = Path("/var/lib/bty/images")
_STICK = "stick:"
_STICK_LABELS = ("BTY_IMAGES", "Ventoy")
_STICK_FOLDER = "bty-images"
_TOLD_MISTAKES = 3
_DAEMONS_CATALOG = "/catalog.toml?all=1"  # with the images that have no digest; an older daemon gives the others all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChoice:
    """An image to choose. `source` is the label of the list that it came from, `origin` a second location of the same bytes."""

    name: str
    src: str
    format: str | None
    sha256: str | None
    size_bytes: int | None
    arch: str | None
    description: str | None
    origin: str | None
    source: str

    @property
    def promise(self) -> str:
        """Say in a word what the bytes are compared with: `sha256`, `registry`, whose digest is asked for, or `none`."""
        return "sha256" if self.sha256 else "registry" if is_oras(self.src) else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceList:
    """The images of one location. With *error* some are missing, or all; a *hint* alone is no failure."""

    label: str
    location: str
    images: tuple[ImageChoice, ...]
    error: str | None
    hint: str | None


def default_sources(*, server: str | None, image_root: Path | None) -> tuple[str, ...]:
    """Return the locations to offer: the image root, the sticks that are plugged in, the daemon's catalog, the default one.

    Reads the disks, but nothing of the network. Without *image_root* the variable `BTY_IMAGE_ROOT` names it; the default is
    left out where there is no such folder. Raises `InvalidInput` where *server* is no address, `CommandFailed`.
    """
    named = image_root or (Path(given) if (given := os.environ.get("BTY_IMAGE_ROOT")) else None)
    root = named or DEFAULT_IMAGE_ROOT
    locations = [str(root)] if named or root.is_dir() else []
    labels = [stick.label for stick in find_sticks(_STICK_LABELS) if stick.mountpoint != str(root)]
    locations += [f"{_STICK}{label}" for label in dict.fromkeys(labels)]
    if server:
        locations.append(f"{normalise_server(server)}{_DAEMONS_CATALOG}")
    return (*locations, DEFAULT_CATALOG)


def load_source(location: str) -> SourceList:
    """Return the images at *location*: a folder, a stick, a catalog or an image, by path, URL or registry. Blocks.

    Never raises for what a person can mend and try again: `error` and `hint` tell it.
    """
    location = location.strip()
    label = plain_text(_label(location))
    try:
        images, mistakes, hint = _load(location, label)
    except BtyError as failure:
        return _failed(label, location, failure)
    except OSError as failure:  # of a path: no permission, for example
        return _failed(label, location, SourceFailed(f"cannot read {location[:300]}: {failure.strerror}"))
    told = [plain_text(str(mistake)) for mistake in mistakes[:_TOLD_MISTAKES]]
    more = len(mistakes) - len(told)
    error = f"{len(mistakes)} left out: {'; '.join(told)}{f'; and {more} more' if more else ''}" if mistakes else None
    return SourceList(label=label, location=location, images=images, error=error, hint=hint)


def close_sources() -> None:
    """Unmount the sticks that `load_source` mounted: to be called when no image is read any more. Blocks."""
    close_sticks()


_Loaded = tuple[tuple[ImageChoice, ...], tuple[BtyError, ...], str | None]


def _failed(label: str, location: str, failure: BtyError) -> SourceList:
    hint = plain_text(failure.hint or _advice(failure))
    return SourceList(label=label, location=location, images=(), error=plain_text(failure.message), hint=hint)


def _load(location: str, label: str) -> _Loaded:
    if not location:
        raise InvalidInput("no location was given", hint="a path, or an address with http://, https:// or oras://")
    if location.startswith(_STICK):
        return _load_sticks(location.removeprefix(_STICK), label)
    if is_http(location) or is_oras(location):
        return _load_catalog(location, label)
    path = Path(location.removeprefix("file://")).expanduser()
    if path.is_dir():
        return _load_folder(path, label)
    if not path.is_file():
        raise SourceFailed(f"there is no file or folder {location[:300]}", hint="an address begins with http://, https:// or oras://")
    return _load_catalog(str(path), label)


def _load_folder(folder: Path, label: str) -> _Loaded:
    images, mistakes = list_folder(folder)
    hint = None if images or mistakes else "no images here: files that end in .img, .img.gz, .img.xz, .img.zst, .img.bz2 or .qcow2"
    return tuple(_of_file(image, label) for image in images), mistakes, hint


def _load_sticks(wanted: str, label: str) -> _Loaded:
    sticks = find_sticks((wanted,))
    if not sticks:
        raise SourceFailed(f"there is no stick with the label {wanted}", hint="plug it in, then try again")
    images: list[ImageChoice] = []
    mistakes: list[BtyError] = []
    hint = None
    for stick in sticks:
        try:
            found, wrong, hint = _load_folder(_folder_of(stick), label)
        except BtyError as failure:
            mistakes.append(failure)
        else:
            images += found
            mistakes += wrong
    return tuple(images), tuple(mistakes), None if images or mistakes else hint


def _folder_of(stick: Stick) -> Path:
    """Return where images lie on a stick: in a folder for them, where there is one with images, else at the top."""
    top = open_stick(stick)
    folder = top / _STICK_FOLDER
    return folder if folder.is_dir() and any(list_folder(folder)) else top


def _load_catalog(location: str, label: str) -> _Loaded:
    """Load a catalog; the address of an image is a catalog of one."""
    if image := _of_registry(location, label) if is_oras(location) else _of_address(location, label):
        return (image,), (), None
    manifest = salvage_manifest(read_catalog(location))
    images = tuple(_of_manifest(image, label) for image in manifest.images)
    left_out = f"{len(manifest.unusable)} are no disk images and are not listed" if manifest.unusable else None
    return images, manifest.wrong, left_out or (None if images or manifest.wrong else "the catalog is empty")


def _of_file(image: FolderImage, label: str) -> ImageChoice:
    name = Path(image.path).name
    return ImageChoice(
        name=plain_text(name),
        src=image.path,
        format=image.format.value,
        sha256=image.sha256,
        size_bytes=image.size_bytes,
        arch=guess_arch(name),
        description=None,
        origin=None,
        source=label,
    )


def _of_address(location: str, label: str) -> ImageChoice | None:
    """Return the image that lies at a path or URL, None where its name does not end as an image's does."""
    name = source_basename(location)
    image_format = detect_format(name)
    if image_format is None:
        return None
    path = None if is_http(location) else Path(location)
    return ImageChoice(
        name=plain_text(name),
        src=location,
        format=image_format.value,
        sha256=read_sidecar(path) if path else None,
        size_bytes=path.stat().st_size if path else _length(location),
        arch=guess_arch(name),
        description=None,
        origin=None,
        source=label,
    )


def _of_registry(location: str, label: str) -> ImageChoice | None:
    """Return the image that a reference means now, None where its layer is something else, such as a catalog."""
    from bty.sources.oras import resolve  # only who asks a registry loads its client

    found = resolve(location)
    image_format = detect_format(found.title or "")
    if image_format is None:
        return None
    return ImageChoice(
        name=plain_text(source_basename(location)),
        src=location,
        format=image_format.value,
        sha256=found.digest,
        size_bytes=found.size_bytes,
        arch=guess_arch(found.title or location),
        description=None,
        origin=None,
        source=label,
    )


def _of_manifest(image: ManifestImage, label: str) -> ImageChoice:
    return ImageChoice(
        name=plain_text(image.name),
        src=image.src,
        format=image.format and plain_text(image.format),
        sha256=image.sha256,
        size_bytes=image.size_bytes,
        arch=plain_text(image.arch) if image.arch else guess_arch(image.name),
        description=plain_text(image.description) if image.description else None,
        origin=image.origin,
        source=label,
    )


def _length(url: str) -> int | None:
    try:
        return fetch_length(url)
    except HttpStatus as error:
        if error.http_status in (405, 501):  # it serves no HEAD, which does not matter
            return None
        raise


def _label(location: str) -> str:
    if location == DEFAULT_CATALOG:
        return "default catalog"
    if location.startswith(_STICK):
        return f"stick {location.removeprefix(_STICK)}"
    if is_http(location):
        try:
            parts = urlsplit(location)
        except ValueError:
            return location
        return parts.netloc.rpartition("@")[2] + ("" if parts.path == "/catalog.toml" else parts.path)
    return location


def _advice(error: BtyError) -> str:
    if isinstance(error, HttpStatus):
        return "is the address right, and its upper and lower case?" if error.http_status < 500 else "the server has trouble; try again"
    return "is the network up and the other side running? Then try again" if isinstance(error, SourceFailed) else "mend it, then try again"
