"""The kernel of a medium: which drivers are kept, and the initrd."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess  # noqa: TID251 - a build step, outside the product
from collections.abc import Iterable
from pathlib import Path

from debian import EPOCH


def install_kernel(tree: Path) -> None:
    """Unpack the kernel's package that lies in *tree*, with all of its drivers, unpacked."""
    (package,) = tree.glob("linux-image-*.deb")
    unpacked = tree / "kernel"
    _run("dpkg-deb", "--extract", package, unpacked)
    package.unlink()
    modules = next(unpacked.glob("**/lib/modules"))
    shutil.copytree(modules, tree / "usr/lib/modules", symlinks=True)
    (tree / "boot").mkdir(exist_ok=True)
    for image in (unpacked / "boot").glob("vmlinuz-*"):
        shutil.copy(image, tree / "boot")
    shutil.rmtree(unpacked)
    base = _modules(tree)
    for packed in base.rglob("*.ko.xz"):  # the squashfs packs better, and a driver loads sooner
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    _depmod(tree, base.name)


def keep_drivers(tree: Path, wanted: list[str]) -> None:
    """Remove from *tree* every driver that is neither *wanted* nor needed by one that is."""
    base = _modules(tree)
    needs = _needs(base)
    kept = _with_needs(_chosen(needs, wanted), needs)
    for name in needs.keys() - kept:
        (base / name).unlink()
    _depmod(tree, base.name)


def stage_initrd(tree: Path, room: Path, wanted: list[str]) -> Path:
    """Lay out the initrd in a folder and return it: busybox, our init, the *wanted* drivers with their firmware."""
    base = _modules(tree)
    needs = _needs(base)
    chosen = _with_needs(_chosen(needs, wanted), needs)
    stage = tree / "run" / "initrd"  # within the tree, whose own kmod works on it
    stage.mkdir(parents=True)
    for directory in ("bin", "dev", "proc", "sys", "run", "etc/modprobe.d", "lib/bty"):
        (stage / directory).mkdir(parents=True)
    _copy(tree / "bin/busybox", stage / "bin/busybox", 0o755)
    _copy(room / "init", stage / "init", 0o755)
    _copy(room / "lease", stage / "lib/bty/lease", 0o755)
    (stage / "bin/sh").symlink_to("busybox")
    (stage / "etc/resolv.conf").symlink_to("/run/bty/resolv.conf")
    drivers = stage / "lib/modules" / base.name
    for name in chosen:
        _copy(base / name, drivers / name, 0o644)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        _copy(base / name, drivers / name, 0o644)
    for name in _firmware(tree, base.name, chosen):
        _copy(tree / "usr/lib/firmware" / name, stage / "lib/firmware" / name, 0o644)
    _depmod(tree, base.name, "-b", "/run/initrd")
    for unused in drivers.glob("modules.*.bin"):
        unused.unlink()
    return stage


def pack_initrd(stage: Path, *, digest: str, output: Path) -> None:
    """Pack the initrd laid out in *stage*, with the squashfs's *digest* in it."""
    (stage / "root.sha256").write_text(f"{digest}\n", encoding="ascii")
    paths = sorted(stage.rglob("*"))
    for path in paths:
        os.utime(path, (int(EPOCH), int(EPOCH)), follow_symlinks=False)
    names = "".join(f"{path.relative_to(stage)}\n" for path in paths)
    archive = subprocess.run(
        ["cpio", "--create", "--quiet", "--format=newc", "--owner=0:0", "--reproducible", "--directory", stage],
        check=True, input=names.encode(), stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    with output.open("wb") as packed:
        # 19 would take five times as long for a twentieth less; the kernel takes windows of up to 8 MiB, which 15 keeps to.
        subprocess.run(["zstd", "--quiet", "-15", "-T0"], check=True, input=archive, stdout=packed)


def _modules(tree: Path) -> Path:
    (base,) = (tree / "usr/lib/modules").iterdir()
    return base


def _needs(base: Path) -> dict[str, list[str]]:
    """Return every driver of modules.dep, by its path, and those that it depends on."""
    lines = (base / "modules.dep").read_text(encoding="ascii").splitlines()
    return {name: needed.split() for name, _, needed in (line.partition(":") for line in lines)}


def _with_needs(names: Iterable[str], needs: dict[str, list[str]]) -> set[str]:
    return {found for name in names for found in (name, *needs[name])}  # modules.dep lists the dependencies of dependencies too


def _chosen(names: Iterable[str], wanted: list[str]) -> list[str]:
    """Return those of the drivers that are in a place that is *wanted*, and in none behind a `!`."""
    yes = tuple(_start(place) for place in wanted if not place.startswith("!"))
    no = tuple(_start(place[1:]) for place in wanted if place.startswith("!"))
    return [name for name in names if name.startswith(yes) and not name.startswith(no)]


def _start(place: str) -> str:
    return f"kernel/{place}" if place.endswith("/") else f"kernel/{place}.ko"


def _firmware(tree: Path, version: str, drivers: set[str]) -> set[str]:
    """Return the files of firmware that *drivers* ask for and that are there."""
    names = [Path(name).stem for name in sorted(drivers)]
    asked = subprocess.run(
        ["chroot", tree, "modinfo", "--set-version", version, "--field", "firmware", *names], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return {name for name in asked.split() if (tree / "usr/lib/firmware" / name).is_file()}


def _depmod(tree: Path, version: str, *options: str) -> None:
    _run("chroot", tree, "depmod", *options, version)


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _run(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
