"""Pipes between our threads and the programs that unpack."""

from __future__ import annotations

import contextlib
import fcntl
import os

from bty.units import MIB

_PIPE_BYTES = MIB  # more needs a privilege; the default of 64 KiB halves the speed


def read_full(fd: int, view: memoryview) -> int:
    """Fill *view* from a pipe and return how much came: less only at its end."""
    done = 0
    while done < len(view) and (count := os.readv(fd, [view[done:]])):
        done += count
    return done


def wide_pipe() -> tuple[int, int]:
    """Return the two ends of a pipe of a MiB, where the kernel gives one."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read_fd, write_fd
