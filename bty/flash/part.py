"""One disk's part of a flash: guarded, claimed, written and proved on its own, so that what fails here fails nowhere else."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bty.errors import BtyError, DiskRefused, IntegrityFailed, WriteFailed
from bty.flash import after
from bty.flash.gpt import gpt_end
from bty.flash.head import check_table
from bty.flash.readback import read_back
from bty.flash.target import Target, open_target
from bty.flash.writer import DiskWriter, Unmapped
from bty.model.disk import Disk
from bty.model.progress import Stage
from bty.units import format_bytes


class FirstFailure:
    """Why a whole flash ends: the first cause, whoever finds it."""

    def __init__(self) -> None:
        self.error: BtyError | None = None
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    def set(self, error: BaseException) -> bool:
        """Keep *error* where it is the first, and tell whether it is."""
        with self._lock:
            if self.error:
                return False
            self.error = error if isinstance(error, BtyError) else WriteFailed(f"internal error: {error!r}")
        self.stopped.set()
        return True

    def check(self) -> None:
        """Raise the first cause, if there is one."""
        if self.error:
            raise self.error


class Size:
    """How large the raw image is, as far as its source tells: `total` is None, an account of its own, or `exact`.

    Where `is_told` is false, nothing but the end of a connection says where the image ends.
    """

    def __init__(self) -> None:
        self.total: int | None = None
        self.exact = False
        self.is_told = True


class Part:
    """A disk that is being flashed. One thread at a time works on it; any may look at `stage`, `compared` and `writer`."""

    def __init__(self, disk: Disk, disks: tuple[Disk, ...], failure: FirstFailure) -> None:
        self.disk = disk
        self.stage = Stage.OPEN
        self.compared = 0
        self.notes: list[str] = []
        self.verified: list[str] = []
        self.writer: DiskWriter | None = None
        self.is_in_step = True
        """Whether the image still comes, which the slowest disk bounds for all."""
        self._disks = disks
        self._failure = failure
        self._target: Target | None = None
        self._has_gpt = False
        self._lock = threading.Lock()

    def claim(self, size: Size, *, unmapped: Unmapped | None, record: bool, sparse: bool, check_head: bool) -> DiskWriter:
        """Take the disk, if it is large enough and every guard lets us. Nothing is written yet. Raises `DiskRefused`."""
        disk = self.disk
        if size.total is not None and size.total > disk.size_bytes:
            account = "" if size.exact else ", by its own account"
            hint = "" if size.exact else "that is wrong where the file was cut, or goes on behind the image"
            have, need = format_bytes(disk.size_bytes), format_bytes(size.total)
            raise DiskRefused(f"{disk.path} is too small: it has {have}, the image needs {need}{account}", hint=hint)
        self._target = open_target(disk, self._disks)
        self.writer = DiskWriter(
            self._target.fd,
            disk.size_bytes,
            sector_bytes=disk.logical_sector_bytes,
            sparse=sparse,
            unmapped=unmapped,
            record=record,
            check_head=self.accept_head if check_head else None,
        )
        self.stage = Stage.WRITE
        return self.writer

    def accept_head(self, head: bytes) -> None:
        """Look at the first MiB before the first write; from here on the disk does not boot until all is proved."""
        self._has_gpt = check_table(head, self.disk)
        self._open_writer().make_unbootable()

    def finish(self, size: Size, digest: str, promised: str | None, *, verify: bool) -> None:
        """Prove what was written, let the disk boot, and do what follows. Raises `IntegrityFailed`, `WriteFailed`."""
        self.is_in_step = False
        writer = self._open_writer()
        self._check_wire(writer, size, digest, promised)
        writer.sync()
        self._failure.check()
        self._has_gpt = check_table(writer.head(), self.disk)  # of a qcow2 image this is the proved head, the other was a look ahead
        writer.write_head()
        if verify:
            self._read_back(writer)
        if writer.bytes_left_out:
            self.notes.append(f"{writer.bytes_left_out} bytes that the bmap calls unused were left as they were")
        self.close()
        self.stage = Stage.FINISH
        self.notes += after.settle_disk(self.disk, image_has_gpt=self._has_gpt, image_bytes=writer.image_bytes)

    @property
    def trouble(self) -> str | None:
        """Return that the disk does not answer, None while it does."""
        return self.writer.waits.words() if self.writer else None

    @property
    def is_written(self) -> bool:
        """Tell whether anything of the disk was changed."""
        return self.writer is not None and self.writer.bytes_written > 0

    def undo(self) -> None:
        """Take away what a disk would boot by, both tables: the image is not proved. A disk that nothing was written to stays as it was."""
        if self._target and self.is_written:
            with contextlib.suppress(WriteFailed):  # what ended the flash is what is told
                self._open_writer().make_unbootable()

    def close(self) -> None:
        """Give the disk back; may be called twice."""
        if self.writer:
            self.writer.close()
        if self._target:
            os.close(self._target.fd)
            self._target = None

    def _open_writer(self) -> DiskWriter:
        assert self.writer is not None
        return self.writer

    def _check_wire(self, writer: DiskWriter, size: Size, digest: str, promised: str | None) -> None:
        """Compare what came with what was promised: the digest, and the size of the raw image."""
        if promised is not None:
            if digest != promised:
                raise IntegrityFailed(
                    f"the image's sha256 is {digest}, promised was {promised}",
                    hint=f"{self.disk.path} holds unproved data and was left so that it does not boot",
                )
            self.verified.append("wire")
        if size.exact and writer.image_bytes != size.total:
            raise IntegrityFailed(f"the image has {writer.image_bytes} bytes unpacked, promised were {size.total}")
        least = size.total if size.total and promised is None else 1  # something behind the image may look like its size
        if writer.image_bytes == 0 and least == 1:
            raise IntegrityFailed("the image is empty", hint="nothing was written")
        if writer.image_bytes < least:
            raise IntegrityFailed(f"the image ended after {writer.image_bytes} bytes unpacked, at least {least} were promised")
        if promised is None and not size.is_told and size.total is None:
            self._check_end(writer)
        self._failure.check()

    def _check_end(self, writer: DiskWriter) -> None:
        """Let the partition table tell whether an image was cut whose end nobody told: its backup lies in the last sector."""
        table_end = gpt_end(writer.head())
        if table_end and writer.image_bytes < table_end:
            raise IntegrityFailed(
                f"the image ended after {writer.image_bytes} bytes, its partition table says that it has {table_end}",
                hint="its server does not say how long it is; give --sha256 or a server that does",
            )
        self.notes.append("nothing said where the image ends: neither its server nor a digest")

    def _read_back(self, writer: DiskWriter) -> None:
        assert self._target is not None
        self.stage = Stage.VERIFY
        read_back(
            self._target.fd,
            writer.extents,
            sector_bytes=self.disk.logical_sector_bytes,
            waits=writer.waits,
            progress=self._count_compared,
            stopped=self._failure.stopped.is_set,
        )
        self._failure.check()
        self.verified.append("readback")

    def _count_compared(self, count: int) -> None:
        with self._lock:
            self.compared += count


def find_trouble(part: Part, parts: tuple[Part, ...]) -> str | None:
    """Return which disk holds *part* up, its own or, as long as all of *parts* go in step, another one."""
    if (own := part.trouble) or not part.is_in_step:
        return own
    others = (other for other in parts if other is not part and other.is_in_step)
    return next((f"{other.disk.path} holds it up: {why}" for other in others if (why := other.trouble)), None)


class Parts:
    """The disks that are still in a flash. One that fails is told to *failed* and left behind; the others go on."""

    def __init__(self, parts: tuple[Part, ...], failed: Callable[[Part, BtyError], None]) -> None:
        self._living = list(parts)
        self._failed = failed
        self._threads = ThreadPoolExecutor(len(parts), thread_name_prefix="disk") if len(parts) > 1 else None

    def each(self, work: Callable[[Part], object]) -> None:
        """Do *work* for each disk, for all at the same time, and wait for it. The slowest disk bounds all of them.

        Raises the first error where no disk is left.
        """
        first: BtyError | None = None
        calls = [self._call(work, part) for part in self._living]
        for part, result in zip(tuple(self._living), calls, strict=True):
            try:
                result()
            except BtyError as error:
                first = first or error
                self._living.remove(part)
                self._failed(part, error)
        if first and not self._living:
            raise first

    def close(self) -> None:
        """End the threads."""
        if self._threads:
            self._threads.shutdown()

    def _call(self, work: Callable[[Part], object], part: Part) -> Callable[[], object]:
        """Begin *work* in a thread, where there is more than one disk; what is returned waits for it, or does it now."""
        return self._threads.submit(work, part).result if self._threads else lambda: work(part)
