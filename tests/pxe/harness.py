"""A site to boot machines at: a network of its own with a bridge, dnsmasq, an http origin and a real daemon.

The network is a namespace that the calling thread enters; every process started from there is in it, and it is gone when the last
of them is. Nothing outside of it is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bty import __version__
from tests.pxe.image import ROOT, SIGNED_GRUB, BootableImage
from tests.pxe.qemu import BIOS, EMULATED, Card, Drive, Machine, Power
from tests.support.api import Operator, eventually
from tests.support.process import DaemonProcess, daemon_process

ADDRESS, PORT = "10.77.0.1", 8080
ADDRESS6 = "fd62:7479::1"
NETWORK = "10.77.0.0"
TFTP_PORT = 8069
NET_GRUB = SIGNED_GRUB.with_name("grubnetx64.efi.signed")
DAEMON = f"http://{ADDRESS}:{PORT}"
ORIGIN = f"http://{ADDRESS}:8090"
SLOW_BYTES_PER_S = 4 << 20
TRIO = [ROOT / "dist" / "media" / f"bty-netboot-pc-x86_64-v{__version__}.{part}" for part in ("vmlinuz", "initrd", "squashfs")]
MAC = "52:54:00:11:22:33"
SERIAL = "BTYTEST"
# Three to four times what an idle machine of two cores needs in emulation.
SCRIPT_S, ENTERED_S, FLASHED_S, LOGIN_S = 60.0, 150.0, 120.0, 120.0
_CLONE_NEWNET = 0x40000000
_MIB, _GIB = 1 << 20, 1 << 30


@contextmanager
def own_network() -> Iterator[None]:
    """Put the calling thread, and what it starts, into a new network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(libc.unshare(_CLONE_NEWNET))
        try:
            ip("link set lo up")
            yield
        finally:
            _checked(libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


@contextmanager
def bridge() -> Iterator[None]:
    """Enter a network of our own that has a switch, at which we are `ADDRESS`."""
    with own_network():
        ip("link add br0 type bridge forward_delay 0")
        ip(f"address add {ADDRESS}/24 dev br0")
        ip(f"address add {ADDRESS6}/64 dev br0 nodad")
        ip("link set br0 up")
        yield


def _checked(answer: int) -> None:
    if answer:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def ip(words: str) -> None:
    """Run ip."""
    subprocess.run(["ip", *words.split()], check=True, stdin=subprocess.DEVNULL)


@contextmanager
def running(*command: str, log: Path, ready: str = "", timeout_s: float = 10.0) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block is left, and begin once its log says *ready*."""
    with log.open("ab") as output:
        before = output.tell()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + timeout_s
        while ready not in log.read_bytes()[before:].decode(errors="replace"):
            assert process.poll() is None, f"{command[0]} ended: {log.read_text()}"
            assert time.monotonic() < deadline, f"{command[0]} is not ready: {log.read_text()}"
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@dataclass(kw_only=True)
class Site:
    """The network, what serves on it, and the operator. `folder` keeps every log; `program` is the daemon, if not this source tree's."""

    folder: Path
    accel: Sequence[str] = EMULATED
    secure: bool = False
    program: Sequence[str] = ()
    stack: ExitStack = field(default_factory=ExitStack)
    taps: int = 0
    daemon: DaemonProcess | None = None
    machines: list[Machine] = field(default_factory=list)
    _operator: Operator | None = None
    _dhcp: ExitStack = field(default_factory=ExitStack)

    @property
    def operator(self) -> Operator:
        """The operator, logged in at the daemon that runs."""
        assert self._operator, "no daemon runs"
        return self._operator

    def start_daemon(self, **settings: str) -> None:
        """Start the daemon, with its boot directory filled; *settings* are environment variables."""
        boot = self.folder / "state" / "boot"
        boot.mkdir(parents=True, exist_ok=True)
        if self.secure:
            settings.setdefault("BTY_NETBOOT_TFTP_PORT", str(TFTP_PORT))
        for path in (*TRIO, *(self.folder / "tftp").iterdir()):
            if path.is_file() and not (boot / path.name).exists():
                os.link(path, boot / path.name)
        started = daemon_process(self.folder / "state", "--host", "0.0.0.0", port=PORT, env=settings, program=self.program)
        self.daemon = self.stack.enter_context(started)
        self._operator = Operator(self.daemon.url)

    def serve_dhcp(self, mode: str = "dhcp", **instead: str) -> None:
        """Start dnsmasq with one of the configurations of packaging/dnsmasq, with boot files *instead*: `autoexec_ipxe="undionly.kpxe"`.

        One that runs is ended first. Leases are kept with the logs: nothing outside of the site is written.
        """
        self._dhcp.close()
        places = {"interface": "br0", "tftp_root": str(self.folder / "tftp"), "daemon": DAEMON}
        if mode == "dhcp":
            places |= {"first": "10.77.0.50", "last": "10.77.0.150"}
        elif mode == "proxy":
            places |= {"network": NETWORK}
        if self.secure:
            places["uefi_loader"] = "shimx64.efi"
        words = [f"{key}={value}" for key, value in places.items()]
        made = subprocess.run([ROOT / "packaging/dnsmasq/render", mode, *words], capture_output=True, text=True, check=True)
        text = made.stdout
        for name, other in instead.items():
            assert name.replace("_", ".") in text
            text = text.replace(name.replace("_", "."), other)
        config = self.folder / "dnsmasq.conf"
        config.write_text(text)
        command = (
            "dnsmasq",
            "--keep-in-foreground",
            f"--conf-file={config}",
            "--no-ping",  # it would look for three seconds whether somebody has the address already
            "--user=root",
            f"--dhcp-leasefile={self.folder}/leases",
            "--pid-file=",
        )
        self._dhcp.enter_context(running(*command, log=self.folder / "dnsmasq.log", ready="started"))

    def sent_by_tftp(self, name: str) -> bool:
        """Tell whether somebody has fetched the file *name*."""
        return f"/{name} to " in (self.folder / "dnsmasq.log").read_text()

    def serve_foreign_dhcp(self) -> None:
        """Start, on a host of its own, a DHCP server that knows nothing of booting."""
        host = self.stack.enter_context(running("unshare", "--net", "sleep", "infinity", log=self.folder / "foreign-host.log"))
        own, theirs = Path("/proc/thread-self/ns/net").readlink(), Path(f"/proc/{host.pid}/ns/net")
        eventually(lambda: theirs.readlink() != own)
        ip(f"link add foreign0 type veth peer name foreign1 netns {host.pid}")
        ip("link set foreign0 master br0 up")
        inside = ("nsenter", f"--net={theirs}")
        addresses = [f"address add {address} dev foreign1" for address in ("10.77.0.2/24", "fd62:7479::2/64 nodad")]
        for words in (*addresses, "link set foreign1 up"):
            subprocess.run([*inside, "ip", *words.split()], check=True, stdin=subprocess.DEVNULL)
        command = (
            *inside, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping", "--user=root", "--pid-file=",
            "--log-facility=-", "--log-dhcp", "--interface=foreign1", "--dhcp-range=10.77.0.50,10.77.0.150,12h",
            "--dhcp-option=option:router", f"--dhcp-leasefile={self.folder}/leases.foreign",
            "--enable-ra", "--dhcp-range=::,constructor:foreign1,ra-only",  # as a site's router: iPXE waits 16 seconds for one
        )  # fmt: skip
        self.stack.enter_context(running(*command, log=self.folder / "foreign-dhcp.log", ready="started"))

    def serve_images(self, folder: Path) -> None:
        """Serve *folder* at `ORIGIN`, and below /slow/ at a rate that leaves time to do harm."""
        state = self.folder / "nginx"
        state.mkdir()
        paths = "".join(f"{name}_temp_path {state}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        slow = f"location /slow/ {{ alias {folder}/; limit_rate {SLOW_BYTES_PER_S}; }}"
        (state / "nginx.conf").write_text(
            f"daemon off; user root; pid {state}/pid; error_log {state}/error; events {{}}\n"
            f"http {{ access_log {state}/access; sendfile on; {paths} server {{ listen {ADDRESS}:8090; root {folder}; {slow} }} }}\n"
        )
        self.stack.enter_context(running("nginx", "-c", str(state / "nginx.conf"), log=self.folder / "nginx.log"))

    def tap(self) -> str:
        """Plug a new cable into the bridge and return its other end."""
        name = f"tap{self.taps}"
        self.taps += 1
        ip(f"tuntap add {name} mode tap")
        ip(f"link set {name} master br0 up")
        return name

    def drive(self, name: str = "disk", *, serial: str | None = SERIAL, size_bytes: int = 2 * _GIB, **looks: Any) -> Drive:
        """Make an empty disk."""
        path = self.folder / f"{name}.raw"
        with path.open("wb") as file:
            file.truncate(size_bytes)
        return Drive(path=path, serial=serial, **looks)

    def machine(self, *drives: Drive, cards: Sequence[Card] = (), firmware: str = BIOS, memory_mib: int = 1024) -> Machine:
        """Build a machine; without *cards* it has one on the bridge."""
        one = Machine(
            folder=self.folder,
            drives=drives or (self.drive(),),
            cards=cards or (Card(mac=MAC, tap=self.tap()),),
            accel=self.accel,
            firmware=firmware,
            memory_mib=memory_mib,
        )
        self.machines.append(one)
        return one

    def bind(
        self, image: BootableImage, mode: str = "bty-flash-once", *, serial: str | None = SERIAL, path: str = "", sha256: str = ""
    ) -> str:
        """Catalogue *image* and bind the machine to it; return its ref. *path* and *sha256* replace the true ones."""
        entry = {"image_url": f"{ORIGIN}/{path}{image.path.name}", "sha256": sha256 or image.sha256, "format": "img.zst"}
        ref = str(self.operator.call("POST", "/catalog/entries", entry)["bty_image_ref"])
        self.operator.bind(MAC, ref, serial, mode)
        return ref

    def cable(self, machine: Machine, *, plugged: bool) -> None:
        """Cut the machine off behind its switch, which its card does not notice, or connect it again."""
        ip(f"link set {machine.cards[0].tap} {'up' if plugged else 'down'}")

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the daemon's events of *kind*, newest first."""
        return self.operator.events(kind)

    def stage(self) -> str:
        """Return the stage that the machine's flash is in, or nothing."""
        progress = self.operator.call("GET", f"/machines/{MAC}")["progress"]
        return str(progress["stage"]) if progress else ""

    def await_event(self, power: Power, kind: str, timeout_s: float, *, count: int = 1, stage: str = "") -> dict[str, Any]:
        """Wait until the daemon has *count* events of *kind*, and return the newest."""
        power.until(lambda: len(self.events(kind)) >= count, f"event {kind} ({count})", timeout_s, stage=stage)
        return self.events(kind)[0]

    def close(self) -> None:
        """End everything and keep what explains it: logs and events, but no disks."""
        if self._operator:
            with contextlib.suppress(OSError):  # a daemon that is down has none to tell
                events = self._operator.call("GET", "/events?limit=500")["events"]
                (self.folder / "events.json").write_text(json.dumps(events, indent=1))
        self._dhcp.close()
        self.stack.close()
        for path in self.folder.glob("*.raw"):
            path.unlink()
        shutil.rmtree(self.folder / "state" / "boot", ignore_errors=True)


@contextmanager
def site(
    folder: Path, *, accel: Sequence[str] = EMULATED, images: Path | None = None, dhcp: str | None = "dhcp", secure: bool = False
) -> Iterator[Site]:
    """Build a site below *folder*, with its daemon, dnsmasq and origin running, and tear it down; a *secure* one is for Secure Boot."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run([ROOT / "packaging/ipxe/assemble", folder / "tftp", DAEMON], check=True, stdin=subprocess.DEVNULL)
    if secure:
        subprocess.run([ROOT / "packaging/grub/assemble", folder / "tftp", DAEMON, str(TFTP_PORT)], check=True, stdin=subprocess.DEVNULL)
    with bridge():
        made = Site(folder=folder, accel=accel, secure=secure)
        try:
            if images:
                made.serve_images(images)
            if dhcp:
                made.serve_dhcp(dhcp)
            made.start_daemon()
            yield made
        finally:
            made.close()


def assert_flashed(image: BootableImage, drive: Drive) -> None:
    """The disk holds the image but for the partition table's two headers and its backup, which has moved to the end of the disk."""
    sector = drive.sector_bytes
    moved = ((446, 512), (sector, 2 * sector), (image.raw_bytes - 33 * sector, image.raw_bytes))  # the table in the MBR spans the disk too
    with image.raw.open("rb") as wanted, drive.path.open("rb") as found:
        for at in range(0, image.raw_bytes, _MIB):
            piece, same = (bytearray(file.read(_MIB)) for file in (wanted, found))
            for begin, end in moved:
                part = slice(max(begin - at, 0), max(end - at, 0))
                piece[part] = same[part] = bytes(len(piece[part]))
            assert piece == same, f"the disk differs from the image in the MiB at byte {at}"


def assert_untouched(drive: Drive) -> None:
    """Not a byte of the disk, which was all zeros, has been written."""
    assert drive.path.stat().st_blocks == 0, f"{drive.path.name} has been written to"
