"""A hostile server at random offsets: the flash is exact, or it fails with the right code, and then nothing boots."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from bty.errors import FlashFailed
from bty.flash.engine import Flash, FlashJob, ImageJob, ManyFlash
from bty.flash.writer import HEAD_BYTES
from bty.host.disks import list_disks
from bty.model.disk import find_by_serial
from bty.model.image import ImageFormat
from bty.model.plan import Receipt
from bty.sources.http import HttpSource, Location
from bty.units import MIB
from tests.support.hostile import Behaviour, End, Hostile, hostile_server
from tests.support.loop import OLD_CONTENT, LoopDisk, can_loop, full_disk, loop_disk

pytestmark = [pytest.mark.loop, pytest.mark.timeout(1500), pytest.mark.skipif(not can_loop(), reason="needs root and loop devices")]

DISK_BYTES = 12 * MIB
STALL_LIMIT_S = 0.6  # the program's minute, shortened: a stall is what takes the time here
CASES = int(os.environ.get("BTY_FAULT_CASES", "320"))
CASES_OF_SEVERAL = CASES // 8


class Packed:
    """An image, its packed form, and another version of both. No dataclass: hypothesis would print the bytes."""

    def __init__(self, image_format: ImageFormat) -> None:
        padding = bytes(-len(_raw(1)) % 512 if image_format is ImageFormat.QCOW2 else 0)  # qcow2 has whole sectors
        self.raw, self.other_raw = _raw(1) + padding, _raw(2) + padding
        self.packed, self.other_packed = _pack(image_format, self.raw), _pack(image_format, self.other_raw)


def _raw(seed: int) -> bytes:
    """Make an image with data, holes, and an end that fills no sector."""
    chance = random.Random(seed)
    image = bytearray(6 * MIB + 777)
    for _ in range(40):
        at = chance.randrange(len(image))
        piece = chance.randbytes(chance.randrange(1, 200_000))
        image[at : at + len(piece)] = piece[: len(image) - at]
    image[:4096] = chance.randbytes(4096)
    return bytes(image)


def _pack(image_format: ImageFormat, raw: bytes) -> bytes:
    if image_format is ImageFormat.IMG_GZ:
        return gzip.compress(raw, 1)
    if image_format is ImageFormat.IMG_XZ:
        return lzma.compress(raw, preset=0)
    if image_format is ImageFormat.IMG_BZ2:
        return bz2.compress(raw, 1)
    if image_format is ImageFormat.IMG_ZST:
        return subprocess.run(["zstd", "-1", "-q", "-c"], input=raw, stdout=subprocess.PIPE, check=True).stdout
    if image_format is ImageFormat.QCOW2:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "raw"), Path(folder, "qcow2")
            source.write_bytes(raw)
            subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", source, target], check=True)
            return target.read_bytes()
    return raw


@pytest.fixture(scope="module")
def images() -> dict[ImageFormat, Packed]:
    return {image_format: Packed(image_format) for image_format in ImageFormat}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopDisk]:
    os.environ["BTY_ALLOW_LOOP"] = "1"
    with loop_disk(tmp_path_factory.mktemp("faults") / "hostile-target", DISK_BYTES) as disk:
        yield disk
    del os.environ["BTY_ALLOW_LOOP"]


# A part of the packed size, so that a case means the same for every format. From a hundredth on, or a server that gives a few bytes
# each time would have to be asked a million times: it is served to the end, for hours.
offsets = st.just(0.0) | st.floats(0.01, 1)
faults = st.one_of(
    st.builds(lambda end, at: ("end", end, at), st.sampled_from([End.CLOSE, End.RESET, End.CLOSE, End.RESET, End.STALL]), offsets),
    st.builds(lambda at: ("flip", at), offsets),
    st.builds(lambda end, at: ("ignore-range", end, at), st.sampled_from([End.CLOSE, End.RESET]), offsets),
    st.builds(lambda delta: ("length", delta), st.sampled_from([-5000, -1, 1, 5000])),
    st.builds(lambda at: ("swap", at), offsets),
    st.builds(lambda status: ("status", status), st.sampled_from([404, 403, 416, 500, 503])),
    st.builds(lambda shift: ("shift", shift), st.sampled_from([-4096, -1, 1, 4096])),
    st.builds(lambda end, at: ("chunked", end, at), st.sampled_from([End.WHOLE, End.CLOSE]), offsets),
    st.builds(lambda: ("no-length",)),
    st.builds(lambda: ("honest",)),
)


def _behaviour(fault: tuple, size: int) -> Behaviour:
    kind = fault[0]
    if kind == "end":
        return Behaviour(end=fault[1], end_after=int(fault[2] * size))
    if kind == "flip":
        return Behaviour(flip_at=int(fault[1] * (size - 1)))
    if kind == "ignore-range":
        return Behaviour(ignore_range=True, end=fault[1], end_after=int(fault[2] * size))
    if kind == "length":
        return Behaviour(length_delta=fault[1])
    if kind == "swap":
        return Behaviour(swapped=True, end=End.CLOSE, end_after=int(fault[1] * size))
    if kind == "status":
        return Behaviour(status=fault[1])
    if kind == "shift":
        return Behaviour(shift_range=fault[1])
    if kind == "chunked":
        return Behaviour(chunked=True, end=fault[1], end_after=int(fault[2] * size))
    return Behaviour(no_length=kind == "no-length")


# Nothing but a promised digest can tell these from the truth.
_ONLY_A_DIGEST_TELLS = {"flip", "length", "no-length"}


@settings(
    max_examples=CASES, deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=list(HealthCheck), print_blob=True
)
@given(
    image_format=st.sampled_from(list(ImageFormat)),
    script=st.lists(faults, min_size=1, max_size=4),
    validators=st.sampled_from(["strong", "weak", "date", "none"]),
    promised=st.booleans(),
    honest_after=st.booleans(),
    keeps=st.booleans(),
)
@example(image_format=ImageFormat.IMG, script=[("end", End.CLOSE, 0.5)], validators="strong", promised=True, honest_after=True, keeps=True)
@example(image_format=ImageFormat.IMG, script=[("end", End.STALL, 0.5)], validators="strong", promised=True, honest_after=False, keeps=True)
@example(
    image_format=ImageFormat.IMG,
    script=[("end", End.CLOSE, 0.5), ("swap", 1.0)],
    validators="none",
    promised=False,
    honest_after=True,
    keeps=True,
)
@example(image_format=ImageFormat.IMG_GZ, script=[("flip", 0.7)], validators="strong", promised=True, honest_after=True, keeps=True)
@example(image_format=ImageFormat.QCOW2, script=[("flip", 0.01)], validators="strong", promised=True, honest_after=True, keeps=True)
def test_a_flash_from_a_hostile_server_is_exact_or_fails_with_its_reason(
    disk: LoopDisk,
    images: dict[ImageFormat, Packed],
    image_format: ImageFormat,
    script: list[tuple],
    validators: str,
    promised: bool,
    honest_after: bool,
    keeps: bool,
) -> None:
    """A success means every byte; a failure has a code of fetch or integrity, and leaves nothing that boots."""
    image = images[image_format]
    behaviours = [_behaviour(fault, len(image.packed)) for fault in script]
    if honest_after:
        behaviours.append(Behaviour())
    hostile = Hostile(body=image.packed, other_body=image.other_packed, script=behaviours, validators=validators, keeps=keeps)
    digest = hashlib.sha256(image.packed).hexdigest() if promised else None
    disk.fill_with_old_content()
    before = disk.read(HEAD_BYTES)
    disks = tuple(replace(other) for other in list_disks())
    with hostile_server(hostile):
        source = HttpSource([Location.of(f"{hostile.url}/image")], name="image", digest=digest, stall_limit_s=STALL_LIMIT_S)
        job = FlashJob(
            source=source, image_format=image_format, disk=find_by_serial(disk.serial, disks), disks=disks, sha256=digest, verify=True
        )
        try:
            outcome: Receipt | FlashFailed = Flash(job).run()
        except FlashFailed as error:
            outcome = error
    event("flashed" if isinstance(outcome, Receipt) else outcome.code)
    if isinstance(outcome, FlashFailed):
        head = disk.read(HEAD_BYTES)
        untouched = head == before and disk.read(DISK_BYTES - HEAD_BYTES, HEAD_BYTES) == _old_rest()
        assert outcome.exit_code in (12, 13) or (untouched and "too small" in str(outcome)), outcome  # a flipped size field
        assert untouched or head == bytes(HEAD_BYTES), "written to, but bootable"
        return
    written = disk.read(max(len(image.raw), len(image.other_raw)))
    allowed = [image.raw] if promised else [image.raw, image.other_raw]
    has_own_checks = image_format not in (ImageFormat.IMG, ImageFormat.QCOW2)
    told = promised or has_own_checks or not _ONLY_A_DIGEST_TELLS & {fault[0] for fault in script}
    if told:
        assert any(written[: len(raw)] == raw and outcome.image_bytes == len(raw) for raw in allowed)
    assert ("wire" in outcome.verified) == promised


def _old_rest() -> bytes:
    whole = OLD_CONTENT[:MIB] * (DISK_BYTES // MIB)
    return whole[HEAD_BYTES:]


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopDisk]:
    with loop_disk(tmp_path_factory.mktemp("faults") / "second-target", DISK_BYTES) as disk:
        yield disk


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopDisk]:
    with full_disk(tmp_path_factory.mktemp("faults") / "small", DISK_BYTES, room=4 * MIB) as disk:
        yield disk


@settings(
    max_examples=CASES_OF_SEVERAL,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(image_format=st.sampled_from(list(ImageFormat)), script=st.lists(faults, min_size=1, max_size=3), honest_after=st.booleans())
@example(image_format=ImageFormat.IMG_GZ, script=[("end", End.RESET, 0.5)], honest_after=True)
@example(image_format=ImageFormat.QCOW2, script=[("honest",)], honest_after=True)
def test_several_disks_end_as_one_does_and_a_bad_one_by_itself(
    disk: LoopDisk,
    second: LoopDisk,
    failing: LoopDisk,
    images: dict[ImageFormat, Packed],
    image_format: ImageFormat,
    script: list[tuple],
    honest_after: bool,
) -> None:
    """Whatever the server does, the good disks are both exact or both fail for the same cause, and the disk that fails never boots."""
    image = images[image_format]
    behaviours = [_behaviour(fault, len(image.packed)) for fault in script] + [Behaviour()] * honest_after
    digest = hashlib.sha256(image.packed).hexdigest()
    disks = list_disks()
    with hostile_server(Hostile(body=image.packed, other_body=image.other_packed, script=behaviours)) as server:
        source = HttpSource([Location.of(f"{server.url}/image")], name="image", digest=digest, stall_limit_s=STALL_LIMIT_S)
        job = ImageJob(source=source, image_format=image_format, disks=disks, sha256=digest, verify=True, sparse=False)
        many = ManyFlash(job, tuple(find_by_serial(loop.serial, disks) for loop in (disk, failing, second)))
        outcomes = many.run()
    codes = [outcome.error.code if outcome.error else None for outcome in outcomes]
    event(str(codes))
    assert codes[0] == codes[2]
    assert codes[1] in ("write_failed", codes[0])
    assert codes[1] is not None
    assert failing.read(HEAD_BYTES) == bytes(HEAD_BYTES)
    for loop in (disk, second):
        if codes[0] is None:
            assert loop.read(len(image.raw)) == image.raw
        else:
            assert loop.read(HEAD_BYTES) != image.raw[:HEAD_BYTES] or outcomes[0].receipt.bytes_written == 0
