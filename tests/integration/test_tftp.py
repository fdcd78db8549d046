"""The daemon's own TFTP: a machine's script for GRUB and the files that it names, on real sockets, fetched by curl where it can."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bty.daemon.tftp import TRANSFERS_MAX
from tests.support.daemon import Daemon, make_config, running
from tests.support.process import run_web

MAC = "52:54:00:00:00:01"
SCRIPT = f"/pxe/{MAC}/grub.cfg?host=boot.example:8080"
RRQ, DATA, ACK, ERROR, OACK = 1, 3, 4, 5, 6


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_udp_port()


@pytest.fixture
async def daemon(tmp_path: Path, port: int) -> AsyncIterator[Daemon]:
    config = make_config(tmp_path / "state", f'[server]\nhost = "127.0.0.1"\n[netboot]\ntftp_port = {port}\n')
    async with running(config) as made:
        await made.log_in()
        yield made


async def curl(port: int, path: str, *words: str) -> tuple[int, bytes]:
    """Fetch with curl; return its exit code and what it got."""
    command = ("curl", "--silent", "--max-time", "20", *words, f"tftp://127.0.0.1:{port}/{path.replace('?', '%3F')}")
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return process.returncode or 0, out


class Client:
    """A client that can misbehave."""

    def __init__(self, link: socket.socket, port: int) -> None:
        self.link = link
        self.peer = ("127.0.0.1", port)
        self.answers_from: tuple[str, int] = self.peer

    def ask(self, path: str, *options: str, opcode: int = RRQ, mode: str = "octet") -> None:
        fields = "".join(f"{word}\0" for word in (path, mode, *options))
        self.send(struct.pack("!H", opcode) + fields.encode(), self.peer)

    def send(self, packet: bytes, to: tuple[str, int] | None = None) -> None:
        self.link.sendto(packet, to or self.answers_from)

    def confirm(self, number: int) -> None:
        self.send(struct.pack("!HH", ACK, number))

    async def hear(self, timeout_s: float = 10.0) -> tuple[int, bytes]:
        """Return the kind of the next packet and the rest of it."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            packet, self.answers_from = await loop.sock_recvfrom(self.link, 2048)
        return struct.unpack("!H", packet[:2])[0], packet[2:]

    async def hears_nothing(self) -> bool:
        try:
            await self.hear(0.3)
        except TimeoutError:
            return True
        return False


@contextmanager
def client(port: int) -> Iterator[Client]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setblocking(False)
        link.bind(("127.0.0.1", 0))
        yield Client(link, port)


@pytest.mark.needs("curl")
async def test_the_script_is_that_of_http(daemon: Daemon, port: int) -> None:
    """By TFTP a machine gets, letter for letter, the script that GRUB gets by HTTP, and each is a contact."""
    code, by_tftp = await curl(port, SCRIPT)
    status, by_http = await daemon.call("GET", f"/pxe/{MAC}/grub.cfg", headers={"Host": "boot.example:8080"})

    assert (code, status) == (0, 200)
    assert by_tftp.decode() == by_http
    assert "fetch=http://boot.example:8080/boot/" in by_http
    assert [event["source_ip"] for event in await daemon.events(kind="netboot.pxe.offered")] == ["127.0.0.1"] * 2
    assert len(await daemon.events(kind="machine.discovered")) == 1


async def test_both_dialects_are_one_cycle(daemon: Daemon) -> None:
    """A machine that comes with iPXE, then with GRUB, goes on in the same cycle: both ask the same decision."""
    await daemon.call("PUT", f"/machines/{MAC}", json={"boot_mode": "bty-inventory"})
    await daemon.call("GET", f"/pxe/{MAC}")
    await daemon.call("GET", f"/boot/x?mac={MAC}")
    _, plan = await daemon.call("GET", f"/pxe/{MAC}/plan")
    assert (await daemon.call("POST", f"/pxe/{MAC}/inventory", json={"cycle": plan["cycle"]}))[0] == 204
    _, text = await daemon.call("GET", f"/pxe/{MAC}/grub.cfg")

    assert "boots its local disk" in text
    offers = [event["details"]["offer_kind"] for event in await daemon.events(kind="netboot.pxe.offered")]
    assert offers == ["bty-inventory-sanboot", "bty-inventory"]


@pytest.mark.needs("curl")
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 3 << 20])
async def test_a_boot_file_arrives_whole_and_arms(daemon: Daemon, port: int, size: int) -> None:
    """A file of any size arrives as it is, and its fetch arms the machine that it names, as over HTTP."""
    content = bytes(range(256)) * (size // 256 + 1)
    (daemon.boot_dir / "kernel").write_bytes(content[:size])
    await daemon.call("PUT", f"/machines/{MAC}", json={"boot_mode": "bty-inventory"})

    assert await curl(port, f"/boot/kernel?mac={MAC}", *(["--tftp-blksize", "1024"] if size > 513 else ["--tftp-no-options"])) == (
        0,
        content[:size],
    )
    assert len(await daemon.events(kind="netboot.flasher.armed")) == 1


@pytest.mark.needs("curl")
@pytest.mark.parametrize("path", ["/boot/none", "/etc/passwd", "/boot/../state.db", "/boot//etc/passwd", "/pxe/zz/grub.cfg?host=h", "/"])
async def test_what_is_not_there_is_refused(daemon: Daemon, port: int, path: str) -> None:
    """A path that leads nowhere, or out of the boot directory, gets TFTP's own words for it and no byte."""
    code, got = await curl(port, path, "--path-as-is")
    assert code in (68, 69), "curl: file not found, or access denied"
    assert got == b""


@pytest.mark.parametrize("host", ["", "h%0Aexit", "h$x", "h/boot", 'h"'])
async def test_a_host_that_could_change_the_script_is_refused(daemon: Daemon, port: int, host: str) -> None:
    """The client says where it reaches the daemon; what is no host and port is refused before the machine is even recorded."""
    with client(port) as one:
        one.ask(f"/pxe/{MAC}/grub.cfg?host={host}")
        kind, rest = await one.hear()
    assert kind == ERROR
    assert b"not a host" in rest
    assert await daemon.events(kind="machine.discovered") == []


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0",
        b"\0\1",
        b"\0\1x",
        b"\0\1x\0octet",
        b"\0\1x\0netascii\0",
        b"\0\2x\0octet\0",
        b"\0\4\0\1",
        b"\0\1\xff\0octet\0",
        b"\xff" * 600,
    ],
)
async def test_garbage_does_no_harm(daemon: Daemon, port: int, packet: bytes) -> None:
    """What is no request for a file is refused in one packet, and the next client is served."""
    (daemon.boot_dir / "kernel").write_bytes(b"ok")
    with client(port) as one:
        one.send(packet, one.peer)
        assert (await one.hear())[0] == ERROR
    with client(port) as other:
        other.ask("/boot/kernel")
        assert await other.hear() == (DATA, b"\0\1ok")
        other.confirm(1)


async def test_options_are_agreed_on(daemon: Daemon, port: int) -> None:
    """Size and block size are told as asked, a block at most what fits into a frame; options that nobody knows are passed over."""
    (daemon.boot_dir / "kernel").write_bytes(b"x" * 2000)
    with client(port) as one:
        one.ask("/boot/kernel", "blksize", "65464", "windowsize", "4", "tsize", "0")
        assert await one.hear() == (OACK, b"blksize\x001468\0tsize\x002000\0")
        one.confirm(0)
        assert await one.hear() == (DATA, b"\0\1" + b"x" * 1468)
        one.confirm(1)
        assert await one.hear() == (DATA, b"\0\2" + b"x" * 532)
        one.confirm(2)


async def test_a_lost_packet_is_sent_again(daemon: Daemon, port: int) -> None:
    """A block that nobody confirms comes again; a confirmation that comes twice does not send the next block twice."""
    (daemon.boot_dir / "kernel").write_bytes(b"x" * 512 + b"end")
    with client(port) as one:
        one.ask("/boot/kernel")
        first = await one.hear()
        assert await one.hear() == first
        one.confirm(1)
        one.confirm(1)
        assert await one.hear() == (DATA, b"\0\2end")
        assert await one.hears_nothing()
        one.confirm(2)


async def test_a_request_that_is_repeated_is_one_contact(daemon: Daemon, port: int) -> None:
    """A client that asks again before the answer has reached it does not count twice."""
    with client(port) as one:
        for _ in range(3):
            one.ask(SCRIPT)
        kind, rest = await one.hear()
        assert kind == DATA
        one.confirm(1)
        assert len(rest) < 514 or (await one.hear())[0] == DATA
    assert len(await daemon.events(kind="netboot.pxe.offered")) == 1


async def test_block_numbers_begin_again(daemon: Daemon, port: int) -> None:
    """A file of more blocks than there are numbers arrives whole."""
    content = b"12345678" * 0x10000 + b"tail"
    (daemon.boot_dir / "kernel").write_bytes(content)
    got = b""
    with client(port) as one:
        one.ask("/boot/kernel", "blksize", "8")
        assert (await one.hear())[0] == OACK
        one.confirm(0)
        while len(got) < len(content):
            _, rest = await one.hear()
            got += rest[2:]
            one.send(struct.pack("!H", ACK) + rest[:2])
    assert got == content


async def test_clients_beyond_the_limit_wait(daemon: Daemon, port: int) -> None:
    """With every transfer taken a new client gets no answer, and gets one once another has gone."""
    (daemon.boot_dir / "kernel").write_bytes(b"x" * 2000)
    with client(port) as late:
        held = [client(port) for _ in range(TRANSFERS_MAX)]
        ones = [one.__enter__() for one in held]
        for one in ones:
            one.ask("/boot/kernel")
            assert (await one.hear())[0] == DATA
        late.ask("/boot/kernel")
        assert await late.hears_nothing()
        ones[0].send(struct.pack("!HH", ERROR, 0) + b"\0")
        async with asyncio.timeout(10):
            while await late.hears_nothing():
                late.ask("/boot/kernel")
        for one in [*ones[1:], late]:
            one.send(struct.pack("!HH", ERROR, 0) + b"\0")
        for context in held:
            context.__exit__(None, None, None)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """A daemon that cannot have the port says which one, and what to change."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        number = str(taken.getsockname()[1])
        done = run_web("--host", "127.0.0.1", "--state-dir", str(tmp_path), env={"BTY_NETBOOT_TFTP_PORT": number})
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 UDP port {number}" in done.stderr
    assert "[netboot] tftp_port" in done.stderr


def test_a_number_that_is_no_port_is_told(tmp_path: Path) -> None:
    """A port beyond 65535 is refused by name."""
    done = run_web("--state-dir", str(tmp_path), env={"BTY_NETBOOT_TFTP_PORT": "70000"})
    assert done.returncode == 2
    assert "netboot.tftp_port: 70000 is not a port" in done.stderr
