"""The qcow2 reader against the real qemu-img: every image decodes to the same bytes."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bty.flash.qcow2 import Qcow2Stream, guest_head, plan_qcow2
from tests.support.qcow2 import decode, patched, plan_bytes, raw_by_qemu, run, some_bytes, tables_of, write_as_guest

PIECES = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(1, 300), st.sampled_from(["noise", "text", "zeros"]), st.integers(0, 1 << 30)), max_size=12
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    sectors=st.integers(1, 2400),
    pieces=PIECES,
    bits=st.integers(9, 21),
    compat=st.sampled_from(["0.10", "1.1"]),
    packing=st.sampled_from(["plain", "compressed", "threads"]),
    block=st.sampled_from([4096, 65536, 1 << 20, 4 << 20]),
    in_place=st.booleans(),
    seed=st.integers(0, 1 << 30),
)
def test_an_image_converted_by_qemu_decodes_to_the_same_bytes(
    tmp_path_factory, sectors, pieces, bits, compat, packing, block, in_place, seed
):
    """Whatever the sparse pattern, cluster size, version and packing, and however the stream is cut."""
    folder = tmp_path_factory.mktemp("convert")
    raw, image = folder / "raw", folder / "image.qcow2"
    content = bytearray(sectors * 512)
    for start, length, kind, data_seed in pieces:
        start, length = start % sectors, min(length, sectors - start % sectors)
        content[start * 512 : (start + length) * 512] = some_bytes(data_seed, length * 512, kind)
    raw.write_bytes(content)
    flags = {"plain": [], "compressed": ["-c"], "threads": ["-c", "-W", "-m", "4"]}[packing]
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *flags, "-o", f"compat={compat},cluster_size={1 << bits}", raw, image)
    data = image.read_bytes()
    assert decode(data, sizes=random.Random(seed), block=block, in_place=in_place) == bytes(content)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "write", "packed", "zero", "unmap"]), st.integers(0, 511), st.integers(1, 40)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    actions=ACTIONS,
    options=st.sampled_from(
        [
            "cluster_size=512",
            "cluster_size=4096,compat=0.10",
            "cluster_size=65536",
            "cluster_size=65536,lazy_refcounts=on",
            "cluster_size=65536,preallocation=metadata",
            "cluster_size=16384,preallocation=falloc",
            "cluster_size=16384,extended_l2=on",
            "cluster_size=65536,extended_l2=on",
            "cluster_size=32768,compression_type=zstd",
            "cluster_size=2097152,refcount_bits=1",
        ]
    ),
    snapshot_after=st.none() | st.integers(0, 20),
    seed=st.integers(0, 1 << 30),
)
def test_an_image_that_a_guest_wrote_decodes_to_what_the_guest_would_read(tmp_path_factory, actions, options, snapshot_after, seed):
    """In any order, compressed or not, zeroed and discarded again, with a snapshot of an older state inside."""
    image = tmp_path_factory.mktemp("guest") / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, image, "2M")
    cluster = int(options.split(",")[0].partition("=")[2])
    if "refcount_bits=1" in options:
        snapshot_after = None
    commands: list[str] = []
    for index, (action, start, length) in enumerate(actions):
        if index == snapshot_after and commands:
            write_as_guest(image, commands)
            run("qemu-img", "snapshot", "-c", "old", image)
            commands.clear()
        offset = start * 4096 % (2 << 20)
        size = min(length * 4096, (2 << 20) - offset)
        if action == "packed":
            offset -= offset % cluster
            size = min(-(-size // cluster) * cluster, (2 << 20) - offset, max(cluster, 1 << 18))
            commands += ["-c", f"write -q -c -P {1 + index} {offset} {min(size, cluster)}"]
        else:
            how = {"write": f"write -q -P {1 + index}", "zero": "write -q -z", "unmap": "write -q -z -u"}[action]
            commands += ["-c", f"{how} {offset} {size}"]
    write_as_guest(image, commands)
    data = image.read_bytes()
    assume(not data[79] & 2)  # QEMU 7.2 can lose its own way in compressed clusters of 512 bytes, and marks the image corrupt
    assert decode(data, sizes=random.Random(seed), block=1 << 18) == raw_by_qemu(image)


@pytest.mark.parametrize("packed", [False, True])
def test_guest_clusters_that_share_a_host_cluster_all_get_it(tmp_path, packed):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "4M")
    (tmp_path / "text").write_bytes(some_bytes(1, 65536, "text"))
    run("qemu-io", "-c", f"write -q {'-c' if packed else ''} -s {tmp_path}/text 64k 64k", "-c", "write -q -P 9 512k 640k", image)
    data = image.read_bytes()
    l2 = tables_of(data)[1]
    (entry,) = struct.unpack_from(">Q", data, l2 + 8)
    (middle,) = struct.unpack_from(">Q", data, l2 + 8 * 11)
    for place, shared in ((0, entry), (40, entry), (41, middle), (50, entry)):
        data = patched(data, l2 + 8 * place, ">Q", shared)
    image.write_bytes(data)
    assert decode(data, block=5000) == decode(data, block=100_000) == raw_by_qemu(image)


@pytest.mark.parametrize("in_place", [False, True])
def test_more_clusters_than_a_job_takes_may_lie_across_one_border_of_blocks(tmp_path, in_place):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "16M")
    (tmp_path / "noise").write_bytes(some_bytes(1, 65536, "text"))
    run("qemu-io", "-c", f"write -q -c -s {tmp_path}/noise 0 64k", image)
    data = image.read_bytes()
    l2 = tables_of(data)[1]
    (entry,) = struct.unpack_from(">Q", data, l2)
    for place in range(1, 200):
        data = patched(data, l2 + 8 * place, ">Q", entry)
    content = decode(data, block=512, in_place=in_place)
    assert content == some_bytes(1, 65536, "text") * 200 + bytes(56 << 16)


def test_a_pool_that_lags_behind_does_not_grow(tmp_path):
    """Compressed clusters in the order of the file, in blocks far smaller than a cluster."""
    raw, image = tmp_path / "raw", tmp_path / "image.qcow2"
    content = b"".join(random.Random(n).randbytes(3000) * 7 for n in range(1600))[: 32 << 20]
    content += bytes(-len(content) % 512)
    raw.write_bytes(content)
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, image)
    assert decode(image.read_bytes(), block=4096) == content


def test_zero_runs_come_merged_and_as_far_as_the_file_has_passed(small_qcow2, monkeypatch):
    monkeypatch.setattr("bty.flash.qcow2.ZERO_PIECE_BYTES", 256 << 10)
    image, content = small_qcow2
    calls: list[tuple[str, int, int]] = []
    stream = Qcow2Stream(
        plan_bytes(image), lambda offset, chunk: calls.append(("write", offset, len(chunk))), lambda *run: calls.append(("zero", *run))
    )
    zero_bytes = len(content) - plan_bytes(image).allocated_bytes()
    for at in range(0, len(image), 64 << 10):
        piece = image[at : at + (64 << 10)]
        stream.feed(piece)
        told = sum(length for kind, _, length in calls if kind == "zero")
        share = zero_bytes * ((at + len(piece)) // 512 * 512) / len(image)
        assert share <= told < share + (256 << 10)
    stream.finish()
    zeros = [call[1:] for call in calls if call[0] == "zero"]
    assert all(content[offset : offset + length] == bytes(length) for offset, length in zeros)
    assert all(first + length < second or length == 256 << 10 for (first, length), (second, _) in pairwise(zeros))
    assert sum(length for _, length in zeros) == zero_bytes


def test_an_uncompressed_image_is_written_in_pieces_as_large_as_the_blocks(tmp_path):
    raw, image = tmp_path / "raw", tmp_path / "image.qcow2"
    raw.write_bytes(random.Random(5).randbytes(16 << 20))
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
    lengths: list[int] = []
    data = image.read_bytes()
    stream = Qcow2Stream(plan_bytes(data), lambda _offset, chunk: lengths.append(len(chunk)), lambda _offset, _length: None)
    for at in range(0, len(data), 4 << 20):
        stream.feed(memoryview(data)[at : at + (4 << 20)])
    stream.finish()
    assert sum(lengths) == 16 << 20
    assert len(lengths) <= 6


def test_the_plan_of_a_scattered_image_of_64_gib_stays_small():
    """A million compressed clusters, in the file in the opposite order of the guest's."""
    cluster, clusters = 65536, 1 << 20
    tables, data_at = clusters // 8192, 256 * 65536
    file_size = data_at + clusters * 1024
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, clusters * cluster, 0, tables, cluster, 0, 0, 0, 0).ljust(cluster, b"\0")
    l1 = struct.pack(f">{tables}Q", *((2 + index) * cluster for index in range(tables))).ljust(cluster, b"\0")

    def pread(offset: int, length: int) -> bytes:
        if offset < 2 * cluster:
            return (head + l1)[offset : offset + length]
        first = (offset // cluster - 2) * 8192
        hosts = range(file_size - 1024 * (first + 1), file_size - 1024 * (first + 8193), -1024)
        return struct.pack(">8192Q", *(1 << 62 | 1 << 54 | host for host in hosts))[:length]

    plan = plan_qcow2(pread, file_size)
    assert list(plan.hosts[:3]) == [data_at, data_at + 1024, data_at + 2048]
    assert plan.guests[0] == (clusters - 1) * cluster
    assert plan.allocated_bytes() == clusters * cluster
    assert sum(len(column) * column.itemsize for column in (plan.hosts, plan.guests, plan.sizes, plan.zeros)) < 30 << 20


def test_an_image_of_nothing_has_nothing(tmp_path):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "0")
    assert decode(image.read_bytes()) == b""


def test_a_subcluster_image_ends_where_its_size_says(tmp_path):
    raw, image = tmp_path / "raw", tmp_path / "image.qcow2"
    raw.write_bytes(random.Random(3).randbytes(70_144))
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "extended_l2=on", raw, image)
    assert decode(image.read_bytes()) == raw.read_bytes()


@pytest.mark.parametrize("flags", [[], ["-c"], ["-c", "-W", "-m", "4"]])
def test_the_head_is_read_at_few_places(tmp_path, flags):
    """A read may be a connection of its own; each of 16 clusters was one."""
    raw, image = tmp_path / "raw", tmp_path / "image.qcow2"
    content = some_bytes(3, 2 << 20, "text") + bytes(1 << 20) + some_bytes(4, 1 << 20, "noise")
    raw.write_bytes(content)
    run("qemu-img", "convert", *flags, "-f", "raw", "-O", "qcow2", raw, image)
    data, reads = image.read_bytes(), []

    def pread(offset: int, length: int) -> bytes:
        reads.append(length)
        return data[offset : offset + length]

    for length in (512, 100_000, 1 << 20, (1 << 20) + 5, 4 << 20, 5 << 20):
        reads.clear()
        assert guest_head(plan_bytes(data), pread, length) == content[:length]
        assert len(reads) <= 1 + length // (2 << 20)
        assert max(reads) <= 4 << 20
