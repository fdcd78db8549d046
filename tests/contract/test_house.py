"""The rules of the house that a reader would otherwise have to remember."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES = 400
# Written in pieces, so that this file does not find itself.
REGISTRY_HOSTS = [
    re.escape(name + ending) for name, ending in (("pypi", ".org"), ("pythonhosted", ".org"), ("npmjs", ".org"), ("npmjs", ".com"))
]
MACHINE_PATHS = [r"(?<![\w.}])/" + room + r"/\w" for room in ("work", "tmp", "root", r"home/\w+")]


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def _modules() -> list[Path]:
    return sorted(path for room in ("bty", "packaging") for path in (ROOT / room).rglob("*.py"))


def test_no_module_outgrows_its_reader() -> None:
    """A module has at most 400 lines."""
    too_long = {str(path.relative_to(ROOT)): lines for path in _modules() if (lines := len(path.read_text().splitlines())) > MODULE_LINES}

    assert too_long == {}


def test_every_module_says_what_it_is() -> None:
    """Every module opens with a docstring."""
    silent = [str(path.relative_to(ROOT)) for path in _modules() if not path.read_text().startswith(('"""', 'r"""'))]

    assert silent == []


@pytest.mark.parametrize("pattern", REGISTRY_HOSTS + MACHINE_PATHS)
def test_no_file_knows_the_machine_it_was_written_on(pattern: str) -> None:
    """No tracked file names the host of a package registry or an absolute path of one machine."""
    found = []
    for path in _tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {line.strip()[:120]}" for line in text.splitlines() if re.search(pattern, line)]

    assert found == []


def test_sql_is_spoken_in_one_room_only() -> None:
    """No module outside of bty/store holds a statement of SQL."""
    statement = re.compile(r"""["'](?:SELECT\s+[\w*]|INSERT\s+(?:OR\s+\w+\s+)?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM)""")
    speaking = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "bty").rglob("*.py")
        if "store" not in path.relative_to(ROOT).parts and statement.search(path.read_text())
    ]

    assert speaking == []


def test_packaging_scripts_refuse_to_go_on_after_an_error() -> None:
    """Every shell script begins with bash's strict mode and is executable."""
    scripts = [path for path in _tracked() if path.read_bytes().startswith(b"#!/usr/bin/env bash")]
    lax = [path.name for path in scripts if "set -euo pipefail" not in path.read_text() or not path.stat().st_mode & 0o100]

    assert scripts
    assert lax == []
