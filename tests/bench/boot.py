"""What the live environment takes from the kernel's start to the first line of the flasher, in emulation.

    python tests/bench/boot.py [--runs N] [--memory MIB]

Needs dist/media (`make media VARIANT=netboot-pc`) and qemu-system-x86_64. The daemon that serves the squashfs runs
beside the machine on the same processors, as it does in the tests: figures of a machine that does anything else say
nothing. The last run says where systemd's time went.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.media import live  # noqa: E402
from tests.support.daemon import Daemon, make_config, running  # noqa: E402

# Text on the serial line, and what it means that it is there.
_MARKS = {
    "Linux version": "kernel starts",
    "Run /init": "initrd unpacked, init starts",
    "bty: network on": "network card up, address by DHCP",
    "bty: fetched and verified": "squashfs fetched, digest compared; flasher and systemd start",
    "bty: entered v": "first line of the flasher",
    "Which image?": "the plan is there, and what it asks is shown on the serial line",
}
_QUESTIONS = (
    "systemd-analyze --no-pager",
    "systemd-analyze --no-pager critical-chain",
    "systemd-analyze --no-pager critical-chain bty.service",
    "systemd-analyze --no-pager blame | head -n 15",
    "journalctl -b -o short-monotonic --no-hostname | grep -E 'systemd .* running in|Queued start|Started |Finished |bty: |live.[0-9]'",
    "free; df -m /run/bty/image",
)


async def measure(daemon: Daemon, memory_mib: int, *, explain: bool) -> dict[str, float]:
    """Boot once and return when each mark came, in seconds from the kernel's first line; with *explain* ask systemd too."""
    base = f"http://10.0.2.2:{daemon.client.port}"
    await daemon.call("GET", f"/pxe/{live.MAC}")
    with tempfile.TemporaryDirectory(prefix="bty-bench-") as folder:
        async with live.booted(Path(folder), base, memory_mib=memory_mib) as machine:
            for mark in _MARKS:
                await machine.wait(mark)
            for question in _QUESTIONS if explain else ():
                print(f"# {question}\n{await machine.ask(question)}\n")
            start = machine.seen["Linux version"]
            return {mark: machine.seen[mark] - start for mark in _MARKS}


async def run(runs: int, memory_mib: int) -> None:
    """Boot *runs* times and print median and spread of each mark."""
    with tempfile.TemporaryDirectory(prefix="bty-bench-") as state:
        async with running(make_config(Path(state, "state"), f'[paths]\nboot_dir = "{live.MEDIA}"\n')) as daemon:
            await daemon.log_in()
            await daemon.call("PUT", f"/machines/{live.MAC}", json={"boot_mode": "bty-tui"})
            rows = []
            for number in range(runs):
                rows.append(await measure(daemon, memory_mib, explain=number == runs - 1))
                marks = "  ".join(f"{rows[-1][mark]:.1f}" for mark in _MARKS)
                print(f"run {number + 1}: {marks}  load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"median (least to most) of {runs} runs, {memory_mib} MiB")
    for mark, meaning in _MARKS.items():
        values = [row[mark] for row in rows]
        print(f"{median(values):6.1f} s  ({min(values):.1f} to {max(values):.1f})  {meaning}")


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description="Kernel start to the first line of the flasher.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB")
    arguments = parser.parse_args()
    if lack := live.missing():
        raise SystemExit(lack)
    asyncio.run(run(arguments.runs, arguments.memory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
