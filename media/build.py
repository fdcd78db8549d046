"""Build one medium of the live environment from its description: media/<variant>/ says what is in it, this says how.

    sudo python3 media/build.py netboot-pc

Debian comes from this machine's own apt sources. What was built is kept in build/media: the tree of Debian's packages
until one of their versions changes, the medium until anything of it does.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess  # noqa: TID251 - a build step, outside the product
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from debian import BuildFailed, bootstrap, choose, closure, listed, prune, run
from kernel import install_kernel, keep_drivers, pack_initrd, stage_initrd

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "media"
OUTPUT = ROOT / "dist" / "media"
ZIPAPP = ROOT / "dist" / "bty.pyz"
VARIANTS = ("netboot-pc",)

# Program, and the Debian package that has it.
_TOOLS = {
    "apt-get": "apt",
    "cpio": "cpio",
    "dpkg-deb": "dpkg",
    "mksquashfs": "squashfs-tools",
    "mmdebstrap": "mmdebstrap",
    "tar": "tar",
    "unshare": "util-linux",
    "zstd": "zstd",
}
# Of the zipapp, what the flasher imports, without compiled parts: they would tie the medium to the Python that built them.
_FLASHER = ("bty", "prompt_toolkit", "wcwidth", "withcache")
_SERVER_ONLY = ("bty/_spa", "bty/daemon", "bty/services", "bty/store")
_TRIAL = (
    "import sys; sys.path.insert(0, '/usr/lib/bty/site')\n"
    "import bty.agent.cli, bty.agent.unattended, bty.agent.follow, prompt_toolkit, wcwidth, withcache.oras, withcache.client"
)
# Small files that are read at every boot: packed many to a block, each would cost the unpacking of all its neighbours.
_HOT = "subpathname(usr/lib/python3*) || subpathname(usr/lib/bty) || subpathname(usr/lib/systemd) || subpathname(etc/systemd)"
_KEPT_TREES = 2
# What the tree of Debian's packages depends on besides their versions.
_TREE_FILES = ("packages.txt", "prune.txt", "kernel-hook")
_TREE_SCRIPTS = (ROOT / "media" / "debian.py", ROOT / "media" / "kernel.py")


class Medium:
    """One variant: its description, and where its parts are put."""

    def __init__(self, variant: str) -> None:
        self.room = ROOT / "media" / variant
        self.version = _version()
        self.stem = f"bty-{variant}-x86_64-v{self.version}"
        self.packages, self.left_out = choose(listed(self.room / "packages.txt"))

    def list(self, name: str) -> list[str]:
        """Return the first word of every line of a list in the description."""
        return listed(self.room / f"{name}.txt")


def build(medium: Medium) -> None:
    """Build *medium* into dist/media, unless it is there already. Raises `BuildFailed`, `CalledProcessError`."""
    for package in medium.left_out:
        print(f"left out: {package}, which this machine's apt sources do not have (is non-free-firmware among them?)")
    tree_key = _digest(closure(medium.packages), *_texts(medium.room, *_TREE_FILES), *map(_sha256, _TREE_SCRIPTS))
    key = _digest(tree_key, medium.stem, _flasher_digest(), *_texts(medium.room, "**/*"), _sha256(Path(__file__)))
    stamp = CACHE / f"{medium.room.name}.json"
    if _is_fresh(stamp, key):
        print(f"{OUTPUT / medium.stem}: nothing has changed")
        return
    with tempfile.TemporaryDirectory(prefix="work-", dir=CACHE) as scratch:
        tree = Path(scratch, "tree")
        _unpack_tree(medium, tree, tree_key, Path(scratch))
        with _step("flasher and services"):
            _add_files(medium, tree)
            _add_flasher(tree)
        squashfs, initrd = Path(scratch, "squashfs"), Path(scratch, "initrd")
        with _step("initrd but for the digest"):
            stage = stage_initrd(tree, medium.room, medium.list("modules-initrd"))
        with _step("squashfs"):
            keep_drivers(tree, medium.list("modules"))
            run(
                "mksquashfs", tree, squashfs, "-quiet", "-no-progress", "-noappend", "-no-xattrs",
                "-comp", "zstd", "-Xcompression-level", "15", "-b", "256K", "-action", f"no-fragments@{_HOT}", "-e", "boot", "run/initrd",
            )  # fmt: skip
        with _step("initrd"):
            pack_initrd(stage, digest=_sha256(squashfs), output=initrd)
        _publish(medium, {"vmlinuz": next((tree / "boot").glob("vmlinuz-*")), "initrd": initrd, "squashfs": squashfs}, stamp, key)


def _unpack_tree(medium: Medium, tree: Path, key: str, scratch: Path) -> None:
    """Unpack Debian into *tree*: from the cache, or else from its packages."""
    kept = CACHE / f"tree-{key[:16]}.tar.zst"
    if kept.exists():
        with _step("Debian, kept from last time"):
            tree.mkdir()
            run("tar", "--zstd", "-xpf", kept, "-C", tree)
        os.utime(kept)
        return
    with _step("Debian"):
        bootstrap(medium.packages, medium.room / "kernel-hook", tree, scratch)
    with _step("kernel and drivers"):
        install_kernel(tree)
    with _step("what is not needed goes"):
        prune(tree, medium.list("prune"))
        _compile(tree, *(f"/{path.relative_to(tree)}" for path in (tree / "usr/lib").glob("python3.*")))
    with _step("keep Debian for the next time"):
        fresh = scratch / "tree.tar.zst"
        run("tar", "--use-compress-program", "zstd -3 -T0", "-cpf", fresh, "-C", tree, ".")
        fresh.replace(kept)
        for old in sorted(CACHE.glob("tree-*.tar.zst"), key=lambda path: path.stat().st_mtime)[:-_KEPT_TREES]:
            old.unlink()


def _add_files(medium: Medium, tree: Path) -> None:
    shutil.copytree(medium.room / "files", tree, symlinks=True, dirs_exist_ok=True)
    for path in (medium.room / "files").rglob("*"):
        os.chown(tree / path.relative_to(medium.room / "files"), 0, 0, follow_symlinks=False)
    shutil.copy(medium.room / "lease", tree / "usr/lib/bty/lease")
    for unit in medium.list("masked"):
        for wish in tree.glob(f"usr/lib/systemd/system/*.wants/{unit}"):  # what nobody wants is not even read
            wish.unlink()
        (tree / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (tree / "etc/resolv.conf").symlink_to("/run/bty/resolv.conf")
    (tree / "etc/machine-id").touch()


def _add_flasher(tree: Path) -> None:
    """Unpack the flasher out of the zipapp, compiled for the tree's Python. Raises `BuildFailed` where it does not start there."""
    site = tree / "usr/lib/bty/site"
    with zipfile.ZipFile(ZIPAPP) as archive:
        for member in _flasher_members(archive):
            path = site / member.filename.removeprefix("site-packages/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(member))
    _compile(tree, "/usr/lib/bty/site")
    try:
        run("chroot", tree, "python3", "-IS", "-c", _TRIAL)
    except subprocess.CalledProcessError as error:
        raise BuildFailed(
            f"the flasher does not start with the medium's Python: it takes parts that are compiled for the Python of {ZIPAPP};"
            " see above which, and build the zipapp with the medium's Python (`make zipapp PYTHON=python3.N`) if they cannot go"
        ) from error
    for cache in (tree / "root", tree / "var/cache"):
        prune(cache, ["*", ".cache"])


def _flasher_members(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    for member in archive.infolist():
        path = member.filename.removeprefix("site-packages/")
        inside = path.partition("/")[0] in _FLASHER and not path.startswith(tuple(f"{name}/" for name in _SERVER_ONLY))
        if inside and not member.is_dir() and not path.endswith((".pyc", ".so")):
            yield member


def _flasher_digest() -> str:
    """Return what tells two flashers apart: not the zipapp's own digest, which changes with every commit."""
    if not ZIPAPP.exists():
        raise BuildFailed(f"{ZIPAPP} is not there: `make zipapp` builds it")
    with zipfile.ZipFile(ZIPAPP) as archive:
        return _digest(*sorted(f"{member.filename} {member.CRC:08x}" for member in _flasher_members(archive)))


def _compile(tree: Path, *paths: str) -> None:
    """Replace Python's sources by what they compile to: it is half as much to read at a start."""
    run("chroot", tree, "python3", "-m", "compileall", "-b", "-q", "-f", "--invalidation-mode", "unchecked-hash", *paths)
    for path in paths:
        prune(tree / path.lstrip("/"), ["**/*.py"])


def _publish(medium: Medium, parts: dict[str, Path], stamp: Path, key: str) -> None:
    """Put the parts and their digests in place, and say how large they are."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    digests = {f"{medium.stem}.{suffix}": _sha256(path) for suffix, path in parts.items()}
    for suffix, path in parts.items():
        fresh = OUTPUT / f".{medium.stem}.{suffix}.new"
        shutil.copyfile(path, fresh)
        fresh.replace(OUTPUT / f"{medium.stem}.{suffix}")
        print(f"{OUTPUT / medium.stem}.{suffix}: {path.stat().st_size / 2**20:.1f} MiB")
    (OUTPUT / f"{medium.stem}.sha256").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()), encoding="utf-8")
    stamp.write_text(json.dumps({"key": key, "files": digests}, indent=1), encoding="utf-8")


def _is_fresh(stamp: Path, key: str) -> bool:
    if not stamp.exists():
        return False
    built = json.loads(stamp.read_text(encoding="utf-8"))
    files = {OUTPUT / name: digest for name, digest in built["files"].items()}
    return built["key"] == key and all(path.exists() and _sha256(path) == digest for path, digest in files.items())


def _version() -> str:
    text = (ROOT / "bty" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    if not found:
        raise BuildFailed("bty/__init__.py has no version")
    return found[1]


def _texts(room: Path, *patterns: str) -> list[str]:
    """Return names, modes and contents of files of a description."""
    paths = sorted({path for pattern in patterns for path in room.glob(pattern) if path.is_symlink() or path.is_file()})
    return [
        f"{path.relative_to(room)} {path.lstat().st_mode:o} {path.readlink() if path.is_symlink() else _sha256(path)}" for path in paths
    ]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:6.1f} s  {name}", flush=True)


def _check() -> None:
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise BuildFailed(f"not installed: {' '.join(missing)} (apt-get install {' '.join(missing)})")
    if os.geteuid() != 0:
        raise BuildFailed("building a Debian tree takes root: run it with sudo")


def main() -> int:
    """Build the variant that the command line names."""
    parser = argparse.ArgumentParser(description="Build a medium of the live environment.")
    parser.add_argument("variant", choices=VARIANTS)
    variant = parser.parse_args().variant
    began = time.monotonic()
    try:
        _check()
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another build is running; waiting for it", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            build(Medium(variant))
    except BuildFailed as error:
        print(f"media: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"media: {error.cmd[0]} ended with {error.returncode}: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    print(f"{time.monotonic() - began:6.1f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
