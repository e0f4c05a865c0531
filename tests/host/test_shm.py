"""Shared memory: sealed for good, without a name, also where memfd does not exist."""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

import pytest

from sandboxhost import shm
from sandboxhost.errors import WorkerError

DATA = os.urandom(100_000)


@pytest.mark.parametrize("memfd", [True, False])
def test_a_sealed_copy_can_be_read_and_nothing_else(memfd: bool) -> None:
    before = set(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else set()
    fd = shm.sealed_copy(DATA, "test", memfd=memfd)
    try:
        with mmap.mmap(fd, len(DATA), prot=mmap.PROT_READ) as view:
            assert view[:] == DATA
        with pytest.raises(OSError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(OSError):
            os.ftruncate(fd, 0)
        with pytest.raises((OSError, ValueError)):
            mmap.mmap(fd, len(DATA), prot=mmap.PROT_READ | mmap.PROT_WRITE)
        assert shm.is_sealed(fd) is memfd
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
    assert (set(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else set()) == before


def test_the_seal_holds_through_a_second_open() -> None:
    fd = shm.sealed_copy(DATA, "test")
    try:
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.write(again, b"x")
        os.close(again)
    finally:
        os.close(fd)


def test_a_writable_mapping_that_stays_is_an_error() -> None:
    fd = shm.create("test")
    os.ftruncate(fd, 4096)
    try:
        with mmap.mmap(fd, 4096), pytest.raises(WorkerError, match="cannot seal"):
            shm.seal(fd, timeout=0.01)
        shm.seal(fd)
        assert shm.is_sealed(fd)
    finally:
        os.close(fd)


def test_seals_that_somebody_else_has_sealed_are_an_error() -> None:
    fd = shm.create("test")
    fcntl.fcntl(fd, 1033, 1)  # F_ADD_SEALS, F_SEAL_SEAL: what a hostile compile process would do to keep the image writable
    try:
        with pytest.raises(WorkerError, match="cannot seal"):
            shm.seal(fd)
    finally:
        os.close(fd)


def test_posix_shared_memory_can_be_written_and_is_unlinked() -> None:
    fd = shm.create("test", memfd=False)
    try:
        shm.write_all(fd, DATA)
        assert os.pread(fd, len(DATA), 0) == DATA and os.fstat(fd).st_nlink == 0
        shm.seal(fd, memfd=False)
        assert not shm.is_sealed(fd)
    finally:
        os.close(fd)
