"""The worker's loop: one socket to the host, the lifeline, and the threads' replies, batched into few frames."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections import deque
from typing import Any

import zmq

from sandboxhost import options, wire
from sandboxhost.errors import ProtocolError, SandboxError, UnknownFunction
from sandboxhost.limits import ProcessLimits

from . import bootstrap, native
from .image import Image
from .lifeline import LIFELINE_FD, HostGone, Lifeline, close_all
from .plugin import Plugin
from .threads import Pool, Task
from .watchdog import watchdog

_FRAME_BYTES = 1 << 20
"""A frame is sent when it holds about this many bytes of payload."""


class Stopped(Exception):
    """The host sent STOP."""


class Loop:
    """Reads the socket until it would block, acts on each message, and sends what the threads have posted."""

    def __init__(self, boot: options.WorkerOptions, lifeline: Lifeline) -> None:
        self._lifeline = lifeline
        self._outbox: deque[Any] = deque()
        self._wake, self._waker = os.pipe()
        self._woken = False
        self._delaying = False
        self._plugins: dict[int, Plugin] = {}
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._socket = self._context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 1000), (zmq.SNDHWM, 0), (zmq.RCVHWM, 0), (zmq.MAXMSGSIZE, wire.MAX_FRAME)):
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.ROUTING_ID, boot.routing_id)
        self._socket.connect(boot.endpoint)
        self._pool = Pool(boot.threads, self.post)

    def post(self, message: Any) -> None:
        """Any thread: sends a message soon; a call of a host function, for which a guest waits, at once."""
        self._outbox.append(message)
        if not self._woken and (not self._delaying or isinstance(message, wire.HostCall)):
            self._woken = True
            os.write(self._waker, b"\0")

    def run(self) -> None:
        """Until HostGone, Stopped, or ProtocolError from the host's side.

        While more calls are in progress than there are threads, replies are collected for a millisecond: waking up for each would
        take the interpreter lock from the threads that make them.
        """
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._lifeline.fileno(), zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while True:
            self._delaying = self._pool.crowded()
            ready = dict(poller.poll(1 if self._delaying else None))
            if self._lifeline.fileno() in ready:
                self._lifeline.drain()
            if self._socket in ready:
                self._receive()
            if self._wake in ready:
                os.read(self._wake, 1)
                self._woken = False
            self._delaying = False
            self.flush()

    def close(self) -> None:
        """Sends what is left, waiting at most LINGER."""
        self.flush()
        self._socket.close()
        self._context.term()

    def flush(self) -> None:
        """Sends everything that was posted."""
        while self._outbox:
            batch, size = [], 0
            while self._outbox and size < _FRAME_BYTES:
                message = self._outbox.popleft()
                size += len(getattr(message, "payload", b"")) + len(getattr(message, "data", b""))
                batch.append(message)
            self._socket.send(_encoded(batch))

    def _receive(self) -> None:
        """Every frame that has arrived."""
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            if len(parts) != 1:
                raise ProtocolError(f"host to worker: expected one part, got {len(parts)}")
            for message in wire.decode(parts[0], wire.Direction.TO_WORKER):
                self._act(message)

    def _act(self, message: Any) -> None:
        if isinstance(message, wire.Call | wire.Run):
            self._start(message)
        elif isinstance(message, wire.HostResult):
            self._pool.answer(message)
        elif isinstance(message, wire.Cancel):
            self._pool.cancel(message.id)
        elif isinstance(message, wire.Load):
            self._load(message)
        elif isinstance(message, wire.Unload):
            plugin = self._plugins.pop(message.plugin, None)
            if plugin is not None:
                self._pool.drop(plugin)
        elif isinstance(message, wire.Stop):
            raise Stopped
        else:
            raise ProtocolError(f"host to worker: {type(message).__name__} does not belong on the socket")

    def _load(self, message: wire.Load) -> None:
        """Maps the image, links once on trial, answers LOADED or FAILED."""
        try:
            image_fd, *directories = self._lifeline.take("load", message.plugin)
            try:
                image = Image.from_fd(image_fd)
                loaded = options.LoadOptions.decode(message.options)
                if len(directories) != len(loaded.directories):
                    raise ProtocolError(f"Load: {len(loaded.directories)} directories, {len(directories)} descriptors")
                self._plugins[message.plugin] = Plugin(message.name, image, loaded, directories)
            except BaseException:
                close_all(directories)
                raise
            finally:
                os.close(image_fd)
        except Exception as exc:
            self.post(wire.failed(message.id, exc))
        else:
            self.post(wire.Loaded(message.id, message.plugin))

    def _start(self, message: wire.Call | wire.Run) -> None:
        """Makes a task of a CALL or RUN and gives it to the pool."""
        deadline = None if message.time_left_ns == wire.UNLIMITED else time.monotonic() + message.time_left_ns / 1e9
        descriptors: list[int] = []
        try:
            run = options.RunOptions.decode(message.options) if isinstance(message, wire.Run) else None
            if run is not None and run.stdio == "descriptors":
                descriptors = self._lifeline.take("run", message.id)
            plugin = self._plugins.get(message.plugin)
            if plugin is None:
                raise UnknownFunction(f"plugin {message.plugin} is not loaded in this worker")
            task = Task(message, plugin, deadline, run, tuple(descriptors))
        except Exception as exc:
            close_all(descriptors)
            self.post(wire.failed(message.id, exc))
        else:
            self._pool.submit(task, message.parent)


def _encoded(batch: list[Any]) -> bytes:
    """One frame; a message that cannot be encoded becomes a FAILED, and the others travel."""
    try:
        return wire.encode(batch)
    except ProtocolError:
        parts = []
        for message in batch:
            try:
                parts.append(wire.encode([message]))
            except ProtocolError as exc:
                parts.append(wire.encode([wire.failed(message.id, exc)]))
        return b"".join(parts)


def run() -> int:
    """The role, from bootstrap to the end. Returns the exit code: 0 after STOP, 70 for an error of our own, 71 when the host
    is gone.
    """
    parent = bootstrap.isolate(LIFELINE_FD)
    lifeline = Lifeline()
    loop: Loop | None = None
    try:
        item = lifeline.receive()
        assert item is not None
        if not isinstance(item[0], wire.Boot):
            raise ProtocolError(f"expected Boot, got {type(item[0]).__name__}")
        boot = options.WorkerOptions.decode(item[0].options)
        bootstrap.restrict(parent, ProcessLimits.from_wire(boot.limits))
        native.install_fault_handler()
        watchdog.start()
        loop = Loop(boot, lifeline)
        bootstrap.seal()
        gc.collect()
        gc.freeze()  # what is there now stays: no collection need look at it
        loop.post(wire.Ready(os.getpid(), boot.threads, native.build_id(), bootstrap.LEVEL))
        loop.run()
    except HostGone:
        os._exit(71)
    except Stopped:
        code = 0
    except SandboxError as exc:  # what the host sent is not what was agreed on
        if loop is None:
            sys.stderr.write(f"{exc}\n")
            return 70
        code = 70
        loop.post(wire.Bye(str(exc)))
    except Exception:
        sys.stderr.write(traceback.format_exc())
        os._exit(70)
    assert loop is not None
    loop.close()
    os._exit(code)  # threads may be in the middle of calls that nobody waits for
