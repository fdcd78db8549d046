"""What can be said about the media without building them."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from bty.daemon.scripts import ARTIFACTS
from bty.errors import BtyError

ROOT = Path(__file__).resolve().parents[2]
ROOM = ROOT / "media" / "netboot-pc"
FILES = ROOM / "files"
_CANDIDATES = [ROOM / "init", ROOM / "lease", ROOM / "kernel-hook", *sorted((FILES / "usr/lib/bty").rglob("*"))]
SCRIPTS = [path for path in _CANDIDATES if path.suffix != ".conf" and path.is_file() and "python" not in path.read_text().splitlines()[0]]
UNITS = sorted((FILES / "etc/systemd/system").glob("*.service"))


@pytest.fixture(scope="module")
def builder() -> dict[str, object]:
    """What the build script defines."""
    sys.path.insert(0, str(ROOT / "media"))
    try:
        return runpy.run_path(str(ROOT / "media" / "build.py"))
    finally:
        sys.path.remove(str(ROOT / "media"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_reads_each_script(script: Path) -> None:
    """Every script that the live environment runs is valid for a plain shell."""
    subprocess.run(["sh", "-n", script], check=True)


@pytest.mark.needs("shellcheck")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    """No script has what shellcheck warns about. The shells are busybox's and dash, which have `local`."""
    found = subprocess.run(
        ["shellcheck", "--shell=dash", "--severity=warning", "--external-sources", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=FILES,
    )

    assert found.stdout == ""


def test_the_artifacts_have_the_names_that_the_scripts_ask_for(builder: dict[str, object]) -> None:
    """What is built is called as the daemon's iPXE scripts call it."""
    version = builder["_version"]

    assert f"bty-netboot-pc-x86_64-v{version()}" == ARTIFACTS


@pytest.mark.parametrize("name", ["packages.txt", "masked.txt"])
def test_each_line_of_the_description_has_a_reason(name: str) -> None:
    """Every package that is in, and every unit that is out, is listed once and says why."""
    lines = [line for line in (ROOM / name).read_text().splitlines() if line and not line.startswith("#")]
    names = [line.split()[0] for line in lines]

    assert [line for line in lines if len(line.split()) < 3] == []
    assert sorted(set(names)) == sorted(names)


def test_the_programs_of_the_flasher_are_in() -> None:
    """Every decompressor and tool that the flasher looks for comes with one of the packages."""
    packages = {line.split()[0] for line in (ROOM / "packages.txt").read_text().splitlines() if line and not line.startswith("#")}
    tools = {
        "bzip2",
        "efibootmgr",
        "fdisk",
        "isal",
        "lbzip2",
        "libdeflate0",
        "lshw",
        "parted",
        "pigz",
        "udev",
        "util-linux",
        "xz-utils",
        "zstd",
    }

    assert tools <= packages


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_what_a_unit_starts_is_there(unit: Path) -> None:
    """A unit of ours starts scripts of ours that exist and are executable, or programs of Debian's."""
    started = re.findall(r"^Exec\w+=(\S+)", unit.read_text(), re.MULTILINE)
    ours = [FILES / path.lstrip("/") for path in started if path.startswith("/usr/lib/bty/")]

    assert started
    assert [str(path) for path in ours if not path.stat().st_mode & 0o111] == []


def test_each_failure_has_a_sentence_at_the_console() -> None:
    """The launcher knows every exit code of the flasher that a flash can end with."""
    codes = {kind.exit_code for kind in _family(BtyError)} - {1, 2}
    launcher = (FILES / "usr/lib/bty/work").read_text()

    assert codes == {int(code) for code in re.findall(r"^ +(\d\d)\) echo", launcher, re.MULTILINE)}


def test_the_flasher_and_no_server_goes_in(builder: dict[str, object]) -> None:
    """The trimmed flasher starts with nothing but itself and the standard library, and has no compiled part."""
    kept = set(builder["_FLASHER"])
    imported = subprocess.run(
        [sys.executable, "-c", "import bty.agent.unattended, bty.agent.cli, sys; print(*{n.partition('.')[0] for n in sys.modules})"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout.split()  # fmt: skip
    foreign = set(imported) - set(sys.stdlib_module_names) - {"__main__", "sitecustomize", "usercustomize"}  # Debian's Python has one

    assert {name for name in foreign if not name.startswith("_")} <= kept


def test_without_root_the_build_says_so(builder: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not root learns that it takes root before anything is fetched."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

    with pytest.raises(Exception, match="takes root"):
        builder["_check"]()


def test_nothing_of_the_building_machine_is_kept() -> None:
    """The list of what goes names what would make two machines the same one."""
    gone = (ROOM / "prune.txt").read_text().split("\n")

    assert {"etc/resolv.conf", "etc/machine-id", "etc/dropbear", "etc/nvme/hostid", "etc/nvme/hostnqn", "etc/apt"} <= set(gone)


def _family(kind: type[BtyError]) -> list[type[BtyError]]:
    return [kind, *(member for child in kind.__subclasses__() for member in _family(child))]
