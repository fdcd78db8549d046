"""Which program unpacks which format. Pure, but for the look at what is installed and how many processors there are."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Callable

from bty.errors import WriteFailed
from bty.host import proc
from bty.model.image import ImageFormat

# The fastest first (measured: igzip needs a quarter of pigz's time, lbzip2 less than half of bzip2's).
_DECODERS: dict[ImageFormat, tuple[tuple[str, ...], ...]] = {
    ImageFormat.IMG_GZ: (("igzip", "-dc"), ("pigz", "-dc"), ("gzip", "-dc")),
    ImageFormat.IMG_XZ: (("xz", "-dc", "-T0"),),
    ImageFormat.IMG_ZST: (("zstd", "-dcq"),),
    ImageFormat.IMG_BZ2: (("lbzip2", "-dc"), ("bzip2", "-dc")),
}
PACKERS: dict[ImageFormat, Callable[[bytes], bytes]] = {ImageFormat.IMG_GZ: gzip.compress, ImageFormat.IMG_BZ2: bz2.compress}
"""The formats whose programs may stop early without an error; the others' are strict."""
_RAPIDGZIP = ("rapidgzip", "-dc", "-P0")
_RAPIDGZIP_CORES = 4  # with fewer, igzip is faster


def decoder_argv(image_format: ImageFormat, *, proved_by_digest: bool) -> list[str]:
    """Return the command that unpacks standard input to standard output.

    rapidgzip accepts a truncated file, so it is used only where a promised digest proves the input. Raises
    `WriteFailed` where no program for the format is installed.
    """
    candidates = _DECODERS[image_format]
    cores = len(os.sched_getaffinity(0))
    if image_format is ImageFormat.IMG_GZ and proved_by_digest and cores >= _RAPIDGZIP_CORES:
        candidates = (_RAPIDGZIP, *candidates)
    for name, *arguments in candidates:
        if path := proc.which(name):
            return [path, *arguments]
    names = " or ".join(candidate[0] for candidate in candidates)
    raise WriteFailed(f"no program here unpacks {image_format}", hint=f"install {names}")
