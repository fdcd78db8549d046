"""Images: formats, canonical sources, refs. Contract sections 6.3 to 6.5."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from bty.errors import InvalidInput


class ImageFormat(StrEnum):
    """How the bytes of an image are packed. ISO files and tarballs are not flashable."""

    IMG = "img"
    IMG_GZ = "img.gz"
    IMG_XZ = "img.xz"
    IMG_ZST = "img.zst"
    IMG_BZ2 = "img.bz2"
    QCOW2 = "qcow2"


_SUFFIXES = (
    (".img.zst", ImageFormat.IMG_ZST),
    (".img.xz", ImageFormat.IMG_XZ),
    (".img.gz", ImageFormat.IMG_GZ),
    (".img.bz2", ImageFormat.IMG_BZ2),
    (".qcow2", ImageFormat.QCOW2),
    (".img", ImageFormat.IMG),
)
_TARBALLS = (".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tgz", ".txz", ".tbz2", ".tzst", ".tar")
_ARCHES = (
    ("x86_64", "x86_64"),
    ("x86-64", "x86_64"),
    ("aarch64", "arm64"),
    ("amd64", "x86_64"),
    ("arm64", "arm64"),
    ("armhf", "arm"),
    ("armv7l", "arm"),
    ("armv6l", "armv6"),
    ("riscv64", "riscv64"),
    ("ppc64le", "ppc64le"),
    ("s390x", "s390x"),
    ("i686", "i386"),
    ("i386", "i386"),
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def detect_format(name: str) -> ImageFormat | None:
    """Return the format that the end of *name* says, or None."""
    lowered = name.lower()
    return next((image_format for suffix, image_format in _SUFFIXES if lowered.endswith(suffix)), None)


def parse_format(text: str) -> ImageFormat:
    """Return the format called *text*. Raises `InvalidInput` with the names there are."""
    try:
        return ImageFormat(text)
    except ValueError:
        hint = "an image of a disk is needed, not a tarball" if f".{text}".endswith(_TARBALLS) else ""
        raise InvalidInput(f"unknown image format {text[:64]!r}: one of {', '.join(ImageFormat)}", hint=hint) from None


def is_tarball(name: str) -> bool:
    """Tell whether *name* looks like an archive of files, which cannot be flashed."""
    return name.lower().endswith(_TARBALLS)


def guess_arch(name: str) -> str | None:
    """Return the machine architecture that *name* mentions, for display only."""
    lowered = name.lower()
    return next((arch for word, arch in _ARCHES if word in lowered), None)


def source_basename(src: str) -> str:
    """Return the last path segment of a URL, an `oras://` reference or a path, percent-decoded."""
    path = urlsplit(src).path if "://" in src else src
    return unquote(PurePosixPath(path).name)


def canonical_source(src: str) -> str:
    """Return the canonical spelling of *src*, from which the ref is made.

    http and https: lower-case scheme and host, no default port, no user info. oras: lower-case host and repository.
    file: no scheme, no doubled or leading slashes, no `.` segments. Raises `InvalidInput` for anything else.
    """
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in src):
        raise InvalidInput("a source holds a control character")
    scheme, separator, rest = src.partition("://")
    scheme = scheme.lower()
    if separator and scheme in _DEFAULT_PORTS:
        return _canonical_url(src)
    if separator and scheme == "oras":
        return _canonical_oras(rest)
    if separator and scheme == "file":
        return _canonical_path(rest)
    raise InvalidInput(f"unsupported source {src[:200]!r}", hint="http://, https://, oras:// or file://")


def image_ref(src: str) -> str:
    """Return the ref of an image: the sha256, in lower-case hex, of its canonical source."""
    return hashlib.sha256(canonical_source(src).encode()).hexdigest()


def _canonical_url(src: str) -> str:
    try:
        parts = urlsplit(src)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"not a URL: {src[:200]!r}: {error}") from None
    if not parts.hostname:
        raise InvalidInput(f"the URL has no host: {src[:200]!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    return urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))


def _canonical_oras(rest: str) -> str:
    if "@" in rest:
        repository, mark, tail = rest.partition("@")
    else:
        repository, mark, tail = rest.rpartition(":")
    host, slash, path = repository.partition("/")
    segments = path.split("/")
    if not (host and slash and len(segments) >= 2 and all(segments) and mark and tail) or "/" in tail:
        raise InvalidInput(f"not an OCI reference: 'oras://{rest[:200]}'", hint="oras://host/owner/repository:tag or @sha256:digest")
    return f"oras://{host.lower()}/{path.lower()}{mark}{tail}"


def _canonical_path(rest: str) -> str:
    segments = [segment for segment in rest.split("/") if segment not in ("", ".")]
    if not segments or ".." in segments:
        raise InvalidInput(f"not a plain file path: {rest[:200]!r}")
    return "/".join(segments)
