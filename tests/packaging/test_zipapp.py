"""The one file: what is inside, that it starts, and that building it twice gives the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bty import __version__
from tests.bench.start import seconds_to_ready

ROOT = Path(__file__).resolve().parents[2]


def _run(program: Path, *arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **variables}
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, env=environment, cwd=home)


def test_the_zipapp_says_its_version_and_nothing_else(zipapp: Path, tmp_path: Path) -> None:
    """A first start, which unpacks, prints the version and is otherwise silent."""
    ran = _run(zipapp, "--version", home=tmp_path)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert __version__ in ran.stdout
    assert len(ran.stdout.splitlines()) == 1


def test_the_zipapp_unpacks_where_it_is_told(zipapp: Path, tmp_path: Path) -> None:
    """With SHIV_ROOT set nothing is left in the home of the user, and the bytecode is compiled."""
    ran = _run(zipapp, "--version", home=tmp_path, SHIV_ROOT=str(tmp_path / "elsewhere"))

    assert ran.returncode == 0, ran.stderr
    assert not (tmp_path / ".shiv").exists()
    assert list((tmp_path / "elsewhere").rglob("bty/__pycache__/cli.*.pyc"))


@pytest.mark.parametrize(("name", "first"), [("bty", []), ("bty.pyz", [])], ids=["called bty", "no word"])
def test_the_zipapp_is_the_flasher_unless_told_otherwise(zipapp: Path, tmp_path: Path, name: str, first: list[str]) -> None:
    """Called as bty, or without a word, the zipapp is the flasher."""
    program = tmp_path / name
    program.symlink_to(zipapp)
    ran = _run(program, *first, "--help", home=tmp_path, SHIV_ROOT=str(tmp_path / "s"))

    assert ran.returncode == 0, ran.stderr
    assert "flash SOURCE TARGET" in ran.stdout


@pytest.mark.parametrize(("name", "first"), [("bty-web", []), ("bty.pyz", ["web"])], ids=["called bty-web", "first word web"])
def test_the_zipapp_is_the_daemon_by_name_or_word(zipapp: Path, tmp_path: Path, name: str, first: list[str]) -> None:
    """Called as bty-web, or with web as its first word, the zipapp is the daemon."""
    program = tmp_path / name
    program.symlink_to(zipapp)
    ran = _run(program, *first, "--help", home=tmp_path, SHIV_ROOT=str(tmp_path / "s"))

    assert ran.returncode == 0, ran.stderr
    assert "--config" in ran.stdout


def test_the_daemon_parses_http_in_c(zipapp: Path, tmp_path: Path) -> None:
    """Run from the zipapp, aiohttp parses requests with its C extension, not with the slow one in Python."""
    _run(zipapp, "--version", home=tmp_path, SHIV_ROOT=str(tmp_path))
    (site,) = tmp_path.glob("*/site-packages")
    probe = "import aiohttp, aiohttp.http_parser as p; print(aiohttp.__file__); print(p.HttpRequestParser.__module__)"
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {probe}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    path, module = ran.stdout.splitlines()
    assert Path(path).is_relative_to(site)
    assert module == "aiohttp._http_parser"


def test_the_zipapp_holds_what_it_needs_and_no_trace_of_its_build(zipapp: Path) -> None:
    """Migrations, scripts and the page are inside; tests, build paths and pip's records are not."""
    with zipfile.ZipFile(zipapp) as archive:
        names = archive.namelist()

    assert "site-packages/bty/store/migrations/0001_init.sql" in names
    assert "site-packages/bty/_spa/index.html" in names
    assert [name for name in names if name.endswith((".pyx", "direct_url.json", "RECORD")) or "/tests/" in name] == []


def test_the_daemon_starts_from_the_file(zipapp: Path, tmp_path: Path) -> None:
    """Unpacked or not, it answers. How fast that is, tests/bench/start.py measures."""
    for _ in range(2):
        assert seconds_to_ready(zipapp, tmp_path) > 0


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    """Two copies of the tree, in directories of different names, build the same file."""
    first, second = tmp_path / "first", tmp_path / "in" / "another" / "place"
    for room in ("bty", "spa", "packaging"):
        shutil.copytree(ROOT / room, first / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, first / name)
    shutil.copytree(first, second)
    for tree in (first, second):
        build: list[str | Path] = [sys.executable, tree / "packaging" / "zipapp.py", tree / "dist" / "bty.pyz"]
        subprocess.run(build, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"})

    assert (first / "dist" / "bty.pyz").read_bytes() == (second / "dist" / "bty.pyz").read_bytes()
