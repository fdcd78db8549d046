"""The built netboot-pc, booted: what a machine does with it and what its daemon sees."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bty import __version__
from tests.media import live
from tests.support.daemon import Daemon, make_config, running
from tests.support.listening import listening
from tests.support.process import daemon_process, free_port

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.needs("qemu-system-x86_64"),
    pytest.mark.skipif(bool(live.missing()), reason=live.missing()),
    pytest.mark.timeout(300),
]


SCREEN = "tmux -S /run/bty/session capture-pane -p -t bty"
Start = Callable[[str], AbstractAsyncContextManager[Daemon]]


@pytest.fixture
def daemon_of(tmp_path: Path) -> Start:
    """Starts a daemon whose boot directory is dist/media, with more configuration."""

    @asynccontextmanager
    async def start(toml: str) -> AsyncIterator[Daemon]:
        async with running(make_config(tmp_path / "state", f'[paths]\nboot_dir = "{live.MEDIA}"\n{toml}')) as daemon:
            await daemon.log_in()
            yield daemon

    return start


@pytest.fixture
async def daemon(daemon_of: Start) -> AsyncIterator[Daemon]:
    """A daemon whose boot directory is dist/media."""
    async with daemon_of("") as daemon:
        yield daemon


def _base(daemon: Daemon) -> str:
    return f"http://10.0.2.2:{daemon.client.port}"


@asynccontextmanager
async def _origin(folder: Path) -> AsyncIterator[str]:
    """Serve *folder*, and return its address as the machine sees it."""
    app = web.Application()
    app.router.add_static("/", folder)
    async with TestServer(app) as server:
        yield f"http://10.0.2.2:{server.port}"


async def _failed(daemon: Daemon, machine: live.Live, code: str, timeout_s: float = 120.0) -> None:
    """Wait for a failed flash with this code."""
    deadline = time.monotonic() + timeout_s
    while not any(event["details"]["error_code"] == code for event in await daemon.events(kind="machine.flash.failed")):
        assert machine.process.poll() is None, "QEMU ended"
        assert time.monotonic() < deadline, f"no flash failed with {code}: {machine.said[-2000:]}"
        await asyncio.sleep(0.2)


async def _put(daemon: Daemon, mode: str) -> None:
    status, body = await daemon.call("PUT", f"/machines/{live.MAC}", json={"boot_mode": mode})
    assert status in (200, 201), body
    await daemon.call("GET", f"/pxe/{live.MAC}")


async def _put_to_flash(daemon: Daemon, url: str, content: bytes, *, serial: str) -> None:
    """Have the machine flashed once at its next boot."""
    entry = {"image_url": url, "sha256": hashlib.sha256(content).hexdigest(), "format": "img"}
    _, made = await daemon.call("POST", "/catalog/entries", json=entry)
    bound = {"boot_mode": "bty-flash-once", "bty_image_ref": made["bty_image_ref"], "target_disk_serial": serial}
    await daemon.call("PUT", f"/machines/{live.MAC}", json=bound)
    await daemon.call("GET", f"/pxe/{live.MAC}")


async def test_an_inventory_reaches_the_daemon_and_the_machine_reboots(daemon: Daemon, tmp_path: Path) -> None:
    """With 1 GiB the live environment reports its disks with their serials, sends its log, and resets the machine."""
    await _put(daemon, "bty-inventory")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    drive = ["-drive", f"file={disk},format=raw,if=none,id=d0", "-device", "virtio-blk-pci,drive=d0,serial=BTYTEST"]

    async with live.booted(tmp_path, _base(daemon), *drive) as machine:
        await machine.wait("bty: entered v")
        await machine.ended(120)

    _, record = await daemon.call("GET", f"/machines/{live.MAC}")
    assert [known["serial"] for known in record["known_disks"]] == ["BTYTEST"]
    _, log = await daemon.call("GET", f"/machines/{live.MAC}/log")
    assert "fetched and verified" in str(log)
    assert not any(disk.read_bytes())


async def test_a_machine_without_a_task_leaves_a_shell_on_the_serial_line(daemon: Daemon, tmp_path: Path) -> None:
    """A plan to do nothing ends in one line that says what to do and a root shell; no service has failed, nobody listens."""
    await _put(daemon, "ipxe-exit")

    async with live.booted(tmp_path, _base(daemon)) as machine:
        await machine.wait("Nothing is left to do here")
        await machine.wait("bty:~# ")
        await machine.type("echo $((6 * 7))-at-the-console")
        await machine.wait("42-at-the-console")
        assert await machine.ask("systemctl --failed --no-legend --plain") == ""
        assert await machine.ask("ss -Hltn") == ""
        assert await machine.ask("grep ^root: /etc/shadow | cut -d: -f2") in ("*", "!", "!*")


async def test_every_console_shows_the_same_session(daemon: Daemon, tmp_path: Path) -> None:
    """The wizard runs once, in the size of the smaller terminal; what is typed at the serial line is seen on the screen too."""
    await _put(daemon, "bty-tui")

    async with live.booted(tmp_path, _base(daemon)) as machine:
        await machine.wait("Which image?")
        clients = await machine.ask("tmux -S /run/bty/session list-clients -F '#{client_tty} #{client_width} #{client_height}'")
        assert set(clients.splitlines()) == {"/dev/tty1 80 25", "/dev/ttyS0 80 24"}
        assert await machine.ask("tmux -S /run/bty/session display-message -p '#{window_width} #{window_height}'") == "80 24"
        await machine.type("?", enter=False)
        await machine.shows(SCREEN, "2.Image")
        await machine.type("\x02d", enter=False)  # detached, a console asks the terminal for its size and comes back
        await machine.wait("\x1b[999;999H", raw=True, count=2)
        await machine.type("\x1b[44;132R", enter=False)
        await machine.shows("stty size -F /dev/ttyS0", "44 132")


async def test_a_message_of_the_kernels_does_not_stay_on_the_screen(daemon: Daemon, tmp_path: Path) -> None:
    """It is printed over the picture on the serial line, and the picture is painted again, without a key being pressed."""
    await _put(daemon, "bty-tui")

    async with live.booted(tmp_path, _base(daemon)) as machine:
        await machine.wait("Which image?")
        await machine.ask("echo '<1>an urgent message' >/dev/kmsg")
        await machine.wait("an urgent message")
        pictures = machine.said.partition("an urgent message")[0].count("Which image?")
        await machine.wait("Which image?", count=pictures + 1)


async def test_a_daemon_that_comes_late_is_waited_for(daemon: Daemon, tmp_path: Path) -> None:
    """While the squashfs cannot be fetched the initrd says so and tries again, until it can."""
    await _put(daemon, "bty-tui")
    empty = tmp_path / "empty"
    empty.mkdir()
    config = make_config(tmp_path / "other", f'[paths]\nboot_dir = "{empty}"\n')
    async with running(config) as late, live.booted(tmp_path, _base(late)) as machine:
        await machine.wait("trying again")
        for part in live.MEDIA.glob("*.squashfs"):
            shutil.copyfile(part, empty / f".{part.name}")
            (empty / f".{part.name}").rename(empty / part.name)
        await machine.wait("bty: entered v")


async def test_a_squashfs_that_is_not_ours_is_not_booted(daemon: Daemon, tmp_path: Path) -> None:
    """A squashfs with another digest than the initrd carries is refused by name, and fetched again."""
    other = tmp_path / "boot"
    other.mkdir()
    for part in live.MEDIA.glob("*.squashfs"):
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        (other / part.name).write_bytes(content)

    config = make_config(tmp_path / "other", f'[paths]\nboot_dir = "{other}"\n')
    async with running(config) as liar, live.booted(tmp_path, _base(liar)) as machine:
        await machine.wait("is not the squashfs that belongs to this initrd")
        assert "bty: entered" not in machine.said


async def test_the_card_that_booted_is_the_one_that_is_used(daemon: Daemon, tmp_path: Path) -> None:
    """Of two cards the one with the machine's address is asked for an address, though the other comes first and has a link."""
    await _put(daemon, "bty-tui")
    cards = ("hubport,hubid=0,mac=52:54:00:99:99:99", f"user,mac={live.MAC}")

    async with live.booted(tmp_path, _base(daemon), cards=cards) as machine:
        await machine.wait("network on eth1: 10.0.2.15/24")
        await machine.wait("bty: entered v")


async def test_an_address_that_no_card_has_is_named_and_the_flasher_says_why_it_stops(daemon: Daemon, tmp_path: Path) -> None:
    """Without its card the initrd takes one with a link; a flasher that cannot work ends in a reason and a shell."""
    async with live.booted(tmp_path, _base(daemon), mac="nonsense") as machine:
        await machine.wait("no network card has the address nonsense")
        await machine.wait("network on eth0")
        await machine.wait("The flasher stopped (2:")
        await machine.wait("bty:~# ")


async def test_what_comes_late_is_tried_again(daemon_of: Start, tmp_path: Path) -> None:
    """A disk that is plugged in, and an image that appears, while the machine is trying: each next attempt finds it."""
    images, disk, content = tmp_path / "images", tmp_path / "disk", os.urandom(3 << 20)
    images.mkdir()
    with disk.open("wb") as file:
        file.truncate(8 << 20)
    async with daemon_of("[flash]\nmax_attempts = 50\n") as daemon, _origin(images) as origin:
        await _put_to_flash(daemon, f"{origin}/late.img", content, serial="LATE")

        plug = ("-device", "pcie-root-port,id=plug", "-drive", f"file={disk},format=raw,if=none,id=d0")
        async with live.booted(tmp_path, _base(daemon), *plug) as machine:
            await _failed(daemon, machine, "no_such_disk")
            await machine.control("device_add", driver="virtio-blk-pci", bus="plug", drive="d0", serial="LATE")
            await _failed(daemon, machine, "fetch_failed")
            (images / "late.img.new").write_bytes(content)
            (images / "late.img.new").rename(images / "late.img")
            await machine.ended(120)

        assert disk.read_bytes()[: len(content)] == content
        _, log = await daemon.call("GET", f"/machines/{live.MAC}/log")
        assert "flash failed: " in str(log)


async def test_a_server_that_gives_no_plan_is_asked_again(daemon: Daemon, tmp_path: Path) -> None:
    """Without a plan the screen says why and when the next try is; a key starts it at once.

    It is refused: a server that does not answer is waited for, for a minute, which tests/integration/flash/test_told.py shows.
    """
    port, state = free_port(), tmp_path / "other"
    make_config(state)
    async with live.booted(tmp_path, _base(daemon), server=f"http://10.0.2.2:{port}") as machine:
        with listening(_refuse, port):
            await machine.wait("plan was not followed", 180)
            await machine.shows(SCREEN, "It is asked for again in")
        with daemon_process(state, port=port):
            await machine.type("t", enter=False)
            await machine.wait("The machine restarts.", 60)


def _refuse(connection: socket.socket) -> None:
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


async def test_a_flash_that_nobody_asked_for_by_hand_is_seen_on_the_console(daemon: Daemon, tmp_path: Path) -> None:
    """The plan is done in sight, on the same screen as the wizard's; the markers stand on lines of their own, and the log has the lines."""
    disk, images = tmp_path / "disk", tmp_path / "images"
    images.mkdir()
    content = os.urandom(24 << 20)
    (images / "os.img").write_bytes(content)
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    async with _origin(images) as origin:
        await _put_to_flash(daemon, f"{origin}/os.img", content, serial="SEEN")
        slow = f"file={disk},format=raw,if=none,id=d0,throttling.bps-write={6 << 20}"
        async with live.booted(tmp_path, _base(daemon), "-drive", slow, "-device", "virtio-blk-pci,drive=d0,serial=SEEN") as machine:
            await machine.wait("bty: auto-flash starting")
            await machine.shows(SCREEN, "as the server's plan says")
            await machine.ended(120)
            lines = machine.said.splitlines()
    assert disk.read_bytes()[: len(content)] == content
    for marker in ("bty: auto-flash starting", "bty: write 50%", "bty: flash complete; rebooting"):
        assert lines.count(marker) == 1, f"{marker} in {lines[-60:]}"
    assert any("as the server's plan says" in line for line in lines)
    assert "The machine restarts." in lines
    _, log = await daemon.call("GET", f"/machines/{live.MAC}/log")
    assert "os.img to /dev/vda" in str(log)


@pytest.mark.needs("ssh", "ssh-keygen")
async def test_who_is_named_may_log_in_by_ssh(daemon_of: Start, tmp_path: Path) -> None:
    """With the operator's key one is root there, and the server's key is the one that the log names; without it nobody gets in."""
    for name in ("ours", "theirs"):
        await asyncio.to_thread(subprocess.run, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    key, port = (tmp_path / "ours.pub").read_text().strip(), free_port()
    cards = (f"user,hostfwd=tcp:127.0.0.1:{port}-:22,mac={live.MAC}",)

    async with daemon_of(f'[live]\nssh_authorized_keys = ["{key}"]\n') as daemon:
        await _put(daemon, "bty-tui")
        async with live.booted(tmp_path, _base(daemon), cards=cards) as machine:
            await machine.shows("ss -Hltn", ":22 ")
            said = await _ssh(tmp_path / "ours", port, "cat /etc/hostname; id -u; bty --version")
            assert said.stdout.split() == ["bty", "0", "bty", __version__], said
            seen = await asyncio.to_thread(subprocess.run, ["ssh-keygen", "-lf", "-"], input=said.known, text=True, capture_output=True)
            fingerprint = seen.stdout.split()[1]
            await machine.shows("journalctl -u bty-ssh -o cat", fingerprint)
            refused = await _ssh(tmp_path / "theirs", port, "true")
            assert "Permission denied (publickey)" in refused.stderr
            assert [event["summary"] for event in await daemon.events(kind="machine.ssh")] == [
                f"{live.MAC} may be logged in to by ssh: 1 key"
            ]
            deadline = time.monotonic() + 30
            while fingerprint not in str(await daemon.call("GET", f"/machines/{live.MAC}/log")):
                assert time.monotonic() < deadline, "the fingerprint is not in the machine's log"
                await asyncio.sleep(0.2)


@pytest.mark.needs("ssh", "openssl")
async def test_whoever_knows_the_password_may_log_in_by_ssh(daemon_of: Start, tmp_path: Path) -> None:
    """The daemon knows and hands out a hash only; a wrong password is refused, and the events say that there is one."""
    port, word = free_port(), "a word at night"
    made = await asyncio.to_thread(
        subprocess.run, ["openssl", "passwd", "-6", "-stdin"], input=word, text=True, capture_output=True, check=True
    )
    cards = (f"user,hostfwd=tcp:127.0.0.1:{port}-:22,mac={live.MAC}",)

    async with daemon_of(f'[live]\nssh_password_hash = "{made.stdout.strip()}"\n') as daemon:
        await _put(daemon, "bty-tui")
        async with live.booted(tmp_path, _base(daemon), cards=cards) as machine:
            await machine.shows("ss -Hltn", ":22 ")
            said = await _ssh(tmp_path / word.replace(" ", "-"), port, "id -u; bty --version", password=word)
            assert said.stdout.split() == ["0", "bty", __version__], said
            refused = await _ssh(tmp_path / "other", port, "true", password="another word")
            assert "Permission denied" in refused.stderr
            (event,) = await daemon.events(kind="machine.ssh")
            assert event["summary"] == f"{live.MAC} may be logged in to by ssh: a password"


@dataclass(frozen=True)
class _Said:
    stdout: str
    stderr: str
    known: str


async def _ssh(key: Path, port: int, command: str, *, password: str = "") -> _Said:
    """Run a command there by the system's own client, which knows nothing of this machine but the key, or the password."""
    known = key.with_suffix(".known")
    options = ["StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={known}", "IdentitiesOnly=yes", "NumberOfPasswordPrompts=1"]
    options.append("PubkeyAuthentication=no" if password else "BatchMode=yes")
    argv = ["ssh", "-F", "none", "-i", str(key), "-p", str(port), *[word for option in options for word in ("-o", option)]]
    asked = key.with_suffix(".answers")
    asked.write_text(f"#!/bin/sh\ncat <<'end'\n{password}\nend\n")
    asked.chmod(0o700)
    ran = await asyncio.to_thread(
        subprocess.run,
        [*argv, "root@127.0.0.1", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "SSH_ASKPASS": str(asked), "SSH_ASKPASS_REQUIRE": "force"},
    )
    return _Said(ran.stdout, ran.stderr, known.read_text() if known.exists() else "")
