"""A machine of QEMU's: its firmware, disks and network cards, its serial line and its power switch."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.stall import give_up, listen

KVM = ("-accel", "kvm", "-cpu", "host")
# Without tb-size the same boot takes two to three times as long, with one processor twice.
EMULATED = ("-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max")
BIOS, UEFI, UEFI_HTTP, UEFI_SECURE = "bios", "uefi", "uefi-http", "uefi-secure"
_OVMF = Path("/usr/share/OVMF")
_PROBE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """A disk: a file, and what it looks like from inside."""

    path: Path
    serial: str | None
    bus: str = "virtio"
    sector_bytes: int = 512

    def arguments(self, number: int) -> list[str]:
        """Return QEMU's words for the disk; the network cards have the lower boot indexes."""
        sata = f"ide-hd,bus=ide.{number}"  # the chipset's own AHCI
        device = {"virtio": "virtio-blk-pci", "nvme": "nvme", "scsi": "scsi-hd", "sata": sata}[self.bus]
        options = f"{device},drive=d{number},bootindex={10 + number}"
        options += f",logical_block_size={self.sector_bytes},physical_block_size={max(self.sector_bytes, 512)}"
        if self.serial is not None:
            options += f",serial={self.serial}"
        controller = ["-device", "virtio-scsi-pci"] if self.bus == "scsi" else []
        blockdev = f"id=d{number},if=none,format=raw,file={self.path},cache=unsafe,discard=unmap"
        return [*controller, "-drive", blockdev, "-device", options]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A network card on a tap device; without a tap its cable hangs loose."""

    mac: str
    tap: str | None
    model: str = "virtio-net-pci"

    def arguments(self, number: int, firmware: str) -> list[str]:
        """Return QEMU's words for the card. On UEFI it has no ROM: the firmware's own network stack is the one to try."""
        back = f"tap,id=n{number},ifname={self.tap},script=no,downscript=no" if self.tap else f"hubport,id=n{number},hubid={number}"
        rom = "" if firmware == BIOS else ",romfile="
        return ["-netdev", back, "-device", f"{self.model},id=card{number},netdev=n{number},mac={self.mac},bootindex={number}{rom}"]


@dataclass(kw_only=True)
class Machine:
    """What is screwed together; `power_on` is one power cycle of it."""

    folder: Path
    drives: Sequence[Drive]
    cards: Sequence[Card]
    accel: Sequence[str] = EMULATED
    firmware: str = BIOS
    memory_mib: int = 1024
    cycles: int = 0
    stages: list[tuple[str, float]] = field(default_factory=list)

    @property
    def line(self) -> Path:
        """The other end of the serial line."""
        return self.folder / "line"

    @contextlib.contextmanager
    def power_on(self) -> Iterator[Power]:
        """Run one power cycle; leaving the block pulls the plug."""
        self.cycles += 1
        serial, control = self.folder / f"serial-{self.cycles}.log", self.folder / "qmp"
        serial.touch()
        control.unlink(missing_ok=True)
        # QEMU's pipe is two files: what it reads is a pipe indeed, what it writes is the log.
        incoming, outgoing = (self.line.with_suffix(suffix) for suffix in (".in", ".out"))
        incoming.unlink(missing_ok=True)
        os.mkfifo(incoming)
        outgoing.unlink(missing_ok=True)
        outgoing.symlink_to(serial)
        command = [
            "qemu-system-x86_64", *self.accel, "-machine", "q35,graphics=off", "-smp", "2", "-m", str(self.memory_mib),
            "-nodefaults", "-display", "none", "-vga", "std",
            "-chardev", f"pipe,id=line,path={self.line}", "-serial", "chardev:line", "-serial", "null",
            "-qmp", f"unix:{control},server=on,wait=off", "-boot", "reboot-timeout=5000",
            *self._firmware(),
            *[word for number, drive in enumerate(self.drives) for word in drive.arguments(number)],
            *[word for number, card in enumerate(self.cards) for word in card.arguments(number, self.firmware)],
        ]  # fmt: skip
        with (self.folder / "qemu.log").open("a") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield Power(self, process, serial, control)
        finally:
            process.kill()
            process.wait(10)

    def _firmware(self) -> list[str]:
        if self.firmware == BIOS:
            return []
        # Secure Boot: Microsoft's keys are enrolled, and only the firmware itself, in system management mode, can change them.
        secure = self.firmware == UEFI_SECURE
        variables = self.folder / "vars.fd"
        if not variables.exists():
            shutil.copyfile(_OVMF / ("OVMF_VARS_4M.ms.fd" if secure else "OVMF_VARS_4M.fd"), variables)
        code = f"if=pflash,unit=0,format=raw,readonly=on,file={_OVMF / ('OVMF_CODE_4M.ms.fd' if secure else 'OVMF_CODE_4M.fd')}"
        off = ("IPv4PXESupport", "IPv6PXESupport") if self.firmware == UEFI_HTTP else ()
        switches = [word for name in off for word in ("-fw_cfg", f"name=opt/org.tianocore/{name},string=no")]
        locked = ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"]
        return [*(locked if secure else ()), "-drive", code, "-drive", f"if=pflash,unit=1,format=raw,file={variables}", *switches]


class Power:
    """A machine that is on."""

    def __init__(self, machine: Machine, process: subprocess.Popen[bytes], serial: Path, control: Path) -> None:
        self._machine = machine
        self._process = process
        self._serial = serial
        self._control = control
        self._at = time.monotonic()

    @property
    def said(self) -> str:
        """What came out of the serial line so far, without the colours."""
        text = self._serial.read_bytes().decode(errors="replace")
        return re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]|[\x00\r]", "", text)

    @property
    def is_on(self) -> bool:
        """Whether QEMU still runs."""
        return self._process.poll() is None

    def type(self, keys: bytes) -> None:
        """Type on the serial line; a machine that has read nothing for long gets no more."""
        pipe = os.open(self._machine.line.with_suffix(".in"), os.O_RDWR | os.O_NONBLOCK)  # for both ways: no need to wait for QEMU
        with contextlib.suppress(BlockingIOError):
            os.write(pipe, keys)
        os.close(pipe)

    def wait(self, text: str, timeout_s: float, *, stage: str = "", count: int = 1) -> None:
        """Wait until *text* has come out of the serial line *count* times."""
        self.until(lambda: self.said.count(text) >= count, f"{text!r} on the serial line", timeout_s, stage=stage)

    def until(self, claim: Any, what: str, timeout_s: float, *, stage: str = "") -> None:
        """Wait until *claim* holds while the machine is on, and note when."""
        deadline = time.monotonic() + timeout_s
        while not claim():
            assert self._process.poll() is None, f"QEMU ended while waiting for {what}: see qemu.log"
            said = self.said
            tail = "\n".join(said.splitlines()[-25:])
            if time.monotonic() > deadline:
                give_up(said, f"{what}: not in {timeout_s:g} s; the serial line says:\n{tail}")
            listen(self._serial, said, what)
            time.sleep(0.1)
        if stage:
            self._machine.stages.append((stage, time.monotonic() - self._at))

    def control(self, command: str, **arguments: object) -> None:
        """Give one command to QEMU's monitor, such as `stop`, `cont` or `system_reset`."""
        self.until(self._control.exists, "QEMU's monitor", 10)
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(self._control))
            lines = link.makefile("rw", encoding="utf-8")
            lines.readline()  # the greeting
            for name, words in (("qmp_capabilities", {}), (command, arguments)):
                lines.write(json.dumps({"execute": name, "arguments": words}) + "\n")
                lines.flush()
                while "return" not in (answer := json.loads(lines.readline())):
                    assert "error" not in answer, answer

    def slow_reads(self, bytes_per_s: int, drive: int = 0) -> None:
        """Let the machine read one of its disks at this rate; 0 is as fast as can be."""
        others = dict.fromkeys(("bps", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
        self.control("block_set_io_throttle", device=f"d{drive}", bps_rd=bytes_per_s, **others)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the machine still, so that its disks can be looked at."""
        self.control("stop")
        try:
            yield
        finally:
            self.control("cont")


def accelerator(kernel: Path, folder: Path) -> tuple[str, ...]:
    """Return KVM's options where a kernel really boots with them, the emulator's elsewhere: some hosts open /dev/kvm and hang."""
    if not Path("/dev/kvm").exists():
        return EMULATED
    serial = folder / "kvm-probe.log"
    command = [
        "qemu-system-x86_64", *KVM, "-smp", "2", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot",
        "-serial", f"file:{serial}", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PROBE_S)
    process.kill()
    process.wait(10)
    booted = serial.exists() and "Unable to mount root fs" in serial.read_text(errors="replace")
    return KVM if booted else EMULATED
