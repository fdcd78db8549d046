"""How fast a flash is, against the same pipeline made by hand without a digest, in one run.

Usage: python tests/bench/flash.py [--runs N] [--image big.img] [--formats img,img.zst,...]

By hand is `curl | tool -dc | dd bs=4M oflag=direct iflag=fullblock conv=fsync`, and for qcow2 `qemu-img convert -O raw`
from a file, since it reads none over http in time. Ours is the whole program with its start, over http from the same server, with
the digest promised and checked, and of qcow2 also from the file; its modules are compiled before, as they are in the live environment.
Runs alternate; medians and the ratio of medians are printed. The disk is a loop device over memory, full of old content.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.loop import loop_disk

TOOLS = {"img.gz": ["gzip", "-dc"], "img.xz": ["xz", "-dc"], "img.zst": ["zstd", "-dcq"], "img.bz2": ["bzip2", "-dc"]}
FROM_FILE = "qcow2-file"
FORMATS = ["img", "img.gz", "img.xz", "img.zst", "img.bz2", "qcow2", FROM_FILE]
ROOT = Path(__file__).parents[2]


@dataclass
class Sample:
    """One run: wall seconds, processor seconds of it and its children, bytes written."""

    wall_s: float
    cpu_s: float
    written: int


def _timed(run) -> tuple[float, float, object]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    value = run()
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, value


def by_hand(image_format: str, url: str, image: Path, device: str) -> Sample:
    """Flash with the tools a person would pipe together."""
    if image_format in ("qcow2", FROM_FILE):
        wall, cpu, _ = _timed(lambda: subprocess.run(["qemu-img", "convert", "-O", "raw", image, device], check=True))
        return Sample(wall, cpu, 0)

    def pipe() -> None:
        stages = [subprocess.Popen(["curl", "-fsS", url], stdout=subprocess.PIPE)]
        if image_format in TOOLS:
            stages.append(subprocess.Popen(TOOLS[image_format], stdin=stages[-1].stdout, stdout=subprocess.PIPE))
        writer = ["dd", f"of={device}", "bs=4M", "oflag=direct", "iflag=fullblock", "conv=fsync", "status=none"]
        stages.append(subprocess.Popen(writer, stdin=stages[-1].stdout))
        for stage in stages[:-1]:
            stage.stdout.close()
        if any([stage.wait() for stage in stages]):
            raise SystemExit("the pipeline by hand failed")

    wall, cpu, _ = _timed(pipe)
    return Sample(wall, cpu, 0)


def ours(location: str, device: str, digest: str, extra: list[str]) -> Sample:
    """Flash with bty, as a whole program."""
    command = [sys.executable, "-m", "bty", "flash", location, device, "--sha256", digest, "--json", "--yes", *extra]
    env = {**os.environ, "BTY_ALLOW_LOOP": "1", "PYTHONPATH": str(ROOT)}
    wall, cpu, done = _timed(lambda: subprocess.run(command, env=env, capture_output=True, text=True, check=False))
    if done.returncode:
        raise SystemExit(f"bty failed: {done.stdout[-500:]}{done.stderr}")
    receipt = json.loads(done.stdout.splitlines()[-1])["receipt"]
    return Sample(wall, cpu, receipt["bytes_written"])


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """Serve *folder* on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as state:
        config = Path(state, "nginx.conf")
        paths = "".join(f"{name}_temp_path {state}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config.write_text(
            f"daemon off; user root; pid {state}/pid; error_log {state}/error; events {{}}\n"
            f"http {{ access_log off; sendfile on; {paths} server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
        )
        server = subprocess.Popen(["nginx", "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def make_image(folder: Path) -> Path:
    """Make a realistic image of 2 GiB: a GPT with one ext4 of about 800 MiB of this machine's own files."""
    tree, image, total = folder / "tree", folder / "big.img", 0
    for path in sorted(Path("/usr/lib").rglob("*")):
        if path.is_file() and not path.is_symlink() and total + path.stat().st_size < 800 << 20:
            target = tree / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            total += path.stat().st_size
    file_system = folder / "fs"
    subprocess.run(["truncate", "-s", "2046M", file_system], check=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, file_system], check=True)
    shutil.rmtree(tree)
    subprocess.run(["truncate", "-s", "2G", image], check=True)
    table = "label: gpt\nstart=2048, size=4190175\n"
    subprocess.run(["sfdisk", "--quiet", "--no-reread", image], input=table, text=True, check=True)
    subprocess.run(["dd", f"if={file_system}", f"of={image}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none"], check=True)
    file_system.unlink()
    return image


def pack(image: Path, image_format: str) -> Path:
    """Return *image* in another format, made once."""
    target = image if image_format == "img" else image.with_name(f"{image.stem}.{image_format}")
    commands = {
        "img.gz": ["gzip", "-6c", image],
        "img.xz": ["xz", "-1c", "-T2", "--block-size=16MiB", image],
        "img.zst": ["zstd", "-3qc", image],
        "img.bz2": ["lbzip2", "-1c", image],
    }
    if not target.exists() and image_format == "qcow2":
        subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", image, target], check=True)
    elif not target.exists():
        with target.open("wb") as output:
            subprocess.run(commands[image_format], stdout=output, check=True)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--no-sparse", action="store_true", help="ours writes every block, as by hand")
    arguments = parser.parse_args()
    extra = ["--no-sparse"] if arguments.no_sparse else []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        image = arguments.image or make_image(folder)
        used = image.stat().st_blocks * 512
        print(f"image {image.stat().st_size >> 20} MiB, {used >> 20} MiB used; {arguments.runs} runs each, alternating; medians")
        columns = f"{'hand s':>7} {'ours s':>7} {'ratio':>6} {'cpu hand':>9} {'cpu ours':>9} {'written MiB':>12} {'of used':>8}"
        print(f"{'format':11} {columns}")
        subprocess.run([sys.executable, "-m", "compileall", "-q", ROOT / "bty"], check=True)
        base = stack.enter_context(nginx(image.parent))
        disk = stack.enter_context(loop_disk(folder / "bench-target", image.stat().st_size))
        for image_format in arguments.formats.split(","):
            packed = pack(image, "qcow2" if image_format == FROM_FILE else image_format)
            with packed.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            url = f"{base}/{packed.name}"
            hand, mine = [], []
            for _ in range(arguments.runs):
                disk.fill_with_old_content()
                hand.append(by_hand(image_format, url, packed, disk.path))
                disk.fill_with_old_content()
                mine.append(ours(str(packed) if image_format == FROM_FILE else url, disk.path, digest, extra))
                compare = subprocess.run(["cmp", "--bytes", str(image.stat().st_size), image, disk.path], check=False)
                if compare.returncode:
                    raise SystemExit(f"{image_format}: the disk is not the image")
            hand_s, mine_s = (statistics.median(sample.wall_s for sample in samples) for samples in (hand, mine))
            hand_cpu, mine_cpu = (statistics.median(sample.cpu_s for sample in samples) for samples in (hand, mine))
            written = mine[0].written
            print(
                f"{image_format:11} {hand_s:7.2f} {mine_s:7.2f} {mine_s / hand_s:6.2f} {hand_cpu:9.2f} {mine_cpu:9.2f}"
                f" {written / 2**20:12.0f} {written / used:8.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
