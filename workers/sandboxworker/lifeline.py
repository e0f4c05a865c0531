"""The lifeline: the socket pair to the host on descriptor 3; brings messages with descriptors, and its end is the host's end.

It is the short way for small calls too (their messages in both directions): one thread reads it at a time, any may send.
"""

from __future__ import annotations

import _socket  # the plain C module: the socket module takes milliseconds to import
import os
import threading
from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from sandboxhost import wire
from sandboxhost.errors import ProtocolError

LIFELINE_FD = 3
_MAX_DESCRIPTORS = 253
"""What the kernel passes with one datagram."""
_PIECE = 32 * 2**10
"""Bytes of output that travel in one datagram."""


_ANCILLARY = _socket.CMSG_SPACE(_MAX_DESCRIPTORS * array("i").itemsize)


class HostGone(Exception):
    """The other end of the lifeline is closed: the host has ended."""


class Lifeline:
    """Receives datagrams (one message each) and keeps the descriptors that came with them until somebody takes them."""

    def __init__(self, fd: int = LIFELINE_FD, lock: AbstractContextManager[Any] | None = None) -> None:
        """lock: held by whoever reads it, if somebody reads it otherwise too."""
        self._socket = _socket.socket(fileno=fd)
        self._kept: dict[tuple[str, int], list[int]] = {}
        self._lock = lock or threading.Lock()
        self._waiting: list[Any] = []

    def fileno(self) -> int:
        """For polling."""
        return self._socket.fileno()

    def _receive(self, flags: int = 0) -> tuple[bytes, Sequence[int]]:
        """One datagram and its descriptors. Raises BlockingIOError, HostGone, ProtocolError."""
        try:
            data, ancillary, received, _ = self._socket.recvmsg(
                wire.MAX_DATAGRAM, _ANCILLARY, flags | _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            raise HostGone from None
        if not data:
            raise HostGone
        if not ancillary and not received & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
            return data, ()
        descriptors = array("i")
        for level, kind, blob in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                descriptors.frombytes(blob[: len(blob) - len(blob) % descriptors.itemsize])
        if received & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
            close_all(list(descriptors))
            raise ProtocolError("lifeline: a datagram or its descriptors were cut off")
        return data, descriptors

    def receive(self) -> tuple[Any, list[int]]:
        """Waits for one message with its descriptors. Raises HostGone, ProtocolError."""
        data, descriptors = self._receive()
        messages = wire.decode(data, wire.Direction.TO_WORKER)
        if len(messages) != 1:
            raise ProtocolError(f"lifeline: expected one message, got {len(messages)}")
        return messages[0], list(descriptors)

    def next(self) -> list[Any]:
        """Takes in one datagram, if one has arrived: DESCRIPTORS are kept, other messages returned. Raises HostGone,
        ProtocolError."""
        with self._lock:
            self._take_in()
            waiting, self._waiting = self._waiting, []
        return waiting

    def left(self) -> list[Any]:
        """What `take` came across and nobody has had yet."""
        if not self._waiting:
            return []
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return waiting

    def _take_in(self) -> bool:
        """One datagram, under the lock; False when there is none."""
        try:
            data, descriptors = self._receive(_socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        run = wire.decode_run(data) if not descriptors else None
        if run is not None:
            self._waiting.append(run)
            return True
        messages = wire.decode(data, wire.Direction.TO_WORKER)
        for message in messages:
            if isinstance(message, wire.Descriptors):
                if message.number != len(descriptors) or len(messages) != 1:
                    close_all(list(descriptors))
                    raise ProtocolError(f"lifeline: unexpected {type(message).__name__} with {len(descriptors)} descriptors")
                self._kept[message.role, message.id] = list(descriptors)
                return True
        if descriptors:
            close_all(list(descriptors))
            raise ProtocolError(f"lifeline: unexpected {type(messages[0]).__name__} with {len(descriptors)} descriptors")
        self._waiting += messages
        return True

    def take(self, role: str, id_: int) -> list[int]:
        """The descriptors that came for a plugin or call; they are the caller's now. Raises ProtocolError when none came."""
        with self._lock:
            while (role, id_) not in self._kept and self._take_in():
                pass
            try:
                return self._kept.pop((role, id_))
            except KeyError:
                raise ProtocolError(f"lifeline: no descriptors came for {role} {id_}") from None

    def send(self, datagram: bytes) -> None:
        """Sends one datagram; waits while the host takes nothing. Raises HostGone."""
        try:
            self._socket.send(datagram, _socket.MSG_NOSIGNAL)
        except ConnectionError:
            raise HostGone from None

    def post(self, *messages: Any) -> None:
        """Any thread: sends messages about a call that came this way, in one datagram if they fit. Raises HostGone."""
        if len(messages) > 1 and sum(len(m.data) for m in messages if isinstance(m, wire.Output)) > _PIECE:
            for message in messages:
                self.post(message)
            return
        first = messages[0]
        if isinstance(first, wire.Output) and len(first.data) > _PIECE:
            for start in range(0, len(first.data), _PIECE):
                self.send(wire.encode((first._replace(data=first.data[start : start + _PIECE]),)))
            return
        try:
            frame = wire.encode(messages)
        except ProtocolError as exc:
            frame = wire.encode((wire.failed(first.id, exc),))
        self.send(frame)


def close_all(descriptors: list[int]) -> None:
    """Closes descriptors."""
    for fd in descriptors:
        os.close(fd)
