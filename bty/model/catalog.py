"""The catalog: its entries, and the manifest (`catalog.toml`) by which catalogs travel. Contract sections 6.1 and 6.6."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bty.errors import InvalidInput
from bty.model.image import ImageFormat, detect_format, guess_arch, image_ref, is_tarball, source_basename

MANIFEST_NAME = "catalog.toml"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME_MAX = 512
_SRC_MAX = 4096
_TEXT_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One image of the catalog, field for field its row.

    `disk_image_sha` covers the bytes as fetched; for a rolling tag it is the digest of the day it was added.
    `resolved_src` is an http address of the bytes, for an `oras://` source that of its layer.
    """

    bty_image_ref: str
    src: str
    name: str
    added_at: str
    resolved_src: str | None = None
    disk_image_sha: str | None = None
    sha_url: str | None = None
    format: str | None = None
    size_bytes: int | None = None
    description: str | None = None
    arch: str | None = None

    @property
    def is_oras(self) -> bool:
        """Tell whether the image lies in an OCI registry."""
        return is_oras(self.src)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestImage:
    """One `[[images]]` table of a manifest, checked. `origin` is where a daemon says the bytes came from to where `src` has them."""

    name: str
    src: str
    bty_image_ref: str
    origin: str | None = None
    sha256: str | None = None
    format: str | None = None
    size_bytes: int | None = None
    description: str | None = None
    arch: str | None = None

    def to_entry(self, *, added_at: str, resolved_src: str | None) -> Entry:
        """Return the entry that this image becomes."""
        return Entry(
            bty_image_ref=self.bty_image_ref,
            src=self.src,
            name=self.name,
            added_at=added_at,
            resolved_src=resolved_src,
            disk_image_sha=self.sha256,
            format=self.format,
            size_bytes=self.size_bytes,
            description=self.description,
            arch=self.arch,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A catalog as it travels. `unusable` names the images that cannot be flashed, each with the reason; `wrong` are mistakes."""

    images: tuple[ManifestImage, ...]
    unusable: tuple[tuple[str, str], ...] = ()
    wrong: tuple[InvalidInput, ...] = ()


def is_oras(src: str) -> bool:
    """Tell whether *src* is an `oras://` reference."""
    return src[:7].lower() == "oras://"


def is_http(src: str) -> bool:
    """Tell whether *src* is an http or https URL."""
    return src[:8].lower().startswith(("http://", "https://"))


def has_credentials(src: str) -> bool:
    """Tell whether an http URL names a user: catalogs are open to everybody, so such a URL must not get into one."""
    return is_http(src) and "@" in src.partition("://")[2].partition("/")[0]


def parse_digest(text: str) -> str:
    """Return *text* as 64 lower-case hex digits; `sha256:` before them is dropped. Raises `InvalidInput`."""
    digest = text.strip().lower().removeprefix("sha256:")
    if not _DIGEST.fullmatch(digest):
        raise InvalidInput(f"not a sha256: {text[:80]!r}", hint="64 hex digits")
    return digest


def find_digest(manifest: str, name: str) -> str:
    """Return the digest that a sha256 list gives for the file *name*.

    Each line is a digest and, but for a list of one, a file name. Raises `InvalidInput` where a line is something
    else or where *name* is not in the list.
    """
    lines = [line.split(None, 1) for line in manifest.splitlines() if line.strip()]
    digests = {}
    for words in lines:
        digests[words[1].strip().lstrip("*./") if len(words) > 1 else ""] = parse_digest(words[0])
    found = digests.get(name) or (digests.get("") if len(lines) == 1 else None)
    if not found:
        raise InvalidInput(f"the sha256 list does not name {name[:200]!r}", hint=f"it has {len(lines)} lines")
    return found


def parse_manifest(content: bytes) -> Manifest:
    """Read a `catalog.toml`. Raises `InvalidInput`, which says which image is wrong; one wrong image refuses the file.

    Archives and formats that nobody can flash are no mistake of the file: they come back as `unusable`.
    """
    manifest = salvage_manifest(content)
    if manifest.wrong:
        raise manifest.wrong[0]
    return manifest


def salvage_manifest(content: bytes) -> Manifest:
    """Read a `catalog.toml` and keep what is right of it. Raises `InvalidInput` where it is no catalog at all."""
    images: list[ManifestImage] = []
    unusable: list[tuple[str, str]] = []
    wrong: list[InvalidInput] = []
    names: set[str] = set()
    for number, table in enumerate(_tables(content), 1):
        try:
            image, reason = _parse_image(table, f"image {number}")
        except InvalidInput as error:
            wrong.append(error)
            continue
        if image.name in names:
            wrong.append(InvalidInput(f"image {number}: the name {image.name!r} occurs twice"))
            continue
        names.add(image.name)
        if reason:
            unusable.append((image.name, reason))
        else:
            images.append(image)
    return Manifest(images=tuple(images), unusable=tuple(unusable), wrong=tuple(wrong))


def print_manifest(images: Iterable[tuple[Entry, str]], *, unproved: bool = False) -> str:
    """Return the `catalog.toml` of entries, each with the address to name as its source; those without a digest if *unproved*.

    A reader refuses a file in which a name occurs twice, so a second one of the same name gets its ref behind it.
    """
    lines = ["version = 1"]
    names: set[str] = set()
    for entry, src in images:
        if not (entry.disk_image_sha or unproved):
            continue
        name = f"{entry.name} ({entry.bty_image_ref[:12]})" if entry.name in names else entry.name
        names.add(name)
        lines += ["", "[[images]]", f"name = {_quote(name)}", f"src = {_quote(src)}"]
        if entry.disk_image_sha:
            lines.append(f"sha256 = {_quote(entry.disk_image_sha)}")
        if src != entry.src:
            lines.append(f"origin = {_quote(entry.src)}")
        if entry.format:
            lines.append(f"format = {_quote(entry.format)}")
        if entry.size_bytes is not None:
            lines.append(f"size_bytes = {entry.size_bytes}")
        if arch := display_arch(entry):
            lines.append(f"arch = {_quote(arch)}")
    return "\n".join(lines) + "\n"


def display_arch(entry: Entry) -> str | None:
    """Return the architecture of an image: what its catalog said, else what its name mentions."""
    return entry.arch or guess_arch(entry.name)


def file_name(src: str) -> str:
    """Return the name under which a source's bytes are offered: its last segment, or `download`."""
    return source_basename(src) or "download"


def check_text(value: str, what: str, limit: int = _NAME_MAX) -> str:
    """Return *value* without blanks around it. Raises `InvalidInput` where it is empty, too long or holds a control character."""
    text = value.strip()
    if not text or len(text) > limit or _CONTROL.search(text):
        raise InvalidInput(f"{what} must be 1 to {limit} characters without control characters")
    return text


def _tables(content: bytes) -> list[Any]:
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the catalog is not UTF-8: {error.reason} at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"the catalog is not TOML: {error}") from error
    version = document.get("version")
    if type(version) is not int or version != 1:
        raise InvalidInput(f"the catalog's version is {version!r}, not 1")
    tables = document.get("images", [])
    if not isinstance(tables, list):
        raise InvalidInput("'images' is not an array of tables", hint="[[images]]")
    return tables


def _parse_image(table: Any, where: str) -> tuple[ManifestImage, str | None]:
    if not isinstance(table, dict):
        raise InvalidInput(f"{where}: not a table")
    name = check_text(_text(table, "name", where) or "", f"{where}: 'name'")
    where = f"image {name!r}"
    src = check_text(_text(table, "src", where) or "", f"{where}: 'src'", _SRC_MAX)
    if not (is_http(src) or is_oras(src)):
        raise InvalidInput(f"{where}: its source {src[:200]!r} is not http://, https:// or oras://")
    try:
        ref = image_ref(src)
        digest = parse_digest(sha) if (sha := _text(table, "sha256", where)) else None
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error
    if (stated := _text(table, "ref", where)) is not None and stated.strip().lower() != ref:
        raise InvalidInput(f"{where}: its ref is not the one that its source gives", hint=ref)
    size = table.get("size_bytes")
    if size is not None and (type(size) is not int or not 0 <= size < 2**63):
        raise InvalidInput(f"{where}: 'size_bytes' is not a size: {size!r}")
    description = _text(table, "description", where)
    if description is not None:
        description = _CONTROL.sub(" ", description).strip()[:_TEXT_MAX] or None
    arch = _text(table, "arch", where)
    format_text = _text(table, "format", where) or detect_format(name) or detect_format(source_basename(src))
    origin = _text(table, "origin", where)
    image = ManifestImage(
        name=name,
        src=src,
        bty_image_ref=ref,
        origin=check_text(origin, f"{where}: 'origin'", _SRC_MAX) if origin else None,
        sha256=digest,
        format=str(format_text) if format_text else None,
        size_bytes=size,
        description=description,
        arch=check_text(arch, f"{where}: 'arch'", 32) if arch else None,
    )
    return image, _why_unusable(image)


def _why_unusable(image: ManifestImage) -> str | None:
    if has_credentials(image.src):
        return "its source holds credentials, which everybody could read; it is left out"
    if image.format is None or image.format in set(ImageFormat):
        return None
    kind = "an archive of files" if is_tarball(f".{image.format}") else "not an image format"
    return f"{image.format[:32]!r} is {kind}; it cannot be flashed and is left out"


def _text(table: dict[str, Any], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{where}: {key!r} is not a string")
    return value


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'
