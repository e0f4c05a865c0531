"""A worker's entry that misbehaves when a guest's result asks for it: what a compromised worker may say to the host.

Started by path in place of sandboxworker's own __main__, with the same arguments; a worker that is asked for nothing is a worker.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import Any

MAGIC = 0x5EED_BEA7_C0DE_D00D
_PAYLOAD = struct.Struct("<Qq")
HOWS = (
    "garbage", "truncated", "nested arrays", "empty arrays", "unknown kind", "wrong types", "forged ids", "twice", "twice in one",
    "result and failure", "loaded", "host call of no function", "output flood", "rows", "ready again", "bye", "silence", "exit",
    "more parts", "parts without end", "too large",
)  # fmt: skip
"""What it may do; a guest names it by index. The last three are done on the ZeroMQ socket only."""
PARTS = 2_000
"""Of a message that never ends."""


def wanted(message: Any) -> str:
    """What the message asks for; "" for nothing."""
    payload = getattr(message, "payload", b"")
    if len(payload) != _PAYLOAD.size or type(message).__name__ != "Result":
        return ""
    magic, how = _PAYLOAD.unpack(payload)
    return HOWS[(how & 0xFFFFFFFF) % len(HOWS)] if magic == MAGIC else ""


def frames(how: str, message: Any) -> list[bytes]:
    """What is sent instead of the message."""
    import msgpack

    from sandboxhost import wire

    honest = wire.encode([message])
    failure = wire.encode([wire.failed(message.id, ValueError("no"))])
    calls = [message._replace(id=max(1, message.id + step), payload=b"forged") for step in (-2, -1, 1, 2, 1_000_000)]
    known: dict[str, list[bytes]] = {
        "garbage": [b"\xc1" * 100],
        "truncated": [honest[:-3]],
        "nested arrays": [b"\x91" * 5_000],
        "empty arrays": [b"\xdd\x00\x10\x00\x00" + b"\x90" * (1 << 15)],
        "unknown kind": [msgpack.packb([99, message.id])],
        "wrong types": [msgpack.packb([msgpack.unpackb(honest)[0], "id", None, -1, 2.5])],
        "forged ids": [wire.encode([call]) for call in calls],
        "twice": [honest, honest],
        "twice in one": [honest + honest],
        "result and failure": [honest, failure],
        "loaded": [wire.encode([wire.Loaded(message.id, 1)])],
        "host call of no function": [wire.encode([wire.HostCall(message.id, 77, 99, b"")])],
        "output flood": [wire.encode([wire.Output(message.id, 1, bytes(30_000))]) for _ in range(100)],
        "rows": [wire.encode([wire.RowResults(message.id, 0, 1, bytes(16))])],
        "ready again": [wire.encode([wire.Ready(os.getpid(), 2, bytes(32), "basic")])],
        "bye": [wire.encode([wire.Bye("\x1b[2Jgone")])],
        "silence": [],
    }
    if how == "exit":
        os._exit(0)
    return known.get(how, [b""])


def betray(socket: Any, how: str, message: Any) -> None:
    """By the ZeroMQ socket."""
    import zmq

    from sandboxhost import wire

    if how == "more parts":
        socket.send_multipart([wire.encode([message]), b"", b"more"])
    elif how == "parts without end":
        for _ in range(PARTS):
            socket.send(bytes(1_000), zmq.SNDMORE)
    elif how == "too large":
        socket.send(bytes(wire.MAX_FRAME + 1))
    else:
        for frame in frames(how, message):
            socket.send(frame)


def corrupt() -> None:
    """Changes the worker's two ways out."""
    from sandboxworker.lifeline import Lifeline
    from sandboxworker.loop import Loop

    flush, post = Loop.flush, Lifeline.post

    def flush_or_betray(self: Any) -> None:
        for message in [m for m in list(self._outbox) if wanted(m)]:
            self._outbox.remove(message)
            betray(self._socket, wanted(message), message)
        flush(self)

    def post_or_betray(self: Any, *messages: Any) -> None:
        how = wanted(messages[-1])
        if not how:
            post(self, *messages)
            return
        for frame in frames(how, messages[-1]):
            self.send(frame or b"\0")

    Loop.flush, Lifeline.post = flush_or_betray, post_or_betray  # type: ignore[method-assign]


def main(arguments: list[str]) -> int:
    """As sandboxworker's."""
    role, paths = arguments[0], arguments[1:]
    sys.path[:0] = paths
    from sandboxworker import __main__ as entry

    if role != "compile":
        corrupt()
    return entry.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
