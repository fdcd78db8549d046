"""What a start may load: the flasher must never pay for the server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVER = {"aiohttp", "aiosqlite", "sqlite3", "jinja2", "msgspec"}
# Runs the program and then, whatever its exit, lists on stderr what it has loaded.
PROBE = """
import atexit, sys
atexit.register(lambda: print("loaded:", *sys.modules, file=sys.stderr))
sys.argv = ["bty.pyz", *sys.argv[1:]]
from bty.cli import main
sys.exit(main())
"""


def _start(*arguments: str) -> tuple[int, set[str]]:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
    )
    loaded = [line for line in ran.stderr.splitlines() if line.startswith("loaded: ")]
    assert loaded, ran.stderr
    return ran.returncode, set(loaded[-1].split()[1:])


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["flash", "--help"], ["disks", "--json"]], ids=" ".join)
def test_the_flasher_never_loads_the_server(arguments: list[str]) -> None:
    """A start of the flasher loads neither the web framework nor the database nor the templates."""
    code, loaded = _start(*arguments)

    assert code == 0
    assert loaded & SERVER == set()
    assert not {name for name in loaded if name.startswith(("bty.store", "bty.services", "bty.daemon"))}


def test_a_flash_loads_what_its_image_needs() -> None:
    """Who names a file waits for no client of http, and for no format but his own."""
    code, loaded = _start("flash", "raw.img", "no-such-disk", "--yes")

    assert code == 10
    assert "bty.flash.engine" in loaded
    assert loaded & {"http.client", "ssl", "email", "bty.flash.qcow2", "bty.flash.unpack", "bty.flash.decode", "bty.flash.unzstd"} == set()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["flash", "--help"], ["disks", "--json"], ["--server", "no address", "--mac", "52:54:00:11:22:33"]],
    ids=" ".join,
)
def test_only_the_screen_loads_what_paints_it(arguments: list[str]) -> None:
    """Nothing that runs without a terminal loads the full-screen library, an unattended run neither."""
    _, loaded = _start(*arguments)

    assert not {name for name in loaded if name.startswith(("prompt_toolkit", "bty.agent.wizard"))}


@pytest.mark.parametrize("arguments", [["token", "create", "ci"], ["token", "list"], ["export", "-"], ["import", "-"]], ids=" ".join)
def test_commands_do_not_load_the_server(arguments: list[str], tmp_path: Path) -> None:
    """What is done to a state directory by the command line loads neither the web framework nor templates nor the cache."""
    assert _start("web", "token", "create", "first", "--state-dir", str(tmp_path))[0] == 0
    _, loaded = _start("web", *arguments, "--state-dir", str(tmp_path))

    assert "bty.daemon.commands" in loaded
    assert loaded & {"aiohttp", "jinja2", "withcache", "prompt_toolkit", "bty.daemon.app"} == set()


def test_version_costs_nothing() -> None:
    """`--version` loads no event loop and no HTTP client."""
    code, loaded = _start("--version")

    assert code == 0
    assert loaded & {"asyncio", "http.client", "ssl", "prompt_toolkit"} == set()


def test_a_machine_says_that_it_is_here_before_its_screen_is_loaded() -> None:
    """On a slow machine that is a matter of seconds, and whoever watches the console waits for this line."""
    arrived = """
import os, sys
from bty.host.console import Console
Console.enter = lambda self: (print("loaded:", *sys.modules, flush=True), os._exit(0))
sys.argv = ["bty.pyz", "--server", "boot", "--mac", "52:54:00:11:22:33"]
from bty.cli import main
for stream in (sys.stdin, sys.stdout):
    stream.isatty = lambda: True
os.environ["TERM"] = "vt100"
main()
"""
    environment = {**os.environ, "TERM": "vt100"}
    ran = subprocess.run([sys.executable, "-c", arrived], capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    loaded = set(ran.stdout.split())

    assert "loaded:" in loaded, ran.stderr
    assert "bty.agent.wizard.terminal" in loaded
    assert loaded & {"prompt_toolkit", "asyncio", "http.client", "bty.agent.server", "bty.agent.wizard.start"} == set()
