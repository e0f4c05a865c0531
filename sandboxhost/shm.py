"""Shared memory by descriptor: sealed memfds, and POSIX shared memory where memfd does not exist."""
from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sys
import time
from typing import Any

from .errors import WorkerError

__all__ = ["create", "is_sealed", "seal", "sealed_copy"]

HAVE_MEMFD = hasattr(os, "memfd_create")
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE = 1, 2, 4, 8
ALL_SEALS = SEAL_WRITE | SEAL_SHRINK | SEAL_GROW | SEAL_SEAL
ADD_SEALS, _GET_SEALS = 1033, 1034  # F_ADD_SEALS, F_GET_SEALS: not in fcntl everywhere before 3.13


def create(name: str, memfd: bool | None = None) -> int:
    """An empty, writable shared-memory descriptor, close-on-exec, that no path names. `name` is for /proc only."""
    if HAVE_MEMFD if memfd is None else memfd:
        return os.memfd_create(f"sandboxhost:{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    return _posix(None)


def _posix(data: bytes | None) -> int:
    """POSIX shared memory, unlinked at once; with `data`, written and reopened for reading only."""
    posixshmem: Any = __import__("_posixshmem")
    path = f"/sbx-{secrets.token_hex(8)}"
    fd: int = posixshmem.shm_open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
    try:
        if data is None:
            return fd
        try:
            write_all(fd, data)
            return int(posixshmem.shm_open(path, os.O_RDONLY, mode=0o600))
        finally:
            os.close(fd)
    finally:
        posixshmem.shm_unlink(path)


def write_all(fd: int, data: bytes) -> None:
    """Writes all of `data` at the descriptor's beginning; never maps it, so that it can be sealed at once."""
    view = memoryview(data)
    offset = 0
    if sys.platform != "linux":
        os.ftruncate(fd, len(data))
    while offset < len(view):
        offset += os.pwrite(fd, view[offset : offset + (64 << 20)], offset)


def seal(fd: int, timeout: float = 1.0, memfd: bool | None = None) -> None:
    """Seals write, shrink, grow and seal: from now on nobody can change the contents or the size, whatever descriptor they hold.

    A writable mapping that still lives (of a process that is just dying) makes the kernel answer EBUSY: tried until `timeout`.
    Raises WorkerError, also when somebody has sealed the seals before. Without memfd nothing is sealed: there the receiver's
    descriptor is all that can be restricted.
    """
    if not (HAVE_MEMFD if memfd is None else memfd):
        return
    end = time.monotonic() + timeout
    while True:
        try:
            fcntl.fcntl(fd, ADD_SEALS, ALL_SEALS)
            return
        except OSError as exc:
            if exc.errno != errno.EBUSY or time.monotonic() >= end:
                raise WorkerError(f"cannot seal shared memory: {exc.strerror}") from None
            time.sleep(0.001)


def sealed_copy(data: bytes, name: str, memfd: bool | None = None) -> int:
    """A descriptor that holds `data` for ever."""
    if not (HAVE_MEMFD if memfd is None else memfd):
        return _posix(data)
    fd = create(name, memfd=True)
    try:
        write_all(fd, data)
        seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_sealed(fd: int) -> bool:
    """True when nobody can change the contents any more."""
    try:
        return fcntl.fcntl(fd, _GET_SEALS) & ALL_SEALS == ALL_SEALS
    except OSError:
        return False
