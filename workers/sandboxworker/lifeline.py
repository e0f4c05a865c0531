"""The lifeline: the socket pair to the host on descriptor 3; brings messages with descriptors, and its end is the host's end."""

from __future__ import annotations

import _socket  # the plain C module: the socket module takes milliseconds to import
import os
from array import array
from typing import Any

from sandboxhost import wire
from sandboxhost.errors import ProtocolError

LIFELINE_FD = 3
_MAX_DESCRIPTORS = 253
"""What the kernel passes with one datagram."""


class HostGone(Exception):
    """The other end of the lifeline is closed: the host has ended."""


class Lifeline:
    """Receives datagrams (one message each) and keeps the descriptors that came with them until somebody takes them."""

    def __init__(self, fd: int = LIFELINE_FD) -> None:
        self._socket = _socket.socket(fileno=fd)
        self._kept: dict[tuple[str, int], list[int]] = {}

    def fileno(self) -> int:
        """For polling."""
        return self._socket.fileno()

    def receive(self, wait: bool = True) -> tuple[Any, list[int]] | None:
        """One message and its descriptors; None when there is none and `wait` is false. Raises HostGone, ProtocolError."""
        flags = _socket.MSG_CMSG_CLOEXEC | (0 if wait else _socket.MSG_DONTWAIT)
        try:
            data, ancillary, received, _ = self._socket.recvmsg(
                wire.MAX_DATAGRAM, _socket.CMSG_SPACE(_MAX_DESCRIPTORS * array("i").itemsize), flags
            )
        except BlockingIOError:
            return None
        except ConnectionError:
            raise HostGone from None
        if not data:
            raise HostGone
        descriptors = array("i")
        for level, kind, blob in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                descriptors.frombytes(blob[: len(blob) - len(blob) % descriptors.itemsize])
        if received & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
            close_all(list(descriptors))
            raise ProtocolError("lifeline: a datagram or its descriptors were cut off")
        messages = wire.decode(data, wire.Direction.TO_WORKER)
        if len(messages) != 1:
            raise ProtocolError(f"lifeline: expected one message a datagram, got {len(messages)}")
        return messages[0], list(descriptors)

    def drain(self) -> None:
        """Takes in every DESCRIPTORS that has arrived. Raises HostGone, ProtocolError."""
        while (item := self.receive(wait=False)) is not None:
            message, descriptors = item
            if not isinstance(message, wire.Descriptors) or message.number != len(descriptors):
                close_all(descriptors)
                raise ProtocolError(f"lifeline: unexpected {type(message).__name__} with {len(descriptors)} descriptors")
            self._kept[message.role, message.id] = descriptors

    def take(self, role: str, id_: int) -> list[int]:
        """The descriptors that came for a plugin or call; they are the caller's now. Raises ProtocolError when none came."""
        if (role, id_) not in self._kept:
            self.drain()
        try:
            return self._kept.pop((role, id_))
        except KeyError:
            raise ProtocolError(f"lifeline: no descriptors came for {role} {id_}") from None

    def send(self, datagram: bytes) -> None:
        """Sends one datagram. Raises HostGone."""
        try:
            self._socket.send(datagram, _socket.MSG_NOSIGNAL)
        except ConnectionError:
            raise HostGone from None


def close_all(descriptors: list[int]) -> None:
    """Closes descriptors."""
    for fd in descriptors:
        os.close(fd)
