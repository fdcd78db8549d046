"""Writes one image to one disk, or to several at once, and proves it.

The bytes go: source, intake (counted and hashed), where the image is packed through the program that unpacks it, and
to the writers. Each of these runs beside the others; blocks are handed on, never copied. The first stage that fails by
itself is the cause; it ends the others. A disk that fails ends only its own part. There is one way to success: `Part.finish`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bty.errors import BtyError, Cancelled, IntegrityFailed, NotUnpacked
from bty.flash.blocks import BLOCK_BYTES, Block, BlockPool
from bty.flash.intake import Intake
from bty.flash.part import FirstFailure, Part, Parts, Size, find_trouble
from bty.flash.readahead import Fill, ReadAhead
from bty.flash.sizes import raw_size
from bty.flash.target import refuse
from bty.flash.turns import short_turns
from bty.flash.unpacker import StartUnpacker, Unpacker, find_unpacker
from bty.flash.writer import HEAD_BYTES, DiskWriter
from bty.model.disk import Disk
from bty.model.image import ImageFormat
from bty.model.plan import Receipt
from bty.model.progress import Progress, Stage
from bty.sources.source import ImageSource, NoRanges
from bty.units import MIB

if TYPE_CHECKING:
    from bty.flash.bmap import Bmap
    from bty.flash.bmap_check import BmapCheck
    from bty.flash.qcow2 import Qcow2Plan

_POOL_BLOCKS = 4
_PACKED_PIECE_BYTES = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageJob:
    """What to write. `sha256` is promised for the bytes as fetched; `disks` are all of this machine, which the guards look at."""

    source: ImageSource
    image_format: ImageFormat
    disks: tuple[Disk, ...]
    sha256: str | None = None
    bmap: Bmap | None = None
    verify: bool = False
    sparse: bool = True
    name: str | None = None
    ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashJob(ImageJob):
    """What to write to one disk."""

    disk: Disk


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the flash of one disk ended."""

    receipt: Receipt
    error: BtyError | None


class Flash:
    """The flash of one disk. `run` blocks and belongs in a thread; `progress` and `cancel` may be called from any other."""

    def __init__(self, job: FlashJob) -> None:
        self._all = ManyFlash(job, (job.disk,))

    def run(self) -> Receipt:
        """Flash. Raises `FlashFailed` (or another `BtyError`); `receipt` then tells how far it came."""
        (outcome,) = self._all.run()
        if outcome.error:
            raise outcome.error
        return outcome.receipt

    def cancel(self) -> None:
        """Stop in whatever stage it is; `run` then raises `Cancelled` when every thread and program has ended."""
        self._all.cancel()

    def progress(self) -> Progress:
        """Return how far the flash has come."""
        return self._all.progress()[0]

    def receipt(self, error: BtyError | None = None) -> Receipt:
        """Return what was done, and with *error* why it failed."""
        return self._all.receipt(0, error)


class ManyFlash:
    """One image for several disks: fetched and unpacked once, written to all at the same time, proved on each.

    `run` blocks and belongs in a thread; the other methods may be called from any. Disks are known by their place in *targets*.
    """

    def __init__(self, job: ImageJob, targets: tuple[Disk, ...]) -> None:
        self._job = job
        self._promised = job.sha256 or job.source.digest
        self._intake = Intake(job.source)
        self._failure = FirstFailure()
        self._all = tuple(Part(disk, job.disks, self._failure) for disk in targets)
        self._parts = Parts(self._all, self._end)
        self._outcomes: dict[Part, Outcome] = {}
        self._pools: list[BlockPool] = []
        self._unpacker: Unpacker | None = None
        self._size = Size()
        self._lock = threading.Lock()
        self._ended = False
        self._verified: list[str] = []
        self._digest: str | None = None
        self._started_at = time.monotonic()

    def run(self) -> tuple[Outcome, ...]:
        """Flash and return how it ended for each disk. Raises nothing that has a name: see `Outcome.error`."""
        self._started_at = time.monotonic()
        try:
            with short_turns():
                self._flash()
        except BaseException as error:
            self._fail(error)
            self._parts.close()
            for part in self._all:
                if part not in self._outcomes:
                    self._end(part, self._failure.error)
            if not isinstance(error, BtyError):
                raise
        finally:
            self._ended = True
            self._parts.close()
            for part in self._all:
                part.close()
            self._job.source.close()
            self._intake.digest.close()
        return tuple(self._outcomes[part] for part in self._all)

    def cancel(self) -> None:
        """Stop in whatever stage it is; what has not ended ends with `Cancelled`, once every thread and program has ended."""
        self._fail(Cancelled("the flash was cancelled"))

    def outcome(self, index: int) -> Outcome | None:
        """Return how the flash of a disk ended, None while it has not: one may fail, or be done, long before the others."""
        return self._outcomes.get(self._all[index])

    def progress(self) -> tuple[Progress, ...]:
        """Return how far the flash of each disk has come."""
        return tuple(self._progress(part) for part in self._all)

    def receipt(self, index: int, error: BtyError | None = None) -> Receipt:
        """Return what was done for a disk, and with *error* why it failed."""
        return self._receipt(self._all[index], error)

    def _progress(self, part: Part) -> Progress:
        writer, stage = part.writer, part.stage
        verifying = stage is Stage.VERIFY
        return Progress(
            stage=stage,
            read=self._intake.bytes_read,
            read_total=self._job.source.size,
            done=part.compared if verifying else writer.position if writer else 0,
            done_total=writer.image_bytes if verifying and writer else self._size.total if self._size.exact else None,
            retries=self._job.source.retries,
            trouble=None if self._failure.error else self._job.source.trouble or find_trouble(part, self._all),
            last_break=self._job.source.last_break,
        )

    def _receipt(self, part: Part, error: BtyError | None) -> Receipt:
        job, writer = self._job, part.writer
        return Receipt(
            source=job.source.served_from,
            target_path=part.disk.path,
            target_serial=part.disk.serial,
            ref=job.ref,
            name=job.name or job.source.name,
            format=job.image_format.value,
            sha256=self._digest,
            verified=(*self._verified, *part.verified),
            bytes_read=self._intake.bytes_read,
            image_bytes=writer.image_bytes if writer else 0,
            bytes_written=writer.bytes_written if writer else 0,
            seconds=round(time.monotonic() - self._started_at, 3),
            retries=job.source.retries,
            error=str(error) if error else None,
            error_code=error.code if error else None,
            notes=tuple(part.notes),
        )

    def _end(self, part: Part, error: BtyError | None) -> None:
        """Give a disk back and keep how its flash ended; where the whole was ended before, that is the cause."""
        if error:
            part.undo()
        part.close()
        cause = self._failure.error or error if error else None
        if isinstance(cause, (Cancelled, NotUnpacked)):
            hint = f"{part.disk.path} holds a partial write and does not boot" if part.is_written else "nothing was written"
            if isinstance(cause, NotUnpacked) and not part.is_written:  # of damage there would have been a good beginning
                hint = f"is the format right? {hint}"
            cause = type(cause)(cause.message, hint=hint)
        self._outcomes[part] = Outcome(self._receipt(part, cause), cause)

    def _flash(self) -> None:
        job = self._job
        self._parts.each(lambda part: refuse(part.disk, job.disks))
        start_unpacker = find_unpacker(job.image_format, proved_by_digest=self._promised is not None)
        job.source.open()
        if job.source.size == 0:
            raise IntegrityFailed("the image is empty", hint="nothing was written")
        qcow2 = self._read_sizes()
        unmapped = job.bmap if job.bmap and not qcow2 and job.bmap.has_digests() else None  # only a map that is compared counts
        self._parts.each(
            lambda part: part.claim(self._size, unmapped=unmapped, record=job.verify, sparse=job.sparse, check_head=qcow2 is None)
        )
        self._failure.check()
        self._write(start_unpacker, qcow2)
        self._failure.check()
        digest = self._digest = self._intake.digest.hexdigest()
        self._parts.each(lambda part: self._finish(part, digest))

    def _finish(self, part: Part, digest: str) -> None:
        part.finish(self._size, digest, self._promised, verify=self._job.verify)
        self._end(part, None)

    def _write(self, start_unpacker: StartUnpacker | None, qcow2: Qcow2Plan | None) -> None:
        if qcow2:
            self._write_qcow2(qcow2)
        elif start_unpacker:
            self._write_unpacked(start_unpacker(self._read_packed, self._pool(), self._fail))
        else:
            self._intake.digest.go_first()
            self._write_stream(self._read_source, users=2)

    def _each_writer(self, work: Callable[[DiskWriter], None]) -> None:
        def one(part: Part) -> None:
            assert part.writer is not None
            work(part.writer)

        self._parts.each(one)

    def _read_sizes(self) -> Qcow2Plan | None:
        source, image_format = self._job.source, self._job.image_format
        if image_format is ImageFormat.QCOW2:
            from bty.flash.qcow2 import plan_qcow2

            if source.size is None:
                raise NoRanges(f"{source.served_from} does not say how large the image is, which qcow2 needs")
            qcow2 = plan_qcow2(self._pread, source.size)
            self._size.total, self._size.exact = qcow2.virtual_size, True
            return qcow2
        if source.size is not None:
            with contextlib.suppress(NoRanges):
                known = raw_size(image_format, source.pread, source.size)
                if known is not None:
                    self._size.total, self._size.exact = known
        elif image_format is ImageFormat.IMG:
            self._size.is_told = False
        bmap = self._job.bmap
        if bmap is not None:
            if self._size.exact and self._size.total != bmap.image_size:
                raise IntegrityFailed(f"the bmap is of an image of {bmap.image_size} bytes, this one has {self._size.total}")
            self._size.total, self._size.exact = bmap.image_size, True
        return None

    def _pread(self, offset: int, length: int) -> bytes:
        self._failure.check()
        return self._job.source.pread(offset, length)

    def _read_source(self, block: Block, pool: BlockPool) -> bool:
        return self._intake.fill(block, pool, BLOCK_BYTES)

    def _read_packed(self, block: Block, pool: BlockPool) -> bool:
        return self._intake.fill(block, pool, _PACKED_PIECE_BYTES)

    def _write_unpacked(self, unpacker: Unpacker) -> None:
        """Write what *unpacker* makes of the source, all of which it must have taken."""
        with self._lock:
            self._unpacker = unpacker
        try:
            if self._failure.error:  # it came before there was anything to end
                unpacker.kill()
            self._write_stream(unpacker.fill, users=1)
        finally:
            unpacker.close()
        self._failure.check()
        if self._job.source.size is not None and self._intake.bytes_read != self._job.source.size:
            raise IntegrityFailed(f"unpacking ended at byte {self._intake.bytes_read} of {self._job.source.size} of the image")

    def _consume(self, pool: BlockPool, fill: Fill, users: int, use: Callable[[Block], None]) -> None:
        """Fill blocks of *pool* in a thread and *use* each here, in order. The thread has ended when this returns or raises."""
        filled = ReadAhead(fill, pool, users=users, fail=self._fail, name="read")
        try:
            while (block := filled.take()) is not None:
                use(block)
                pool.give_back(block)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            filled.close()
        self._failure.check()

    def _write_stream(self, fill: Fill, users: int) -> None:
        """Write the raw image that *fill* yields."""
        # Also where a digest is promised: it proves the image, and not that the map is of this version of it.
        check = self._start_check()
        offset = 0

        def use(block: Block) -> None:
            nonlocal offset
            at = offset
            checked = check.submit(at, block.view[: block.length]) if check else None
            self._each_writer(lambda writer: writer.write_block(block, at))
            if checked:
                checked.result()
            offset += block.length

        try:
            self._consume(self._pool(), fill, users, use)
            if check and check.finish():
                self._verified.append("bmap")
        finally:
            if check:
                check.close()

    def _start_check(self) -> BmapCheck | None:
        if self._job.bmap is None:
            return None
        from bty.flash.bmap_check import BmapCheck

        return BmapCheck(self._job.bmap)

    def _write_qcow2(self, qcow2: Qcow2Plan) -> None:
        from bty.flash.qcow2 import Qcow2Stream, guest_head

        head = guest_head(qcow2, self._job.source.pread, HEAD_BYTES)
        self._parts.each(lambda part: part.accept_head(head))

        def write(offset: int, data: memoryview | bytes | bytearray) -> None:
            self._failure.check()  # a block of the file may be thousands of the disk
            self._each_writer(lambda writer: writer.write(offset, data))

        def zero(offset: int, length: int) -> None:
            self._failure.check()
            self._each_writer(lambda writer: writer.zero(offset, length))

        def write_part(block: Block, start: int, end: int, offset: int) -> None:
            self._failure.check()
            self._each_writer(lambda writer: writer.write_part(block, start, end, offset))

        pool = self._pool()

        def feed(block: Block) -> None:
            def let_go() -> None:
                pool.give_back(block)

            def keep() -> Callable[[], None]:
                pool.share(block)
                return let_go

            stream.feed(block.view[: block.length], keep)

        stream = Qcow2Stream(qcow2, write, zero, write_part)
        try:
            self._consume(pool, self._read_source, 2, feed)
            stream.finish()
        finally:
            stream.close()

    def _pool(self) -> BlockPool:
        pool = BlockPool(_POOL_BLOCKS)
        with self._lock:
            self._pools.append(pool)
            stopped = self._failure.error is not None
        if stopped:
            pool.stop()
        return pool

    def _fail(self, error: BaseException) -> None:
        """Keep the first cause and end every stage."""
        if self._ended or not self._failure.set(error):
            return
        with self._lock:
            pools, unpacker = tuple(self._pools), self._unpacker
        self._job.source.abort()
        for pool in pools:
            pool.stop()
        if unpacker:
            unpacker.kill()
