"""qcow2 images in the hands of a test: made and read by the real qemu-img, decoded by ours, damaged on purpose."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

from bty.flash.qcow2 import Qcow2Plan, Qcow2Stream, plan_qcow2

KIB = 1024


def run(*argv: object) -> str:
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True).stdout


def plan_bytes(data: bytes) -> Qcow2Plan:
    return plan_qcow2(lambda offset, length: data[offset : offset + length], len(data))


def decode(data: bytes, *, plan: Qcow2Plan | None = None, sizes: random.Random | None = None, block: int = 1 << 20) -> bytes:
    """Decode a whole image in blocks, and check what is promised of the calls."""
    plan = plan or plan_bytes(data)
    out, known = bytearray(b"\xaa" * plan.virtual_size), bytearray(plan.virtual_size)

    def write(offset: int, chunk: memoryview | bytes) -> None:
        assert chunk
        assert len(chunk) % 512 == offset % 512 == 0
        assert not any(known[offset : offset + len(chunk)]), "a guest byte was told twice"
        known[offset : offset + len(chunk)] = b"\x01" * len(chunk)
        out[offset : offset + len(chunk)] = chunk

    stream = Qcow2Stream(plan, write, lambda offset, length: write(offset, bytes(length)))
    buffer, at = bytearray(block), 0
    try:
        while at < len(data):
            chunk = data[at : at + (sizes.randint(1, block) if sizes else block)]
            buffer[: len(chunk)] = chunk
            stream.feed(memoryview(buffer)[: len(chunk)])
            buffer[:] = b"\x55" * len(buffer)  # the memory is the caller's again
            at += len(chunk)
        stream.finish()
    finally:
        stream.close()
    assert all(known), "a guest byte was never told"
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
