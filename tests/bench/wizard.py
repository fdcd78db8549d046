"""What the wizard costs a line: bytes of the first paint, a key press and a step of a flash; and how soon a key is answered.

    python tests/bench/wizard.py [--term vt100] [--size 80x24] [--baud 115200] [--show]

As root: it flashes a loop device, from a server on loopback that sends 6 MiB a second. Bytes are what the program writes to
its terminal; a frame is what comes without a pause of 60 ms. At 115200 baud a byte takes 87 us.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bty.units import MIB  # noqa: E402
from tests.support.loop import LoopDisk, loop_disk  # noqa: E402
from tests.support.slow import slow_server  # noqa: E402
from tests.wizard.terminal import Terminal, bty  # noqa: E402

IMAGE_BYTES = 120 * MIB
RATE = 6 * MIB
FRAME_GAP_S = 0.06
KEYS = ("l", "Escape", "?", "Escape") * 8


def frames(terminal: Terminal, seconds: float) -> list[int]:
    """Return the bytes of each frame that comes within *seconds*."""
    found: list[int] = []
    until = time.monotonic() + seconds
    seen = terminal.mark()
    frame, last = 0, time.monotonic()
    while time.monotonic() < until:
        now = terminal.mark()
        if now != seen:
            frame, seen, last = frame + now - seen, now, time.monotonic()
        elif frame and time.monotonic() - last > FRAME_GAP_S:
            found.append(frame)
            frame = 0
        time.sleep(0.002)
    return found


def wait_for_bytes(terminal: Terminal, mark: int, count: int) -> None:
    """Return when *count* bytes have come since *mark*, looking so often that the wait can be told in tenths of a millisecond."""
    deadline = time.monotonic() + 15
    while terminal.written_since(mark) < count:
        if time.monotonic() > deadline:
            raise SystemExit("the wizard does not answer a key")
        time.sleep(0.0002)


def answer(terminal: Terminal, key: str) -> tuple[float, int]:
    """Press a key; return the milliseconds until the first byte of the answer, and the bytes of the whole answer."""
    mark = terminal.mark()
    began = time.perf_counter()
    terminal.press(key)
    wait_for_bytes(terminal, mark, 1)
    took = (time.perf_counter() - began) * 1000
    terminal.settle(quiet_s=0.1)
    return took, terminal.written_since(mark)


def latencies(terminal: Terminal) -> list[float]:
    """Return the milliseconds to the first byte that answers each of several keys, Esc apart: it waits for a sequence."""
    found = []
    for key in KEYS:
        mark = terminal.mark()
        began = time.perf_counter()
        terminal.press(key)
        wait_for_bytes(terminal, mark, 100)  # a step of the flash has less
        if key != "Escape":
            found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.05)
    return found


def show(terminal: Terminal, wanted: bool) -> None:
    """Print the screen as somebody sees it, where that is wanted."""
    if wanted:
        print("\n" + "\n".join(f"    {line}".rstrip() for line in terminal.screen().splitlines()) + "\n")


def measure(terminal: Terminal, disk: LoopDisk, *, shown: bool) -> None:
    """Walk through the screens and print what each costs, and with *shown* each as text."""
    began = time.perf_counter()
    terminal.wait_for("Which image?", timeout_s=30)
    started = time.perf_counter() - began
    terminal.wait_for("big.img")
    terminal.settle()
    print(f"start to first picture {started:.2f} s; first paint, with the list that came: {terminal.mark()} bytes")
    show(terminal, shown)
    for key in ("Down", "Down", "Up"):
        took, size = answer(terminal, key)
        print(f"key {key:6} in a list of images: {size:4} bytes, answered in {took:.1f} ms")
    terminal.press("Home")
    terminal.settle(quiet_s=0.1)
    terminal.press("Enter")
    terminal.wait_for(disk.path)
    terminal.settle()
    show(terminal, shown)
    terminal.press("/")
    terminal.send(disk.serial)
    terminal.press("Enter")
    terminal.wait_for(f"1 [ ] {disk.path}")
    terminal.press("Enter")
    terminal.wait_for("Type the last 4")
    terminal.settle()
    show(terminal, shown)
    took, size = answer(terminal, disk.serial[-4])
    print(f"a letter of the confirmation: {size} bytes, answered in {took:.1f} ms")
    terminal.send(disk.serial[-3:])
    mark = terminal.mark()
    terminal.press("Enter")
    terminal.wait_for("Write")
    terminal.wait_for("% ")
    print(f"from the confirmation to the flash: {terminal.written_since(mark)} bytes")
    sizes = frames(terminal, 8.0)
    print(f"step of a flash: median {median(sizes):.0f} bytes, most {max(sizes)}, {len(sizes)} in 8 s")
    show(terminal, shown)
    waits = latencies(terminal)
    print(f"key to paint while it flashes: median {median(waits):.1f} ms, worst of {len(waits)} {max(waits):.1f} ms")
    mark = terminal.mark()
    terminal.press("C-l")
    terminal.settle(quiet_s=0.15, after=mark)
    print(f"Ctrl-L, everything again: {terminal.written_since(mark)} bytes (with a step of the flash)")
    terminal.press("c")
    terminal.wait_for("Stop the flash?")
    show(terminal, shown)
    terminal.press("n")
    terminal.wait_for("Done: the disk is flashed", timeout_s=120)
    show(terminal, shown)
    terminal.press("q")
    terminal.wait_exit()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--term", default="vt100")
    parser.add_argument("--size", default="80x24")
    parser.add_argument("--baud", type=int, help="let the terminal take bytes no faster than a line of that speed")
    parser.add_argument("--show", action="store_true", help="print each screen as text")
    arguments = parser.parse_args()
    columns, rows = (int(part) for part in arguments.size.split("x"))
    image = random.Random(1).randbytes(IMAGE_BYTES)
    with (
        tempfile.TemporaryDirectory(prefix="bty-bench-") as scratch,
        slow_server(image, RATE) as origin,
        loop_disk(Path(scratch) / f"bench-{os.getpid()}", IMAGE_BYTES + MIB) as disk,
    ):
        catalog = Path(scratch) / "catalog.toml"
        names = ["big.img", *(f"image-{number}.img" for number in range(30))]
        tables = [f'[[images]]\nname = "{name}"\nsrc = "{origin.url}/{name}"\nformat = "img"\n' for name in names]
        catalog.write_text("version = 1\n" + "\n".join(tables))
        print(f"{arguments.term} {arguments.size}{f' at {arguments.baud} baud' if arguments.baud else ''}, load {os.getloadavg()[0]:.1f}")
        environment = {"BTY_ALLOW_LOOP": "1", "BTY_CONSOLE": "/dev/null"}
        with Terminal(
            bty("--catalog", str(catalog)), term=arguments.term, columns=columns, rows=rows, baud=arguments.baud, env=environment
        ) as terminal:
            measure(terminal, disk, shown=arguments.show)
    return 0


if __name__ == "__main__":
    sys.exit(main())
