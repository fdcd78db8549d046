"""Block maps against the ones that bmaptool makes, and against damage."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bty.errors import BtyError, IntegrityFailed
from bty.flash.bmap import Bmap, BmapRange, parse_bmap

SIZE = 3_000_000
OLD = """<?xml version="1.0" ?>
<bmap version="{version}">
<ImageSize> 40960 </ImageSize><BlockSize> 4096 </BlockSize><BlocksCount> 10 </BlocksCount>
<MappedBlocksCount> 4 </MappedBlocksCount>{extra}
<BlockMap><Range{attribute}> 0-2 </Range><Range{attribute}>7</Range></BlockMap>
</bmap>
"""


def sparse_image(folder: Path, blocks: set[int], size: int = SIZE) -> Path:
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(size)
        for block in sorted(blocks):
            file.seek(block * 4096)
            file.write(random.Random(block).randbytes(min(4096, size - block * 4096)))
    return image


def created(image: Path) -> bytes:
    return subprocess.run(["bmaptool", "create", str(image)], check=True, capture_output=True).stdout


def signed(text: str, name: str, algorithm: str) -> bytes:
    blank = "0" * hashlib.new(algorithm).digest_size * 2
    document = text.replace("{sum}", blank)
    return document.replace(blank, hashlib.new(algorithm, document.encode()).hexdigest()).encode()


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> bytes:
    return created(sparse_image(tmp_path_factory.mktemp("bmap"), {0, 1, 2, 9, 700, 732}))


def test_what_bmaptool_wrote_is_read(document):
    bmap = parse_bmap(document)
    assert (bmap.image_size, bmap.block_size, bmap.checksum_type) == (SIZE, 4096, "sha256")
    assert [(first, last) for first, last, _ in bmap.ranges] == [(0, 2), (9, 9), (700, 700), (732, 732)]
    assert bmap.mapped_bytes() == 5 * 4096 + SIZE - 732 * 4096


def test_the_digest_of_a_range_is_that_of_its_bytes(document, tmp_path):
    image = sparse_image(tmp_path, {0, 1, 2, 9, 700, 732}).read_bytes()
    for first, last, digest in parse_bmap(document).ranges:
        assert digest == hashlib.sha256(image[first * 4096 : (last + 1) * 4096]).hexdigest()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(blocks=st.sets(st.integers(0, 199), max_size=60), size=st.integers(199 * 4096 + 1, 200 * 4096))
def test_a_byte_is_unmapped_exactly_where_bmaptool_found_no_block(tmp_path_factory, blocks, size):
    bmap = parse_bmap(created(sparse_image(tmp_path_factory.mktemp("bmap"), blocks, size)))
    assert [block not in blocks for block in range(200)] == [bmap.is_unmapped(block * 4096, 4096) for block in range(200)]
    assert [block not in blocks for block in range(200)] == [bmap.is_unmapped(block * 4096 + 4095, 1) for block in range(200)]


@given(
    blocks=st.sets(st.integers(0, 40), max_size=20).map(sorted),
    offset=st.integers(0, 45 * 512),
    length=st.integers(0, 8 * 512),
)
def test_a_range_is_unmapped_when_none_of_its_bytes_is_mapped(blocks, offset, length):
    bmap = Bmap(image_size=41 * 512, block_size=512, ranges=tuple(BmapRange(b, b, None) for b in blocks), checksum_type=None)
    touched = set(range(offset // 512, (offset + length - 1) // 512 + 1)) if length else set()
    assert bmap.is_unmapped(offset, length) == touched.isdisjoint(blocks)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_the_old_versions_had_no_digests(version):
    bmap = parse_bmap(OLD.format(version=version, extra="", attribute="").encode())
    assert bmap.ranges == (BmapRange(0, 2, None), BmapRange(7, 7, None))
    assert bmap.checksum_type is None


def test_version_1_3_has_sha1_throughout():
    text = OLD.format(version="1.3", extra="<BmapFileSHA1> {sum} </BmapFileSHA1>", attribute=' sha1="AB"')
    bmap = parse_bmap(signed(text, "BmapFileSHA1", "sha1"))
    assert (bmap.checksum_type, bmap.ranges[0].digest) == ("sha1", "ab")


def test_every_changed_digit_is_noticed(document):
    for match in re.finditer(rb"\d", document[document.index(b"<ImageSize>") :]):
        at = document.index(b"<ImageSize>") + match.start()
        damaged = document[:at] + (b"1" if document[at : at + 1] != b"1" else b"2") + document[at + 1 :]
        with pytest.raises(IntegrityFailed):
            parse_bmap(damaged)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"0-2 ", b"0-3 ", "MappedBlocksCount"),
        (b">7<", b">10<", "behind the image"),
        (b">7<", b">1<", "out of order"),
        (b">7<", b">a<", "BlockMap holds"),
        (b">7<", b">-7<", "BlockMap holds"),
        (b"0-2 ", b"2-0 ", "out of order"),
        (b"<BlocksCount> 10", b"<BlocksCount> 11", "BlocksCount"),
        (b"<BlockSize> 4096", b"<BlockSize> 0", "empty"),
        (b"<ImageSize> 40960", b"<ImageSize> many", "ImageSize"),
        (b"BlockMap>", b"OtherMap>", "no BlockMap"),
        (b"1.2", b"3.0", "known are"),
        (b"1.2", b"1.4", "checksum"),
        (b"<bmap", b"<!DOCTYPE bmap [<!ENTITY a 'aaaa'>]><bmap", "document type"),
        (b"</bmap>", b"", "damaged"),
        (b"<bmap", b"\xff<bmap", "damaged"),
        (b"<bmap", b"\0<bmap", "damaged"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused_with_the_reason(old, new, why):
    document = OLD.format(version="1.2", extra="", attribute="").encode().replace(old, new)
    with pytest.raises(IntegrityFailed, match=why):
        parse_bmap(document)


@settings(max_examples=200)
@given(data=st.data())
def test_damage_ends_in_an_error_of_ours(document, data):
    at = data.draw(st.integers(0, len(document) - 1))
    piece = data.draw(st.binary(max_size=8))
    damaged = document[:at] + piece + document[at + data.draw(st.integers(0, 8)) :]
    try:
        bmap = parse_bmap(damaged)
    except BtyError:
        return
    assert damaged == document or bmap == parse_bmap(document)
