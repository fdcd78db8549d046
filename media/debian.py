"""Debian as the ground of a medium, from the apt sources of the machine that builds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess  # noqa: TID251 - a build step, outside the product
from pathlib import Path

EPOCH = "1767225600"  # 2026-01-01; stamped on what is built, so that the same input gives the same bytes
_KERNEL = "linux-image-amd64"
_NO_DOCUMENTS = tuple(f"--dpkgopt=path-exclude=/usr/share/{room}/*" for room in ("doc", "info", "locale", "man"))


class BuildFailed(Exception):
    """The medium cannot be built; the message says why and what to do."""


def bootstrap(packages: list[str], kernel_hook: Path, tree: Path, scratch: Path) -> None:
    """Install *packages* into *tree*, with the package of the kernel in it, unopened."""
    sources = _sources(scratch)
    options = [f"--aptopt={line}" for line in _output("apt-config", "dump").splitlines() if line.startswith("Acquire::")]
    codename = next(line.split()[1] for line in _targets() if line.split()[0] == "Debian")
    run(
        # In a mount namespace of its own: whatever happens, no mount is left behind.
        "unshare", "--mount", "--propagation", "private",
        "mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--format=directory", f"--include={','.join(packages)}",
        *options, "--aptopt=Acquire::Retries \"3\";", "--aptopt=Acquire::Languages \"none\";",
        *_NO_DOCUMENTS, f"--customize-hook={kernel_hook}",
        codename, tree, *sources,
    )  # fmt: skip


def _targets() -> list[str]:
    """Return, for each list of packages that this machine's apt uses: origin, codename, file and entry."""
    shape = "$(ORIGIN) $(CODENAME) $(SOURCESENTRY)"
    return sorted(set(_output("apt-get", "indextargets", "--format", shape, "Created-By: Packages", "Target-Of: deb").splitlines()))


def _sources(scratch: Path) -> list[Path]:
    """Write the entries of this machine's apt sources that are Debian's own to files for mmdebstrap."""
    found: dict[str, list[str]] = {}
    for target in _targets():
        origin, _, entry = target.split(" ", 2)
        name, _, number = entry.rpartition(":")
        if origin == "Debian":
            text = Path(name).read_text(encoding="utf-8")
            entries = re.split(r"\n\s*\n", text.strip()) if name.endswith(".sources") else text.splitlines()
            found.setdefault(Path(name).suffix, []).append(entries[int(number) - 1])
    if not found:
        raise BuildFailed("apt knows no package lists of Debian on this machine: run `apt-get update`")
    paths = []
    for suffix, entries in found.items():
        path = scratch / f"debian{suffix}"
        path.write_text("\n\n".join(dict.fromkeys(entries)) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def choose(names: list[str]) -> tuple[list[str], list[str]]:
    """Return the packages to install, and those that may be left out and are not to be had here."""
    policy = _output("apt-cache", "policy", *(name.removeprefix("?") for name in names))
    known = set(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))", policy, flags=re.MULTILINE))
    missing = [name for name in names if not name.startswith("?") and name not in known]
    if missing:
        raise BuildFailed(f"apt does not know {', '.join(missing)}: run `apt-get update`")
    wanted = [name.removeprefix("?") for name in names]
    return [name for name in wanted if name in known], [name for name in wanted if name not in known]


def closure(packages: list[str]) -> str:
    """Return every package that will be installed, with its version: what the cached tree depends on."""
    planned = _output(
        "apt-get", "--simulate", "-o", "Dir::State::status=/dev/null", "-o", "APT::Install-Recommends=false",
        "install", "?essential", _KERNEL, *packages,
    )  # fmt: skip
    return "\n".join(sorted(line for line in planned.splitlines() if line.startswith("Inst ")))


def prune(tree: Path, patterns: list[str]) -> None:
    """Remove what matches *patterns* from *tree*."""
    for pattern in patterns:
        for path in tree.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def listed(path: Path) -> list[str]:
    """Return the first word of each line of a list that is no comment."""
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]


def run(*argv: str | Path) -> None:
    """Run a program. Raises `CalledProcessError` where it fails."""
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": EPOCH, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, env=environment)


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout
