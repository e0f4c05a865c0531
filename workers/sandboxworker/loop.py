"""The worker's loop: one socket to the host, the lifeline, and the threads' replies, batched into few frames.

A call for which a thread of the host waits comes by the lifeline, when nothing else is under way here. A thread that is idle
reads it (its leader), runs the call and answers by the same way: it wakes no other thread of this process. CANCEL and HOST_RESULT
come by the socket, which the loop reads.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from typing import Any, NoReturn

import zmq

from sandboxhost import options, wire
from sandboxhost.errors import ProtocolError, SandboxError, UnknownFunction
from sandboxhost.limits import ProcessLimits

from . import bootstrap, native
from .call_line import Begun, Gate
from .image import Image
from .lifeline import LIFELINE_FD, HostGone, Lifeline, close_all
from .plugin import Plugin, Shared
from .threads import Pool, Post, Task
from .watchdog import watchdog

_FRAME_BYTES = 192 << 10
"""A frame is sent when it holds about this many bytes."""
_MESSAGE_BYTES = 64
"""What a message counts besides its payload."""


_CONNECT_SECONDS = 10
"""The filter of system calls lets nobody connect."""


class Stopped(Exception):
    """The host sent STOP."""


class Loop:
    """Reads the socket until it would block, acts on each message, and sends what the threads have posted."""

    def __init__(self, boot: options.WorkerOptions, endpoint: str, listener: int, lifeline: Lifeline, gate: Gate) -> None:
        """listener: the socket that listens at the endpoint; the loop takes it over. The host connects, and nobody else."""
        self._lifeline = lifeline
        self._gate = gate
        self._outbox: deque[Any] = deque()
        self._wake, self._waker = os.pipe()
        self._woken = False
        self._delaying = False
        self._plugins: dict[int, Plugin] = {}
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 2)  # for _wait_for_threads
        self._socket = self._context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 1000), (zmq.SNDHWM, 0), (zmq.RCVHWM, 0), (zmq.MAXMSGSIZE, wire.MAX_FRAME),
            (zmq.USE_FD, listener), (zmq.IPC_FILTER_PID, os.getppid()),
        ):  # fmt: skip
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.ROUTING_ID, boot.routing_id)
        self._socket.bind(endpoint)
        path = endpoint.removeprefix("ipc://")
        self._exchange: tuple[Any, int] | None = None
        self._exchange_lock = threading.Lock()
        self._ended = _hang_up(lifeline.fileno())
        self._error: BaseException | None = None
        self._pool = Pool(boot.threads, self.post, self)
        self._wait_for_threads(boot.endpoint, path, listener)

    def _wait_for_threads(self, endpoint: str, path: str, listener: int) -> None:
        """Until ZeroMQ's two threads are where they wait for work: what they do to begin with, the filter of system calls does
        not let them do. The one has connected, and accepts nobody any more; the other has released the second of two sockets.
        Raises ProtocolError."""
        if not self._socket.poll(_CONNECT_SECONDS * 1000, zmq.POLLOUT):
            raise ProtocolError(f"nobody has connected to {endpoint} in {_CONNECT_SECONDS} s")
        _wait_for_silence(path, listener)
        self._context.socket(zmq.PAIR).close()
        while True:
            try:
                self._second = self._context.socket(zmq.PAIR)
                return
            except zmq.ZMQError as exc:
                if exc.errno != errno.EMFILE:
                    raise
                time.sleep(0.0001)

    # ---- for the threads: the lifeline's leader

    @property
    def gate(self) -> Gate:
        """Held by who reads the lifeline."""
        return self._gate

    def lifeline_fd(self) -> int:
        """For polling."""
        return self._lifeline.fileno()

    def read_line(self) -> list[Task]:
        """The leader's: takes in one datagram and returns the calls that it brought. Never raises."""
        try:
            return self._tasks_of(self._lifeline.next())
        except HostGone:
            self.host_gone()
        except BaseException as exc:
            self._error = exc
            self._wake_up()
            return []

    def begun(self, datagram: bytes, begun: Begun) -> Task:
        """The task of a call that the core has taken."""
        (message,) = wire.decode(datagram, wire.Direction.TO_WORKER)
        task = Task(message, begun.plugin, None, None, (), self._lifeline.post, None, begun)
        task.context.deadline_ns = begun.deadline_ns
        task.context.seconds = max(0, message.time_left_ns) / 1e9
        return task

    def host_gone(self) -> NoReturn:
        """There is nobody to answer to."""
        os._exit(71)

    def _tasks_of(self, messages: list[Any]) -> list[Task]:
        tasks = []
        for message in messages:
            if not isinstance(message, wire.Call | wire.Run):
                raise ProtocolError(f"lifeline: {type(message).__name__} does not belong there")
            task = self._task(message, self._lifeline.post)
            if task is not None:
                tasks.append(task)
        return tasks

    def _wake_up(self) -> None:
        if not self._woken:
            self._woken = True
            os.write(self._waker, b"\0")

    def post(self, *messages: Any) -> None:
        """Any thread: sends messages soon; a call of a host function, for which a guest waits, at once."""
        self._outbox.extend(messages)
        if not self._delaying or isinstance(messages[0], wire.HostCall):
            self._wake_up()

    def run(self) -> None:
        """Until HostGone, Stopped, or ProtocolError from the host's side.

        While more calls are in progress than there are threads, replies are collected for a millisecond: waking up for each would
        take the interpreter lock from the threads that make them.
        """
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._ended.fileno(), zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while True:
            self._delaying = self._pool.crowded()
            ready = dict(poller.poll(1 if self._delaying else None))
            if self._error is not None:
                raise self._error
            if self._ended.fileno() in ready:
                raise HostGone
            if self._socket in ready:
                self._receive()
            if self._wake in ready:
                os.read(self._wake, 1)
                self._woken = False
            self._delaying = False
            for task in self._tasks_of(self._lifeline.left()):
                self._pool.submit(task, 0)
            self.flush()

    def close(self) -> None:
        """Sends what is left, waiting at most LINGER."""
        self.flush()
        self._socket.close()
        self._second.close()
        self._context.term()

    def flush(self) -> None:
        """Sends everything that was posted."""
        batch: list[Any] = []
        size = 0
        while self._outbox:
            for message in wire.pieces(self._outbox.popleft()):
                size += _MESSAGE_BYTES + sum(len(field) for field in message if type(field) in (bytes, str))
                batch.append(message)
                if size >= _FRAME_BYTES:
                    self._send(batch)
                    batch, size = [], 0
        if batch:
            self._send(batch)

    def _send(self, batch: list[Any]) -> None:
        for frame in _encoded(batch):
            self._socket.send(frame)

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
            self._start(message, message.parent)
        elif isinstance(message, wire.CallRows):
            self._start(message, 0)
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
            raise ProtocolError(f"host to worker: {type(message).__name__} does not belong here")

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

    def _start(self, message: wire.Call | wire.Run | wire.CallRows, parent: int) -> None:
        """Makes a task of a call and gives it to the pool."""
        task = self._task(message, self.post)
        if task is not None:
            self._pool.submit(task, parent)

    def _shared(self, message: wire.Run) -> Shared:
        """The command's part of the exchange. Raises ProtocolError: there is no such part."""
        with self._exchange_lock:
            if self._exchange is None:
                self._exchange = _map_exchange(*self._lifeline.take("exchange", 0))
        base, size = self._exchange
        offset, length, output, room = message.offset, message.length, message.output, message.room
        if not (length <= size - offset and room <= size - output and offset + length <= output):
            raise ProtocolError(f"Run: {length} bytes at {offset}, room of {room} at {output}, in an exchange of {size}")
        return Shared(base + offset, length, base + output, room, lambda count: wire.OutputShared(message.id, count))

    def _task(self, message: wire.Call | wire.Run | wire.CallRows, post: Post) -> Task | None:
        """The task of a call; one that cannot be made is answered."""
        deadline = None if message.time_left_ns == wire.UNLIMITED else time.monotonic() + message.time_left_ns / 1e9
        descriptors: list[int] = []
        try:
            plugin = self._plugins.get(message.plugin)
            run = _run_options(message, plugin) if isinstance(message, wire.Run) else None
            if run is not None and run.stdio == "descriptors":
                descriptors = self._lifeline.take("run", message.id)
            if isinstance(message, wire.CallRows) and not 0 < message.rows <= wire.MAX_FRAME:
                raise ProtocolError(f"CallRows.rows: {message.rows}")
            if plugin is None:
                raise UnknownFunction(f"plugin {message.plugin} is not loaded in this worker")
            shared = self._shared(message) if isinstance(message, wire.Run) and message.offset >= 0 else None
            return Task(message, plugin, deadline, run, tuple(descriptors), post, shared)
        except Exception as exc:
            close_all(descriptors)
            post(wire.failed(message.id, exc))
            return None


def _run_options(message: wire.Run, plugin: Plugin | None) -> options.RunOptions:
    """Decoded, unless the plugin's last command had the same. Raises ProtocolError."""
    if plugin is not None and plugin.last_run is not None and plugin.last_run[0] == message.options:
        return plugin.last_run[1]
    found = options.RunOptions.decode(message.options)
    if plugin is not None and not found.stdin:
        plugin.last_run = message.options, found
    return found


def _map_exchange(fd: int) -> tuple[Any, int]:
    """(where it is, its size). Takes over the descriptor. Raises ProtocolError."""
    try:
        size = native.plain("sbx_process_file_size", fd)
        base = native.plain("sbx_process_map_shared", fd, size)
    finally:
        os.close(fd)
    if not base:
        raise ProtocolError(f"the exchange of {size} bytes cannot be mapped")
    return base, size


def _wait_for_silence(path: str, listener: int) -> None:
    """Until the host has removed the endpoint's path, so that no stranger finds it, and those that had found it were accepted,
    which is to say closed (IPC_FILTER_PID). Raises ProtocolError."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    end = time.monotonic() + _CONNECT_SECONDS
    while os.path.lexists(path) or waiting.poll(0):
        if time.monotonic() >= end:
            raise ProtocolError(f"{path} is still there, or strangers connect to it, after {_CONNECT_SECONDS} s")
        time.sleep(0.0001)


def _hang_up(lifeline: int) -> select.epoll:
    """Something that becomes readable when the other end of the lifeline is closed, and not with what comes by it."""
    found = select.epoll()
    found.register(lifeline, 0)  # that it was hung up is told in any case
    return found


def _encoded(batch: list[Any]) -> list[bytes]:
    """One frame; when it is too large, one a message, and a message that cannot be sent becomes a FAILED."""
    try:
        return [wire.encode(batch, wire.MAX_FRAME_TO_HOST)]
    except ProtocolError:
        frames = []
        for message in batch:
            try:
                frames.append(wire.encode([message], wire.MAX_FRAME_TO_HOST))
            except ProtocolError as exc:
                frames.append(wire.encode([wire.failed(message.id, exc)]))
        return frames


def thread_failed(failure: threading.ExceptHookArgs) -> NoReturn:
    """An error of our own in a thread ends the process: calls would wait for the lost thread, or their deadlines, for ever."""
    kind, value, trace, _ = failure
    sys.stderr.write("".join(traceback.format_exception(kind, value, trace)))
    os._exit(70)


def run(spare: bool = False) -> int:
    """The role, from bootstrap to the end. Returns the exit code: 0 after STOP, 70 for an error of our own, 71 when the host
    is gone. spare: says when it is ready for BOOT, which may come much later.
    """
    lock_down = bootstrap.LockDown(bootstrap.isolate(LIFELINE_FD))
    gate = Gate()
    lifeline = Lifeline(lock=gate)
    loop: Loop | None = None
    try:
        if spare:
            lifeline.send(wire.encode([wire.Warm()]))
        first, directories = lifeline.receive()
        if not isinstance(first, wire.Boot):
            raise ProtocolError(f"expected Boot, got {type(first).__name__}")
        boot = options.WorkerOptions.decode(first.options)
        if len(directories) != 1 + len(boot.directories or ()):
            raise ProtocolError(f"Boot: {len(boot.directories or ())} directories, {len(directories)} descriptors")
        listener = directories.pop(0)
        granted = None if boot.directories is None else tuple(zip(directories, boot.directories, strict=True))
        endpoint = lock_down.confine(ProcessLimits.from_wire(boot.limits), granted, boot.endpoint)
        close_all(directories)
        threading.excepthook = thread_failed
        watchdog.start()
        loop = Loop(boot, endpoint, listener, lifeline, gate)
        lock_down.seal("WORKER" if granted == () else "FILES")
        gc.collect()
        gc.freeze()  # what is there now stays: no collection need look at it
        loop.post(wire.Ready(os.getpid(), boot.threads, native.build_id(), lock_down.level, lock_down.explanation))
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
