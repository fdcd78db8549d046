"""The bytes of a catalog: from a path, a URL or a registry, bounded in size and time. Everything here blocks."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bty.errors import InvalidInput, SourceFailed
from bty.model.catalog import is_http, is_oras
from bty.sources.documents import fetch_document
from bty.units import MIB, format_bytes

CATALOG_MAX_BYTES = 4 * MIB
CATALOG_TIMEOUT_S = 30.0


def read_catalog(source: str) -> bytes:
    """Return the bytes of the catalog at a path, a `file://`, http, https or `oras://` source. Blocks.

    Raises `SourceFailed`, `InvalidInput`.
    """
    if is_http(source):
        return fetch_document(source, max_bytes=CATALOG_MAX_BYTES, timeout_s=CATALOG_TIMEOUT_S).body
    if is_oras(source):
        from bty.sources.oras import resolve  # only who asks a registry loads its client

        found = resolve(source, timeout_s=CATALOG_TIMEOUT_S)
        content = fetch_document(found.url, max_bytes=CATALOG_MAX_BYTES, timeout_s=CATALOG_TIMEOUT_S, headers=found.headers).body
        if hashlib.sha256(content).hexdigest() != found.digest:
            raise SourceFailed(f"{source[:300]}: the registry sent other bytes than it promised")
        return content
    if "://" in source and not source.startswith("file://"):
        raise InvalidInput(f"not a source of catalogs: {source[:200]!r}", hint="a path, file://, http://, https:// or oras://")
    try:
        return read_file(Path(source.removeprefix("file://")))
    except OSError as error:
        raise SourceFailed(f"{source[:300]}: {error.strerror}") from error


def read_file(path: Path) -> bytes:
    """Return the bytes of a catalog that is a file of this machine. Raises `InvalidInput` where it is too large, `OSError`."""
    with path.open("rb") as file:
        content = file.read(CATALOG_MAX_BYTES + 1)
    if len(content) > CATALOG_MAX_BYTES:
        raise InvalidInput(f"{path} is larger than a catalog may be", hint=f"{format_bytes(CATALOG_MAX_BYTES)} at most")
    return content
