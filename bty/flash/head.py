"""The start of an image, and whether its partition table fits the disk."""

from __future__ import annotations

from bty.errors import DiskRefused
from bty.flash.gpt import gpt_fits, gpt_sector_size
from bty.flash.inflate import address_of
from bty.flash.qcow2_tables import Qcow2Plan, ReadAt
from bty.model.disk import Disk


def guest_head(plan: Qcow2Plan, pread: ReadAt, length: int) -> bytes:
    """Return the first *length* bytes that a guest would see of a qcow2 image. Raises `SourceFailed`."""
    head = bytearray(min(length, plan.virtual_size))
    for host, guest, size in zip(plan.hosts, plan.guests, plan.sizes, strict=True):
        if guest >= len(head):
            continue
        stored, packed = divmod(size, 2)
        if packed:
            source, cluster = bytearray(pread(host, stored)), bytearray(plan.cluster_size)
            if not plan.inflate(((address_of(source), len(source)),), memoryview(cluster)):
                continue  # the stream says so when it comes to it
            data = bytes(cluster)
        else:
            data = pread(host, min(stored, len(head) - guest))
        part = data[: len(head) - guest]
        head[guest : guest + len(part)] = part
    return bytes(head)


def check_table(head: bytes, disk: Disk) -> bool:
    """Tell whether *head* holds a GPT. Raises `DiskRefused` where it was made for another sector size than the disk's."""
    sector = gpt_sector_size(head)
    if not gpt_fits(head, disk.logical_sector_bytes):
        raise DiskRefused(
            f"the image's partition table is for sectors of {sector} bytes, {disk.path} has {disk.logical_sector_bytes}",
            hint="take an image that was made for this disk",
        )
    return sector is not None
