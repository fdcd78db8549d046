"""Reads the tables of a qcow2 image: which guest bytes lie where in the file. Source: docs/interop/qcow2.rst of QEMU.

Refuses whatever it does not fully understand: an image is data for a disk, and a guess would be written to it.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from bty.errors import SourceFailed
from bty.flash.inflate import Inflate, load_deflate, load_zstd
from bty.units import KIB, MIB

SECTOR = 512
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_HEADER_V3 = struct.Struct(">QQQII")
_HEADER_BYTES = 112  # up to and with the compression type, padded
_CORRUPT, _EXTERNAL, _COMPRESSION, _EXTENDED = 2, 4, 8, 16
_KNOWN_FEATURES = 1 | _CORRUPT | _EXTERNAL | _COMPRESSION | _EXTENDED  # bit 0, lazy refcounts not flushed, does no harm to a reader
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COPIED, _PACKED, _ZERO = 1 << 63, 1 << 62, 1
_MAX_L1_BYTES = 32 * MIB  # QEMU's own limit
_MAX_TABLES = 1 << 18  # 128 TiB in clusters of 64 KiB
_MAX_RUNS = 1 << 22  # 100 MB of memory, three times that to sort them; QEMU writes one run a stretch, or one a compressed cluster
_READ_AHEAD = 64 * KIB

ReadAt = Callable[[int, int], bytes]


class UnusableImage(SourceFailed):
    """The image is damaged, or packed in a way that cannot be flashed."""

    code = "unusable_image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Qcow2Plan:
    """Where every guest byte of an image lies in its file; runs are in the order of the file."""

    virtual_size: int
    cluster_size: int
    file_size: int
    inflate: Inflate = field(repr=False)
    hosts: array[int] = field(repr=False)
    guests: array[int] = field(repr=False)
    sizes: array[int] = field(repr=False)  # bytes in the file, times two, plus one where they are compressed
    zeros: array[int] = field(repr=False)  # start and length by turns, in guest order
    tables: list[tuple[int, int, bytes]] = field(repr=False)  # offset, length and digest of all metadata used

    def allocated_bytes(self) -> int:
        """Return the number of guest bytes that the file holds; the rest of the virtual size is zeros."""
        return self.virtual_size - sum(self.zeros[1::2])

    def zero_runs(self) -> Iterator[tuple[int, int]]:
        """Return offset and length of each stretch of guest zeros, merged and in order."""
        return zip(self.zeros[::2], self.zeros[1::2], strict=True)


def plan_qcow2(pread: ReadAt, file_size: int) -> Qcow2Plan:
    """Read the tables of a qcow2 file of *file_size* bytes through *pread* and return where its data lies.

    Blocks. Raises `UnusableImage`, a `SourceFailed`, for what is not a whole, plain, self-contained qcow2 image.
    """
    return _Planner(pread, file_size).plan()


class _Planner:
    def __init__(self, pread: ReadAt, file_size: int) -> None:
        self.pread, self.file_size = pread, file_size
        self.window, self.window_at = b"", 0
        self.hosts, self.guests, self.sizes, self.zeros = (array("Q") for _ in range(4))
        self.tables: list[tuple[int, int, bytes]] = []
        self.bits = self.cluster = self.virtual_size = self.version = 0
        self.extended = False
        self.inflate: Inflate = load_deflate()

    def plan(self) -> Qcow2Plan:
        l1_size, l1_offset = self.read_header()
        self.read_tables(l1_size, l1_offset)
        self.order_runs()
        self.refuse_overlaps()
        return Qcow2Plan(
            virtual_size=self.virtual_size,
            cluster_size=self.cluster,
            file_size=self.file_size,
            inflate=self.inflate,
            hosts=self.hosts,
            guests=self.guests,
            sizes=self.sizes,
            zeros=self.zeros,
            tables=self.tables,
        )

    def read(self, offset: int, length: int, what: str) -> bytes:
        """Return metadata and note its digest, for the stream to prove."""
        if offset + length > self.file_size:
            raise UnusableImage(f"the qcow2 image is truncated: its {what} lies behind the end of the file")
        if not self.window_at <= offset <= offset + length <= self.window_at + len(self.window):
            self.window = self.pread(offset, min(max(length, _READ_AHEAD), self.file_size - offset))
            self.window_at = offset
        data = self.window[offset - self.window_at :][:length]
        if len(data) < length:
            raise UnusableImage(f"the qcow2 image is truncated: the source gave {len(data)} of {length} bytes of its {what}")
        self.tables.append((offset, length, sha256(data).digest()))
        return data

    def read_header(self) -> tuple[int, int]:
        if self.file_size < SECTOR:
            raise UnusableImage(f"not a qcow2 image: only {self.file_size} bytes long")
        head = self.read(0, _HEADER_BYTES, "header")
        magic, self.version, backing, _, self.bits, size, crypt, l1_size, l1_offset, *_ = _HEADER.unpack_from(head)
        if magic != b"QFI\xfb":
            raise UnusableImage("not a qcow2 image: the first bytes are not QFI and 0xfb")
        if self.version not in (2, 3):
            raise UnusableImage(f"qcow2 version {self.version} is unknown: 2 and 3 can be read")
        if backing:
            raise UnusableImage("the qcow2 image has a backing file", hint="make it whole with qemu-img convert -O qcow2")
        if not 9 <= self.bits <= 21:
            raise UnusableImage(f"the qcow2 image has clusters of 2**{self.bits} bytes: damaged")
        if crypt:
            raise UnusableImage("the qcow2 image is encrypted", hint="decrypt it with qemu-img convert")
        if size % SECTOR:
            raise UnusableImage(f"the qcow2 image has a virtual size of {size} bytes, not whole sectors: damaged")
        self.cluster, self.virtual_size = 1 << self.bits, size
        if self.version == 3:
            self.read_features(head)
        return l1_size, l1_offset

    def read_features(self, head: bytes) -> None:
        features, _, _, _, length = _HEADER_V3.unpack_from(head, _HEADER.size)
        if length < 104 or length % 8 or length > self.cluster:
            raise UnusableImage(f"the qcow2 image has a header of {length} bytes: damaged")
        if features & ~_KNOWN_FEATURES:
            raise UnusableImage(f"the qcow2 image needs features that are unknown here (bits {features & ~_KNOWN_FEATURES:#x})")
        if features & _CORRUPT:
            raise UnusableImage("the qcow2 image is marked corrupt", hint="qemu-img check -r all may repair it")
        if features & _EXTERNAL:
            raise UnusableImage("the qcow2 image keeps its data in another file", hint="make it whole with qemu-img convert -O qcow2")
        method = head[104] if length > 104 else 0
        if method > 1 or bool(method) != bool(features & _COMPRESSION):
            raise UnusableImage(f"the qcow2 image is compressed in an unknown way ({method})")
        if method:
            zstd = load_zstd()
            if zstd is None:
                raise UnusableImage(
                    "the qcow2 image is compressed with zstd, and libzstd is not installed here",
                    hint="convert it with qemu-img convert -c -O qcow2 -o compression_type=zlib",
                )
            self.inflate = zstd
        self.extended = bool(features & _EXTENDED)
        if self.extended and self.bits < 14:
            raise UnusableImage("the qcow2 image has subclusters of less than a sector: damaged")

    def read_tables(self, l1_size: int, l1_offset: int) -> None:
        entry_bytes = 16 if self.extended else 8
        span = self.cluster // entry_bytes * self.cluster
        needed = -(-self.virtual_size // span)
        if needed * 8 > _MAX_L1_BYTES or l1_size * 8 > _MAX_L1_BYTES:
            raise UnusableImage("the qcow2 image has a first-level table of more than 32 MiB: damaged, or its clusters are too small")
        if l1_size < needed:
            raise UnusableImage("the qcow2 image has a first-level table that is too short for its size: damaged")
        if l1_offset % self.cluster or (needed and not l1_offset):
            raise UnusableImage("the qcow2 image has its first-level table at an impossible place: damaged")
        if not needed:
            return
        for index, entry in enumerate(_words(self.read(l1_offset, needed * 8, "first-level table"))):
            guest, offset = index * span, entry & _OFFSET
            if entry & ~(_OFFSET | _COPIED) or offset % self.cluster:
                raise UnusableImage(f"entry {index} of the first-level table of the qcow2 image is damaged")
            if not offset:
                self.add_zeros(guest, min(span, self.virtual_size - guest))
                continue
            if len(self.tables) > _MAX_TABLES:
                raise UnusableImage("the qcow2 image has too many tables", hint="convert it with -o cluster_size=64k")
            table = _words(self.read(offset, self.cluster, "second-level table"))
            if not any(table):
                self.add_zeros(guest, min(span, self.virtual_size - guest))
            else:
                self.add_table(guest, table)

    def add_table(self, guest: int, table: array[int]) -> None:
        step, cluster = (2, self.cluster) if self.extended else (1, self.cluster)
        allowed = _OFFSET | _COPIED | (_ZERO if self.version == 3 and not self.extended else 0)
        empty = 0  # clusters before this one that hold nothing: told together, most images are full of them
        index, end = 0, min(len(table), -(-(self.virtual_size - guest) // cluster) * step)
        while index < end:
            entry = table[index]
            if not entry and not self.extended:
                empty += 1
                index += 1
                continue
            if empty:
                self.add_zeros(guest, empty * cluster)
                guest, empty = guest + empty * cluster, 0
            if entry & _PACKED:
                guest, index = self.add_packed(guest, table, index, end, step)
                continue
            length = min(cluster, self.virtual_size - guest)
            if entry & ~allowed or entry & _OFFSET & (cluster - 1):
                raise UnusableImage(f"the qcow2 image has a damaged entry for the cluster at {guest}")
            if self.extended:
                self.add_subclusters(entry & _OFFSET, table[index + 1], guest)
            elif entry & _ZERO or not entry & _OFFSET:
                self.add_zeros(guest, length)
            else:
                self.add_run(entry & _OFFSET, guest, length)
            guest += cluster
            index += step
        if empty:
            self.add_zeros(guest, min(empty * cluster, self.virtual_size - guest))

    def add_packed(self, guest: int, table: array[int], index: int, end: int, step: int) -> tuple[int, int]:
        """Add the compressed clusters from *index* on, up to one that is none; return the guest offset and index behind them.

        All at once, since an image has 16 in each MiB, and a flash begins when all are known.
        """
        behind = next((at for at in range(index, end, step) if not table[at] & _PACKED), end)
        entries = table[index:behind:step]
        shift = 62 - (self.bits - 8)
        offset_bits, sector_bits = (1 << shift) - 1, (_PACKED - 1) >> shift
        offsets = [entry & offset_bits for entry in entries]
        if max(offsets) >= self.file_size:
            at = guest + next(index for index, offset in enumerate(offsets) if offset >= self.file_size) * self.cluster
            raise UnusableImage(f"the qcow2 image is truncated: the cluster for {at} lies behind the end of the file")
        if len(self.hosts) + len(offsets) > _MAX_RUNS:
            raise _too_many_pieces()
        # The last sector is counted whole, and may be cut by the end of the file.
        stops = [(offset // SECTOR + (entry >> shift & sector_bits) + 1) * SECTOR for entry, offset in zip(entries, offsets, strict=True)]
        if max(stops) > self.file_size:
            stops = [min(stop, self.file_size) for stop in stops]
        after = guest + len(offsets) * self.cluster
        self.hosts.extend(offsets)
        self.guests.extend(range(guest, after, self.cluster))
        self.sizes.extend([(stop - offset) * 2 + 1 for offset, stop in zip(offsets, stops, strict=True)])
        return after, behind

    def add_subclusters(self, host: int, bitmap: int, guest: int) -> None:
        stored, zero = bitmap & 0xFFFF_FFFF, bitmap >> 32
        if stored & zero or (stored and not host):
            raise UnusableImage(f"the qcow2 image has a damaged entry for the cluster at {guest}")
        part = self.cluster // 32
        for index in range(32):
            offset = index * part
            length = min(part, self.virtual_size - guest - offset)
            if length <= 0:
                break
            if stored >> index & 1:
                self.add_run(host + offset, guest + offset, length)
            else:
                self.add_zeros(guest + offset, length)

    def add_run(self, host: int, guest: int, length: int) -> None:
        if host + length > self.file_size:
            raise UnusableImage(f"the qcow2 image is truncated: the cluster for {guest} lies behind the end of the file")
        if self.hosts:
            size = self.sizes[-1]
            if not size & 1 and self.guests[-1] + size // 2 == guest and self.hosts[-1] + size // 2 == host:
                self.sizes[-1] = size + length * 2
                return
        self.append(host, guest, length * 2)

    def append(self, host: int, guest: int, size: int) -> None:
        if len(self.hosts) >= _MAX_RUNS:
            raise _too_many_pieces()
        self.hosts.append(host)
        self.guests.append(guest)
        self.sizes.append(size)

    def add_zeros(self, guest: int, length: int) -> None:
        if self.zeros and self.zeros[-2] + self.zeros[-1] == guest:
            self.zeros[-1] += length
        elif len(self.zeros) >= _MAX_RUNS:
            raise _too_many_pieces()
        else:
            self.zeros.extend((guest, length))

    def order_runs(self) -> None:
        """Sort the runs as the stream will meet them; most images are in that order already."""
        hosts = self.hosts
        if all(map(int.__le__, hosts, hosts[1:])):
            return
        # The position in the low bits keeps this one list of integers, 50 bytes each.
        order = array("I", (key & (_MAX_RUNS - 1) for key in sorted(host * _MAX_RUNS + index for index, host in enumerate(hosts))))
        self.hosts, self.guests, self.sizes = (array("Q", map(column.__getitem__, order)) for column in (hosts, self.guests, self.sizes))

    def refuse_overlaps(self) -> None:
        """Refuse an image whose tables lie on each other, or whose data begins in a table: no writer makes one."""
        self.tables.sort()
        end = 0
        for offset, length, _ in self.tables:
            if offset < end:
                raise UnusableImage("the tables of the qcow2 image lie on each other: damaged")
            end = offset + length
        tables = iter(self.tables)
        offset, length, _ = next(tables)
        for host, size in zip(self.hosts, self.sizes, strict=True):
            while offset + length <= host:
                offset, length, _ = next(tables, (1 << 64, 0, b""))
            if offset < host + (1 if size & 1 else size // 2):
                raise UnusableImage("data and tables of the qcow2 image lie on each other: damaged")


def _too_many_pieces() -> UnusableImage:
    return UnusableImage("the qcow2 image is in too many pieces", hint="convert it with -o cluster_size=64k")


def _words(data: bytes) -> array[int]:
    words = array("Q", data)
    if sys.byteorder == "little":
        words.byteswap()
    return words
