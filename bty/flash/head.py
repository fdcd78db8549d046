"""Whether the partition table at the start of an image fits the disk."""

from __future__ import annotations

from bty.errors import DiskRefused
from bty.flash.gpt import gpt_fits, gpt_sector_size
from bty.model.disk import Disk


def check_table(head: bytes, disk: Disk) -> bool:
    """Tell whether *head* holds a GPT. Raises `DiskRefused` where it was made for another sector size than the disk's."""
    sector = gpt_sector_size(head)
    if not gpt_fits(head, disk.logical_sector_bytes):
        raise DiskRefused(
            f"the image's partition table is for sectors of {sector} bytes, {disk.path} has {disk.logical_sector_bytes}",
            hint="take an image that was made for this disk",
        )
    return sector is not None
