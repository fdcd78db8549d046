"""Decodes a qcow2 image from one pass over its bytes: no temporary copy, no second fetch, nothing unhashed.

The tables are read first, by random access; then the whole file streams by once, and each cluster is delivered as it passes.
The bytes of the tables are compared again when the stream reaches them, so that a digest over the stream covers all that was used.
This room knows the format and nothing of sources, disks or processes.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256

from bty.errors import IntegrityFailed, SourceFailed
from bty.flash.blocks import ALIGNMENT, BLOCK_BYTES, Block
from bty.flash.inflate import address_of
from bty.flash.qcow2_tables import SECTOR, Qcow2Plan, ReadAt, UnusableImage, plan_qcow2
from bty.units import KIB, MIB

__all__ = ["Qcow2Plan", "Qcow2Stream", "UnusableImage", "guest_head", "plan_qcow2"]

_BATCH_BYTES = BLOCK_BYTES  # of guest data a job of the pool; a cluster has 2 MiB at most
_WAITING = 4  # blocks more than the pool needs, so that it has work while the disk is waited for
_GAP_BYTES, _HEAD_READ_BYTES = 256 * KIB, 4 * MIB  # what is read beside what is needed, and at once, to look at the head
ZERO_PIECE_BYTES = 64 * MIB
"""The most that one call of `zero` covers. At 150 MB/s that is half a second, and as long a cancel waits."""

Keep = Callable[[], Callable[[], None]]
"""Keeps memory as it is until what this returns is called, which any thread may do."""
_Cluster = tuple[int, int, int]  # a compressed one: its guest offset, and the address and length of its data


class Qcow2Stream:
    """Turns the bytes of a planned image, fed in order, into writes of guest data.

    *write_part*, where it is given, takes decompressed data in place of *write*: a block, where in it, and the guest offset.
    Zero runs are told in their order, in pieces, as far as the file has passed: a disk zeroes while the next data decompresses.
    `write` and `zero` are called on the feeding thread only; the data is valid during the call, its length a multiple of 512.
    Memory: two blocks for each processor, 16 at most, and four more.
    """

    def __init__(
        self,
        plan: Qcow2Plan,
        write: Callable[[int, memoryview | bytes | bytearray], None],
        zero: Callable[[int, int], None],
        write_part: Callable[[Block, int, int, int], None] | None = None,
    ) -> None:
        self._plan, self._write, self._zero = plan, write, zero
        # Smaller clusters lie in a block where no direct write may begin.
        self._write_part = write_part if write_part and plan.cluster_size % ALIGNMENT == 0 else self._write_view
        self._at = 0  # up to here the file is dealt with
        self._sector = bytearray()  # the begun sector behind it
        self._zeros, self._zeroed = _zero_pieces(plan), 0
        self._zero_bytes = plan.virtual_size - plan.allocated_bytes()
        self._table, self._hash = 0, sha256()
        self._next = 0  # the first run that has not begun
        self._open: list[int] = []  # runs that have begun and not ended
        self._packed: list[int] = []  # compressed clusters that have begun and not ended; their bytes are in the tail
        self._tail, self._tail_at = bytearray(), 0
        self._batch: list[_Cluster] = []
        self._batch_clusters = _BATCH_BYTES // plan.cluster_size
        self._tails: list[bytearray] = []  # what clusters of the batch lie in that began in an earlier block
        self._jobs: deque[tuple[Block, Future[list[tuple[int, int, int]]]]] = deque()
        self._workers = min(8, max(2, os.cpu_count() or 2))
        self._pool: ThreadPoolExecutor | None = None
        self._free: list[Block] = []

    def feed(self, block: memoryview | bytes, keep: Keep | None = None) -> None:
        """Take the next bytes of the file and write what they complete.

        The bytes are the caller's again at the return; where *keep* is given, compressed clusters are not copied but read where
        they lie, for as long as it keeps the memory, which must be writable.
        Blocks. Raises `IntegrityFailed` where the bytes differ from the plan or do not decode, `SourceFailed` where they are too many.
        """
        view = memoryview(block).cast("B")
        if self._at + len(self._sector) + len(view) > self._plan.file_size:
            raise SourceFailed(f"the qcow2 image is longer than the {self._plan.file_size} bytes it was said to have")
        if self._sector:
            missing = SECTOR - len(self._sector)
            self._sector += view[:missing]
            view = view[missing:]
            if len(self._sector) < SECTOR:
                return
            self._take_sector()
        whole = len(view) // SECTOR * SECTOR
        if whole:
            self._take(view[:whole] if keep else memoryview(bytearray(view[:whole])), keep or _keep_nothing)
        self._sector += view[whole:]

    def finish(self) -> None:
        """Write what is still under way. Raises `SourceFailed` when the file ended too early, and what `feed` raises."""
        try:
            self.feed(b"")
            missing = self._plan.file_size - self._at - len(self._sector)
            if missing:
                raise SourceFailed(f"the qcow2 image ended {missing} bytes too early")
            if self._sector:
                self._take_sector()
            self._tell_zeros()
            while self._jobs:
                self._collect()
        finally:
            self.close()

    def close(self) -> None:
        """End the threads; may be called at any time and twice."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _take_sector(self) -> None:
        sector, self._sector = self._sector, bytearray()
        self._take(memoryview(sector), _keep_nothing)

    def _take(self, view: memoryview, keep: Keep) -> None:
        plan, end, move = self._plan, self._at + len(view), address_of(view) - self._at
        self._prove_tables(view, end)
        self._extend_tail(view, keep)
        self._open = [index for index in self._open if not self._pass_run(index, view, end)]
        hosts, sizes, guests = plan.hosts, plan.sizes, plan.guests
        begun = bisect_left(hosts, end, self._next)
        for index in range(self._next, begun):
            host, size = hosts[index], sizes[index]
            if not size & 1:
                if not self._pass_run(index, view, end):
                    self._open.append(index)
            elif host + size // 2 <= end:
                if len(self._batch) == self._batch_clusters:
                    self._submit(view, keep)
                self._batch.append((guests[index], host + move, size // 2))
            else:
                if not self._packed:
                    self._tail, self._tail_at = bytearray(view[host - self._at :]), host
                self._packed.append(index)
        self._next, self._at = begun, end
        if self._batch:
            self._submit(view, keep)
        self._tell_zeros()

    def _tell_zeros(self) -> None:
        """Tell the share of the zero runs that the file has passed."""
        while self._zeroed * self._plan.file_size < self._zero_bytes * self._at:
            offset, length = next(self._zeros)
            self._zero(offset, length)
            self._zeroed += length

    def _pass_run(self, index: int, view: memoryview, end: int) -> bool:
        """Write the part of a run that is in view; tell whether that was its end."""
        host, size = self._plan.hosts[index], self._plan.sizes[index] // 2
        start, stop = max(host, self._at), min(host + size, end)
        self._write(self._plan.guests[index] + start - host, view[start - self._at : stop - self._at])
        return host + size <= end

    def _prove_tables(self, view: memoryview, end: int) -> None:
        tables = self._plan.tables
        while self._table < len(tables):
            offset, length, digest = tables[self._table]
            if offset >= end:
                return
            self._hash.update(view[max(0, offset - self._at) : max(0, offset + length - self._at)])
            if offset + length > end:
                return
            if self._hash.digest() != digest:
                raise IntegrityFailed(f"the qcow2 image changed while it was read: its table at {offset} is another one now")
            self._table, self._hash = self._table + 1, sha256()

    def _extend_tail(self, view: memoryview, keep: Keep) -> None:
        """Complete the compressed clusters that began in an earlier block."""
        if not self._packed:
            return
        hosts, sizes = self._plan.hosts, self._plan.sizes
        need = max(hosts[index] + sizes[index] // 2 for index in self._packed)
        self._tail += view[: need - self._at]
        waiting = []
        for index in self._packed:
            start, length = hosts[index] - self._tail_at, sizes[index] // 2
            if start + length <= len(self._tail):
                if len(self._batch) == self._batch_clusters:
                    self._submit(view, keep)
                self._tails.append(self._tail[start : start + length])
                self._batch.append((self._plan.guests[index], address_of(self._tails[-1]), length))
            else:
                waiting.append(index)
        self._packed = waiting

    def _submit(self, view: memoryview, keep: Keep) -> None:
        """Give the batch, which lies in *view* and the tails, to the pool."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, "qcow2")
            self._free = [Block() for _ in range(2 * self._workers + _WAITING)]
        while not self._free:
            self._collect()
        block = self._free.pop()
        job = self._pool.submit(_inflate_batch, self._plan, self._batch, block, (view, self._tails), keep())
        self._jobs.append((block, job))
        self._batch, self._tails = [], []
        while self._jobs and self._jobs[0][1].done():
            self._collect()

    def _write_view(self, block: Block, start: int, end: int, offset: int) -> None:
        self._write(offset, block.view[start:end])

    def _collect(self) -> None:
        block, job = self._jobs.popleft()
        for guest, start, end in job.result():
            self._write_part(block, start, end, guest)
        self._free.append(block)


def _zero_pieces(plan: Qcow2Plan) -> Iterator[tuple[int, int]]:
    for offset, length in plan.zero_runs():
        for start in range(offset, offset + length, ZERO_PIECE_BYTES):
            yield start, min(ZERO_PIECE_BYTES, offset + length - start)


def guest_head(plan: Qcow2Plan, pread: ReadAt, length: int) -> bytes:
    """Return the first *length* bytes that a guest would see of a qcow2 image. Raises `SourceFailed`."""
    head = bytearray(min(length, plan.virtual_size))
    for start, stop, needs in _neighbours(plan, len(head)):
        read = pread(start, stop - start)
        for host, guest, size in needs:
            data = read[host - start :][: size // 2]
            if size & 1:
                source, cluster = bytearray(data), bytearray(plan.cluster_size)
                if not source or not plan.inflate(((address_of(source), len(source)),), memoryview(cluster)):
                    continue  # the stream says so when it comes to it
                data = bytes(cluster)
            part = data[: len(head) - guest]
            head[guest : guest + len(part)] = part
    return bytes(head)


def _neighbours(plan: Qcow2Plan, length: int) -> Iterator[tuple[int, int, list[tuple[int, int, int]]]]:
    """Yield the runs of the first *length* guest bytes as host, guest and size, in groups that one read gets, with its start and end.

    A read may be a connection of its own, which costs as much as a few clusters more.
    """
    group: list[tuple[int, int, int]] = []
    start = stop = 0
    for host, guest, size in zip(plan.hosts, plan.guests, plan.sizes, strict=True):
        if guest >= length:
            continue
        if not size & 1:
            size = min(size, 2 * (length - guest))
        end = host + size // 2
        if group and (host > stop + _GAP_BYTES or end > start + _HEAD_READ_BYTES):
            yield start, stop, group
            group = []
        if not group:
            start = stop = host
        stop = max(stop, end)
        group.append((host, guest, size))
    if group:
        yield start, stop, group


def _keep_nothing() -> Callable[[], None]:
    """Let the caller have his memory back at once: what is read is a copy that the job itself holds."""
    return _let_go_of_nothing


def _let_go_of_nothing() -> None:
    return


def _inflate_batch(
    plan: Qcow2Plan, batch: list[_Cluster], block: Block, memory: object, let_go: Callable[[], None]
) -> list[tuple[int, int, int]]:
    """Decompress clusters into *block*, in the guest's order; return guest offset, start and end of each run of neighbours.

    Runs in the pool; the libraries let go of the GIL. *memory* is what the clusters lie in, and free again with *let_go*.
    Raises `IntegrityFailed`.
    """
    batch.sort()
    size = plan.cluster_size
    try:
        done = plan.inflate([(address, length) for _, address, length in batch], block.view[: len(batch) * size])
    finally:
        let_go()
    if done < len(batch):
        raise IntegrityFailed(f"the qcow2 image is damaged: the compressed cluster for {batch[done][0]} does not decode")
    runs: list[tuple[int, int, int]] = []
    begin = 0
    for index, (guest, _, _) in enumerate(batch):
        if index and guest != batch[index - 1][0] + size:
            runs.append((batch[begin][0], begin * size, index * size))
            begin = index
    last = batch[-1][0]
    runs.append((batch[begin][0], begin * size, (len(batch) - 1) * size + min(size, plan.virtual_size - last)))
    return runs
