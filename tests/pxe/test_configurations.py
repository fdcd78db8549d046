"""What firmware is told and given before the daemon's scripts, looked at without a machine."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

import pytest

from bty.daemon.scripts import LOCAL_LOADER
from tests.pxe.harness import NET_GRUB
from tests.pxe.image import ROOT, SHIM
from tests.support.api import eventually

PLACES = {
    "tftp": [],
    "proxy": ["network=192.0.2.0"],
    "dhcp": ["daemon=http://192.0.2.1:8080", "first=192.0.2.50", "last=192.0.2.150"],
}
COMMON = ["interface=br0", "tftp_root=/srv/tftp"]


def _render(mode: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "packaging/dnsmasq/render", mode, *words], capture_output=True, text=True, check=False)


@pytest.mark.needs("dnsmasq")
@pytest.mark.parametrize("mode", PLACES)
def test_dnsmasq_takes_each_configuration(mode: str, tmp_path: Path) -> None:
    """Each configuration, its places filled in, is one that dnsmasq reads."""
    config = tmp_path / "dnsmasq.conf"
    config.write_text(_render(mode, *COMMON, *PLACES[mode]).stdout)
    assert "$" not in config.read_text()
    done = subprocess.run(["dnsmasq", "--test", f"--conf-file={config}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("evil", ["br0\ndhcp-script=/bin/sh", "br0,set:x", "br 0", ""])
def test_a_value_cannot_add_an_option(evil: str) -> None:
    """A value with a newline, a comma or a blank is refused, and nothing is printed."""
    done = _render("tftp", f"interface={evil}", "tftp_root=/srv/tftp")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("interface: not fit")


def test_what_lacks_is_named() -> None:
    """A place that nobody filled in is named."""
    done = _render("proxy", *COMMON)
    assert done.returncode == 2
    assert "needs network=" in done.stderr


@pytest.mark.needs("grub-mkimage")
@pytest.mark.skipif(not Path("/usr/lib/ipxe/snponly.efi").exists(), reason="not installed: ipxe")
@pytest.mark.skipif(not Path("/usr/lib/grub/x86_64-efi").exists(), reason="not installed: grub-efi-amd64-bin")
def test_assembled_files_are_the_same_each_time(tmp_path: Path) -> None:
    """Runs in two seconds give the same files, among them the loader that the daemon asks for and a script that names the daemon."""
    digests: list[dict[str, str]] = []
    for name in ("one", "other"):
        begun = int(time.time())
        subprocess.run([ROOT / "packaging/ipxe/assemble", tmp_path / name, "http://192.0.2.1:8080"], check=True)
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / name).iterdir())})
        eventually(lambda began=begun: int(time.time()) > began)
    assert digests[0] == digests[1]
    assert (tmp_path / "one" / LOCAL_LOADER).read_bytes()[:2] == b"MZ"
    assert b"chain --replace http://192.0.2.1:8080/pxe-bootstrap.ipxe" in (tmp_path / "one" / "autoexec.ipxe").read_bytes()


def test_the_loader_of_uefi_is_the_operators_choice() -> None:
    """UEFI machines get iPXE, and shim where the operator said so; BIOS and iPXE itself are not concerned."""
    plain, secure = (_render("dhcp", *COMMON, *PLACES["dhcp"], *words).stdout for words in ((), ("uefi_loader=shimx64.efi",)))
    assert "shimx64.efi" not in [line.rpartition(",")[2] for line in plain.splitlines()]
    changed = [new for old, new in zip(plain.splitlines(), secure.splitlines(), strict=True) if old != new]
    assert changed
    assert all(line.endswith(",shimx64.efi") for line in changed)


@pytest.mark.skipif(not (SHIM.exists() and NET_GRUB.exists()), reason="not installed: shim-signed, grub-efi-amd64-signed")
@pytest.mark.needs("grub-script-check")
def test_what_secure_boot_starts_is_assembled(tmp_path: Path) -> None:
    """Shim, GRUB under the name that shim asks for, and a first script that names the daemon, its TFTP and the card that booted."""
    subprocess.run([ROOT / "packaging/grub/assemble", tmp_path, "http://192.0.2.1:8080"], check=True)
    assert (tmp_path / "shimx64.efi").read_bytes() == SHIM.read_bytes()
    assert (tmp_path / "grubx64.efi").read_bytes() == NET_GRUB.read_bytes()
    script = (tmp_path / "grub" / "grub.cfg").read_text()
    assert 'set bty="(tftp,192.0.2.1:8069)"\n' in script
    assert '  source "$bty/pxe/$net_default_mac/grub.cfg?host=192.0.2.1:8080"\n' in script
    assert "@" not in script
    subprocess.run(["grub-script-check", tmp_path / "grub" / "grub.cfg"], check=True)


@pytest.mark.parametrize("words", [["http://h:8080"], ["http://192.0.2.1/ x"], ["http://192.0.2.1:8080", "8069)/x"], []])
def test_what_could_change_the_first_script_is_refused(tmp_path: Path, words: list[str]) -> None:
    """A name, or anything else that is no address and port, is refused before anything is written."""
    done = subprocess.run([ROOT / "packaging/grub/assemble", tmp_path / "new", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert not (tmp_path / "new").exists()


def test_assemble_refuses_what_is_no_address(tmp_path: Path) -> None:
    """An address that could change the script is refused before anything is written."""
    words = [ROOT / "packaging/ipxe/assemble", tmp_path / "new", "http://h/ && exit"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert not (tmp_path / "new").exists()
