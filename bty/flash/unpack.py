"""Unpacks an image through a program: packed bytes go in by one pipe, raw ones come out by another."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from bty.errors import BtyError, IntegrityFailed, NotUnpacked, WriteFailed
from bty.flash.blocks import BLOCK_BYTES, Block, BlockPool
from bty.flash.pipes import read_full, wide_pipe
from bty.host import proc

_MARK_BYTES = 32


class ProgramUnpacker:
    """A running program that unpacks. *take* fills a block with the next packed bytes and returns False at their end.

    What ends it by itself is told to *fail* at once, since the source may still be waiting for a server.

    The programs for gz and bz2 stop without an error where a later part of a file does not begin as it should, as at
    garbage behind the image. Where *pack* is given, a packed mark follows the source, and only who comes to it has unpacked all.
    """

    def __init__(
        self,
        argv: list[str],
        take: Callable[[Block, BlockPool], bool],
        pool: BlockPool,
        fail: Callable[[BaseException], None],
        *,
        pack: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._take = take
        self._pool = pool
        self._fail = fail
        self._mark = os.urandom(_MARK_BYTES) if pack else b""
        self._packed_mark = pack(self._mark) if pack else b""
        self._ahead = b""  # what was read behind the last block, since it may be the mark
        self._ended = False
        self._came_to_mark = not pack
        packed_read, packed_write = wide_pipe()
        self._raw_read, raw_write = wide_pipe()
        try:
            self._child = proc.start(argv, stdin=packed_read, stdout=raw_write)
        except BtyError as error:
            os.close(packed_write)
            os.close(self._raw_read)
            raise WriteFailed(error.message) from error
        finally:
            os.close(packed_read)
            os.close(raw_write)
        self._feeder = threading.Thread(target=self._feed, args=(packed_write,), name="fetch")
        self._feeder.start()

    def fill(self, block: Block, pool: BlockPool) -> bool:
        """Fill *block* with the next raw bytes; False at the end, which may be a failure."""
        block.length = 0
        if self._ended:
            return False
        begun = len(self._ahead)
        block.view[:begun] = self._ahead
        block.length = begun + read_full(self._raw_read, block.view[begun:])
        if self._mark:
            self._look_ahead(block)
        return block.length > 0

    def kill(self) -> None:
        """End the program now; `fill` then comes to its end."""
        self._child.kill()

    def close(self) -> None:
        """Wait until the program and the thread that feeds it have ended; a program that failed is told to *fail*."""
        os.close(self._raw_read)
        outcome = self._child.wait()
        if outcome.code < 0:
            self._fail(WriteFailed(f"unpacking was ended from outside: {outcome.describe()}"))
        elif not outcome.ok:
            self._fail(NotUnpacked(f"the image cannot be unpacked: {outcome.describe()}"))
        elif not self._came_to_mark:
            hint = "give the file's sha256 if it is meant to be so"
            self._fail(
                IntegrityFailed("the packed image is damaged, or something else follows it: unpacking ended before its end", hint=hint)
            )
        self._feeder.join()

    def _look_ahead(self, block: Block) -> None:
        """Read on behind a full block; at the end take the mark off."""
        ahead = memoryview(bytearray(_MARK_BYTES))
        count = read_full(self._raw_read, ahead) if block.length == BLOCK_BYTES else 0
        self._ahead = bytes(ahead[:count])
        if count == _MARK_BYTES:
            return
        self._ended = True
        begin = max(0, block.length - (_MARK_BYTES - count))
        self._came_to_mark = bytes(block.view[begin : block.length]) + self._ahead == self._mark
        block.length = begin

    def _feed(self, fd: int) -> None:
        try:
            while block := self._pool.take(users=2):
                if not self._take(block, self._pool):
                    os.write(fd, self._packed_mark)  # shorter than what a pipe takes at once
                    break
                view = block.view[: block.length]
                while view:
                    view = view[os.write(fd, view) :]
                self._pool.give_back(block)
        except BrokenPipeError:
            pass  # the program has ended, and says why itself
        except Exception as error:  # noqa: BLE001 - a thread that dies must never look like the end of the image
            self._fail(error)
        finally:
            os.close(fd)
