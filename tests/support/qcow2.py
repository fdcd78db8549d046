"""qcow2 images in the hands of a test: made and read by the real qemu-img, decoded by ours, damaged on purpose."""

from __future__ import annotations

import random
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from bty.flash.qcow2 import Qcow2Plan, Qcow2Stream, plan_qcow2

KIB = 1024


def run(*argv: object) -> str:
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True).stdout


def plan_bytes(data: bytes) -> Qcow2Plan:
    return plan_qcow2(lambda offset, length: data[offset : offset + length], len(data))


class Kept:
    """A block of memory that a stream may keep; once nobody has it, it holds something else."""

    def __init__(self, chunk: bytes) -> None:
        self.memory = bytearray(chunk)
        self.users = 1
        self._lock = threading.Lock()

    def keep(self) -> Callable[[], None]:
        with self._lock:
            assert self.users, "kept after it was given back"
            self.users += 1
        return self.let_go

    def let_go(self) -> None:
        with self._lock:
            self.users -= 1
            if not self.users:
                self.memory[:] = b"\x55" * len(self.memory)


def decode(
    data: bytes, *, plan: Qcow2Plan | None = None, sizes: random.Random | None = None, block: int = 1 << 20, in_place: bool = False
) -> bytes:
    """Decode a whole image in blocks, and check what is promised of the calls. With *in_place* the stream may keep the blocks."""
    plan = plan or plan_bytes(data)
    out, known = bytearray(b"\xaa" * plan.virtual_size), bytearray(plan.virtual_size)

    def write(offset: int, chunk: memoryview | bytes) -> None:
        assert chunk
        assert len(chunk) % 512 == offset % 512 == 0
        assert not any(known[offset : offset + len(chunk)]), "a guest byte was told twice"
        known[offset : offset + len(chunk)] = b"\x01" * len(chunk)
        out[offset : offset + len(chunk)] = chunk

    stream = Qcow2Stream(plan, write, lambda offset, length: write(offset, bytes(length)))
    blocks, at = [], 0
    try:
        while at < len(data):
            blocks.append(fed := Kept(data[at : at + (sizes.randint(1, block) if sizes else block)]))
            stream.feed(memoryview(fed.memory), fed.keep if in_place else None)
            fed.let_go()
            at += len(fed.memory)
        stream.finish()
    finally:
        stream.close()
    assert all(known), "a guest byte was never told"
    assert not any(fed.users for fed in blocks), "a block was never given back"
    return bytes(out)


def write_as_guest(image: Path, commands: list[str]) -> None:
    # qemu-io refuses to write compressed over what is allocated; whatever it did is what counts
    subprocess.run(["qemu-io", *commands, str(image)], check=False, capture_output=True)


def raw_by_qemu(image: Path) -> bytes:
    target = image.with_suffix(".oracle")
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, target)
    return target.read_bytes()


def some_bytes(seed: int, length: int, kind: str) -> bytes:
    source = random.Random(seed)
    if kind == "noise":
        return source.randbytes(length)
    if kind == "zeros":
        return bytes(length)
    words = [source.randbytes(7) for _ in range(20)]
    return b"".join(source.choice(words) for _ in range(length // 7 + 1))[:length]


def patched(data: bytes, offset: int, form: str, value: int) -> bytes:
    out = bytearray(data)
    struct.pack_into(form, out, offset, value)
    return bytes(out)


def tables_of(data: bytes) -> tuple[int, int]:
    """Return where the first-level table and the first second-level table lie."""
    (l1,) = struct.unpack_from(">Q", data, 40)
    return l1, struct.unpack_from(">Q", data, l1)[0] & 0x00FF_FFFF_FFFF_FE00
