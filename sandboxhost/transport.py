"""The socket of the host: never blocking, bounded whatever workers send, one private endpoint a worker, nothing left in the file
system."""
from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
import time
from typing import Any

import zmq

from .errors import ProtocolError
from .wire import MAX_FRAME_TO_HOST
from .zmtp import OPENING, Incoming, frame

__all__ = ["Transport", "Unreachable"]

_MAX_PATH = 100
"""Bytes of a Unix socket's path that every system takes."""
_PREFIX, _SOCKET = "sandboxhost-", "router"
"""What an endpoint's directory begins with, and what is in it."""
_STALE_SECONDS = 60.0
"""A directory of this age that no living host holds is removed."""
_MOST_PIECES = 256
"""Pieces of at most 8 KiB (libzmq's in_batch_size) that wait for one connection; then libzmq reads no more of it."""
_PORTION_FRAMES, _PORTION_BYTES, _PIECE_BYTES = 1000, 2**20, 512
"""`receive` returns with so many frames or bytes, where a piece counts this much besides its own."""
_BACKLOG = 64
"""Connections that an endpoint keeps until the worker accepts them: the host's, and strangers', which must not keep it out."""
_RETRY_MS = 20
"""When libzmq could not open a descriptor for the connection, it tries again after so many milliseconds."""


class Unreachable(Exception):
    """The worker is not connected or takes nothing more; nothing was sent."""


class Transport:
    """One STREAM socket, on which zmtp.py speaks ROUTER. Not for concurrent use: every method under the owner's lock (the memory
    fence that ZeroMQ asks for).

    Nobody can connect to a host: it connects to its workers. Each gets a listening socket of its own, which the host has made
    and is the first to connect to; its path is in a fresh directory of mode 0700, which is removed when the worker has accepted.
    The worker accepts the host's process alone, and goes on when the path is gone: no other process of the user gets between.
    (libzmq ends the whole process when `accept` finds no free descriptor; a `connect` that finds none is repeated.)
    The host that made a directory holds a lock on it; what a killed host left is removed by the next.
    `fd` becomes readable on *edges* only: after it, and after any send, call `receive` until there is no `more`.
    """

    def __init__(self) -> None:
        self.sends = 0
        """What was told to libzmq: after it the descriptor does not tell of what arrived before."""
        self.more = False
        """There may be more to receive than the last portion."""
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._connections: dict[bytes, str] = {}
        """By worker, whose id is libzmq's name for the connection: the endpoint of each that was not closed from here."""
        self._directories: dict[bytes, tuple[str, int]] = {}
        """By worker that has said nothing yet: its endpoint, and the descriptor of its directory."""
        self._incoming: dict[bytes, Incoming] = {}
        """By worker: the connections that are there."""
        try:
            self._socket = self._context.socket(zmq.STREAM)
            for option, value in (
                (zmq.LINGER, 0), (zmq.SNDHWM, 10_000), (zmq.RCVHWM, _MOST_PIECES), (zmq.STREAM_NOTIFY, 1),
                (zmq.RECONNECT_IVL, _RETRY_MS), (zmq.RECONNECT_IVL_MAX, 50 * _RETRY_MS),
            ):
                self._socket.setsockopt(option, value)
            self.fd = int(self._socket.getsockopt(zmq.FD))
        except BaseException:
            self._context.destroy(linger=0)
            raise
        _sweep()

    def open_endpoint(self, worker: bytes) -> tuple[str, socket.socket]:
        """The endpoint that this worker shall be, and the socket that listens there, to which the host has connected: for the
        worker to accept on, and for the caller to close. Raises OSError."""
        directory = tempfile.mkdtemp(prefix=_PREFIX)
        if len(os.fsencode(directory)) > _MAX_PATH:
            os.rmdir(directory)
            directory = tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp")
        endpoint = f"ipc://{directory}/{_SOCKET}"
        held = -1
        listener: socket.socket | None = None
        try:
            held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(endpoint.removeprefix("ipc://"))
            listener.listen(_BACKLOG)
            self._socket.setsockopt(zmq.CONNECT_ROUTING_ID, worker)
            self._socket.connect(endpoint)
        except OSError as exc:  # ZMQError too
            if listener is not None:
                listener.close()
            _remove(endpoint, held)
            raise OSError(exc.errno, f"cannot open {endpoint}: {exc}") from None
        self._connections[worker] = endpoint
        self._directories[worker] = endpoint, held
        self.sends += 1
        return endpoint, listener

    def connected(self, worker: bytes) -> None:
        """The worker has said something: its endpoint's directory is not needed any more."""
        if worker in self._directories:
            _remove(*self._directories.pop(worker))

    def close_endpoint(self, worker: bytes) -> None:
        """The worker is gone: its endpoint and its connection are closed."""
        self.mute(worker)
        self.connected(worker)

    def mute(self, worker: bytes) -> None:
        """Closes the connection: nothing more is taken from this worker, which is about to be killed."""
        # Once a connection, and not by an empty message, STREAM's own way: that frees the session but not libzmq's entry of the
        # endpoint, and when a later connection's session has got the same address, `disconnect` would end that one.
        self._incoming.pop(worker, None)
        endpoint = self._connections.pop(worker, "")
        if endpoint:
            self.sends += 1
            self._socket.disconnect(endpoint)  # libzmq delivers nothing of it after this

    def send(self, worker: bytes, body: bytes) -> None:
        """Queues one frame. Raises Unreachable: nothing was queued."""
        if worker not in self._incoming:
            raise Unreachable("it is not connected")
        self.sends += 1
        if not self._write(worker, frame(body)):
            raise Unreachable("it takes nothing more, or the connection is closed")

    def _write(self, worker: bytes, data: bytes) -> bool:
        try:
            # Always copied: pyzmq's other way has a thread and a context of its own, which stay broken when they are made while
            # the application is out of descriptors. What is large travels in the exchange anyway.
            self._socket.send_multipart((worker, data), zmq.DONTWAIT)
        except zmq.ZMQError:
            return False
        return True

    def receive(self) -> list[tuple[bytes, bytes | ProtocolError]]:
        """(worker, frame) of what has arrived; ProtocolError: it breaks the framing, and was cut off. A portion: see `more`."""
        arrived: list[tuple[bytes, bytes | ProtocolError]] = []
        size = 0
        self.more = True
        while len(arrived) < _PORTION_FRAMES and size < _PORTION_BYTES:
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                self.more = False
                break
            worker, data = self._socket.recv_multipart(zmq.DONTWAIT)
            size += _PIECE_BYTES + len(data)
            incoming = self._incoming.get(worker)
            if not data:
                self._came_or_went(worker)
            elif incoming is not None:
                try:
                    arrived += [(worker, body) for body in incoming.feed(data)]
                except ProtocolError as exc:
                    self.mute(worker)
                    arrived.append((worker, exc))
                if incoming.identity is not None:
                    self.connected(worker)
        return arrived

    def _came_or_went(self, worker: bytes) -> None:
        if self._incoming.pop(worker, None) is None and worker in self._directories and worker in self._connections:
            self._incoming[worker] = Incoming(MAX_FRAME_TO_HOST)
            self.sends += 1
            self._write(worker, OPENING)

    def close(self) -> None:
        """Closes the socket and removes what is left of directories; waits for ZeroMQ's own thread."""
        self._socket.close(linger=0)
        self._context.destroy(linger=0)
        for endpoint, held in self._directories.values():
            _remove(endpoint, held)
        self._directories.clear()


def _remove(endpoint: str, held: int) -> None:
    path = endpoint.removeprefix("ipc://")
    for remove, what in ((os.unlink, path), (os.rmdir, os.path.dirname(path))):  # no rmtree, which needs descriptors
        try:
            remove(what)
        except OSError:
            pass  # it is not there
    if held >= 0:
        os.close(held)


def _sweep() -> None:
    """Removes the directories of hosts that were killed while a worker started: old enough, and held by nobody."""
    for folder in {tempfile.gettempdir(), "/tmp"}:
        try:
            with os.scandir(folder) as entries:
                paths = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
        except OSError:
            continue
        for path in paths:
            try:
                held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                _remove_stale(path, held)
            except OSError:
                pass  # somebody's
            finally:
                os.close(held)


def _remove_stale(path: str, held: int) -> None:
    """Removes what is certainly nothing but an endpoint: a private directory of ours (root's workers own theirs) with at most its
    socket in it. Raises OSError."""
    status = os.fstat(held)
    if stat.S_IMODE(status.st_mode) != 0o700 or os.geteuid() not in (0, status.st_uid) or (
            time.time() - status.st_mtime <= _STALE_SECONDS):
        return
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for name in os.listdir(held):
        if name != _SOCKET or not stat.S_ISSOCK(os.stat(name, dir_fd=held, follow_symlinks=False).st_mode):
            return
        os.unlink(name, dir_fd=held)
    os.rmdir(path)
