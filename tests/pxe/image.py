"""A small Debian that boots: GPT, a BIOS boot partition, an ESP and an ext4, GRUB for both firmwares, a login prompt on ttyS0.

Nothing is mounted and no loop device is used. The result is kept below `build/cache`, by what it is made of. The packages come
from wherever this machine's own apt has them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "cache"
PROGRAMS = ("mmdebstrap", "mke2fs", "mkfs.vfat", "mcopy", "grub-mkimage", "zstd")
SHIM = Path("/usr/lib/shim/shimx64.efi.signed")
SIGNED_GRUB = Path("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
HOST_NAME = "flashed"
LOGIN_PROMPT = f"{HOST_NAME} login:"

_MIB = 1 << 20
_CORE_AT, _ESP_AT, _ROOT_AT = 1 * _MIB, 2 * _MIB, 18 * _MIB
_ROOT_BYTES = 192 * _MIB
_END = _ROOT_AT + _ROOT_BYTES + _MIB  # the last MiB holds the backup GPT
_LABEL = "bty-test-root"
_INCLUDE = "linux-image-amd64,systemd-sysv,udev,initramfs-tools,zstd,kmod"
_NOT_INSTALLED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/i18n/*")
# What nothing needs once the packages are configured and the initrd is made.
_REMOVED = ("usr/lib/modules/*/kernel", "usr/lib/udev/hwdb*", "usr/lib/*/perl", "usr/share/perl", "usr/lib/*/libperl.so*")
# An initrd with the disks that the rows have, and a system that starts a login prompt and nothing else: most of what a plain Debian
# does on its way there costs an emulator ten seconds, at each of the many boots of the rows.
_FILES = {
    "etc/initramfs-tools/conf.d/disks": "MODULES=list\n",
    "etc/initramfs-tools/hooks/disks": (
        "#!/bin/sh\n"
        '[ "$1" != prereqs ] || exit 0\n'
        ". /usr/share/initramfs-tools/hook-functions\n"
        "manual_add_modules virtio_pci virtio_blk virtio_scsi sd_mod ahci nvme ext4\n"
    ),
    "etc/systemd/system/login.target": (
        "[Unit]\nDescription=A login prompt and nothing else\nDefaultDependencies=no\nAllowIsolate=yes\nWants=login.service\n"
    ),
    "etc/systemd/system/login.service": (
        "[Unit]\nDescription=Login on the serial line\nDefaultDependencies=no\n\n"
        "[Service]\nExecStart=/sbin/agetty --keep-baud 115200 ttyS0 linux\nRestart=always\nStandardInput=tty\nStandardOutput=tty\n"
        "TTYPath=/dev/ttyS0\nTTYReset=yes\nTTYVHangup=yes\n"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BootableImage:
    """`path` is the packed file, `raw` the same unpacked; `kernel` is the one inside."""

    path: Path
    sha256: str
    raw: Path
    raw_bytes: int
    kernel: Path


def bootable_image(sector_bytes: int = 512, *, signed: bool = False) -> BootableImage:
    """Return the image for disks of *sector_bytes*, made where it is not there yet; a *signed* one boots under Secure Boot."""
    folder = CACHE / f"bootable-{_key()}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        facts = folder / f"{_name(sector_bytes, signed)}.json"
        if not facts.exists():
            facts.write_text(json.dumps(_make(folder, sector_bytes, signed)))
    found = json.loads(facts.read_text())
    return BootableImage(**{key: folder / value if key in ("path", "raw", "kernel") else value for key, value in found.items()})


def _key() -> str:
    kernel = _run("apt-cache", "policy", "linux-image-amd64")
    candidate = next((line for line in kernel.splitlines() if "Candidate:" in line), "")
    return hashlib.sha256(Path(__file__).read_bytes() + candidate.encode()).hexdigest()[:12]


def _name(sector_bytes: int, signed: bool) -> str:
    return f"{sector_bytes}-signed" if signed else str(sector_bytes)


def _make(folder: Path, sector_bytes: int, signed: bool) -> dict[str, str | int]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="making-") as name:
        work = Path(name)
        kernel, root_part = folder / "vmlinuz", folder / "root.ext4"
        if not root_part.exists():
            tree = work / "tree"
            _make_tree(tree)
            shutil.copyfile(next((tree / "boot").glob("vmlinuz-*")), kernel)
            _run("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-m", "0", "-L", _LABEL, "-d", tree, work / "root", f"{_ROOT_BYTES // 1024}k")
            (work / "root").rename(root_part)
        disk = work / "disk.img"
        with disk.open("wb") as file:
            file.truncate(_END)
        _partition(disk, sector_bytes)
        _put(disk, root_part, _ROOT_AT)
        _put(disk, _make_esp(work, sector_bytes, signed), _ESP_AT)
        if sector_bytes == 512:  # no BIOS starts a disk of larger sectors
            _install_bios_grub(disk, work)
        raw, packed = (folder / f"{_name(sector_bytes, signed)}.{kind}" for kind in ("img", "img.zst"))
        disk.rename(raw)
        _run("zstd", "-q", "-f", "-3", "-T0", raw, "-o", packed)
    with packed.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": packed.name, "sha256": sha256, "raw": raw.name, "raw_bytes": _END, "kernel": kernel.name}


def _make_tree(tree: Path) -> None:
    patterns = ("sources.list", "sources.list.d/*.list", "sources.list.d/*.sources")
    sources = [path for pattern in patterns for path in Path("/etc/apt").glob(pattern)]
    words = [f"--dpkgopt=path-exclude={path}" for path in _NOT_INSTALLED]
    files = tree.with_name("files")
    for name, text in _FILES.items():
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text(text)
    (files / "etc/initramfs-tools/hooks/disks").chmod(0o755)
    words += [f"--include={_INCLUDE}", f"--essential-hook=sync-in {files} /"]  # before the kernel's package makes its initrd
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    _run("mmdebstrap", "--quiet", "--variant=essential", "--format=directory", *words, release, tree, *sources)
    for path in [path for pattern in _REMOVED for path in tree.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    generators = tree / "etc/systemd/system-generators"
    generators.mkdir()
    for path in (tree / "usr/lib/systemd/system-generators").iterdir():
        (generators / path.name).symlink_to("/dev/null")
    (tree / "etc/systemd/system/default.target").unlink(missing_ok=True)
    (tree / "etc/systemd/system/default.target").symlink_to("login.target")
    (tree / "etc/hostname").write_text(f"{HOST_NAME}\n")
    shadow = tree / "etc/shadow"
    shadow.write_text(re.sub(r"^root:[^:]*:", "root::", shadow.read_text(), flags=re.M))  # whoever stands in front of it may look around
    (tree / "etc/machine-id").write_text(f"{hashlib.md5(HOST_NAME.encode()).hexdigest()}\n")
    (tree / "etc/fstab").write_text(f"PARTUUID={_part_id(3)} / ext4 defaults 0 0\n")
    (tree / "etc/issue").write_text("bty test image \\n \\l\n")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)


def _grub_config() -> str:
    return (
        f"search --no-floppy --set=root --label {_LABEL}\n"
        f"linux /vmlinuz root=PARTUUID={_part_id(3)} rw console=tty0 console=ttyS0,115200\n"
        "initrd /initrd.img\n"
        "boot\n"
    )


def _partition(disk: Path, sector_bytes: int) -> None:
    """Write both copies of the GPT; sfdisk takes an image file for a disk of 512-byte sectors, whatever it is told."""
    last = _END // sector_bytes - 1
    array_sectors = 128 * 128 // sector_bytes
    parts = [
        (_CORE_AT, _ESP_AT, "21686148-6449-6E6F-744E-656564454649"),  # BIOS boot
        (_ESP_AT, _ROOT_AT, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),  # ESP
        (_ROOT_AT, _ROOT_AT + _ROOT_BYTES, "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"),  # Linux root, x86-64
    ]
    array = b"".join(
        struct.pack("<16s16sQQQ72x", UUID(kind).bytes_le, _part_id(number).bytes_le, at // sector_bytes, end // sector_bytes - 1, 0)
        for number, (at, end, kind) in enumerate(parts, 1)
    ).ljust(128 * 128, b"\0")

    def header(own: int, other: int, array_at: int) -> bytes:
        first, size, version = 2 + array_sectors, 92, 0x10000
        places = (own, other, first, last - array_sectors - 1, _part_id(0).bytes_le, array_at, 128, 128, zlib.crc32(array))
        blank = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", version, size, 0, 0, *places)
        return blank[:16] + struct.pack("<I", zlib.crc32(blank)) + blank[20:]

    protective = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, last)
    with disk.open("r+b") as file:
        for at, content in (
            (446, protective + bytes(48) + b"\x55\xaa"),
            (sector_bytes, header(1, last, 2)),
            (2 * sector_bytes, array),
            ((last - array_sectors) * sector_bytes, array),
            (last * sector_bytes, header(last, 1, last - array_sectors)),
        ):
            file.seek(at)
            file.write(content)


def _part_id(number: int) -> UUID:
    return UUID(int=(0xB7000000_0000_4000_8000_000000000000 + number))


def _make_esp(work: Path, sector_bytes: int, signed: bool) -> Path:
    """Make the ESP: a GRUB of our own, or what Debian installs where Secure Boot is on, whose GRUB reads its script from the ESP."""
    esp, loader, script = work / "esp", work / "bootx64.efi", work / "grub.cfg"
    if signed:
        loader = SHIM
        script.write_text(_grub_config())
    else:
        _grub_mkimage("x86_64-efi", loader, work, ["part_gpt", "ext2", "search", "search_label", "linux", "boot", "echo"])
    with esp.open("wb") as file:
        file.truncate(_ROOT_AT - _ESP_AT)
    _run("mkfs.vfat", "-S", str(sector_bytes), "-n", "ESP", esp)
    _run("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    _run("mcopy", "-i", esp, loader, "::/EFI/BOOT/BOOTX64.EFI")
    if signed:
        _run("mmd", "-i", esp, "::/EFI/debian")
        _run("mcopy", "-i", esp, SIGNED_GRUB, "::/EFI/BOOT/grubx64.efi")
        _run("mcopy", "-i", esp, script, "::/EFI/debian/grub.cfg")
    return esp


def _install_bios_grub(disk: Path, work: Path) -> None:
    """Do what grub-bios-setup does on a device: boot.img into the first sector, core.img into the BIOS boot partition."""
    core_path = work / "core.img"
    _grub_mkimage("i386-pc", core_path, work, ["biosdisk", "part_gpt", "ext2", "search", "search_label", "linux", "boot", "echo"])
    boot = Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()
    core = bytearray(core_path.read_bytes())
    sector = _CORE_AT // 512
    struct.pack_into("<Q", core, 0x1F4, sector + 1)  # where the rest of it is; grub/i386/pc/boot.h
    with disk.open("r+b") as file:
        first = bytearray(file.read(512))
        first[:440] = boot[:440]
        struct.pack_into("<Q", first, 0x5C, sector)  # GRUB_BOOT_MACHINE_KERNEL_SECTOR
        first[0x66:0x68] = b"\x90\x90"  # GRUB_BOOT_MACHINE_DRIVE_CHECK: some BIOSes say the wrong drive
        file.seek(0)
        file.write(first)
        file.seek(_CORE_AT)
        file.write(core)


def _grub_mkimage(target: str, output: Path, work: Path, modules: list[str]) -> None:
    config = work / "early.cfg"
    config.write_text(_grub_config())
    _run("grub-mkimage", "-O", target, "-o", output, "-p", "/boot/grub", "-c", config, *modules)


def _put(disk: Path, part: Path, at: int) -> None:
    _run("dd", f"if={part}", f"of={disk}", "bs=1M", f"seek={at // _MIB}", "conv=notrunc,sparse", "status=none")


def _run(*argv: str | Path, stdin: str = "") -> str:
    env = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([str(word) for word in argv], input=stdin, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} failed ({done.returncode}): {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    made = bootable_image(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
    print(json.dumps({key: str(value) for key, value in asdict(made).items()}, indent=2))
