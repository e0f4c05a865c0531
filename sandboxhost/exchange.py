"""The exchange: memory that the host and one worker share, for bytes that are too many for messages."""
from __future__ import annotations

import fcntl
import mmap
import os
from typing import NamedTuple

from . import shm
from .errors import ProtocolError

__all__ = ["SIZE", "Exchange", "Region"]

SIZE = 64 * 2**20
"""Bytes of one worker's exchange; pages that nobody has touched cost nothing."""
ROOM = 2**20
"""Room for a command's output, at least; more is made for one with large input. Output that does not fit travels in messages."""
KEPT = 4 * 2**20
"""Pages of a region beyond this size go back to the system with it."""
_PAGE = mmap.PAGESIZE


class Region(NamedTuple):
    """A call's part: its input, then room for its output, page-aligned."""

    offset: int
    length: int
    """Of the input."""
    room: int
    end: int

    @property
    def output(self) -> int:
        """Where its output begins."""
        return self.end - self.room


class Exchange:
    """One worker's. The host alone says who has which part; the worker can write anywhere in it, and what it says about it is
    checked. Its size is sealed, so that no access faults; only bytes that were copied out are looked at.
    """

    def __init__(self) -> None:
        """Raises OSError."""
        self.fd = os.memfd_create("sandboxhost:exchange", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, SIZE)
            fcntl.fcntl(self.fd, shm.ADD_SEALS, shm.SEAL_SHRINK | shm.SEAL_GROW | shm.SEAL_SEAL)
            self._map = mmap.mmap(self.fd, SIZE)
        except BaseException:
            os.close(self.fd)
            raise
        self._regions: dict[int, Region] = {}

    def place(self, call: int, data: bytes, most_output: int) -> Region | None:
        """Writes a call's input; None when there is no room."""
        room = _pages(min(most_output, max(ROOM, 2 * len(data))))
        size = _pages(len(data)) + room
        start = 0
        for region in sorted(self._regions.values()):
            if region.offset - start >= size:
                break
            start = region.end
        if start + size > SIZE:
            return None
        region = self._regions[call] = Region(start, len(data), room, start + size)
        self._map[start:start + len(data)] = data
        return region

    def output(self, call: int, length: int) -> bytes:
        """A copy of what the call has written. Raises ProtocolError: it has no room of that size here."""
        region = self._regions.get(call)
        if region is None or length > region.room:
            raise ProtocolError(f"call {call} has no room for {length} bytes of output")
        return self._map[region.output:region.output + length]

    def free(self, call: int) -> None:
        """The call has ended in the worker."""
        region = self._regions.pop(call, None)
        if region is not None and region.end - region.offset > KEPT and hasattr(mmap, "MADV_REMOVE"):
            self._map.madvise(mmap.MADV_REMOVE, region.offset + KEPT, region.end - region.offset - KEPT)

    def close(self) -> None:
        """The worker has ended."""
        self._map.close()
        os.close(self.fd)


def _pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE
