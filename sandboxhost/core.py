"""The driver: carries out the router's instructions over sockets and processes, under one lock, with one thread for input.

Whoever has something to say (a caller, the input thread) takes the lock, gives the router its stimulus and carries out what
comes back, reading included: so a caller writes its own call without waking anybody. Outcomes and host functions are handed to
the calls' sinks after the lock is released. The input thread waits for sockets, deaths and times; it also starts the processes,
because a worker dies with the thread that started it.

A call that a thread waits for goes by the line of an idle worker (lines.py), where there is one, and that thread reads the line
itself: nobody else is woken, in this process or (but for the one that makes the call) in the worker.
"""
from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import forks, shm, wire
from .calls import Events, Waiter
from .engine import CompiledModule, Engine
from .errors import HostClosed, Loss, ProtocolError, WorkerError, WorkerStartError
from .exchange import SIZE, Exchange
from .forks import Refusing, RefusingEngine
from .limits import GroupLimits, Limits, ProcessLimits
from .lines import Line, Lines
from .logs import logger
from .oversight import Oversight, reach
from .process import MAX_STDERR
from .quarantine import Quarantine
from .router import CallSpec, Emit, Finish, Instruction, InvokeHost, Kill, Part, Plugin, Router, Send, SendDescriptors
from .router_state import Grow, Note
from .statistics import HostStatistics, PluginStatistics, WorkerStatistics
from .supervision import Supervision
from .supervisor import Supervisor, WorkerProcess
from .tally import figures, figures_of, total
from .transport import Transport, Unreachable
from .wire import Direction

__all__ = ["Core"]

STOP_SECONDS = 1.0
"""What workers get to end by themselves when the host closes."""
_ROUNDS = 8
"""Portions of what has arrived that are routed in one go, before anything is delivered."""
_DATAGRAMS = 1000
"""The same for a line, in datagrams."""


class Core:
    """Workers, router and transport of one host. Safe for use by several threads."""

    in_chunks = True

    def __init__(self, workers: int, threads: int, limits: ProcessLimits, engine: Engine, supervision: Supervision,
                 groups: GroupLimits | None = None) -> None:
        self._lock: threading.Lock | Refusing = threading.Lock()
        self._engine: Engine | RefusingEngine = engine
        self._router = Router(quarantine=Quarantine(supervision.quarantine_losses, supervision.quarantine_seconds))
        self._transport = Transport()
        self._lines = Lines()
        self._supervisor = Supervisor(workers, threads, self._transport, limits, supervision,
                                      lambda domain: reach(self._router, self._resources, domain), engine.minimum_level, groups)
        self._oversight = Oversight(self._router, self._supervisor, self._lines, supervision, time.monotonic())
        self._width = workers * threads
        self._sinks: dict[int, Events] = {}
        self._exchanges: dict[bytes, Exchange | None] = {}
        """By worker; None: the system refused one."""
        self._sharing: dict[int, bytes] = {}
        """Call -> the worker in whose exchange it has a part."""
        self._resources: dict[int, tuple[CompiledModule, list[int]]] = {}
        self._build_id = b""
        self._stopping = False
        self._closed = threading.Event()
        self._forked = False
        self._wait_until = 0.0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._loop, name="sandboxhost-io", daemon=True)
        self._thread.start()
        forks.watch(self)

    # ---- for the host ----

    def compile_module(self, data: bytes, limits: Limits) -> CompiledModule:
        """See Engine.compile_module."""
        return self._engine.compile_module(data, limits)

    def delete_compiled_module(self, data: bytes) -> None:
        """See Engine.delete_compiled_module."""
        self._engine.delete_compiled_module(data)

    def compiled_module_count(self) -> int:
        """See Engine.compiled_module_count."""
        return self._engine.compiled_module_count()

    def add_plugin(self, plugin: Plugin, image: CompiledModule, directories: list[int]) -> None:
        """Takes over `image` (one holder) and the directories' descriptors."""
        with self._lock:
            if self._stopping or self._router.draining:
                raise HostClosed("the host is closed")
            self._build_id = self._build_id or image.description.build_id
            self._resources[plugin.id] = image, directories
            self._router.add_plugin(plugin)

    def remove_plugin(self, plugin_id: int) -> None:
        """See Router.remove_plugin; the image and the directories are released with the last call."""
        self._do(lambda now: self._router.remove_plugin(plugin_id, now))

    def retire_plugin(self, plugin_id: int) -> None:
        """See Router.retire_plugin; then as after remove_plugin."""
        self._do(lambda now: self._router.retire_plugin(plugin_id, now))

    def submit(self, specs: list[CallSpec], sinks: Sequence[Events], background: bool = False) -> list[int]:
        """Accepts all calls or none; each sink gets exactly one `finish`. Never waits, so `background` changes nothing here.
        Raises as Router.submit."""
        with self._lock:
            ids, instructions = self._router.submit_many(specs, time.monotonic())
            self._sinks.update(zip(ids, sinks, strict=True))
            later = self._carry_out(instructions)
            self._pump(later)
            self._wake_if_earlier()
        self._deliver(later)
        return ids

    def perform(self, spec: CallSpec, sink: Waiter) -> Finish:
        """Makes one call and waits for its outcome. Raises as Router.submit, and what the call ended with; an interrupt (Ctrl-C)
        cancels the call.
        """
        started = time.monotonic()
        with self._lock:
            begun = self._router.begin(spec, started)
            line = self._lines.of.get(begun[0]) if begun is not None else None
            if begun is not None:
                call_id = begun[1].id
                self._sinks[call_id] = sink
                later = self._send_short(begun[0], begun[1], line, sink)
                if spec.deadline is not None and spec.deadline < self._wait_until:
                    self._wake_if_earlier()
        if begun is None:
            (call_id,) = self.submit([spec], [sink])
            return sink.wait(call_id)
        self._deliver(later)
        if line is None or line.leader is not sink:
            return sink.wait(call_id)
        try:
            found = self._attend(line, call_id, sink)
        except BaseException:
            self.cancel(call_id)
            raise
        finally:
            if line.leader is sink:
                with self._lock:
                    self._lines.leave(line)
        return sink.outcome(found) if found is not None else sink.wait(call_id)

    def _send_short(self, worker_id: bytes, message: wire.Call | wire.Run, line: Line | None,
                    sink: Waiter) -> list[Finish | InvokeHost]:
        """By the line, or else by ZeroMQ."""
        if line is not None and line.leader is None:
            try:
                if isinstance(message, wire.Run):
                    message = self._share(worker_id, message)
                line.send(wire.encode((message,)))
                line.leader = sink
                self._lines.led[sink] = line
                return []
            except (Unreachable, ProtocolError):
                pass
        later = self._carry_out([Send(worker_id, (message,))])
        self._pump(later)
        return later

    def _attend(self, line: Line, call_id: int, sink: Waiter) -> Finish | None:
        """Reads the line until the call's outcome is there; None when the line ends first."""
        while True:
            readable = line.wait()
            later: list[Finish | InvokeHost] = []
            with self._lock:
                if not line.open or self._stopping:
                    return None
                frame = line.receive() if readable else b""
                if readable and not frame:
                    return None  # the worker has ended, which is the input thread's business
                if frame:
                    finish = self._complete(line.worker.routing_id, call_id, sink, frame)
                    if finish is not None:
                        del self._sinks[call_id]
                        self._lines.leave(line)
                        return finish
                    sends = self._transport.sends
                    self._take_in(line.worker.routing_id, frame, later)
                    if sends != self._transport.sends:
                        self._pump(later)
                    self._wake_if_earlier()
            self._deliver(later, sink)
            found = sink.take()
            if found is not None:
                return found

    def _complete(self, worker_id: bytes, call_id: int, sink: Waiter, frame: bytes) -> Finish | None:
        """Under the lock: what the frame ends the call with, when it is all that there is to do. None, and nothing has happened,
        when it is not."""
        result = wire.decode_result(frame)
        if result is None or result.id != call_id:
            return None
        output = b""
        if type(result) is wire.ResultShared:
            try:
                output = self._fetch(worker_id, result)
            except ProtocolError:
                return None  # `_take_in` finds that again, and it has its consequences
        finish = self._router.complete(worker_id, call_id, result, time.monotonic(), len(output))
        if finish is not None:
            if output:
                sink.emit(wire.STDOUT, output, call_id)
            if call_id in self._sharing:
                self._unshare(call_id)
        return finish

    def host_result(self, call_id: int, sequence: int, ok: bool, payload: bytes) -> None:
        """Answers an InvokeHost."""
        self._do(lambda now: self._router.host_result(call_id, sequence, ok, payload, now))

    def cancel(self, call_id: int) -> None:
        """See Router.cancel."""
        self._do(lambda now: self._router.cancel(call_id, now))

    def width(self) -> int:
        """Calls of one plugin that can run at the same time when all workers of its domain are started."""
        return self._width

    def statistics(self) -> HostStatistics:
        """A snapshot."""
        with self._lock:
            counters, plugins = self._router.counters(), self._router.plugins.values()
            calls, compile_ = total(plugins, self._router.gone), self._engine.statistics()
            resident = {worker.routing_id: worker.resident for worker in self._supervisor.workers.values()}
            workers = tuple(
                WorkerStatistics(w.pid, w.state, w.threads, len(w.calls), w.ended, len(w.plugins), w.level, w.domain.tenant,
                                 str(w.domain), resident.get(w.id, 0)) for w in self._router.workers.values())
            return HostStatistics(
                counters.accepted, counters.ended, counters.rejected, counters.accepted - counters.ended,
                self._supervisor.started, self._supervisor.pools.lost_workers, counters.late_replies, counters.protocol_errors,
                compile_.modules, workers, self._supervisor.pools.spares(),
                self._supervisor.pools.recycled, {str(kind): count for kind, count in self._supervisor.losses.items()},
                sum(bool(plugin.quarantined) for plugin in plugins), tuple(self._supervisor.pools.replacements),
                calls.outcomes(), calls.latency(), figures(plugins), compile_)

    def plugin_statistics(self, plugin: Plugin) -> PluginStatistics:
        """A snapshot of one, whether it is loaded (any more) or not."""
        with self._lock:
            return figures_of(plugin, self._router.plugins.values())

    def _drain(self, seconds: float) -> None:
        """Accepts nothing more, and waits until what was accepted has ended."""
        end = time.monotonic() + seconds
        while True:
            with self._lock:
                self._router.draining = True
                if self._stopping or not self._router.calls:
                    return
            if time.monotonic() >= end:
                return
            time.sleep(0.002)

    def forked(self) -> None:
        """This is a child of the process whose workers they are: every use raises HostForked from now on."""
        self._forked = self._stopping = True
        self._lock, self._engine = Refusing(), RefusingEngine()
        for worker in (*self._supervisor.workers.values(), *self._supervisor.spares.values()):
            worker.process.lifeline.close()  # our copy: its end is to tell the worker when the parent is gone

    def close(self, drain: float = 0.0) -> None:
        """Pending calls get `drain` seconds, then they end with HostClosed; no process, descriptor or file is left after it. May
        be called again."""
        if self._forked:
            return
        if drain > 0:
            self._drain(drain)
        with self._lock:
            first, self._stopping = not self._stopping, True
            later = self._carry_out(self._router.close(time.monotonic())) if first else []
        self._deliver(later)
        if not first:
            self._closed.wait(10.0)
            return
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        with self._lock:
            for worker in self._supervisor.workers.values():
                self._lines.remove(worker)
            self._supervisor.close(STOP_SECONDS)
            self._transport.close()
            for worker_id in list(self._exchanges):
                self._drop_exchange(worker_id)
            for plugin_id in list(self._resources):
                self._release(plugin_id)
            self._engine.close()
            for fd in (self._wake_read, self._wake_write):
                os.close(fd)
        self._closed.set()

    # ---- under the lock ----

    def _do(self, stimulus: Callable[[float], list[Instruction]]) -> None:
        """Stimulus, instructions, input, delivery."""
        with self._lock:
            if self._stopping:
                return
            later = self._carry_out(stimulus(time.monotonic()))
            self._pump(later)
            self._wake_if_earlier()
        self._deliver(later)

    def _carry_out(self, instructions: list[Instruction]) -> list[Finish | InvokeHost]:
        """Everything that is not for sinks is done; what is for them is returned."""
        later: list[Finish | InvokeHost] = []
        todo = list(instructions)
        for item in todo:  # grows
            match item:
                case Send():
                    todo += self._send(item)
                case SendDescriptors():
                    todo += self._send_descriptors(item)
                case Kill():
                    self._kill(item.worker, item.reason, item.kind)
                case Grow():
                    if self._supervisor.pools.grow(item.domain, time.monotonic()):
                        self._wake()
                case Note():
                    logger.warning("%s", item.text)
                case Emit():
                    sink = self._sinks.get(item.call)
                    if sink is not None:
                        sink.emit(item.stream, item.data, item.call)
                case Part():
                    sink = self._sinks.get(item.call)
                    if sink is not None:
                        sink.part(item)
                case _:
                    if item.call in self._sharing and isinstance(item, Finish):
                        self._unshare(item.call)
                    later.append(item)
        if len(self._resources) != len(self._router.plugins):
            for plugin_id in [p for p in self._resources if p not in self._router.plugins]:
                self._release(plugin_id)
            self._supervisor.pools.changed = True  # a domain may have lost its last plugin
            self._wake()
        return later

    def _send(self, item: Send) -> list[Instruction]:
        try:
            messages = [self._share(item.worker, m) if type(m) is wire.Run else m for m in item.messages]
            self._transport.send(item.worker, wire.encode(messages))
        except (Unreachable, ProtocolError) as exc:
            logger.warning("worker %s cannot be written to: %s", item.worker.hex()[:8], exc)
            worker = self._supervisor.workers.get(item.worker)
            if worker is not None and not worker.process.reap():  # else it is dead, and how it died is told soon
                worker.kill("it cannot be written to", Loss.PROTOCOL)
            ids = [m.id for m in item.messages if isinstance(m, (wire.Call, wire.Run, wire.CallRows, wire.Load))]
            return self._router.unwritten(item.worker, ids, time.monotonic())
        return []

    def _share(self, worker_id: bytes, message: wire.Run) -> wire.Run:
        """A command's stdin in the worker's exchange, if it is large, with room for its output; else in the message."""
        sink = self._sinks.get(message.id)
        whole = sink.run if isinstance(sink, Waiter) else None
        plugin = self._router.plugins.get(message.plugin)
        exchange = self._exchange(worker_id) if plugin is not None and sink is not None and not sink.descriptors else None
        region = None
        if exchange is not None and plugin is not None:
            region = exchange.place(message.id, whole.stdin if whole else b"", plugin.limits.output_bytes)
        if region is None:
            return message._replace(options=whole.encode()) if whole else message
        self._sharing[message.id] = worker_id
        return message._replace(offset=wire.Signed(region.offset), length=region.length, output=region.output, room=region.room)

    def _exchange(self, worker_id: bytes) -> Exchange | None:
        """The worker's; made, and told to it, with the first command."""
        if worker_id in self._exchanges:
            return self._exchanges[worker_id]
        self._exchanges[worker_id] = made = None
        worker = self._supervisor.workers.get(worker_id)
        if worker is None or not shm.HAVE_MEMFD:
            return None
        try:
            made = Exchange()
            worker.process.send(wire.encode([wire.Descriptors("exchange", 0, 1)]), [made.fd])
        except (OSError, WorkerError) as exc:
            logger.warning("worker %d gets no shared memory of %d bytes: %s", worker.process.pid, SIZE, exc)
            if made is not None:
                made.close()
            return None
        self._exchanges[worker_id] = made
        return made

    def _drop_exchange(self, worker_id: bytes) -> None:
        exchange = self._exchanges.pop(worker_id, None)
        if exchange is not None:
            exchange.close()

    def _unshare(self, call_id: int) -> None:
        """The call has its outcome. While the worker may still write, its part stays its own."""
        worker_id = self._sharing.pop(call_id)
        worker, exchange = self._router.workers.get(worker_id), self._exchanges.get(worker_id)
        if exchange is not None and (worker is None or call_id not in worker.abandoned):
            exchange.free(call_id)

    def _fetch(self, worker_id: bytes, message: wire.OutputShared | wire.ResultShared) -> bytes:
        """A copy of what the message says is in the exchange. Raises ProtocolError."""
        exchange = self._exchanges.get(worker_id)
        if exchange is None:
            raise ProtocolError(f"{type(message).__name__}: the worker shares no memory")
        return exchange.output(message.id, message.length)

    def _fetched(self, worker_id: bytes, messages: list[Any]) -> Iterator[Any]:
        """OUTPUT with the bytes themselves where they are in the exchange. Raises ProtocolError."""
        for message in messages:
            if type(message) is wire.OutputShared or type(message) is wire.ResultShared:
                yield wire.Output(message.id, wire.STDOUT, self._fetch(worker_id, message))
                if type(message) is wire.ResultShared:
                    yield wire.Result._make(message[:-1])
            else:
                yield message

    def _send_descriptors(self, item: SendDescriptors) -> list[Instruction]:
        worker = self._supervisor.workers.get(item.worker)
        if item.role == "load":
            image, directories = self._resources[item.id]
            fds = [image.fd, *directories]
        else:
            sink = self._sinks.get(item.id)
            fds = list(sink.descriptors) if sink is not None else []
        try:
            if worker is not None:
                worker.process.send(wire.encode([wire.Descriptors(item.role, item.id, len(fds))]), fds)
        except WorkerError as exc:
            self._kill(item.worker, str(exc))
        return []

    def _kill(self, worker_id: bytes, reason: str, kind: Loss = Loss.PROTOCOL) -> None:
        worker = self._supervisor.workers.get(worker_id) or self._supervisor.spares.get(worker_id)
        if worker is not None:
            level = logging.INFO if kind is Loss.HOST else logging.WARNING
            logger.log(level, "worker %d is killed: %s", worker.process.pid, reason)
            worker.kill(reason, kind)
            self._transport.mute(worker_id)

    def _release(self, plugin_id: int) -> None:
        image, directories = self._resources.pop(plugin_id)
        image.release()
        for fd in directories:
            os.close(fd)

    def _pump(self, later: list[Finish | InvokeHost]) -> None:
        """Reads and routes whatever has arrived, until nothing is left (the socket's descriptor tells of edges only). Of very
        much it takes the first part, so that what that brings is delivered; the input thread goes on."""
        for _ in range(_ROUNDS):
            arrived = self._transport.receive()
            sends = self._transport.sends
            for worker_id, frame in arrived:
                self._take_in(worker_id, frame, later)
            if not self._transport.more and sends == self._transport.sends:
                return
        if self._wait_until:
            self._wait_until = 0.0
            self._wake()

    def _pump_line(self, line: Line, later: list[Finish | InvokeHost]) -> None:
        """Takes in what a line has brought."""
        for _ in range(_DATAGRAMS):
            if not (frame := line.receive()):
                return
            self._take_in(line.worker.routing_id, frame, later)

    def _take_in(self, worker_id: bytes, frame: bytes | ProtocolError, later: list[Finish | InvokeHost]) -> None:
        """One frame of a worker's, or what is wrong with it."""
        now = time.monotonic()
        try:
            if isinstance(frame, ProtocolError):
                raise frame
            messages = list(self._fetched(worker_id, wire.decode(frame, Direction.TO_HOST)))
            self._check_ready(worker_id, messages, now)
        except ProtocolError as exc:
            later += self._carry_out(self._router.violation(worker_id, str(exc), now))
        except WorkerStartError as exc:  # no fault of the worker's
            logger.warning("a new worker is given up for another: %s", exc)
            self._kill(worker_id, str(exc), Loss.HOST)
        else:
            later += self._carry_out(self._router.received(worker_id, messages, now))

    def _check_ready(self, worker_id: bytes, messages: list[wire.Message], now: float) -> None:
        for message in messages:
            if isinstance(message, wire.Ready):
                if message.build_id != (self._build_id or message.build_id):
                    raise ProtocolError("Ready.build_id: a worker of another build of the core")
                self._supervisor.check_level(worker_id, message)
                self._build_id = message.build_id
                self._supervisor.ready(worker_id, now)

    def _deliver(self, later: list[Finish | InvokeHost], own: Events | None = None) -> None:
        """Without the lock: sinks may run the application's code. own: the calling thread's, which needs no waking."""
        for item in later:
            if isinstance(item, Finish):
                sink = self._sinks.pop(item.call, None)
                if sink is not None:
                    sink.finish(item)
            else:
                sink = self._sinks.get(item.call)
                if sink is not None:
                    sink.invoke(item)
            if sink is not own and self._lines.led:
                with self._lock:
                    self._lines.wake(sink)

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass

    def _wake_if_earlier(self) -> None:
        when = self._router.next_time()
        if when is not None and when < self._wait_until:
            self._wait_until = when
            self._wake()

    # ---- the input thread ----

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._transport.fd, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        watched: dict[int, WorkerProcess] = {}
        ready: list[tuple[int, int]] = []
        while True:
            with self._lock:
                if self._stopping:
                    return
                later = self._service(ready, poll, watched)
            self._deliver(later)
            wait = self._wait_until - time.monotonic()
            ready = poll.poll(wait * 1000 + 1 if wait > 0 else 0)

    def _service(self, ready: list[tuple[int, int]], poll: select.poll,
                 watched: dict[int, WorkerProcess]) -> list[Finish | InvokeHost]:
        """One round: what processes and sockets have to say, what time has to say, what to wait for."""
        later: list[Finish | InvokeHost] = []
        for fd, _ in ready:
            if fd == self._wake_read:
                os.read(fd, 4096)
            elif fd in watched:
                later += self._look_at(watched[fd], fd, poll, watched)
        later += self._carry_out(self._oversight.round(poll, watched, time.monotonic()))
        for line in self._lines.of.values():
            if line.leader is None:  # nobody reads it: what a caller left behind that gave up
                self._pump_line(line, later)
        later += self._carry_out(self._router.tick(time.monotonic()))
        self._pump(later)
        more = 0.0 if self._transport.more else None
        times = (self._router.next_time(), self._oversight.next_time(), more)
        self._wait_until = min((t for t in times if t is not None), default=time.monotonic() + 3600.0)
        return later

    def _look_at(self, worker: WorkerProcess, fd: int, poll: select.poll,
                 watched: dict[int, WorkerProcess]) -> list[Finish | InvokeHost]:
        """A process has said something or has ended."""
        process = worker.process
        if (fd == process.stderr and not process.read_stderr()) or (
                fd == process.lifeline.fileno() and not self._supervisor.heard_spare(worker)):
            poll.unregister(fd)  # end of file: the process is about to end
            del watched[fd]
        if process.said_bytes > MAX_STDERR and not worker.killed_for:
            self._kill(worker.routing_id, f"it wrote more than {MAX_STDERR} bytes to stderr")
        if fd != process.fd or not process.reap():
            return []
        for mine in (process.fd, process.stderr, process.lifeline.fileno()):
            if watched.pop(mine, None) is not None:
                poll.unregister(mine)
        now = time.monotonic()
        later: list[Finish | InvokeHost] = []
        self._pump(later)  # what it said before it died
        line = self._lines.of.get(worker.routing_id)
        if line is not None:
            self._pump_line(line, later)
        self._lines.remove(worker)
        self._drop_exchange(worker.routing_id)
        pid = process.pid
        reason, kind, told = self._supervisor.ended(worker, now)
        logger.log(logging.INFO if kind is Loss.HOST else logging.WARNING, "worker %d ended: %s: %s", pid, kind, told)
        later += self._carry_out(self._router.worker_lost(worker.routing_id, reason, now, kind))
        return later
