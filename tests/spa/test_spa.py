"""The application's modules without a browser: their own tests, their types, and what they never do."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bty.daemon.spa import load_application

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SPA, LINTER = ROOT / "spa", ROOT / "build" / "eslint"
MODULE_LINES = 400


def _run(*argv: str | Path, cwd: Path = HERE) -> str:
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd=cwd)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.needs("node")
def test_the_pure_part_does_what_it_says() -> None:
    """The tests of the modules that need no browser pass."""
    print(_run("node", "--test", *sorted(HERE.glob("*.test.mjs")))[-300:])


@pytest.mark.needs("tsc")
def test_the_types_hold() -> None:
    """TypeScript finds no mistake in the modules and their annotations."""
    _run("tsc", "-p", HERE / "tsconfig.json")


@pytest.mark.needs("node")
@pytest.mark.skipif(shutil.which("npm") is None, reason="not installed: npm, which gets the linter")
def test_the_linter_finds_nothing() -> None:
    """Nothing is used that is not defined, nothing defined that is not used, and no text becomes HTML."""
    LINTER.mkdir(parents=True, exist_ok=True)
    with (LINTER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = (HERE / "package-lock.json").read_bytes()
        installed = LINTER / "node_modules" / "lock-that-was-installed"
        if not installed.exists() or installed.read_bytes() != wanted:
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(HERE / name, LINTER / name)
            _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=LINTER)
            installed.write_bytes(wanted)
    _run(LINTER / "node_modules" / ".bin" / "eslint", "-c", HERE / "eslint.config.js", "--max-warnings", "0", SPA, cwd=ROOT)


@pytest.mark.needs("node")
def test_the_joined_script_can_be_parsed(tmp_path: Path) -> None:
    """What is served is a module that a browser can read."""
    script = tmp_path / "main.mjs"
    script.write_bytes(load_application().assets["main.js"].body)
    _run("node", "--check", script)


def test_no_module_makes_html_of_text() -> None:
    """No module parses text as HTML, evaluates text, or writes into the document."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|createContextualFragment"
    )
    found = [f"{path.name}: {word}" for path in SPA.rglob("*.js") for word in forbidden.findall(path.read_text())]

    assert found == []


def test_no_module_outgrows_its_reader() -> None:
    """A module or a style sheet has at most 400 lines, and a module says first what it is for."""
    sources = [path for pattern in ("*.js", "*.css") for path in SPA.rglob(pattern)]
    assert {path.name: lines for path in sources if (lines := len(path.read_text().splitlines())) > MODULE_LINES} == {}
    assert [path.name for path in SPA.rglob("*.js") if not path.read_text().startswith("// ")] == []
