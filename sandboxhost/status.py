"""A host's figures for others of its user: a private Unix socket that answers each connection with one snapshot; and its reader.

A connection gets one msgpack map and is closed. Nothing is read from it; who is not of the host's user (or root) gets nothing.
Workers cannot reach it: their root is empty, and their system calls include neither socket nor connect.
"""
from __future__ import annotations

import dataclasses
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgpack

from .errors import ProtocolError, SandboxError, printable
from .logs import logger
from .statistics import CompileStatistics, HostStatistics, Latency, PluginStatistics, WorkerStatistics

__all__ = ["MOST_BYTES", "Snapshot", "StatusSocket", "read_snapshot"]

VERSION = 1
MOST_BYTES = 16 * 2**20
"""Of a snapshot."""
MOST_PLUGINS = 2000
"""In a snapshot: those with the most calls."""
SEND_SECONDS = 2.0
"""What a reader has to take its snapshot; it is served alone."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What one connection brings."""

    pid: int
    uptime: float
    """Seconds since the socket was made."""
    taken: float
    """Seconds of the host's monotonic clock, to tell rates by."""
    host: HostStatistics
    left_out: int = 0
    """Plugins that there were too many of."""


class StatusSocket:
    """Serves snapshots in a thread of its own until `close`."""

    def __init__(self, path: str | os.PathLike[str], statistics: Callable[[], HostStatistics]) -> None:
        """Raises OSError: the path is taken, by something else than a socket that nobody listens on; or cannot be made."""
        self._path, self._statistics = os.fspath(path), statistics
        self._started = time.monotonic()
        self._owner = os.getpid()
        self._wake_read, self._wake_write = socket.socketpair()
        self._socket = _listen(self._path)
        self._inode = os.stat(self._path).st_ino
        self._thread = threading.Thread(target=self._loop, name="sandboxhost-status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No further snapshot; the socket's name is gone. May be called again, and by a fork, which only drops its copy."""
        if os.getpid() == self._owner and self._thread.is_alive():
            self._wake_write.close()
            self._thread.join()
            try:
                if os.stat(self._path).st_ino == self._inode:
                    os.unlink(self._path)
            except OSError:
                pass
        for end in (self._socket, self._wake_read, self._wake_write):
            end.close()

    def _loop(self) -> None:
        import select

        poll = select.poll()
        for end in (self._socket, self._wake_read):
            poll.register(end, select.POLLIN)
        while all(fd != self._wake_read.fileno() for fd, _ in poll.poll()):
            try:
                peer, _ = self._socket.accept()
            except OSError as exc:
                logger.warning("status: %s", exc)
                time.sleep(1.0)  # out of descriptors: the poll would return at once
                continue
            with peer:
                try:
                    self._serve(peer)
                except (OSError, SandboxError) as exc:
                    logger.info("status: a reader got nothing: %s", exc)

    def _serve(self, peer: socket.socket) -> None:
        _, user, _ = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if user not in (0, os.geteuid()):
            return
        peer.settimeout(SEND_SECONDS)
        peer.sendall(self._packed())

    def _packed(self) -> bytes:
        found = self._statistics()
        ranked = sorted(found.plugins, key=lambda plugin: (plugin.pending, plugin.ended), reverse=True)[:MOST_PLUGINS]
        host = dataclasses.asdict(dataclasses.replace(found, plugins=tuple(ranked)))
        now = time.monotonic()
        packed: bytes = msgpack.packb({"version": VERSION, "pid": self._owner, "uptime": now - self._started, "taken": now,
                                       "left_out": len(found.plugins) - len(ranked), "host": host})
        return packed


def _listen(path: str) -> socket.socket:
    """A listening socket that only this user may connect to from the start."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if os.path.lexists(path) and stat.S_ISSOCK(os.lstat(path).st_mode) and _is_left_over(path):
            os.unlink(path)
        os.fchmod(listener.fileno(), 0o600)  # what bind gives to the file
        listener.bind(path)
        listener.listen(8)
        listener.setblocking(False)
        return listener
    except OSError as exc:
        listener.close()
        raise OSError(exc.errno, f"no status socket at {path!r}: {exc.strerror or exc}") from None


def _is_left_over(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(SEND_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False


def read_snapshot(path: str | os.PathLike[str], timeout: float = 10.0) -> Snapshot:
    """One snapshot of the host whose socket this is. Raises OSError; ProtocolError for an answer that is none."""
    pieces: list[bytes] = []
    size = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as reader:
        reader.settimeout(timeout)
        try:
            reader.connect(os.fspath(path))
        except OSError as exc:
            raise OSError(exc.errno, f"{Path(path)}: no host answers there: {exc.strerror or exc}") from None
        while piece := reader.recv(1 << 16):
            size += len(piece)
            if size > MOST_BYTES:
                raise ProtocolError(f"{Path(path)}: a snapshot of more than {MOST_BYTES} bytes")
            pieces.append(piece)
    try:
        return _snapshot(msgpack.unpackb(b"".join(pieces), strict_map_key=True, max_map_len=100_000, max_array_len=100_000))
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as exc:
        raise ProtocolError(f"{Path(path)}: no snapshot of a host of this version: {type(exc).__name__}: {exc}") from None


def _snapshot(fields: dict[str, Any]) -> Snapshot:
    """Every part is checked: the socket may be of somebody whom its reader does not trust."""
    if fields["version"] != VERSION:
        raise ValueError(f"version {fields['version']!r}")
    host = dict(fields["host"])
    host["latency"] = _latency(host["latency"])
    host["plugins"] = tuple(
        _built(PluginStatistics, {**plugin, "latency": _latency(plugin["latency"])}) for plugin in host["plugins"])
    host["workers"] = tuple(_built(WorkerStatistics, worker) for worker in host["workers"])
    host["replacements"] = tuple(map(float, host["replacements"]))
    host["compile"] = _built(CompileStatistics, host["compile"])
    whole = {**fields, "host": _built(HostStatistics, host)}
    del whole["version"]
    return _built(Snapshot, whole)


_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
Built = TypeVar("Built", Snapshot, HostStatistics, PluginStatistics, WorkerStatistics, CompileStatistics)


def _built(cls: type[Built], fields: dict[str, Any]) -> Built:
    """The value object of these fields, which are of the right types; texts are made harmless. Raises TypeError, KeyError."""
    found: dict[str, Any] = dict(fields)
    for field in dataclasses.fields(cls):
        value, kinds = found[field.name], _KINDS.get(str(field.type))
        if kinds is not None and type(value) not in kinds:
            raise TypeError(f"{field.name}: {type(value).__name__}")
        if type(value) is str:
            found[field.name] = printable(value, 200)
        elif str(field.type) == "Mapping[str, int]":
            found[field.name] = {printable(name, 80): int(count) for name, count in value.items()}
    return cls(**found)


def _latency(value: list[Any]) -> Latency:
    counts, seconds = value
    if len(counts) != len(Latency().counts) or any(type(count) is not int or count < 0 for count in counts):
        raise ValueError("another histogram")
    return Latency(tuple(counts), float(seconds))
