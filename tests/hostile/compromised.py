"""A worker that was taken over: a real one, booted and locked down as any other, that turns on its host when it is called.

`main` runs in the worker's process. It takes the descriptor of its ZeroMQ connection from libzmq and writes what it likes there,
and on the lifeline and on stderr: everything that code in a worker can do. What it does is named by the function that is called.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

MORE = b"\x01\x08" + bytes(8)
"""A part of eight bytes, and another one is to follow."""


def zmtp(body: bytes) -> bytes:
    """A message of one part."""
    return b"\x02" + struct.pack(">Q", len(body)) + body


def connection() -> int:
    """The descriptor of the connection to the host's endpoint."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for fd in range(3, 64):
            try:
                with socket.socket(fileno=os.dup(fd)) as found:
                    if found.family == socket.AF_UNIX and found.getpeername() == "" and found.getsockname().endswith("/router"):
                        return fd
            except OSError:
                continue
        time.sleep(0.001)
    raise SystemExit("there is no connection")


class Attacks:
    """By name: each gets the id of the call during which it happens, and goes on for as long as the process lives."""

    def __init__(self, wire: Any, fd: int, lifeline: int) -> None:
        self.wire = wire
        self._socket, self._lifeline = socket.socket(fileno=fd), socket.socket(fileno=os.dup(lifeline))
        self._socket.setblocking(True)

    def _write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _for_ever(self, data: bytes) -> None:
        while True:
            self._write(data)

    def _say(self, *messages: Any) -> None:
        self._write(zmtp(self.wire.encode(messages)))

    # ---- the framing

    def more_for_ever(self, call: int) -> None:
        self._for_ever(MORE * 10_000)

    def more_of_large_parts(self, call: int) -> None:
        self._for_ever(b"\x03" + struct.pack(">Q", 2**20) + bytes(2**20))

    def commands_for_ever(self, call: int) -> None:
        self._for_ever(b"\x04\x06\x04PING\0" * 10_000)

    def empty_frames_for_ever(self, call: int) -> None:
        self._for_ever(b"\0\0" * 10_000)

    def a_frame_of_a_terabyte(self, call: int) -> None:
        self._write(b"\x02" + struct.pack(">Q", 2**40))
        self._for_ever(bytes(2**16))

    def a_frame_that_never_ends(self, call: int) -> None:
        """The one that is within bounds: the call ends by its deadline."""
        self._write(b"\x02" + struct.pack(">Q", self.wire.MAX_FRAME_TO_HOST) + bytes(2**20))
        time.sleep(60)

    def a_byte_at_a_time(self, call: int) -> None:
        self._write(b"\x02" + struct.pack(">Q", self.wire.MAX_FRAME_TO_HOST))
        for _ in itertools.count():
            self._write(b"\0")

    def noise(self, call: int) -> None:
        while True:
            self._write(os.urandom(2**16))

    # ---- msgpack

    def nested_arrays(self, call: int) -> None:
        self._for_ever(zmtp(b"\x9f" * 5000))

    def a_tree_of_arrays(self, call: int) -> None:
        """Each array of fifteen holds fifteen, down to empty ones: within every bound but the types."""
        tree = b"\x90"
        while len(tree) * 15 < self.wire.MAX_FRAME_TO_HOST:
            tree = b"\x9f" + tree * 15
        self._for_ever(zmtp(tree))

    def a_tree_in_a_small_frame(self, call: int) -> None:
        tree = b"\x90"
        while len(tree) * 15 < self.wire.MAX_PIECE:
            tree = b"\x9f" + tree * 15
        self._for_ever(zmtp(tree * (self.wire.MAX_PIECE // len(tree))))

    def empty_arrays(self, call: int) -> None:
        self._for_ever(zmtp(b"\x90" * 2**20))

    def announced_sizes(self, call: int) -> None:
        self._for_ever(zmtp(b"\xdd\xff\xff\xff\xff" + b"\xc6\xff\xff\xff\xff" * 100))

    def maps_and_extensions(self, call: int) -> None:
        self._for_ever(zmtp(b"\x8f" * 1000 + b"\xc9\xff\xff\xff\xff\1" * 100))

    def outputs_in_a_large_frame(self, call: int) -> None:
        self._for_ever(zmtp(self.wire.encode([self.wire.Output(call, 1, b"")]) * 400_000))

    # ---- the protocol

    def forged_ids(self, call: int) -> None:
        for number in itertools.count(call + 1):
            self._say(self.wire.Result(number, 0, 0, 0, b""))

    def results_again(self, call: int) -> None:
        while True:
            self._say(*[self.wire.Result(call, 0, 0, 0, b"")] * 1000)

    def outputs(self, call: int) -> None:
        while True:
            self._say(*[self.wire.Output(call, 1, b"x")] * 1000)

    def large_outputs(self, call: int) -> None:
        while True:
            self._say(self.wire.Output(call, 1, bytes(self.wire.MAX_PIECE)))

    def output_elsewhere(self, call: int) -> None:
        self._lifeline.send(self.wire.encode((self.wire.ResultShared(call, 0, 0, 0, bytes(4), 2**40),)))

    def host_calls(self, call: int) -> None:
        for number in itertools.count(1):
            self._say(self.wire.HostCall(call, number, 0, bytes(2**16)))

    def readies(self, call: int) -> None:
        while True:
            self._say(self.wire.Ready(1, 1, b"", "full"))

    def loads(self, call: int) -> None:
        for number in itertools.count(call):
            self._say(self.wire.Loaded(number, 1))

    # ---- besides

    def datagrams(self, call: int) -> None:
        while True:
            self._lifeline.send(b"\x90" * 1000)

    def large_datagrams(self, call: int) -> None:
        while True:
            self._lifeline.send(bytes(100_000))

    def stderr(self, call: int) -> None:
        while True:
            os.write(2, b"x" * 2**16)


def functions() -> Iterator[str]:
    """The names of the attacks."""
    return (name for name in vars(Attacks) if not name.startswith("_"))


def install() -> None:
    """From now on a call of a function of that name is the attack."""
    from sandboxhost import wire
    from sandboxworker import bootstrap, loop

    attacks: list[Attacks] = []
    seal, task_of = bootstrap.LockDown.seal, loop.Loop._task

    def sealed(*arguments: Any) -> Any:
        attacks.append(Attacks(wire, connection(), loop.LIFELINE_FD))
        ready.wait()
        return seal(*arguments)

    def task(self: Any, message: Any, post: Any) -> Any:
        attack: Callable[[int], None] | None = getattr(attacks[0], getattr(message, "function", ""), None)
        if attack is None:
            return task_of(self, message, post)
        start.append((attack, message.id))
        go.release()
        return None

    start: list[tuple[Callable[[int], None], int]] = []
    go, ready = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        ready.set()
        go.acquire()
        attack, call = start.pop()
        time.sleep(0.02)  # what libzmq has to say (LOADED, say) does not lie in the middle of it: most probably
        attack(call)

    threading.Thread(target=wait, daemon=True).start()
    bootstrap.LockDown.seal = sealed  # type: ignore[method-assign]
    loop.Loop._task = task  # type: ignore[method-assign]


def main() -> int:
    """As sandboxworker.__main__, taken over. The arguments: the role, the import paths."""
    sys.path[:0] = sys.argv[2:]
    if sys.argv[1] in ("worker", "spare"):
        install()
    from sandboxworker.__main__ import main as role

    return role(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
