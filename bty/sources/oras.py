"""Images in OCI registries: which bytes an `oras://` reference means now, and where they are. Everything here blocks.

Parsing, anonymous tokens and the choice of a layer are withcache's; what may be flashed at all is decided here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from withcache import oras

from bty.errors import InvalidInput, SourceFailed
from bty.model.image import canonical_source, is_tarball
from bty.sources.documents import Document, HttpStatus, fetch_document, fetch_length
from bty.sources.reasons import reason_of
from bty.units import MIB

_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    # An index is asked for only so that it can be refused by name.
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_MAX_BYTES = 10 * MIB
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_IMAGE_LAYER = "disk-image.layer"
_NOT_FLASHABLE = {
    "netboot": "a netboot bundle",
    "wsl": "a WSL root file system",
    "lxc": "an LXC root file system",
}


class NotAnImage(SourceFailed):
    """The registry has the artifact, but it is no disk image."""

    code = "not_an_image"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """Where the bytes of a reference are. `digest` is their sha256 in hex, `headers` go with every request for `url`."""

    url: str
    headers: Mapping[str, str]
    digest: str
    pinned: str
    size_bytes: int | None = None
    title: str | None = None


def check_reference(src: str) -> str:
    """Return the canonical spelling of an `oras://` reference. Raises `InvalidInput` where it is none."""
    canonical = canonical_source(src)
    _parse(canonical)
    return canonical


def pin(src: str, digest: str) -> str:
    """Return the `oras://` reference of the blob *digest* (hex) in the repository of *src*."""
    ref = _parse(canonical_source(src))
    return f"oras://{ref.host}/{ref.repository}@sha256:{digest}"


def repository(src: str) -> str | None:
    """Return host and repository of an `oras://` reference, None for anything else."""
    try:
        ref = _parse(canonical_source(src))
    except InvalidInput:
        return None
    return f"{ref.host}/{ref.repository}"


def resolve(src: str, *, timeout_s: float = 30.0) -> ResolvedImage:
    """Ask the registry which bytes *src* means now. Blocks; *timeout_s* bounds each request.

    A digest in the reference is that of the image's blob, or that of a manifest. Raises `InvalidInput` for a malformed
    reference, `SourceFailed` where the registry does not answer, `NotAnImage` where the artifact is no disk image.
    """
    ref = _parse(canonical_source(src))
    headers = _authorize(ref, timeout_s)
    base = f"https://{ref.host}/v2/{ref.repository}"
    if ref.digest is not None:
        try:
            size = fetch_length(f"{base}/blobs/{ref.digest}", timeout_s=timeout_s, headers=headers)
            return _resolved(src, base, headers, ref.digest, size=size, title=None)
        except HttpStatus as error:
            if error.http_status != 404:
                raise
    document = _fetch_manifest(base, ref.manifest_locator, headers, timeout_s)
    layer = pick_layer(_decode(document, src), src)
    digest, size = layer.get("digest"), layer.get("size")
    return _resolved(src, base, headers, str(digest), size=size if type(size) is int else None, title=_title(layer) or None)


def pick_layer(manifest: Mapping[str, Any], src: str) -> Mapping[str, Any]:
    """Return the layer that holds the disk image. Raises `NotAnImage` where *manifest* is no disk image's.

    A layer that calls itself a disk image wins; else it is the largest that is no side file. An artifact that says
    it is something else, an archive or a container image is refused: written to a disk it would only destroy.
    """
    if isinstance(manifest.get("manifests"), list):
        raise NotAnImage(f"{src}: an index of several manifests, not one image", hint="name one of them by its @sha256: digest")
    config = manifest.get("config")
    declared = [manifest.get("artifactType"), config.get("mediaType") if isinstance(config, dict) else None]
    for text in declared:
        _refuse_type(str(text or ""), src)
    listed = manifest.get("layers")
    layers = [layer for layer in listed if isinstance(layer, dict)] if isinstance(listed, list) else []
    images = [layer for layer in layers if _IMAGE_LAYER in str(layer.get("mediaType"))]
    try:
        layer = images[0] if images else oras.pick_image_layer({"layers": [_with_number(layer) for layer in layers]})
    except oras.OrasError as error:
        raise NotAnImage(f"{src}: {error}") from error
    media_type, title = str(layer.get("mediaType") or ""), _title(layer)
    _refuse_type(media_type, src)
    if is_tarball(title) or (not title and "tar" in media_type):
        raise NotAnImage(f"{src}: {title or 'an untitled layer'} ({media_type}) is an archive of files, not a disk image")
    if not _DIGEST.fullmatch(str(layer.get("digest"))):
        raise NotAnImage(f"{src}: its layer has no sha256 digest: {str(layer.get('digest'))[:80]!r}")
    return layer


def _parse(canonical: str) -> oras.OrasRef:
    try:
        return oras.parse_ref(canonical)
    except oras.OrasError as error:
        raise InvalidInput(str(error)[:400]) from error


def _authorize(ref: oras.OrasRef, timeout_s: float) -> dict[str, str]:
    """Return the headers of an anonymous reader: a token, or none where the registry wants none."""
    try:
        return {"Authorization": f"Bearer {oras.fetch_anonymous_token(ref.host, ref.repository, timeout=timeout_s)}"}
    except (OSError, ValueError, AttributeError) as error:
        try:
            fetch_document(f"https://{ref.host}/v2/", max_bytes=MIB, timeout_s=timeout_s)
        except SourceFailed as failure:
            cause = error.__cause__ if isinstance(error, oras.OrasError) and isinstance(error.__cause__, OSError) else error
            raise SourceFailed(f"the registry {ref.host} {_no_answer(failure) or f'gave no token: {reason_of(cause)}'}") from error
        return {}


def _no_answer(failure: SourceFailed) -> str | None:
    """Return in plain words why the registry did not answer, None where it did."""
    cause = failure.__cause__
    if isinstance(failure, HttpStatus) or cause is None:
        return None
    if isinstance(cause, SourceFailed):  # the time for it was over
        return "does not answer"
    return f"cannot be reached: {reason_of(cause)}" if isinstance(cause, Exception) else None


def _fetch_manifest(base: str, locator: str, headers: Mapping[str, str], timeout_s: float) -> Document:
    return fetch_document(
        f"{base}/manifests/{locator}",
        max_bytes=_MANIFEST_MAX_BYTES,
        timeout_s=timeout_s,
        headers={**headers, "Accept": ", ".join(_MANIFEST_TYPES)},
    )


def _decode(document: Document, src: str) -> Mapping[str, Any]:
    try:
        manifest = json.loads(document.body)
    except ValueError as error:
        raise SourceFailed(f"{src}: the registry's manifest is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise SourceFailed(f"{src}: the registry's manifest is not a JSON object")
    return manifest


def _resolved(src: str, base: str, headers: Mapping[str, str], digest: str, *, size: int | None, title: str | None) -> ResolvedImage:
    bare = digest.removeprefix("sha256:")
    return ResolvedImage(url=f"{base}/blobs/{digest}", headers=headers, digest=bare, pinned=pin(src, bare), size_bytes=size, title=title)


def _refuse_type(media_type: str, src: str) -> None:
    lowered = media_type.lower()
    if _IMAGE_LAYER in lowered:
        return
    for word, thing in _NOT_FLASHABLE.items():
        if word in lowered:
            raise NotAnImage(f"{src}: {thing} ({media_type[:100]}), not a disk image")


def _title(layer: Mapping[str, Any]) -> str:
    annotations = layer.get("annotations")
    title = annotations.get("org.opencontainers.image.title") if isinstance(annotations, dict) else None
    return title if isinstance(title, str) else ""


def _with_number(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return *layer* with a size that can be compared, whatever the registry sent."""
    size = layer.get("size")
    return {**layer, "size": size if type(size) is int else 0}
