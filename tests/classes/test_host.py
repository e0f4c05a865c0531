"""The host against a worker that lies: broken, repeated, invented and stolen answers, sizes at their limits, damaged images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandboxhost import Host, WorkerLost, wire
from sandboxhost.core import Core
from sandboxhost.errors import PayloadTooLarge, WorkerError
from sandboxhost.limits import Limits
from sandboxhost.logs import GuestLines
from sandboxworker.image import Image
from tests.e2e.conftest import MATH, wat
from tests.e2e.test_large import COPY
from tests.workers.driver import image_of
from tests.workers.test_compile_process import MODULE

from .executors import TIERS

PATIENCE = 60.0


@pytest.fixture
def pair() -> Iterator[tuple[Host, list[Any], dict[bytes, Any]]]:
    """A host of two workers, each busy with a call: (host, the calls, the router's workers)."""
    with Host(workers=2, threads=1, spares=0) as host:
        plugin = host.load(MATH, limits=Limits(deadline=PATIENCE))
        calls = [plugin.submit("spin"), plugin.submit("spin")]
        assert isinstance(host._backend, Core)
        end = time.monotonic() + PATIENCE
        while sorted(worker.in_flight for worker in host.statistics().workers if worker.state == "ready") != [1, 1]:
            assert time.monotonic() < end, host.statistics()
            time.sleep(0.001)
        yield host, calls, host._backend._router.workers


Frame = Callable[[int, int], bytes]
"""The evil bytes, given the ids of the liar's call and of its neighbour's."""


def lie(pair: tuple[Host, list[Any], dict[bytes, Any]], frame: Frame, words: str) -> None:
    """One worker's socket brings the frame: that worker is killed for it, its call is lost, the neighbour's goes on."""
    host, calls, workers = pair
    core: Any = host._backend
    liar, neighbour = list(workers.values())
    (mine,), (other,) = liar.calls, neighbour.calls
    later: list[Any] = []
    with core._lock:
        core._take_in(liar.id, frame(mine, other), later)
    core._deliver(later)
    end = time.monotonic() + PATIENCE
    while not any(call.done() for call in calls):
        assert time.monotonic() < end, "the liar lives"
        time.sleep(0.001)
    (lost,), (running,) = [c for c in calls if c.done()], [c for c in calls if not c.done()]
    error = lost.exception()
    assert isinstance(error, WorkerLost) and error.usage.worker == liar.pid and words in error.reason, error
    statistics = host.statistics()
    assert statistics.protocol_errors == 1 and statistics.workers_lost == 1
    assert neighbour.pid in [worker.pid for worker in statistics.workers], "the neighbour was hurt"
    running.cancel()
    assert host.load(MATH).call("add", 2, 40) == 42


def frame_of(*messages: Any) -> bytes:
    return wire.encode(messages)


MALFORMED: dict[str, Frame] = {
    "no msgpack": lambda mine, other: b"\xc1",
    "nothing but headers": lambda mine, other: b"\xdd\xff\xff\xff\xff" * 200,
    "cut off": lambda mine, other: frame_of(wire.Result(mine, 0, 0, 0, bytes(8)))[:-1],
    "a kind of the other direction": lambda mine, other: frame_of(wire.Stop()),
    "a stream that is none": lambda mine, other: frame_of(wire.Output(mine, 7, b"x")),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_frames_kill_their_sender_only(pair: Any, what: str) -> None:
    lie(pair, MALFORMED[what], "broke the protocol")


def test_duplicate_frames_kill_their_sender_only(pair: Any) -> None:
    """The first answer of a pair counts; the second is the offence, and ends nothing twice."""
    host, calls, workers = pair
    core: Any = host._backend
    liar = next(iter(workers.values()))
    (mine,) = liar.calls
    later: list[Any] = []
    with core._lock:
        core._take_in(liar.id, frame_of(wire.Result(mine, 0, 1, 65_536, b""), wire.Result(mine, 0, 1, 65_536, b"")), later)
    core._deliver(later)
    end = time.monotonic() + PATIENCE
    while host.statistics().workers_lost == 0:
        assert time.monotonic() < end
        time.sleep(0.001)
    done = [call for call in calls if call.done()]
    assert len(done) == 1 and done[0].exception() is None and host.statistics().protocol_errors == 1
    for call in calls:
        call.cancel()


def test_unknown_id_frames_kill_their_sender_only(pair: Any) -> None:
    lie(pair, lambda mine, other: frame_of(wire.Result(2**62, 0, 0, 0, b"")), "is not in flight on this worker")


def test_foreign_id_frames_kill_their_sender_only(pair: Any) -> None:
    lie(pair, lambda mine, other: frame_of(wire.Result(other, 0, 0, 0, b"")), "is not in flight on this worker")


# ---- payload limits, a byte below and above

SAME = wat('(module (func (export "same") (param i64 i64 i64) (result i64 i64 i64) (local.get 0) (local.get 1) (local.get 2)))')


@pytest.fixture(params=[1, 0], ids=["worker", "in_process"], scope="module")
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with Host(workers=request.param, threads=1) as made:
        yield made


@pytest.mark.parametrize("field", ["argument_bytes", "result_bytes"])
def test_payload_limit_of_values_plus_minus_one_byte(host: Host, field: str) -> None:
    for bytes_, allowed in ((23, False), (24, True), (25, True)):
        plugin = host.load(SAME, limits=Limits(**{field: bytes_}))  # type: ignore[arg-type]
        for act in (lambda p=plugin: p.call("same", 1, 2, 3), lambda p=plugin: p.submit("same", 1, 2, 3).result(PATIENCE),
                    lambda p=plugin: p.map("same", [(1, 2, 3)])[0]):  # fmt: skip
            if allowed:
                assert tuple(act()) == (1, 2, 3)
            else:
                with pytest.raises(PayloadTooLarge) as caught:
                    act()
                assert (caught.value.limit, caught.value.allowed) == (field, bytes_)


@pytest.mark.parametrize("size", [10, *(wire.SHARED_BYTES + d for d in (-1, 0, 1)), 2**20, 2**20 + 1])
def test_payload_limit_of_output_plus_minus_one_byte(host: Host, size: int) -> None:
    """Also where output changes its way: in messages, in shared memory, in both."""
    data = os.urandom(size)
    for bytes_, allowed in ((size - 1, False), (size, True), (size + 1, True)):
        plugin = host.load(COPY, limits=Limits(output_bytes=bytes_))
        if allowed:
            assert plugin.run(stdin=data).stdout == data
        else:
            with pytest.raises(PayloadTooLarge) as caught:
                plugin.run(stdin=data)
            assert (caught.value.limit, caught.value.allowed) == ("output_bytes", bytes_)


def test_payload_limit_of_input_plus_minus_one_byte(host: Host) -> None:
    """Of a command: what counts besides its input is the same for every input."""

    def accepted(bytes_: int, stdin: bytes) -> bool:
        plugin = host.load(COPY, limits=Limits(argument_bytes=bytes_))
        try:
            return plugin.run(stdin=stdin).stdout == stdin
        except PayloadTooLarge as error:
            assert (error.limit, error.allowed) == ("argument_bytes", bytes_)
            return False

    base = wire.SHARED_BYTES
    beside = next(n for n in range(200) if accepted(base + n, bytes(base)))
    for size in (base + 1, 100_000):
        assert [accepted(size + beside + d, os.urandom(size)) for d in (-1, 0, 1)] == [False, True, True]


# ---- every byte of an image

@pytest.mark.parametrize("tier", TIERS)
def test_cached_image_flipped_at_every_byte(tier: str) -> None:
    """Refused, or an image whose records can all be read. (That code cannot be flipped is the seals' work: test_shm.)"""
    image = image_of(MODULE, tier=tier)
    refused = read = 0
    for mask in (0x01, 0xFF):
        broken = bytearray(image)
        for position in range(len(image)):
            broken[position] ^= mask
            try:
                made = Image.description(bytes(broken))
            except WorkerError:
                refused += 1
            else:
                read += 1
                try:
                    assert made.imports is not None and made.exports is not None and made.functions is not None
                    assert made.memories is not None and made.tables is not None and made.globals is not None
                except ValueError:
                    pass  # a value type that does not exist
            broken[position] ^= mask
    assert refused > 200 and refused + read == 2 * len(image)
    for length in (0, 1, len(image) // 2, len(image) - 1):
        with pytest.raises(WorkerError):
            Image.description(image[:length])
    with pytest.raises(WorkerError):
        Image.description(image + b"\0")


# ---- escape sequences in what guests print

EVIL = [
    *(bytes([n]) for n in range(256) if n != 10),
    *(chr(n).encode() for n in range(0x80, 0x100)),
    "\u202e\u2066\u2069\u200f\u200b\ufeff\u2028\u2029".encode(), b"\x1b]0;title\x07", b"\x1b[2J\x1b[H", b"\x9b31m",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff\xfe", b"a\rb", b"%s%n{0}", "e\u0301\U000e0041\U0001f600".encode(),
]  # fmt: skip


def test_escape_sequences_of_every_kind_are_shown_not_obeyed(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a guest prints, and whatever its names are: a record is one line of printable characters."""
    caplog.set_level("INFO", "sandboxhost")
    for evil in EVIL:
        for stream in (1, 2):
            caplog.clear()
            lines = GuestLines("p", evil.decode("utf-8", "replace"))
            lines.write(stream, b"<" + evil)
            lines.write(stream, evil + b">\n")
            lines.close()
            (record,) = caplog.records
            text = record.getMessage()
            assert "<" in text and text.endswith(">"), evil
            assert text.isprintable(), (evil, text)
