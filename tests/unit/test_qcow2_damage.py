"""The qcow2 reader with images that are damaged, cut, or lie: each is refused with a sentence, or read as qemu reads it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bty.errors import BtyError, IntegrityFailed, SourceFailed
from bty.flash.qcow2 import UnusableImage, plan_qcow2
from tests.support.qcow2 import decode, patched, plan_bytes, raw_by_qemu, run, tables_of


@pytest.mark.parametrize(
    ("offset", "form", "value", "why"),
    [
        (0, ">I", 0, "not a qcow2 image"),
        (4, ">I", 1, "version 1 is unknown"),
        (4, ">I", 4, "version 4 is unknown"),
        (8, ">Q", 400, "backing file"),
        (20, ">I", 8, "damaged"),
        (20, ">I", 22, "damaged"),
        (24, ">Q", 4 * 1024 * 1024 + 1, "whole sectors"),
        (24, ">Q", 1 << 62, "first-level table"),
        (24, ">Q", 64 << 20, "too short for its size"),
        (32, ">I", 1, "encrypted"),
        (36, ">I", 1 << 30, "more than 32 MiB"),
        (36, ">I", 0, "too short"),
        (40, ">Q", 0, "impossible place"),
        (40, ">Q", 512, "impossible place"),
        (40, ">Q", 1 << 40, "truncated"),
        (72, ">Q", 2, "marked corrupt"),
        (72, ">Q", 4, "another file"),
        (72, ">Q", 8, "compressed in an unknown way"),
        (72, ">Q", 16, "less than a sector"),
        (72, ">Q", 1 << 40, "unknown here"),
        (100, ">I", 100, "header of 100 bytes"),
        (104, ">B", 1, "compressed in an unknown way"),
        (104, ">B", 9, "compressed in an unknown way"),
    ],
)
def test_a_header_that_cannot_be_served_is_refused_with_the_reason(small_qcow2, offset, form, value, why):
    with pytest.raises(UnusableImage, match=why):
        plan_bytes(patched(small_qcow2[0], offset, form, value))


def test_an_image_that_was_not_closed_is_read(small_qcow2):
    """Lazy refcounts that were not flushed do no harm to a reader."""
    assert decode(patched(small_qcow2[0], 72, ">Q", 1)) == small_qcow2[1]


@pytest.mark.parametrize(
    ("table", "value", "why"),
    [
        ("l1", 1 << 40, "truncated"),
        ("l1", 4096 + 512, "damaged"),
        ("l1", 1 << 60 | 4096, "damaged"),
        ("l1", "l1", "on each other"),
        ("l2", "l1", "on each other"),
        ("l2", "l2", "on each other"),
        ("l2", 1 << 40, "truncated"),
        ("l2", 4096 * 5 + 512, "damaged entry"),
        ("l2", 4096 * 5 | 2, "damaged entry"),
        ("l2", 1 << 62 | 1 << 40, "truncated"),
    ],
)
def test_a_table_that_points_astray_is_refused(small_qcow2, table, value, why):
    data = small_qcow2[0]
    places = dict(zip(("l1", "l2"), tables_of(data), strict=True))
    with pytest.raises(UnusableImage, match=why):
        plan_bytes(patched(data, places[table], ">Q", places.get(value, value)))


def test_a_zero_flag_in_version_2_is_refused(tmp_path):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", image, "1M")
    run("qemu-io", "-c", "write -q 0 64k", image)
    data = image.read_bytes()
    with pytest.raises(UnusableImage, match="damaged entry"):
        plan_bytes(patched(data, tables_of(data)[1] + 7, ">B", 1))


def test_a_subcluster_that_is_data_and_zeros_at_once_is_refused(tmp_path):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", image, "1M")
    run("qemu-io", "-c", "write -q 0 64k", image)
    data = image.read_bytes()
    with pytest.raises(UnusableImage, match="damaged entry"):
        plan_bytes(patched(data, tables_of(data)[1] + 8, ">Q", 1 << 32 | 1))


def decode_or_refuse(data: bytes) -> bytes | None:
    try:
        return decode(data)
    except BtyError:
        return None


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_bit_flipped_in_a_table_never_gives_other_bytes_than_qemu_reads(small_qcow2, tmp_path_factory, data):
    """The image is damaged at rest, so that the tables agree with themselves."""
    image, content = small_qcow2
    l1, l2 = tables_of(image)
    place = data.draw(st.sampled_from([range(112), range(l1, l1 + 16), range(l2, l2 + 4096)]))
    at, bit = data.draw(st.sampled_from(place)), data.draw(st.integers(0, 7))
    damaged = patched(image, at, ">B", image[at] ^ 1 << bit)
    out = decode_or_refuse(damaged)
    if out is None or out == content:
        return
    path = tmp_path_factory.mktemp("flip") / "image.qcow2"
    path.write_bytes(damaged)
    assert out == raw_by_qemu(path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(length=st.integers(0, 1 << 20))
def test_a_truncated_image_is_refused_or_whole(small_qcow2, length):
    image, content = small_qcow2
    assert decode_or_refuse(image[: length % len(image)]) in (None, content)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_table_that_changed_after_it_was_read_is_noticed(small_qcow2, data):
    image, _ = small_qcow2
    plan = plan_bytes(image)
    offset, length, _ = data.draw(st.sampled_from(plan.tables))
    at = offset + data.draw(st.integers(0, length - 1))
    with pytest.raises(IntegrityFailed, match="changed while it was read"):
        decode(patched(image, at, ">B", image[at] ^ 1 << data.draw(st.integers(0, 7))), plan=plan)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_compressed_cluster_never_decodes_to_less_than_a_cluster(small_qcow2, data):
    """Raw deflate has no checksum: what still decodes has its full length, and the digest of the stream judges it."""
    image, content = small_qcow2
    plan = plan_bytes(image)
    packed = [(host, guest) for host, guest, size in zip(plan.hosts, plan.guests, plan.sizes, strict=True) if size & 1]
    host, guest = data.draw(st.sampled_from(packed))
    damaged = patched(image, host, ">B", image[host] ^ 1 << data.draw(st.integers(0, 7)))
    out = decode_or_refuse(damaged)
    assert out is None or out[:guest] + out[guest + 4096 :] == content[:guest] + content[guest + 4096 :]


def test_noise_in_place_of_a_compressed_cluster_is_an_integrity_failure(small_qcow2):
    image = bytearray(small_qcow2[0])
    plan = plan_bytes(small_qcow2[0])
    host = next(host for host, size in zip(plan.hosts, plan.sizes, strict=True) if size & 1)
    image[host : host + 16] = b"\xff" * 16
    with pytest.raises(IntegrityFailed, match="does not decode"):
        decode(bytes(image), plan=plan)


def test_a_stream_of_another_length_is_a_failure_of_the_source(small_qcow2):
    image, _ = small_qcow2
    plan = plan_bytes(image)
    with pytest.raises(SourceFailed, match="too early"):
        decode(image[:-1], plan=plan)
    with pytest.raises(SourceFailed, match="longer"):
        decode(image + b"x", plan=plan)


def test_a_source_that_gives_less_than_asked_is_noticed(small_qcow2):
    with pytest.raises(UnusableImage, match="the source gave"):
        plan_qcow2(lambda offset, length: small_qcow2[0][offset : offset + min(length, 50)], len(small_qcow2[0]))


@settings(max_examples=100, deadline=None)
@given(noise=st.binary(max_size=2000))
def test_what_is_not_a_qcow2_image_is_refused(noise):
    with pytest.raises(UnusableImage):
        plan_bytes(noise)


def test_an_image_that_lost_all_its_data_is_zeros(tmp_path):
    """The second-level table is there, and empty."""
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", image, "1M")
    run("qemu-io", "-c", "write -q 0 64k", image)
    data = image.read_bytes()
    assert decode(patched(data, tables_of(data)[1], ">Q", 0)) == bytes(1 << 20)


@pytest.mark.parametrize(
    ("limit", "pattern", "why"),
    [("_MAX_TABLES", "0 1M", "too many tables"), ("_MAX_RUNS", "0 1k", "too many pieces"), ("_MAX_RUNS", "1k 1k", "too many pieces")],
)
def test_an_image_whose_tables_would_fill_the_memory_is_refused(tmp_path, monkeypatch, limit, pattern, why):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", image, "1M")
    run("qemu-io", "-c", f"write -q {pattern}", image)
    monkeypatch.setattr(f"bty.flash.qcow2_tables.{limit}", 0)
    with pytest.raises(UnusableImage, match=why):
        plan_bytes(image.read_bytes())


def test_a_data_cluster_that_the_file_does_not_hold_is_a_truncation(tmp_path):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
    run("qemu-io", "-c", "write -q 0 64k", image)
    with pytest.raises(UnusableImage, match="cluster for 0 lies behind the end"):
        plan_bytes(image.read_bytes()[:-512])


def test_data_that_lies_in_a_table_is_refused(tmp_path):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
    run("qemu-io", "-c", "write -q 0 64k", image)
    data = image.read_bytes()
    l1, l2 = tables_of(data)
    with pytest.raises(UnusableImage, match="data and tables"):
        plan_bytes(patched(data, l2, ">Q", 1 << 63 | l1))
