"""Write what the code knows better: the tables of the reference, and the types of the web application (`spa/api.d.ts`).

    python docs/generate.py          fill them in
    python docs/generate.py --check  only tell whether they are as the code has them

A table (routes, configuration keys, exit codes, rows of the boot chain) stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from bty import errors
from bty.daemon.openapi import describe
from bty.daemon.routes import ROUTES
from bty.services.config import SECTIONS
from bty.units import format_bytes

API_TYPES = Path(__file__).resolve().parent.parent / "spa" / "api.d.ts"
_TS_WORDS = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "Record<string, any>",
}
BOOT_ROWS = Path(__file__).resolve().parent.parent / "tests" / "pxe"
REFERENCE = Path(__file__).resolve().parent / "reference"
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def routes() -> Iterator[str]:
    """Yield the table of routes, in the order in which they are matched."""
    yield "| Method | Path | Who | Body at most | What |"
    yield "|---|---|---|---|---|"
    for route in ROUTES:
        cap = "as configured" if callable(route.max_body) else format_bytes(route.max_body)
        if not {"POST", "PUT", "PATCH"} & set(route.method.split("|")):
            cap = ""
        yield f"| {route.method.replace('|', ', ')} | `{route.path}` | {route.guard.value} | {cap} | {route.summary} |"


def configuration() -> Iterator[str]:
    """Yield a table of keys for each section."""
    for section, cls in SECTIONS.items():
        yield f"\n### [{section}]\n"
        yield f"{cls.__doc__}\n"
        yield "| Key | Default | Environment |"
        yield "|---|---|---|"
        for entry in fields(cls):
            yield f"| `{section}.{entry.name}` | {_default(entry.default)} | `BTY_{section}_{entry.name}` |".replace(
                f"BTY_{section}_{entry.name}", f"BTY_{section}_{entry.name}".upper()
            )


def _default(value: object) -> str:
    if value in ("", Path(), ()):
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def exits() -> Iterator[str]:
    """Yield the table of exit codes, from the error family."""
    yield "| Code | Word in JSON | Meaning |"
    yield "|---|---|---|"
    yield "| 0 | | Done: flashed, or what the plan said where that needs nobody. |"
    yield f"| 1 | `{errors.BtyError.code}` | Anything else that went wrong; the message says what. |"
    family = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BtyError)]
    own = [kind for kind in family if "exit_code" in vars(kind) and kind is not errors.BtyError]
    for kind in sorted(own, key=lambda kind: kind.exit_code):
        yield f"| {kind.exit_code} | `{kind.code}` | {(kind.__doc__ or '').splitlines()[0]} |"


def boot_rows() -> Iterator[str]:
    """Yield the table of the rows that virtual machines boot, from what the tests say of themselves."""
    yield "| Row | Every run | What it shows |"
    yield "|---|---|---|"
    for module in sorted(BOOT_ROWS.glob("test_*.py")):
        for item in ast.parse(module.read_text()).body:
            marks = [ast.unparse(mark) for mark in getattr(item, "decorator_list", ())]
            if isinstance(item, ast.FunctionDef) and (mark := next((mark for mark in marks if mark.startswith("pytest.mark.pxe")), "")):
                name = item.name.removeprefix("test_").replace("_", " ")
                shown = " ".join((ast.get_docstring(item) or "").split())
                yield f"| {name} | {'' if 'every_run=False' in mark else 'yes'} | {shown} |"


TABLES: dict[str, Callable[[], Iterator[str]]] = {"routes": routes, "configuration": configuration, "exits": exits, "boot_rows": boot_rows}


def fresh(text: str) -> str:
    """Return *text* with every generated table as the code has it."""
    return _BLOCK.sub(lambda found: found[1] + "\n".join(TABLES[found[2]]()).strip() + "\n" + found[3], text)


def stale() -> list[Path]:
    """Return the files that differ from what the code says."""
    pages = [page for page in sorted(REFERENCE.glob("*.md")) if fresh(page.read_text()) != page.read_text()]
    return pages if API_TYPES.read_text() == api_types() else [*pages, API_TYPES]


def api_types() -> str:
    """Return what the API takes and answers as types of TypeScript, from the OpenAPI document."""
    lines = ["// Written by docs/generate.py from the OpenAPI document. Do not edit.", ""]
    for title, schema in sorted(describe(ROUTES)["components"]["schemas"].items()):
        name = re.sub(r"\W", "", title)  # a type with parameters has brackets in its name
        if "properties" not in schema:
            lines += [f"export type {name} = {_ts(schema)};", ""]
            continue
        lines.append(f"export interface {name} {{")
        for key, value in schema["properties"].items():
            mark = "" if key in schema.get("required", ()) or "default" in value else "?"
            lines.append(f"  {key}{mark}: {_ts(value)};")
        lines += ["}", ""]
    return "\n".join(lines)


def _ts(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if "$ref" in schema:
        return re.sub(r"\W", "", schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(map(_ts, choices))
    if isinstance(kind, list):
        return " | ".join(_ts({**schema, "type": one}) for one in kind)
    if kind == "array":
        inner = _ts(schema.get("items", {}))
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    return _TS_WORDS.get(str(kind), "any")


def main() -> int:
    """Fill in the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page differs")
    check = parser.parse_args().check
    pages = stale()
    for page in pages:
        print(f"{page.name}: {'differs from the code' if check else 'written'}")
        if not check:
            page.write_text(api_types() if page == API_TYPES else fresh(page.read_text()))
    return 1 if check and pages else 0


if __name__ == "__main__":
    sys.exit(main())
