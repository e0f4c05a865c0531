"""The ROUTER socket: one ZeroMQ endpoint in a private directory, never blocking, bounded, cleaned up without a trace."""
from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

import zmq

from .wire import MAX_FRAME

__all__ = ["Transport", "Unreachable"]

_MAX_PATH = 100
"""Bytes of a Unix socket's path that every system takes."""


class Unreachable(Exception):
    """The worker is not connected or takes nothing more; nothing was sent."""


class Transport:
    """Binds an ipc endpoint. Not for concurrent use: every method under the owner's lock (the memory fence that ZeroMQ asks for).

    `fd` becomes readable on *edges* only: after it, and after any send, call `receive` until it returns nothing.
    """

    def __init__(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="sandboxhost-")  # mode 0700
        if len(os.fsencode(self.directory)) > _MAX_PATH:
            os.rmdir(self.directory)
            self.directory = tempfile.mkdtemp(prefix="sandboxhost-", dir="/tmp")
        self.endpoint = f"ipc://{self.directory}/router"
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        try:
            self._socket = self._context.socket(zmq.ROUTER)
            for option, value in (
                (zmq.LINGER, 0), (zmq.ROUTER_MANDATORY, 1), (zmq.ROUTER_HANDOVER, 0), (zmq.MAXMSGSIZE, MAX_FRAME),
                (zmq.SNDHWM, 10_000), (zmq.RCVHWM, 10_000), (zmq.HANDSHAKE_IVL, 5_000),
            ):
                self._socket.setsockopt(option, value)
            self._socket.bind(self.endpoint)
            self.fd = int(self._socket.getsockopt(zmq.FD))
        except BaseException:
            self._context.destroy(linger=0)
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def send(self, worker: bytes, frame: bytes) -> None:
        """Queues one frame. Raises Unreachable: nothing was queued."""
        try:
            self._socket.send_multipart((worker, frame), zmq.DONTWAIT, copy=len(frame) < 65536)
        except zmq.ZMQError as exc:
            raise Unreachable(str(exc)) from None

    def receive(self, limit: int = 1000) -> list[tuple[bytes, bytes | None]]:
        """(worker, frame) of what has arrived, at most `limit`; frame None: not exactly one part."""
        arrived: list[tuple[bytes, bytes | None]] = []
        while len(arrived) < limit and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            worker, *parts = self._socket.recv_multipart(zmq.DONTWAIT)
            arrived.append((worker, parts[0] if len(parts) == 1 else None))
        return arrived

    def close(self) -> None:
        """Closes the socket and removes its directory; waits for ZeroMQ's own thread."""
        self._socket.close(linger=0)
        self._context.destroy(linger=0)
        shutil.rmtree(self.directory, ignore_errors=True)
