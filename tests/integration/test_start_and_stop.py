"""How the daemon starts, refuses to start, and stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from bty import __version__
from bty.daemon import keys
from bty.daemon.scripts import ARTIFACTS
from tests.support.daemon import make_config, running
from tests.support.process import clean_env, daemon_process, free_port, run_web, web_command


def wait_for(ask: Callable[[], list[str]], timeout_s: float = 10.0) -> list[str]:
    """Ask until something comes."""
    deadline = time.monotonic() + timeout_s
    while not (found := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def get(url: str) -> tuple[int, dict]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status, json.loads(answer.read())


def test_a_ready_daemon_says_where_and_how(tmp_path: Path):
    """The ready line names address, state and where the password is from, and then what to do; the default password is warned of."""
    with daemon_process(tmp_path / "state") as daemon:
        text = "\n".join(daemon.lines)
        assert get(f"{daemon.url}/version") == (200, {"version": __version__})
    with daemon_process(tmp_path / "other", env={"BTY_ADMIN_PASSWORD": "hush"}) as daemon:
        other = "\n".join(daemon.lines)

    assert f"http://127.0.0.1:{daemon.port}" in other
    assert str(tmp_path / "state") in text
    assert "'bty-lab'" in text
    assert "WARNING" in text
    assert "next:" in text
    assert "env(BTY_ADMIN_PASSWORD)" in other
    assert "hush" not in other
    assert "WARNING" not in other


def test_a_daemon_without_a_live_environment_says_what_is_missing(tmp_path: Path):
    """A machine would ask for it for minutes: what is missing comes before the next step, and where nothing is, nothing is said."""
    boot = tmp_path / "state" / "boot"
    boot.mkdir(parents=True)
    (boot / f"{ARTIFACTS}.vmlinuz").write_bytes(b"kernel")
    with daemon_process(tmp_path / "state") as daemon:
        told = [line for line in daemon.lines if line.startswith(("missing ", "next: "))]
    for suffix in ("initrd", "squashfs"):
        (boot / f"{ARTIFACTS}.{suffix}").write_bytes(b"x")
    with daemon_process(tmp_path / "state") as daemon:
        complete = [line for line in daemon.lines if line.startswith(("missing ", "next: "))]

    assert len(told) == 2
    assert told[0] == f"missing in {boot}: {ARTIFACTS}.initrd, {ARTIFACTS}.squashfs; without them no machine starts its live environment"
    assert told[1].startswith(
        "next: log in, fetch them on the page Network boot or upload there what `make media` builds, add an image, and let "
    )
    assert complete == [f"next: log in, add an image, and let machines boot {daemon.url}/pxe-bootstrap.ipxe"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_asked(tmp_path: Path, number: signal.Signals):
    """SIGTERM and SIGINT end the daemon with 0, and everything is closed: the database leaves no journal behind."""
    with daemon_process(tmp_path / "state") as daemon:
        get(f"{daemon.url}/healthz")
        daemon.process.send_signal(number)
        assert daemon.process.wait(10) == 0

    assert not (tmp_path / "state" / "state.db-wal").exists()


def test_stopping_lets_a_request_end(tmp_path: Path):
    """A download that runs when SIGTERM comes is finished, and the daemon is gone within ten seconds."""
    with daemon_process(tmp_path / "state") as daemon:
        (tmp_path / "state" / "boot" / "big").write_bytes(bytes(20_000_000))
        with socket.create_connection(("127.0.0.1", daemon.port)) as client:
            client.sendall(b"GET /boot/big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = len(client.recv(65536))
            began = time.monotonic()
            daemon.process.send_signal(signal.SIGTERM)
            while block := client.recv(1 << 20):
                received += len(block)
        assert daemon.process.wait(10) == 0

    assert received > 20_000_000
    assert time.monotonic() - began < 10


def test_a_client_that_hangs_does_not_hold_up_the_end(tmp_path: Path):
    """With a request that never ends and an idle connection open, SIGTERM still ends the daemon within ten seconds."""
    with daemon_process(tmp_path / "state") as daemon:
        with (
            socket.create_connection(("127.0.0.1", daemon.port)) as hanging,
            socket.create_connection(("127.0.0.1", daemon.port)),
        ):
            hanging.sendall(b"POST /pxe/52:54:00:00:00:01/done HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            began = time.monotonic()
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(15) == 0
        assert time.monotonic() - began < 10


def test_it_stops_with_its_cache(tmp_path: Path):
    """With the embedded cache SIGTERM ends the daemon and the cache's process too."""
    with daemon_process(tmp_path / "state", env={"BTY_WITHCACHE_EMBEDDED": "true"}) as daemon:
        children = wait_for(lambda: Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split())
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(10) == 0

    assert time.monotonic() - began < 10
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []


async def test_old_events_are_pruned(tmp_path: Path):
    """A daemon that starts with more events than [events] max_rows forgets the oldest."""
    async with running(make_config(tmp_path / "state")) as daemon:
        for number in range(20):
            await daemon.app[keys.EVENTS].record("machine.flashed", str(number))
    async with running(make_config(tmp_path / "state", "[events]\nmax_rows = 5\n")) as daemon:
        await daemon.log_in()
        deadline = time.monotonic() + 10
        while (left := await daemon.events(kind="machine.flashed")) and len(left) > 5:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    assert [event["summary"] for event in left][:3] == ["19", "18", "17"]


def test_the_configuration_file_decides_everything(tmp_path: Path):
    """What --config says counts for port, password and paths, not for some of them."""
    port = free_port()
    (tmp_path / "own.toml").write_text(
        f"[server]\nhost = '127.0.0.1'\nport = {port}\n[admin]\npassword = 'sesame'\n"
        f"[paths]\nstate_dir = '{tmp_path}/s'\nboot_dir = '{tmp_path}/b'"
    )
    process = subprocess.Popen([*web_command(), "--config", str(tmp_path / "own.toml")], env=clean_env(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert "own.toml" in process.stdout.readline()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/auth/login", b'{"password": "sesame"}', method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 204
    finally:
        process.kill()
        process.communicate()

    assert (tmp_path / "s" / "state.db").exists()
    assert (tmp_path / "b").is_dir()


def refused(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run the daemon, which must refuse in one line without a traceback; return exit code and line."""
    ran = run_web(*arguments, env=env)
    lines = [line for line in ran.stderr.splitlines() if line.startswith("bty-web: ")]
    assert "Traceback" not in ran.stderr, ran.stderr
    assert len(lines) == 1, ran.stderr
    return ran.returncode, lines[0]


def test_version_and_help():
    """--version and --help answer and end with 0."""
    assert run_web("--version").stdout == f"bty-web {__version__}\n"
    assert "--state-dir" in run_web("--help").stdout


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str):
    """A number outside 1 to 65535 is exit code 2, on the command line as in the environment."""
    code, line = refused(f"--port={port}", "--state-dir", str(tmp_path))
    from_env, _ = refused("--state-dir", str(tmp_path), env={"BTY_SERVER_PORT": port})

    assert (code, from_env) == (2, 2)
    assert "server.port" in line


def test_a_port_that_is_no_number_is_refused():
    """Words instead of a port are exit code 2 with the usage."""
    ran = run_web("--port", "http")

    assert ran.returncode == 2
    assert "--port" in ran.stderr


def test_a_port_in_use_is_refused(tmp_path: Path):
    """A port that somebody else has is one line with the port, and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, line = refused("--host", "127.0.0.1", "--port", str(port), "--state-dir", str(tmp_path / "s"))

    assert code == 1
    assert str(port) in line


@pytest.mark.parametrize("host", ["192.0.2.77", "no such host"])
def test_an_address_that_is_not_ours_is_refused(tmp_path: Path, host: str):
    """An address that this machine does not have is one line with the address, and exit code 1."""
    code, line = refused("--host", host, "--port", str(free_port()), "--state-dir", str(tmp_path / "s"))

    assert code == 1
    assert host in line


def test_a_state_directory_in_use_is_refused(tmp_path: Path):
    """A second daemon over the same state is one line that says so, and the first one goes on."""
    with daemon_process(tmp_path / "state") as daemon:
        code, line = refused("--port", str(free_port()), "--state-dir", str(tmp_path / "state"))
        assert get(f"{daemon.url}/healthz")[0] == 200

    assert code == 1
    assert "locked" in line


def test_a_locked_database_is_refused(tmp_path: Path):
    """A database that another program holds is one line that says so, and it is left as it is."""
    with daemon_process(tmp_path / "state"):
        pass
    before = (tmp_path / "state" / "state.db").read_bytes()
    with closing(sqlite3.connect(tmp_path / "state" / "state.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        code, line = refused("--port", str(free_port()), "--state-dir", str(tmp_path / "state"))

    assert code == 1
    assert "locked" in line
    assert (tmp_path / "state" / "state.db").read_bytes() == before


@contextmanager
def read_only(directory: Path):
    """Make *directory* one that nobody may write into, root neither."""
    if os.geteuid() != 0:
        directory.chmod(0o500)
        yield
        directory.chmod(0o700)
        return
    if subprocess.run(["mount", "--bind", "-o", "ro", directory, directory], capture_output=True, check=False).returncode:
        pytest.skip("mount: not possible here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_read_only_state_directory_is_refused(tmp_path: Path):
    """A state directory that cannot be written is one line with its name and a hint."""
    (tmp_path / "state").mkdir()
    with read_only(tmp_path / "state"):
        code, line = refused("--port", str(free_port()), "--state-dir", str(tmp_path / "state"))

    assert code == 1
    assert str(tmp_path / "state") in line


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path):
    """A file in place of the state directory is one line with its name."""
    (tmp_path / "state").touch()
    code, line = refused("--port", str(free_port()), "--state-dir", str(tmp_path / "state"))

    assert code == 1
    assert str(tmp_path / "state") in line


def test_a_corrupt_database_is_set_aside(tmp_path: Path):
    """A file that is no database does not keep the daemon from starting: it is kept under another name, and the log says so."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.db").write_bytes(b"not a database" * 1000)
    with daemon_process(tmp_path / "state") as daemon:
        assert get(f"{daemon.url}/healthz")[0] == 200
    (kept,) = (tmp_path / "state").glob("state.db.*.bak")

    assert kept.read_bytes() == b"not a database" * 1000


@pytest.mark.parametrize(
    ("toml", "named"),
    [("[server\n", "not TOML"), ("[server]\nport = 'x'\n", "server.port"), ("[admin]\npassword_hash = 'x'\n", "password_hash")],
)
def test_a_bad_configuration_is_refused(tmp_path: Path, toml: str, named: str):
    """Bad TOML, a wrong type and a hash that is none: one line with what and where, exit code 1."""
    (tmp_path / "bty.toml").write_text(toml)
    code, line = refused("--config", str(tmp_path / "bty.toml"), "--state-dir", str(tmp_path / "s"), "--port", str(free_port()))

    assert code == 1
    assert named in line


def test_many_connections_at_once_are_taken(tmp_path: Path):
    """Five hundred clients that connect in the same moment are all answered."""
    with daemon_process(tmp_path / "state") as daemon:
        answers: list[bytes] = []

        def ask() -> None:
            with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as client:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answers.append(client.recv(4096))

        threads = [threading.Thread(target=ask) for _ in range(500)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    assert len(answers) == 500
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}


async def test_services_end_in_order(tmp_path: Path):
    """A start that fails half-way closes what it had opened: the same state can be opened again at once."""
    config = make_config(tmp_path / "state", "[admin]\npassword_hash = 'x'")
    for _ in range(2):
        with pytest.raises(Exception, match="password_hash"):
            async with running(config):
                pass
    async with running(make_config(tmp_path / "state")) as daemon:
        assert isinstance(daemon.app, web.Application)
