"""The ROUTER socket: never blocking, bounded, one private endpoint a worker, nothing left in the file system."""
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
    """One ROUTER socket. Not for concurrent use: every method under the owner's lock (the memory fence that ZeroMQ asks for).

    Each worker gets an ipc endpoint of its own, in a fresh directory of mode 0700, which is removed as soon as the worker has
    connected: nobody can connect afterwards, and a host that is killed leaves nothing behind.
    `fd` becomes readable on *edges* only: after it, and after any send, call `receive` until it returns nothing.
    """

    def __init__(self) -> None:
        self.sends = 0
        """Frames sent; after a send the descriptor does not tell of what arrived before it."""
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._endpoints: dict[bytes, str] = {}
        try:
            self._socket = self._context.socket(zmq.ROUTER)
            for option, value in (
                (zmq.LINGER, 0), (zmq.ROUTER_MANDATORY, 1), (zmq.ROUTER_HANDOVER, 0), (zmq.MAXMSGSIZE, MAX_FRAME),
                (zmq.SNDHWM, 10_000), (zmq.RCVHWM, 10_000), (zmq.HANDSHAKE_IVL, 5_000),
            ):
                self._socket.setsockopt(option, value)
            self.fd = int(self._socket.getsockopt(zmq.FD))
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def open_endpoint(self, worker: bytes) -> str:
        """Binds the endpoint to which this worker, and nobody else, shall connect. Raises OSError."""
        directory = tempfile.mkdtemp(prefix="sandboxhost-")
        if len(os.fsencode(directory)) > _MAX_PATH:
            os.rmdir(directory)
            directory = tempfile.mkdtemp(prefix="sandboxhost-", dir="/tmp")
        endpoint = f"ipc://{directory}/router"
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as exc:
            _remove(endpoint)
            raise OSError(exc.errno, f"cannot bind {endpoint}: {exc}") from None
        self._endpoints[worker] = endpoint
        return endpoint

    def connected(self, worker: bytes) -> None:
        """The worker has said something: its endpoint's directory is not needed any more."""
        if worker in self._endpoints:
            _remove(self._endpoints[worker])

    def close_endpoint(self, worker: bytes) -> None:
        """The worker is gone: its endpoint and its connection are closed."""
        endpoint = self._endpoints.pop(worker, None)
        if endpoint is not None:
            try:
                self._socket.unbind(endpoint)
            except zmq.ZMQError:
                pass  # gone already
            _remove(endpoint)

    def send(self, worker: bytes, frame: bytes) -> None:
        """Queues one frame. Raises Unreachable: nothing was queued."""
        self.sends += 1
        try:
            # Always copied: pyzmq's other way has a thread and a context of its own, which stay broken when they are made while
            # the application is out of descriptors. What is large travels in the exchange anyway.
            self._socket.send_multipart((worker, frame), zmq.DONTWAIT)
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
        """Closes the socket and removes what is left of directories; waits for ZeroMQ's own thread."""
        self._socket.close(linger=0)
        self._context.destroy(linger=0)
        for endpoint in self._endpoints.values():
            _remove(endpoint)
        self._endpoints.clear()


def _remove(endpoint: str) -> None:
    shutil.rmtree(os.path.dirname(endpoint.removeprefix("ipc://")), ignore_errors=True)
