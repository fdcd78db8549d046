"""The live environment in QEMU, started from its kernel and initrd, with a daemon on the host's loopback as its server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bty.daemon.scripts import ARTIFACTS, KERNEL_ARGUMENTS
from tests.support.stall import give_up, listen

ROOT = Path(__file__).resolve().parents[2]
MEDIA = ROOT / "dist" / "media"
# A shell on the second serial line, which answers to the test's questions; without it that line too shows the session.
SHELL = "systemd.wants=bty-shell@ttyS1.service"
MAC = "52:54:00:11:22:33"
# In emulation, since KVM opens on some hosts where no guest comes up. Without tb-size a boot takes twice as long.
_EMULATED = ("-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max", "-smp", "2")


def missing() -> str:
    """Return which file of the medium is not built yet, or nothing."""
    absent = [name for suffix in ("vmlinuz", "initrd", "squashfs") if not (MEDIA / (name := f"{ARTIFACTS}.{suffix}")).exists()]
    return f"not built (`make media VARIANT=netboot-pc`): {', '.join(absent)}" if absent else ""


def command_line(base: str, *, mac: str = MAC, server: str = "") -> str:
    """Return the kernel's arguments as a script of ours has them; *server* is the daemon where it is not at *base*."""
    fetch = f"fetch={base}/boot/{ARTIFACTS}.squashfs"
    return " ".join(["boot=live", fetch, *KERNEL_ARGUMENTS, f"bty.server={server or base}", f"bty.mac={mac}"])


BOOT_S = 180.0
"""How long a machine may take from power-on to its shell: 20 to 40 s were seen, and more on an emulator that is held up."""


@dataclass
class Live:
    """A machine that is on. `seen` is when each awaited text came, in seconds from the start of QEMU.

    Its first serial line shows the session, as a console does; on the second a shell answers to `ask`.
    """

    process: subprocess.Popen[bytes]
    log: Path
    writer: asyncio.StreamWriter
    shell: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    began: float
    asked: int = 0
    seen: dict[str, float] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """What came out of the serial line so far, without the colours."""
        return _plain(self.log.read_bytes().decode(errors="replace"))

    async def wait(self, text: str, timeout_s: float = 120.0, *, raw: bool = False, count: int = 1) -> str:
        """Wait until *text* has come out of the serial line *count* times, and return everything after the first.

        With *raw* it is looked for among all bytes, those that move the cursor too.
        """
        deadline = time.monotonic() + timeout_s
        while (self.log.read_bytes().decode(errors="replace") if raw else self.said).count(text) < count:
            said = self.said
            tail = "\n".join(said.splitlines()[-25:])
            assert self.process.poll() is None, f"QEMU ended before {text!r}:\n{tail}"
            if time.monotonic() > deadline:
                give_up(said, f"{text!r} not in {timeout_s:g} s; the serial line says:\n{tail}")
            listen(self.log, said, repr(text))
            await asyncio.sleep(0.02)
        self.seen.setdefault(text, time.monotonic() - self.began)
        return self.said.partition(text)[2]

    async def type(self, line: str, *, enter: bool = True) -> None:
        """Type a line, or only these keys, at the serial console."""
        self.writer.write(line.encode() + (b"\r" if enter else b""))
        await self.writer.drain()

    async def ask(self, command: str, timeout_s: float = 60.0) -> str:
        """Run a command in the machine's other shell, once that is there, and return what it printed."""
        reader, writer = self.shell
        self.asked += 1
        begin, end = f"begin-{self.asked}", f"end-{self.asked}"
        said = f"stty -echo; echo begin-$(({self.asked})); {{ {command}; }} </dev/null; echo end-$(({self.asked}))\n"
        if self.asked == 1:
            await self._shell_is_there()
        writer.write(said.encode())
        try:
            text = await asyncio.wait_for(reader.readuntil(f"{end}\r\n".encode()), timeout_s)
        except TimeoutError:
            give_up(self.said, f"{command}: no answer in {timeout_s:g} s")
        return _plain(text.decode(errors="replace")).rpartition(f"{begin}\n")[2].removesuffix(f"{end}\n").rstrip("\n")

    async def shows(self, command: str, text: str, timeout_s: float = 60.0) -> None:
        """Run a command in the other shell, again and again, until it prints *text*. The time begins with the first answer."""
        answer, deadline = await self.ask(command), time.monotonic() + timeout_s
        while text not in answer:
            if time.monotonic() > deadline:
                give_up(self.said, f"{command} does not print {text!r} but {answer}")
            answer = await self.ask(command)

    async def _shell_is_there(self) -> None:
        reader, writer = self.shell
        deadline = time.monotonic() + BOOT_S
        while True:
            writer.write(b"echo $((3 * 37))\n")
            try:
                await asyncio.wait_for(reader.readuntil(b"111\r\n"), 1.0)
                return
            except TimeoutError:
                if time.monotonic() > deadline:
                    give_up(self.said, f"no shell in {BOOT_S:g} s")
                listen(self.log, self.said, "a shell")

    async def control(self, command: str, **arguments: object) -> None:
        """Give one command to QEMU's monitor."""
        reader, writer = await asyncio.open_unix_connection(self.log.parent / "qmp")
        try:
            await reader.readline()  # the greeting
            for name, words in (("qmp_capabilities", {}), (command, arguments)):
                writer.write(json.dumps({"execute": name, "arguments": words}).encode() + b"\n")
                while "return" not in (answer := json.loads(await reader.readline())):
                    assert "error" not in answer, answer
        finally:
            writer.close()

    async def ended(self, timeout_s: float = 60.0) -> None:
        """Wait until the machine has reset or powered off."""
        await asyncio.wait_for(asyncio.to_thread(self.process.wait), timeout_s)


@asynccontextmanager
async def booted(
    folder: Path,
    base: str,
    *extra: str,
    mac: str = MAC,
    server: str = "",
    memory_mib: int = 1024,
    more: str = "",
    cards: Sequence[str] = (f"user,mac={MAC}",),
) -> AsyncIterator[Live]:
    """Switch a machine on; leaving the block pulls the plug."""
    log, line, shell = folder / "serial.log", folder / "serial", folder / "shell"
    log.touch()
    network = [word for card in cards for word in ("-nic", f"{card},model=virtio-net-pci")]
    command = [
        "qemu-system-x86_64", *_EMULATED, "-machine", "q35", "-m", str(memory_mib), "-nodefaults", "-display", "none", "-no-reboot",
        "-chardev", f"socket,id=line,path={line},server=on,wait=off,logfile={log}", "-serial", "chardev:line",
        "-chardev", f"socket,id=shell,path={shell},server=on,wait=off", "-serial", "chardev:shell",
        "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off",
        "-kernel", str(MEDIA / f"{ARTIFACTS}.vmlinuz"), "-initrd", str(MEDIA / f"{ARTIFACTS}.initrd"),
        "-append", f"{command_line(base, mac=mac, server=server)} {SHELL} {more}", *network, *extra,
    ]  # fmt: skip
    began = time.monotonic()
    process = _start(command)
    try:
        while not (line.exists() and shell.exists()):
            assert process.poll() is None, "QEMU did not start"
            await asyncio.sleep(0.01)
        _, writer = await asyncio.open_unix_connection(line)
        other = await asyncio.open_unix_connection(shell)
        machine = Live(process, log, writer, other, began)
        try:
            yield machine
        except (AssertionError, TimeoutError) as error:
            listen(log, machine.said, str(error))
            raise
        finally:
            writer.close()
            other[1].close()
    finally:
        process.kill()
        process.wait(10)


def _plain(text: str) -> str:
    """Return what a terminal was sent without what moves, colours or asks."""
    return re.sub(r"\x1b(?:\[[0-9;?=>]*[A-Za-z]|[()][A-Z0-9]|[=>78])|[\x00\x0e\x0f\r]", "", text)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
