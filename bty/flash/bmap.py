"""Block maps: which blocks of an image anybody will read. Formats 1.0 to 2.0 of bmap-tools.

A map that cannot be proved whole is refused: a block that it forgets would keep old content on the disk.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bty.errors import IntegrityFailed

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_ALGORITHMS = frozenset({"md5", "sha1", "sha224", "sha256", "sha384", "sha512"})
_VERSION = re.compile(r"([12])\.(\d{1,3})")
_RANGE = re.compile(r"(\d{1,18})(?:\s*-\s*(\d{1,18}))?")
_NUMBER = re.compile(r"\d{1,18}")


class BmapRange(NamedTuple):
    """A run of mapped blocks, both ends included, and the digest of its bytes where the map has one."""

    first: int
    last: int
    digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bmap:
    """The mapped blocks of an image of `image_size` bytes, in order and apart."""

    image_size: int
    block_size: int
    ranges: tuple[BmapRange, ...]
    checksum_type: str | None

    def is_unmapped(self, offset: int, length: int) -> bool:
        """Tell whether no byte of the range is mapped. What lies behind the image is not mapped."""
        first, last = offset // self.block_size, (offset + length - 1) // self.block_size
        index = bisect_left(self.ranges, first, key=_last_block)
        return length <= 0 or index == len(self.ranges) or self.ranges[index].first > last

    def has_digests(self) -> bool:
        """Tell whether an image can be compared with all of the map."""
        return bool(self.ranges) and all(entry.digest for entry in self.ranges)

    def mapped_bytes(self) -> int:
        """Return the number of bytes in mapped blocks."""
        return sum(min((last + 1) * self.block_size, self.image_size) - first * self.block_size for first, last, _ in self.ranges)


def parse_bmap(document: bytes) -> Bmap:
    """Read a bmap file. Raises `IntegrityFailed` where it is no bmap, damaged, or contradicts itself."""
    from xml.etree import ElementTree  # few images have a map, and every flash would load it

    try:
        text = document.decode()
        # Without a document type there are no entities, so a small file stays small.
        if "<!DOCTYPE" in text:
            raise _refuse("it has a document type")
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError) as error:
        raise _refuse(str(error)) from None
    version = _VERSION.fullmatch(root.get("version", "").strip())
    if root.tag != "bmap" or not version:
        raise _refuse(f"it says <{root.tag[:40]} version={root.get('version', '')[:40]!r}>, known are bmap 1.0 to 2.0")
    algorithm = _verify_checksum(root, document, (int(version[1]), int(version[2])))
    image_size, block_size = _number(root, "ImageSize"), _number(root, "BlockSize")
    if not block_size:
        raise _refuse("its blocks are empty")
    blocks = -(-image_size // block_size)
    if _number(root, "BlocksCount") != blocks:
        raise _refuse(f"its BlocksCount is not {blocks}")
    ranges = _read_ranges(root, blocks)
    mapped = sum(last - first + 1 for first, last, _ in ranges)
    if root.find("MappedBlocksCount") is not None and _number(root, "MappedBlocksCount") != mapped:
        raise _refuse(f"its ranges map {mapped} blocks, which is not its MappedBlocksCount")
    return Bmap(image_size=image_size, block_size=block_size, ranges=ranges, checksum_type=algorithm)


def _read_ranges(root: Element, blocks: int) -> tuple[BmapRange, ...]:
    block_map = root.find("BlockMap")
    if block_map is None:
        raise _refuse("it has no BlockMap")
    ranges: list[BmapRange] = []
    end = 0
    for element in block_map:
        match = _RANGE.fullmatch((element.text or "").strip())
        if element.tag != "Range" or not match:
            raise _refuse(f"its BlockMap holds <{element.tag[:40]}> {(element.text or '').strip()[:40]!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not end <= first <= last < blocks:
            raise _refuse(f"its range {first}-{last} is out of order or behind the image")
        end = last + 1
        digest = element.get("chksum") or element.get("sha1")
        ranges.append(BmapRange(first, last, digest.strip().lower() if digest else None))
    return tuple(ranges)


def _verify_checksum(root: Element, document: bytes, version: tuple[int, int]) -> str | None:
    """Return the digest algorithm. Before 1.3 there was none; 1.3 had SHA-1; since 1.4 the file names it."""
    if version < (1, 3):
        return None
    algorithm = "sha1" if version == (1, 3) else (root.findtext("ChecksumType") or "").strip().lower()
    stated = (root.findtext("BmapFileSHA1" if version == (1, 3) else "BmapFileChecksum") or "").strip()
    if algorithm not in _ALGORITHMS or not re.fullmatch(r"[0-9a-fA-F]+", stated):
        raise _refuse("it does not say its own checksum")
    # The sum is taken over the file with the digits of the sum as zeros.
    blank = document.replace(stated.encode(), b"0" * len(stated), 1)
    if hashlib.new(algorithm, blank, usedforsecurity=False).hexdigest() != stated.lower():
        raise _refuse("its own checksum does not match")
    return algorithm


def _number(root: Element, name: str) -> int:
    text = (root.findtext(name) or "").strip()
    if not _NUMBER.fullmatch(text):
        raise _refuse(f"its {name} is {text[:40]!r}")
    return int(text)


def _last_block(block_range: BmapRange) -> int:
    return block_range.last


def _refuse(why: str) -> IntegrityFailed:
    return IntegrityFailed(f"the bmap is damaged or not a bmap: {why[:200]}", hint="leave it out to write every block")
