"""The exchange: who has which part of it, and what a worker may say about it."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxhost import exchange, shm
from sandboxhost.errors import ProtocolError
from sandboxhost.exchange import SIZE, Exchange

if not shm.HAVE_MEMFD:
    pytest.skip("no memfd on this system", allow_module_level=True)


@pytest.fixture
def made() -> Iterator[Exchange]:
    found = Exchange()
    yield found
    found.close()


def test_input_goes_in_and_output_comes_out(made: Exchange) -> None:
    region = made.place(7, b"x" * 5000, 10_000)
    assert region is not None and region.length == 5000 and region.output % mmap.PAGESIZE == 0
    with mmap.mmap(made.fd, SIZE) as worker:
        assert worker[region.offset : region.offset + 5000] == b"x" * 5000
        worker[region.output : region.output + 3] = b"abc"
        assert made.output(7, 3) == b"abc" and made.output(7, 0) == b""


def test_nobody_changes_its_size(made: Exchange) -> None:
    for size in (0, SIZE - mmap.PAGESIZE, SIZE + mmap.PAGESIZE):
        with pytest.raises(OSError):
            os.ftruncate(made.fd, size)
    with pytest.raises(OSError):
        fcntl.fcntl(made.fd, shm.ADD_SEALS, shm.SEAL_WRITE)


def test_what_a_hostile_worker_says_is_checked(made: Exchange) -> None:
    region = made.place(7, b"", 5000)
    assert region is not None
    for call, length in ((8, 0), (7, region.room + 1), (7, SIZE), (7, 2**62)):
        with pytest.raises(ProtocolError, match="no room"):
            made.output(call, length)
    made.free(7)
    made.free(7)
    with pytest.raises(ProtocolError):
        made.output(7, 1)


@given(st.lists(st.tuples(st.integers(0, 12 * 2**20), st.integers(0, 20 * 2**20), st.booleans()), max_size=30))
def test_parts_never_overlap(steps: list[tuple[int, int, bool]]) -> None:
    made = Exchange()
    held: dict[int, exchange.Region] = {}
    data = bytes(12 * 2**20)
    try:
        for call, (size, most, keep) in enumerate(steps):
            region = made.place(call, memoryview(data)[:size].tobytes() if size < 4096 else data[:size], most)
            if region is None:
                assert held, "an empty exchange has room"
                continue
            assert 0 <= region.offset <= region.offset + size <= region.output <= region.end <= SIZE
            assert all(region.end <= other.offset or other.end <= region.offset for other in held.values())
            held[call] = region
            if not keep:
                made.free(min(held))
                del held[min(held)]
    finally:
        made.close()
