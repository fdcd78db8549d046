"""The scripts, for iPXE and for GRUB: the commands are those of contract 4, and nothing that somebody wrote elsewhere can add to them."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bty import __version__
from bty.daemon import scripts
from bty.daemon.scripts import LOADERS, Dialect
from bty.errors import InvalidInput
from bty.model.boot import Offer, Script, decide
from bty.model.catalog import Entry
from bty.model.machine import BootMode, CycleState, Machine

MAC = "52:54:00:00:00:01"
BASE = "http://boot.example:8080"
REF = "a" * 64
ENTRY = Entry(bty_image_ref=REF, src="http://images/d.img", name="debian", added_at="")

AGAIN = """\
inc tries
iseq ${tries} 60 && exit 1 ||
sleep 5
"""
CHAIN = f"""\
set bty-base {BASE}
set tries:int32 0
:fetch
kernel ${{bty-base}}/boot/bty-netboot-pc-x86_64-v{__version__}.vmlinuz?mac={MAC} boot=live \
fetch=${{bty-base}}/boot/bty-netboot-pc-x86_64-v{__version__}.squashfs components \
console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 plymouth.enable=0 \
modprobe.blacklist=nouveau,rndis_host nouveau.modeset=0 systemd.gpt_auto=0 bty.server=${{bty-base}} bty.mac={MAC} \
initrd=bty-netboot-pc-x86_64-v{__version__}.initrd || goto again
initrd ${{bty-base}}/boot/bty-netboot-pc-x86_64-v{__version__}.initrd?mac={MAC} || goto again
boot ||
:again
imgfree
{AGAIN}goto fetch
"""
DISK = f"""\
iseq ${{platform}} efi || goto bios
chain {BASE}/boot/bty-local-disk-x86_64.efi ||
exit 1
:bios
sanboot --no-describe --drive 0x81 || exit
"""


def machine(mode: str, **fields: Any) -> Machine:
    return Machine(mac=MAC, boot_mode=mode, created_at="", updated_at="", **fields)


def script(subject: Machine, entry: Entry | None = ENTRY) -> str:
    return scripts.render(decide(subject, entry), subject, BASE)


def commands(text: str) -> str:
    """Return a script without its comments and its words to the person who watches."""
    assert text.startswith("#!ipxe\n")
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith(("#", "echo ")))


BOUND = {"bty_image_ref": REF, "target_disk_serial": "S1", "sanboot_drive": "0x81"}


@pytest.mark.parametrize(
    ("subject", "entry", "expected"),
    [
        (machine(BootMode.TUI), None, CHAIN),
        (machine(BootMode.INVENTORY), None, CHAIN),
        (machine(BootMode.FLASH_ONCE, **BOUND), ENTRY, CHAIN),
        (machine(BootMode.FLASH_ALWAYS, **BOUND), ENTRY, CHAIN),
        (machine(BootMode.IPXE_EXIT, **BOUND), ENTRY, "sleep 1\n" + DISK),
        (machine(BootMode.FLASH_ONCE, cycle_state=CycleState.COMPLETED, **BOUND), ENTRY, "sleep 1\n" + DISK),
        (machine(BootMode.FLASH_ONCE, **BOUND), None, "sleep 1\nexit\n"),
        (machine(BootMode.FLASH_ONCE, bty_image_ref=REF), ENTRY, "sleep 1\nexit\n"),
        (machine(BootMode.FLASH_ONCE), None, "sleep 5\n" + DISK.replace("0x81", "0x80")),
        (machine("bty-of-tomorrow", **BOUND), None, "sleep 5\n" + DISK.replace("0x81", "0x80")),
    ],
)
def test_commands_of_each_offer(subject: Machine, entry: Entry | None, expected: str) -> None:
    """Each offer has its commands, to the letter and in order."""
    assert commands(script(subject, entry)) == expected


@pytest.mark.parametrize(("choice", "expected"), [("chain", DISK), ("exit-nonzero", "exit 1"), ("exit", "exit 0"), ("of-tomorrow", DISK)])
@pytest.mark.parametrize("mode", [BootMode.IPXE_EXIT, "bty-of-tomorrow"])
def test_the_operator_chooses_how_uefi_boots_the_disk(mode: str, choice: str, expected: str) -> None:
    """On UEFI the script finds the disk's loader, or leaves with or without an error; BIOS is not concerned."""
    text = commands(script(machine(mode, uefi_local_boot=choice, **BOUND)))
    uefi, _, bios = text.partition("goto bios\n")[2].partition(":bios\n")
    assert uefi == (expected.partition("goto bios\n")[2].partition(":bios\n")[0] if expected == DISK else f"{expected}\n")
    assert bios.startswith("sanboot --no-describe --drive ")


def test_bootstrap_names_the_card_that_booted() -> None:
    """The first script asks for the MAC of the current card, not of the first one, and again where the daemon does not answer."""
    asked = f"chain --replace {BASE}/pxe/${{mac:hexhyp}} ||\n"
    assert commands(scripts.bootstrap(BASE)) == f"set tries:int32 0\n:ask\n{asked}{AGAIN}goto ask\n"


def test_comments_name_the_machine() -> None:
    """The head of a script names MAC, mode, image and labels for whoever reads it."""
    head = script(machine(BootMode.FLASH_ONCE, labels=("rack 4", "ci"), **BOUND)).splitlines()[1:6]
    assert head == [f"# bty {__version__}", f"# machine {MAC}", "# mode    bty-flash-once", f"# image   {REF}", "# labels  rack 4, ci"]


def test_the_kernel_is_told_the_name_of_its_initrd() -> None:
    """On UEFI, older versions of iPXE hand a kernel no initrd but the one that its own command line names."""
    words = script(machine(BootMode.TUI)).split()
    name = next(word.removeprefix("initrd=") for word in words if word.startswith("initrd="))
    assert f"${{bty-base}}/boot/{name}?mac={MAC}" in words


def test_squashfs_is_fetched_without_the_tag() -> None:
    """live-boot makes a file name of the squashfs address and fails on a question mark."""
    fetch = next(word for word in script(machine(BootMode.TUI)).split() if word.startswith("fetch="))
    assert "?" not in fetch


EVIL = ["x\nsanboot", "x\rexit", 'x"; exit', "${net0/ip}", "x && exit", "x || exit", "\u2028exit", "x\x00y", "# x\n\nboot"]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("state", [None, CycleState.COMPLETED])
@pytest.mark.parametrize("mode", [*BootMode, "evil"])
def test_stored_text_never_gains_a_command(mode: str, state: CycleState | None, evil: str) -> None:
    """A label, ref or mode with a newline, a quote or a variable leaves the script's lines as they are."""
    clean = machine(mode, bty_image_ref=REF, target_disk_serial="S1", cycle_state=state)
    dirty = replace(clean, labels=(evil,), bty_image_ref=evil, boot_mode=evil if mode == "evil" else mode)
    offer = decide(clean, ENTRY)
    text = scripts.render(offer, dirty, BASE)
    assert commands(text) == commands(scripts.render(offer, clean, BASE))
    assert len(text.splitlines()) == len(scripts.render(offer, clean, BASE).splitlines())
    assert evil not in text


@given(evil=st.text(max_size=40), offer=st.sampled_from([*Script]))
def test_any_text_in_any_comment(evil: str, offer: Script) -> None:
    """Whatever the text, a script keeps its commands and its number of lines, and stays ASCII."""
    subject = machine(evil, labels=(evil, evil), bty_image_ref=evil)
    text = scripts.render(Offer(script=offer, offer="", kind="", details={"reason": evil}), subject, BASE)
    clean = scripts.render(Offer(script=offer, offer="", kind="", details={"reason": ""}), machine("m"), BASE)
    assert commands(text) == commands(clean)
    assert text.count("\n") == clean.count("\n")
    assert text.isascii()
    assert "\r" not in text


@pytest.mark.parametrize(
    ("field", "value"), [("mac", 'aa"'), ("mac", "52:54:00:00:00:01\nexit"), ("drive", "0x80 exit"), ("base", "http://h\nexit")]
)
def test_commands_refuse_what_does_not_fit(field: str, value: str) -> None:
    """What stands in a command is checked again where it is inserted."""
    subject = machine(BootMode.IPXE_EXIT if field == "drive" else BootMode.TUI)
    if field == "mac":
        subject = replace(subject, mac=value)
    offer = decide(subject, None)
    if field == "drive":
        offer = dataclasses.replace(offer, drive=value)
    with pytest.raises(InvalidInput, match="not fit for a script"):
        scripts.render(offer, subject, value if field == "base" else BASE)


# --- for GRUB, under Secure Boot --------------------------------------------------------------------------------------

GRUB_CHAIN = f"""\
linux "$bty/boot/bty-netboot-pc-x86_64-v{__version__}.vmlinuz?mac={MAC}" boot=live \
"fetch={BASE}/boot/bty-netboot-pc-x86_64-v{__version__}.squashfs" components \
console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 plymouth.enable=0 \
modprobe.blacklist=nouveau,rndis_host nouveau.modeset=0 systemd.gpt_auto=0 "bty.server={BASE}" bty.mac={MAC}
initrd "$bty/boot/bty-netboot-pc-x86_64-v{__version__}.initrd?mac={MAC}"
boot
"""
GRUB_DISK = f"""\
unset prefix
for loader in {" ".join(LOADERS)}; do
  if [ -f "$loader" ]; then
    echo "bty: the local disk boots, $loader"
    regexp --set=1:root '^\\((.*)\\)/' "$loader"
    if chainloader "$loader"; then boot; fi
  fi
done
exit 1
"""


def grub_commands(text: str) -> str:
    """Return a script for GRUB without its comments and its words to the person who watches."""
    assert text.startswith(f"# bty {__version__}\n")
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith(("#", "echo ")))


def grub(subject: Machine, entry: Entry | None = ENTRY) -> str:
    return scripts.render(decide(subject, entry), subject, BASE, Dialect.GRUB)


@pytest.mark.parametrize(
    ("subject", "entry", "expected"),
    [
        (machine(BootMode.TUI), None, GRUB_CHAIN),
        (machine(BootMode.INVENTORY), None, GRUB_CHAIN),
        (machine(BootMode.FLASH_ONCE, **BOUND), ENTRY, GRUB_CHAIN),
        (machine(BootMode.IPXE_EXIT, **BOUND), ENTRY, GRUB_DISK),
        (machine(BootMode.FLASH_ONCE, cycle_state=CycleState.COMPLETED, **BOUND), ENTRY, GRUB_DISK),
        (machine(BootMode.FLASH_ONCE, **BOUND), None, "sleep 1\nexit 1\n"),
        (machine(BootMode.FLASH_ONCE), None, "sleep 5\n" + GRUB_DISK),
        (machine("bty-of-tomorrow"), None, "sleep 5\n" + GRUB_DISK),
        (machine(BootMode.IPXE_EXIT, uefi_local_boot="exit-nonzero"), None, "exit 1\n"),
        (machine(BootMode.IPXE_EXIT, uefi_local_boot="exit"), None, "exit\n"),
    ],
)
def test_commands_of_each_offer_for_grub(subject: Machine, entry: Entry | None, expected: str) -> None:
    """GRUB gets the same offers in its own words: the same kernel with the same arguments, or the loader of a local disk."""
    assert grub_commands(grub(subject, entry)) == expected


def test_both_dialects_give_the_kernel_the_same_arguments() -> None:
    """The live environment cannot tell who booted it, but for the name of an initrd that only iPXE needs."""

    def arguments(text: str) -> list[str]:
        line = next(line for line in text.splitlines() if line.startswith(("kernel ", "linux ")))
        words = [word.strip('"').replace("${bty-base}", BASE) for word in line.partition(" || ")[0].split()[2:]]
        return [word for word in words if not word.startswith("initrd=")]

    assert arguments(grub(machine(BootMode.TUI))) == arguments(script(machine(BootMode.TUI)))


def test_both_ways_to_a_local_disk_look_for_the_same_loaders() -> None:
    """The GRUB that iPXE fetches and the script for a signed GRUB look in the same places, in the same order."""
    config = Path(__file__).parents[2] / "packaging" / "ipxe" / "local-disk.cfg"
    assert f"for loader in {' '.join(LOADERS)}; do\n" in config.read_text()


@given(evil=st.text(max_size=40), offer=st.sampled_from([*Script]))
def test_any_text_in_a_script_for_grub(evil: str, offer: Script) -> None:
    """Whatever the text, a script for GRUB keeps its commands and its number of lines, and no word of it is a quote or a variable."""

    def render(subject: Machine, reason: str) -> str:
        return scripts.render(Offer(script=offer, offer="", kind="", details={"reason": reason}), subject, BASE, Dialect.GRUB)

    text, clean = render(machine(evil, labels=(evil, evil), bty_image_ref=evil), evil), render(machine("m"), "")
    assert grub_commands(text) == grub_commands(clean)
    assert text.count("\n") == clean.count("\n")
    assert text.isascii()
    for char in "\"'$`\\{}<>|&;\r":
        assert text.count(char) == clean.count(char)


@pytest.mark.parametrize(
    ("field", "value"), [("mac", 'aa"'), ("mac", "52:54:00:00:00:01\nexit"), ("base", 'http://h"\nexit'), ("base", "http://$h")]
)
@pytest.mark.parametrize("mode", [BootMode.TUI, BootMode.FLASH_ONCE])
def test_commands_for_grub_refuse_what_does_not_fit(mode: str, field: str, value: str) -> None:
    """What stands in a command for GRUB is checked again where it is inserted."""
    subject = machine(mode, **BOUND)
    if field == "mac":
        subject = replace(subject, mac=value)
    with pytest.raises(InvalidInput, match="not fit for a script"):
        scripts.render(decide(subject, ENTRY), subject, value if field == "base" else BASE, Dialect.GRUB)


@pytest.mark.needs("grub-script-check")
@pytest.mark.parametrize("local_boot", ["chain", "exit-nonzero", "exit"])
@pytest.mark.parametrize("offer", [*Script])
def test_grub_can_parse_its_scripts(offer: Script, local_boot: str) -> None:
    """GRUB's own parser takes every script."""
    subject = machine("m", labels=("a", "b"), uefi_local_boot=local_boot)
    text = scripts.render(Offer(script=offer, offer="", kind=""), subject, BASE, Dialect.GRUB)
    done = subprocess.run(["grub-script-check"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
