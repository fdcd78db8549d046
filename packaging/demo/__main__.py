"""`make demo`: a virtual machine with an empty disk, a real daemon and the network between them, in front of the operator.

    python3 packaging/demo [--mode flash-once|inventory] [--firmware bios|uefi] [--keep] [--once] [--port PORT]

Each option has a variable for make: DEMO_MODE, DEMO_FIRMWARE, DEMO_KEEP, DEMO_ONCE, DEMO_PORT. Site and machine are those of
tests/pxe. Everything runs in a network namespace of its own; the only way in is a socket on this computer's loopback.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess  # noqa: TID251 - a tool of the checkout, outside the product
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from console import Console, Keyboard, following, typing
from forward import forwarding, listen
from story import Story

from tests.pxe.harness import ADDRESS, DAEMON, MAC, ORIGIN, PORT, SERIAL, Site, bridge
from tests.pxe.image import ROOT, BootableImage, bootable_image
from tests.pxe.qemu import BIOS, KVM, UEFI, Drive, Machine, Power, accelerator
from tests.support.api import PASSWORD

FOLDER = ROOT / "build" / "demo"
KEPT = ("state", "disk.raw", "vars.fd")
IMAGE_NAME = "Debian, small"
INVENTORY, FLASH_ONCE = "inventory", "flash-once"
# Five times what an idle machine of two cores needs in emulation. Only a run that nobody watches gives up.
CYCLE_S = 600.0
_PERIOD_S = 0.3
# What the operator may do once the machine has come that far.
_AT_LOGIN = "log in as root, without a password. `reboot`, and the machine asks the daemon again. Ctrl-C ends the demo"
_HINTS = {
    FLASH_ONCE: {"at_login": _AT_LOGIN},
    INVENTORY: {
        "at_login": _AT_LOGIN,
        "at_local_disk": f"the machine starts over until its disk has a system. In the app, give it the image {IMAGE_NAME!r}, the disk\n"
        f"           {SERIAL} and a mode that flashes. Ctrl-C ends the demo",
    },
}


class Failed(Exception):
    """The demo cannot go on, and this is why."""


def main() -> int:
    """Run the demo and return the exit code: 0 also where the operator ended it."""
    options = _options()
    os.chdir(ROOT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console(sys.stdout.buffer, is_terminal=sys.stdout.isatty())
    try:
        with _alone():
            _run(options, console)
    except KeyboardInterrupt:
        console.restore()
        console.say("the demo is over; nothing of it runs any more", plain=True)
        return 130 if options.once else 0
    except (Failed, AssertionError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        console.restore()
        console.say(f"demo: {error}\nwhat led to it is in the logs below {FOLDER.relative_to(ROOT)}", plain=True)
        return 1
    console.say("the demo is over; nothing of it runs any more", plain=True)
    return 0


def _options() -> argparse.Namespace:
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="packaging/demo", description="Flash a virtual machine over its network, and watch.")
    modes, firmware = (FLASH_ONCE, INVENTORY), (BIOS, UEFI)
    parser.add_argument("--mode", choices=modes, default=env("DEMO_MODE") or FLASH_ONCE, help="inventory: the operator binds it in the app")
    parser.add_argument("--firmware", choices=firmware, default=env("DEMO_FIRMWARE") or BIOS)
    parser.add_argument("--keep", action="store_true", default=env("DEMO_KEEP", "") not in ("", "0"), help="go on where the last one ended")
    parser.add_argument("--once", action="store_true", default=env("DEMO_ONCE", "") not in ("", "0"), help="end after one cycle")
    parser.add_argument("--port", type=int, default=env("DEMO_PORT") or 8080, help="of the app, on 127.0.0.1")
    options = parser.parse_args()
    for name, known in (("mode", modes), ("firmware", firmware)):  # argparse does not look at defaults
        if getattr(options, name) not in known:
            parser.error(f"DEMO_{name.upper()} is one of {', '.join(known)}")
    options.once = options.once or not sys.stdin.isatty()
    return options


def _interrupt(_number: int, _frame: object) -> None:
    """End the demo; whatever comes while it is being ended is not heard."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def _alone() -> Iterator[None]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failed("another demo runs: end that one first") from error
        yield


def _run(options: argparse.Namespace, console: Console) -> None:
    console.say("== the image: a small Debian, made where it is not there yet (one to three minutes)")
    image = bootable_image()
    console.say("== a virtual machine is tried with KVM (at most ten seconds; without it machines are emulated, which is slower)")
    accel = accelerator(image.kernel, FOLDER)
    with listen(options.port) as entrance:  # before the network of our own is entered
        console.say(_title(entrance.getsockname()[1], once=options.once), plain=True)
        folder = FOLDER / "run"
        was_kept = options.keep and (folder / "disk.raw").exists()
        _clear(folder, keep=was_kept)
        subprocess.run([ROOT / "packaging/ipxe/assemble", folder / "tftp", DAEMON], check=True, stdin=subprocess.DEVNULL)
        with bridge(), ExitStack() as stack:
            site = Site(folder=folder, accel=accel, program=(str(ROOT / "dist" / "bty.pyz"), "web"))
            stack.callback(_close, site, keep=options.keep)
            console.say("== start: DHCP and TFTP (dnsmasq), a web server with the image (nginx), the daemon (dist/bty.pyz)")
            site.serve_images(image.path.parent)
            site.serve_dhcp()
            site.start_daemon()
            stack.enter_context(forwarding(entrance, ADDRESS, PORT))
            if was_kept:
                console.say("== the daemon and the disk are as the last demo left them")
            else:
                _announce(site, image, options.mode, console)
            story = Story(site, console) if options.once else Story(site, console, **_HINTS[options.mode])
            _use(site, story, console, options)


def _title(port: int, *, once: bool) -> str:
    lines = [
        "",
        "bty demo: a virtual machine with an empty disk, a daemon, and the network between them. All of it is on this computer.",
        "",
        f"    app        http://127.0.0.1:{port}/",
        f"    password   {PASSWORD}",
        f"    logs       {FOLDER.relative_to(ROOT)}/run",
        "    end        by itself, once the machine is through" if once else "    end        Ctrl-C; every other key goes to the machine",
    ]
    if "SSH_CONNECTION" in os.environ:
        lines.append(f"    from afar  ssh -L {port}:127.0.0.1:{port} and this computer's name, then the address above")
    return "\n".join(lines) + "\n"


def _clear(folder: Path, *, keep: bool) -> None:
    """Leave what a kept demo goes on with, and nothing else of an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if keep and path.name in KEPT:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _close(site: Site, *, keep: bool) -> None:
    disk, kept = site.folder / "disk.raw", site.folder / "disk.kept"
    if keep and disk.exists():
        disk.rename(kept)  # what is closed loses its disks
    site.close()
    if kept.exists():
        kept.rename(disk)


def _announce(site: Site, image: BootableImage, mode: str, console: Console) -> None:
    entry = {"name": IMAGE_NAME, "image_url": f"{ORIGIN}/{image.path.name}", "sha256": image.sha256, "format": "img.zst"}
    ref = site.operator.call("POST", "/catalog/entries", entry)["bty_image_ref"]
    if mode == INVENTORY:
        console.say(f"== the daemon has an image, {IMAGE_NAME!r}; it has never heard of a machine")
        return
    site.operator.bind(MAC, ref, SERIAL, "bty-flash-once")
    console.say(f"== the daemon has an image, {IMAGE_NAME!r}, and a machine, {MAC}: flash it once, on the disk with the serial {SERIAL}")


def _use(site: Site, story: Story, console: Console, options: argparse.Namespace) -> None:
    """Switch the machine on, and again whenever it was switched off from inside and a key is pressed."""
    disk = site.folder / "disk.raw"
    machine = site.machine(Drive(path=disk, serial=SERIAL) if disk.exists() else site.drive(), firmware=options.firmware)
    with ExitStack() as stack:
        stack.callback(console.restore)
        keyboard = Keyboard() if options.once else stack.enter_context(typing())
        while _power_cycle(machine, story, console, options, keyboard):
            story.tell("the machine has switched itself off", "any key switches it on, Ctrl-C ends the demo")
            keyboard.pressed.clear()
            keyboard.pressed.wait()


def _power_cycle(machine: Machine, story: Story, console: Console, options: argparse.Namespace, keyboard: Keyboard) -> bool:
    """Switch the machine on and stay until it is off or through; tell whether there may be another one."""
    how = "with KVM" if tuple(machine.accel) == KVM else "emulated, since KVM does not work here: a minute or two in all"
    story.begin()
    story.tell(f"the machine is switched on ({how}); its serial line follows", "its firmware asks the network what to boot")
    with machine.power_on() as power, following(machine.folder / f"serial-{machine.cycles}.log", console):
        keyboard.receive = power.type
        try:
            _follow(power, story, options)
        finally:
            keyboard.receive = None
    return not options.once


def _follow(power: Power, story: Story, options: argparse.Namespace) -> None:
    """Tell what happens until the machine is off or, where only one cycle is wanted, through."""
    wanted = (Story.INVENTORY, Story.LOCAL_DISK) if options.mode == INVENTORY else (Story.LOGIN,)
    deadline = time.monotonic() + CYCLE_S
    while power.is_on:
        story.turn(power)
        if options.once and all(story.seen.get(what) for what in wanted):
            return
        if options.once and time.monotonic() > deadline:
            raise Failed(f"the machine was not through in {CYCLE_S:g} s")
        time.sleep(_PERIOD_S)
    if options.once:
        said = (FOLDER / "run" / "qemu.log").read_text(errors="replace").strip()
        raise Failed(f"the machine ended before it was through; QEMU says: {said or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
