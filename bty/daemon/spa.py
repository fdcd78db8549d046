"""The web application as it is served: its modules as one script, its style sheets as one, under an address that changes with them.

The sources in `spa/` are what a browser could load by itself, file by file. Here they are only put together, so that a
first load takes one request for each, and compressed once.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import bty

_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_STYLE = re.compile(r'^@import "([^"]+)" layer\((\w+)\);\n', re.MULTILINE)
_LINK = re.compile(r'(href|src)="((?:app\.css|main\.js|icon\.svg))"')
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file as it is sent, plain and packed."""

    body: bytes
    packed: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The document and what it loads. `build` is the same for the same content."""

    build: str
    document: Asset
    assets: dict[str, Asset]

    def address(self, name: str) -> str:
        """Return where an asset is served."""
        return f"/ui/assets/{self.build}/{name}"


@functools.cache
def load_application() -> Application:
    """Return the application, read once: from the package, or from the source tree that runs. Raises `OSError`, `ValueError`."""
    packed = Path(str(resources.files(bty) / "_spa"))
    return build(packed if packed.is_dir() else Path(bty.__file__).parent.parent / "spa")


def build(root: Path) -> Application:
    """Put the application in the folder *root* together. Raises `OSError`, and `ValueError` where modules import each other."""
    texts = {"app.css": _join_styles(root), "main.js": join_modules(root), "icon.svg": (root / "icon.svg").read_text()}
    document = (root / "index.html").read_text()
    digest = hashlib.sha256()
    for text in (document, *texts.values()):
        digest.update(text.encode())
    name = digest.hexdigest()[:16]
    linked = _LINK.sub(rf'\1="/ui/assets/{name}/\2"', document)
    assets = {name: _asset(text, _TYPES[Path(name).suffix]) for name, text in texts.items()}
    return Application(build=name, document=_asset(linked, "text/html"), assets=assets)


def join_modules(root: Path) -> str:
    """Return `main.js` and what it imports as one script: each module a function that is called once, after those it needs."""
    return "const modules = {};\n" + "".join(_in_order(root, "main.js", [], set()))


def _in_order(root: Path, name: str, path: list[str], done: set[str]) -> Iterator[str]:
    if name in path:
        raise ValueError(f"modules import each other: {' > '.join([*path, name])}")
    if name in done:
        return
    done.add(name)
    source = (root / name).read_text()

    def resolve(address: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(name), address))

    for found in _IMPORT.finditer(source):
        yield from _in_order(root, resolve(found[2]), [*path, name], done)
    body = _IMPORT.sub(lambda found: f'const {{{found[1]}}} = modules["{resolve(found[2])}"];\n', source)
    exported = ", ".join(_EXPORT.findall(body))
    yield f'modules["{name}"] = (() => {{\n{_EXPORT.sub("", body)}return {{ {exported} }};\n}})();\n'


def _join_styles(root: Path) -> str:
    return _STYLE.sub(lambda found: f"@layer {found[2]} {{\n{(root / found[1]).read_text()}}}\n", (root / "app.css").read_text())


def _asset(text: str, content_type: str) -> Asset:
    body = text.encode()
    return Asset(body=body, packed=gzip.compress(body, mtime=0), content_type=content_type)
