"""The lines: each worker's lifeline as the short way of a call that a thread waits for, read by that thread itself."""
from __future__ import annotations

import os
import select
import socket
from typing import Any

from .supervisor import WorkerProcess
from .transport import Unreachable
from .wire import MAX_DATAGRAM

__all__ = ["Line", "Lines"]


class Line:
    """One worker's line and who reads it. Under the owner's lock, but for `wait`."""

    __slots__ = ("_poll", "_socket", "leader", "open", "waker", "worker")

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.leader: object | None = None
        """The sink of the call that travels by it now, whose thread reads."""
        self.open = True
        self.waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._socket = worker.process.lifeline
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self.waker, select.POLLIN)

    def wait(self) -> bool:
        """The leader's, without the lock: until there is something to read (or the end: True), or it is woken."""
        readable = False
        for fd, _ in self._poll.poll():
            if fd == self.waker:
                os.eventfd_read(fd)
            else:
                readable = True
        return readable

    def wake(self) -> None:
        """Ends the leader's wait: somebody else has brought what it waits for, or the line is closed."""
        os.eventfd_write(self.waker, 1)

    def leave(self) -> None:
        """The leader has what it waited for."""
        self.leader = None
        if not self.open:
            os.close(self.waker)

    def send(self, frame: bytes) -> None:
        """One datagram. Raises Unreachable: nothing was sent, because it is too long for one, or the worker does not take it."""
        if len(frame) > MAX_DATAGRAM:
            raise Unreachable(f"{len(frame)} bytes")
        try:
            self._socket.send(frame, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as exc:
            raise Unreachable(str(exc)) from None

    def receive(self) -> bytes:
        """One datagram; b"" when there is none, or no more to come. One that was cut off is longer than MAX_DATAGRAM."""
        try:
            return self._socket.recv(MAX_DATAGRAM + 1, socket.MSG_DONTWAIT)
        except OSError:
            return b""


class Lines:
    """The lines by worker. Where the system has no eventfd there are none."""

    def __init__(self) -> None:
        self.available = hasattr(os, "eventfd")
        self.of: dict[bytes, Line] = {}
        self.led: dict[object, Line] = {}
        """By leader."""

    def add(self, worker: WorkerProcess) -> bool:
        """A worker has started; False: it has no line, because the system or the application has no descriptor for it."""
        if not self.available:
            return False
        try:
            self.of[worker.routing_id] = Line(worker)
        except OSError:
            return False
        return True

    def remove(self, worker: WorkerProcess) -> None:
        """The worker has ended, and its descriptor is about to be closed."""
        line = self.of.pop(worker.routing_id, None)
        if line is not None:
            line.open = False
            if line.leader is None:
                os.close(line.waker)
            else:
                line.wake()

    def leave(self, line: Line) -> None:
        """Its leader has what it waited for."""
        del self.led[line.leader]
        line.leave()

    def wake(self, sink: Any) -> None:
        """If the sink's thread reads a line: it has got what it waits for by another way."""
        line = self.led.get(sink)
        if line is not None:
            line.wake()
