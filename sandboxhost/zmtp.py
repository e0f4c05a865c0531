"""ZMTP 3 as a host needs it towards its workers: the bytes of one connection become frames, in bounded steps. No input or output.

libzmq's own ROUTER cannot be bounded: it keeps the parts of an unfinished message without limit, whatever RCVHWM and MAXMSGSIZE
say, and never tells its owner of them. So the transport takes the bytes as they come (a STREAM socket, whose pieces are whole
messages, for which RCVHWM does hold) and reads the framing here: RFC 37 (ZMTP 3.1), mechanism NULL, messages of one part.
"""
from __future__ import annotations

import struct

from .errors import ProtocolError

__all__ = ["Incoming", "frame"]

_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
_GREETING_BYTES = 64
_MORE, _LONG, _COMMAND = 1, 2, 4
_SHORT_MOST = 255
"""Bytes of the longest body that has one byte of length."""
_LENGTH = struct.Struct(">Q")


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


_READY = b"\x05READY" + _property(b"Socket-Type", b"ROUTER") + _property(b"Identity", b"")
OPENING = _SIGNATURE + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32) + bytes([_COMMAND, len(_READY)]) + _READY
"""What the host says when somebody has connected: its greeting and its READY."""


def frame(body: bytes) -> bytes:
    """A message of one part."""
    size = len(body)
    return bytes((0, size)) + body if size <= _SHORT_MOST else b"\x02" + _LENGTH.pack(size) + body


class Incoming:
    """What one peer sends. `feed` raises ProtocolError for what no worker of ours says; nothing may be fed after that.

    It holds at most one unfinished frame, of at most `most` bytes, and the bytes of one piece.
    """

    __slots__ = ("_expected", "_greeted", "_left", "_missing", "_unfinished", "identity", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.identity: bytes | None = None
        """The peer's routing id, once its handshake is complete."""
        self._greeted = False
        self._expected = _GREETING_BYTES
        """Bytes of the next step of the handshake."""
        self._left = b""
        """A header that is cut off, or such a step."""
        self._unfinished = bytearray()
        self._missing = 0
        """Of an unfinished body: what has come, and how many bytes have not."""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now, in order."""
        found: list[bytes] = []
        if self._missing:
            self._unfinished += data[:self._missing] if len(data) > self._missing else data
            if len(data) < self._missing:
                self._missing -= len(data)
                return found
            data, self._missing = data[self._missing:], 0
            found.append(bytes(self._unfinished))
            self._unfinished = bytearray()
        if self._left:
            data, self._left = self._left + data, b""
        if self.identity is None:
            data = self._handshake(data)
        if data:
            self._frames(data, found)
        return found

    def _frames(self, data: bytes, found: list[bytes]) -> None:
        start, end = 0, len(data)
        while start < end:
            flags = data[start]
            if flags == 0:
                body = start + 2
                size = data[start + 1] if body <= end else 1
            elif flags == _LONG:
                body = start + 9
                size = _LENGTH.unpack_from(data, start + 1)[0] if body <= end else 1
            else:
                raise ProtocolError(_flag_words(flags))
            if not 0 < size <= self.most:
                raise ProtocolError(f"frame: {size} bytes, not 1 to {self.most}")
            if body > end:
                self._left = data[start:]
                return
            start = body + size
            if start > end:
                self._unfinished += data[body:]
                self._missing = start - end
                return
            found.append(data[body:start])

    # ---- the handshake

    def _handshake(self, data: bytes) -> bytes:
        """Takes the greeting and READY off the front; returns what follows."""
        while self.identity is None:
            if not self._greeted:
                _check_greeting(data)
            elif data[:1] not in (b"", bytes([_COMMAND])):  # its long form too: a READY is short
                raise ProtocolError("the handshake is not a READY command")
            elif len(data) > 1:
                self._expected = 2 + data[1]
            if len(data) < self._expected:
                self._left = data
                return b""
            if not self._greeted:
                data, self._expected, self._greeted = data[_GREETING_BYTES:], 2, True
            else:
                self.identity, data = _identity(data[2:self._expected]), data[self._expected:]
        return data


def _check_greeting(data: bytes) -> None:
    """As far as it has come: signature (what its length says is anybody's), version, mechanism NULL, not a server."""
    wanted = b"NULL".ljust(20, b"\0") + b"\0"
    if data[:1] != b"\xff"[:len(data)] or data[9:10] not in (b"", b"\x7f") or (
            len(data) > 10 and data[10] < 3) or data[12:33] != wanted[:len(data[12:33])]:
        raise ProtocolError("the greeting is not ZMTP 3 with the mechanism NULL")


def _flag_words(flags: int) -> str:
    if flags & _COMMAND:
        return "a ZMTP command after the handshake"
    return "a message of several parts" if flags & _MORE else f"ZMTP flags {flags:#04x}"


def _identity(body: bytes) -> bytes:
    """The property Identity of a DEALER's READY."""
    found: dict[bytes, bytes] = {}
    if body[:6] != b"\x05READY":
        raise ProtocolError("the handshake is not a READY command")
    at = 6
    while at < len(body):
        name = body[at + 1:at + 1 + body[at]]
        at += 1 + body[at]
        if len(body) - at < 4:
            raise ProtocolError("READY: cut off")
        size = int.from_bytes(body[at:at + 4], "big")
        if size > len(body) - at - 4:
            raise ProtocolError("READY: cut off")
        found[name.lower()] = body[at + 4:at + 4 + size]
        at += 4 + size
    if found.get(b"socket-type") != b"DEALER":
        raise ProtocolError("READY: not a DEALER")
    return found.get(b"identity", b"")
