"""What unpacks an image of a format: libzstd, a program, or nothing. Only what is chosen is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from bty.flash.blocks import Block, BlockPool
from bty.flash.readahead import Fill
from bty.model.image import ImageFormat


class Unpacker(Protocol):
    """One image being unpacked."""

    def fill(self, block: Block, pool: BlockPool) -> bool:
        """Fill *block* with the next raw bytes; False at the end, which may be a failure."""

    def kill(self) -> None:
        """End it now; `fill` then comes to its end."""

    def close(self) -> None:
        """Wait until its programs and threads have ended."""


StartUnpacker = Callable[[Fill, BlockPool, Callable[[BaseException], None]], Unpacker]
"""Begins to unpack: told what fills a block with packed bytes, of which pool, and whom to tell a failure."""


def find_unpacker(image_format: ImageFormat, *, proved_by_digest: bool) -> StartUnpacker | None:
    """Return what unpacks *image_format*, None for formats that are not packed. Raises `WriteFailed` where nothing here does."""
    if image_format in (ImageFormat.IMG, ImageFormat.QCOW2):
        return None
    if image_format is ImageFormat.IMG_ZST:
        from bty.flash.unzstd import Zstd, load_libzstd

        if library := load_libzstd():
            return partial(Zstd, library)
    from bty.flash.decode import PACKERS, decoder_argv
    from bty.flash.unpack import ProgramUnpacker

    argv = decoder_argv(image_format, proved_by_digest=proved_by_digest)
    return partial(ProgramUnpacker, argv, pack=None if proved_by_digest else PACKERS.get(image_format))
