"""The scripts of machines, in two dialects: iPXE, and GRUB for where Secure Boot refuses iPXE.

What is inserted into a command is checked, what is inserted into a comment is reduced to harmless letters: nothing that
a client or an operator wrote can gain a script a line, a command or a variable.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache, lru_cache
from importlib import resources

import jinja2

from bty import __version__
from bty.errors import InvalidInput
from bty.model.boot import Offer
from bty.model.machine import Machine

ARTIFACTS = f"bty-netboot-pc-x86_64-v{__version__}"
# A small GRUB that finds and starts the EFI loader of a local disk; packaging/ipxe makes it. Where the boot directory lacks it, iPXE
# ends with a non-zero status, which sends the firmware to its next boot entry: a plain exit lands in some firmware's setup.
LOCAL_LOADER = "bty-local-disk-x86_64.efi"

# Where GRUB looks for the loader of a local disk, as packaging/ipxe/local-disk.cfg does. The removable path comes first, as images are
# made for any machine; then what installers of systems leave.
LOADERS = (
    "(hd*,gpt*)/EFI/BOOT/BOOTX64.EFI",
    "(hd*,msdos*)/EFI/BOOT/BOOTX64.EFI",
    "(hd*,gpt*)/EFI/*/shimx64.efi",
    "(hd*,gpt*)/EFI/*/grubx64.efi",
    "(hd*,gpt*)/EFI/systemd/systemd-bootx64.efi",
    "(hd*,gpt*)/EFI/Microsoft/Boot/bootmgfw.efi",
)

# In order. The kernel takes one console of a kind, so a second UART is not named: the first named would be taken, and the
# last, never found, would keep earlyprintk alive, each line twice. The live environment's launcher writes to every UART
# itself. No quiet, no splash: a person may be watching.
KERNEL_ARGUMENTS = (
    "components",
    "console=tty0",
    "console=ttyS0,115200",
    "earlyprintk=ttyS0,115200",
    "plymouth.enable=0",
    "modprobe.blacklist=nouveau,rndis_host",  # rndis_host: the USB network card of a BMC, which leads nowhere
    "nouveau.modeset=0",
    "systemd.gpt_auto=0",  # or the target's own partitions get mounted
)

_HARMLESS = re.compile(r"[^A-Za-z0-9 ._,:/+-]")
_CHECKS = {
    "mac": re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"),
    "drive": re.compile(r"0x[0-9A-Fa-f]{1,2}"),
    "base": re.compile(r"http://[A-Za-z0-9._:\[\]-]{1,300}"),
}


class Dialect(StrEnum):
    """Who reads a script; the templates end in it."""

    IPXE = "ipxe"
    GRUB = "grub"


def prepare() -> None:
    """Compile the templates that are not compiled yet, in 0.05 s (measured). May be called in any thread."""
    for dialect in Dialect:
        _compile(dialect)


def bootstrap(base_url: str) -> str:
    """Return the script that sends a machine with iPXE to its own; that of GRUB lies in the TFTP root."""
    return _compile(Dialect.IPXE)["bootstrap"].render(base=base_url)


def render(offer: Offer, machine: Machine, base_url: str, dialect: Dialect = Dialect.IPXE) -> str:
    """Return the script of *offer* for *machine*. Raises `InvalidInput` for a MAC, drive or base that could break it."""
    return _render(
        dialect,
        offer.script,
        base=base_url,
        mac=machine.mac,
        mode=machine.boot_mode,
        ref=machine.bty_image_ref or "none",
        labels=", ".join(machine.labels) or "none",
        drive=offer.drive,
        local_boot=machine.uefi_local_boot,
        reason=str(offer.details.get("reason", "")),
    )


@lru_cache(maxsize=4096)
def _render(dialect: Dialect, name: str, **values: str) -> str:
    """Return a script. Kept, since machines ask for the same one again: 2 KiB each."""
    return _compile(dialect)[name].render(values)


@cache
def _compile(dialect: Dialect) -> dict[str, jinja2.Template]:
    ending = f".{dialect}.j2"
    folder = resources.files(__name__)
    environment = jinja2.Environment(  # scripts are not HTML: the filters below are the escaping
        loader=jinja2.FunctionLoader(lambda name: (folder / f"{name}{ending}").read_text(encoding="utf-8")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters["harmless"] = _harmless
    environment.filters["checked"] = _checked
    environment.globals.update(
        version=__version__, artifacts=ARTIFACTS, local_loader=LOCAL_LOADER, loaders=" ".join(LOADERS), arguments=" ".join(KERNEL_ARGUMENTS)
    )
    # Macros as globals cost a call; an include would cost a context each time, and a rack asks for thousands of scripts.
    parts = environment.get_template("_parts").module
    environment.globals.update({name: macro for name, macro in vars(parts).items() if not name.startswith("_")})
    names = (entry.name.removesuffix(ending) for entry in folder.iterdir() if entry.name.endswith(ending))
    return {name: environment.get_template(name) for name in names if not name.startswith("_")}


@lru_cache(maxsize=4096)
def _harmless(text: str) -> str:
    return _HARMLESS.sub("?", text)


def _checked(text: str, kind: str) -> str:
    if not _CHECKS[kind].fullmatch(text):
        raise InvalidInput(f"not fit for a script: {kind} {text[:64]!r}")
    return text
