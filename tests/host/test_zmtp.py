"""The framing that the host reads: whatever the pieces, the same frames; whatever the bytes, a bound and an error of ours."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sandboxhost import ProtocolError, zmtp

MOST = 1000


def ready(kind: bytes = b"DEALER", identity: bytes = b"\1" * 16) -> bytes:
    """A peer's READY command."""
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    body += b"\x08Identity" + struct.pack(">I", len(identity)) + identity
    return bytes([4, len(body)]) + body


GREETING = zmtp.OPENING[:64]
HELLO = GREETING + ready()
BODIES = st.binary(min_size=1, max_size=300)


class Stream(RuleBasedStateMachine):
    """A peer that says things in pieces of any size. The model knows which frames are due, and whether it broke a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.incoming = zmtp.Incoming(MOST)
        self.waiting = HELLO
        """Said, and not yet fed."""
        self.due: list[bytes] = []
        self.got: list[bytes] = []
        self.broken = self.refused = False

    @rule(bodies=st.lists(BODIES, min_size=1, max_size=5))
    def say(self, bodies: list[bytes]) -> None:
        self.waiting += b"".join(map(zmtp.frame, bodies))
        self.due += bodies if not self.broken else []

    @rule(wrong=st.sampled_from([b"\1\1x", b"\4\1x", b"\0\0", b"\x08x", b"\3" + bytes(8), b"\2" + bytes(8),
                                 b"\2" + struct.pack(">Q", MOST + 1), b"\2" + b"\xff" * 8]))  # fmt: skip
    def break_a_rule(self, wrong: bytes) -> None:
        self.waiting += wrong
        self.broken = True

    @precondition(lambda self: self.waiting and not self.refused)
    @rule(size=st.integers(1, 400) | st.just(10**6))
    def feed(self, size: int) -> None:
        piece, self.waiting = self.waiting[:size], self.waiting[size:]
        try:
            self.got += self.incoming.feed(piece)
        except ProtocolError:
            self.refused = True

    @invariant()
    def frames_come_in_order_and_once(self) -> None:
        assert self.got == self.due[: len(self.got)]

    @invariant()
    def it_holds_one_frame_at_the_most(self) -> None:
        assert len(self.incoming._unfinished) <= MOST and len(self.incoming._left) <= len(HELLO)

    def teardown(self) -> None:
        while self.waiting and not self.refused:
            self.feed(100)
        assert self.refused == self.broken, "what breaks a rule is refused, and nothing else is"
        if not self.broken:
            assert self.got == self.due and self.incoming.identity == b"\1" * 16


Stream.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestStream = Stream.TestCase


@pytest.mark.parametrize(
    "hello",
    [
        b"\0" + GREETING[1:],
        GREETING[:9] + b"\0" + GREETING[10:],
        GREETING[:10] + b"\2" + GREETING[11:],
        GREETING.replace(b"NULL", b"PLAI"),
        GREETING[:32] + b"\1" + GREETING[33:],
        GREETING + ready(b"ROUTER"),
        GREETING + b"\4\6\5HELLO",
        GREETING + b"\4\0",
        GREETING + b"\6" + bytes(8),
        GREETING + b"\0\1x",
        GREETING + b"\4\x08\5READY\xff\0",
        GREETING + b"\4\x0c\5READY\1x\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_a_stranger_is_refused(hello: bytes) -> None:
    for size in (1, 7, 1000):
        incoming = zmtp.Incoming(MOST)
        with pytest.raises(ProtocolError):
            for at in range(0, len(hello), size):
                assert incoming.feed(hello[at : at + size]) == []
        assert incoming.identity is None


@given(st.binary(max_size=200), st.integers(1, 50), st.booleans())
def test_any_bytes_are_frames_or_an_error_of_ours(data: bytes, size: int, greeted: bool) -> None:
    incoming = zmtp.Incoming(MOST)
    with contextlib.suppress(ProtocolError):
        for at in range(0, len(data), size):
            found: list[Any] = incoming.feed((HELLO if greeted and not at else b"") + data[at : at + size])
            assert all(type(body) is bytes and 0 < len(body) <= MOST for body in found)


@given(data=st.data())
def test_a_changed_byte_of_the_handshake_is_refused_or_harmless(data: st.DataObject) -> None:
    at, value = data.draw(st.integers(0, len(HELLO) - 1)), data.draw(st.integers(0, 255))
    changed = HELLO[:at] + bytes([value]) + HELLO[at + 1 :]
    incoming = zmtp.Incoming(MOST)
    try:
        incoming.feed(changed)
    except ProtocolError:
        assert incoming.identity is None


def test_a_byte_at_a_time_costs_what_the_frame_has() -> None:
    incoming, size = zmtp.Incoming(2**20), 2**20
    incoming.feed(HELLO + b"\2" + struct.pack(">Q", size))
    tracemalloc.start()
    try:
        for _ in range(2**14):
            assert incoming.feed(b"x") == []
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()
    assert incoming.feed(bytes(size - 2**14)) == [b"x" * 2**14 + bytes(size - 2**14)]
