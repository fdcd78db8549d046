"""Build bty.pyz: the wheel and its pinned dependencies, trimmed, as one executable file. The only builder there is.

    python packaging/zipapp.py dist/bty.pyz

The same commit, Python and constraints give the same bytes, whatever the directory and the hour.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess  # noqa: TID251 - a build step, outside the product
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
# Sources of extensions and type stubs: a third of the unpacked files, and none is ever imported.
_UNUSED_FILES = ("*.pyx", "*.pxd", "*.pxi", "*.pyi", "*.c", "*.h", "*.hash", "_testcapi.*.so", "py.typed")
# Where the build ran and which files pip laid down: of no use here, and different in every directory.
_TRACES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def build(output: Path) -> None:
    """Build the zipapp at *output*. Raises `CalledProcessError` when pip, shiv or git fails."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _epoch(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bty-zipapp-") as scratch:
        wheels, site = Path(scratch, "wheels"), Path(scratch, "site")
        _python("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ROOT, environment=environment)
        _python(
            "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary", ":all:", "--constraint", CONSTRAINTS,
            "--target", site, *wheels.glob("*.whl"), environment=environment,
        )  # fmt: skip
        _trim(site)
        built = Path(scratch, "bty.pyz")
        _python(
            "-m", "shiv.cli", "--site-packages", site, "--entry-point", "bty.cli:main",
            "--compile-pyc", "--reproducible", "--output-file", built, environment=environment,
        )  # fmt: skip
        # Renamed into place, so that a running daemon keeps the file it was started from.
        fresh = output.with_name(f".{output.name}.new")
        shutil.copy(built, fresh)
        fresh.replace(output)


def _epoch() -> str:
    """Return the time to stamp: the environment's, or the last commit's, or a fixed one outside of git."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    try:
        asked = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "1767225600"  # 2026-01-01, for a source archive
    return asked.stdout.strip()


def _trim(site: Path) -> None:
    """Remove from *site* what no start needs and what differs between two builds; even out the modes."""
    for unused in (site / "bin", *site.glob("*/tests")):
        shutil.rmtree(unused, ignore_errors=True)
    for pattern in _UNUSED_FILES:
        for path in site.rglob(pattern):
            path.unlink()
    for trace in _TRACES:
        for path in site.glob(f"*.dist-info/{trace}"):
            path.unlink()
    for path in site.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.suffix == ".so" else 0o644)


def _python(*arguments: str | Path, environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, env=environment, stdin=subprocess.DEVNULL)


def main() -> int:
    """Build where the command line says and print the size."""
    parser = argparse.ArgumentParser(description="Build bty.pyz.")
    parser.add_argument("output", type=Path, nargs="?", default=ROOT / "dist" / "bty.pyz")
    output = parser.parse_args().output
    build(output)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
