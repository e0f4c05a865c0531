"""The router: which call goes to which worker, and which one outcome each call gets. A state machine without input or output.

A stimulus (a method) comes in with the time, instructions come out; whoever drives the router carries them out in order. Not for
concurrent use: the driver holds a lock.

    call:    queued ──written──▶ in flight ──RESULT, FAILED──▶ ended           ended exactly once, by Finish
               │                    ├─ worker lost: retried if idempotent, else WorkerLost
               │                    └─ deadline + grace, or cancel + grace: ended here, worker drained and killed
               └─ deadline, cancel, unload, close: ended here
    worker:  starting ──READY──▶ ready ──overdue call, recycling──▶ draining ──▶ killed ──▶ lost

A worker belongs to a trust domain all its life (domains.py) and gets calls of plugins of that domain only. A plugin changes its
domain only to run alone for a time, after the loss of a worker that it shared (quarantine.py).
"""
from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Any

from . import wire
from .domains import DEFAULT, Domain
from .errors import (
    Cancelled,
    HostClosed,
    Loss,
    Overloaded,
    ProtocolError,
    SandboxError,
    UnknownFunction,
    WorkerLost,
    WorkerStartError,
)
from .quarantine import Quarantine
from .router_domains import DomainSide
from .router_messages import Timed, deadline_error, most_outputs, one_message, place
from .router_state import (
    IGNORED,
    Abandoned,
    CallSpec,
    CallState,
    Counters,
    Emit,
    Finish,
    Grow,
    Instruction,
    InvokeHost,
    Kill,
    Part,
    Plugin,
    Send,
    SendDescriptors,
    WorkerState,
)
from .router_worker_side import WorkerSide
from .statistics import Usage
from .tally import MOST_RECENT, Tally

GRACE = 0.5
"""Seconds between a call's deadline (or its cancellation) and the SIGKILL for a worker that ignores it."""
DRAIN = 2.0
"""Seconds that the other calls of such a worker get before it is killed."""
PREFETCH = 16
"""Calls of a batch that a worker may hold per thread, so that they travel together."""
MOST_ABANDONED = 10_000
"""Calls that ended here and that one worker has not answered."""
PREFETCH_ROWS = 2
"""The same for calls of many rows."""
TIMERS = 16 * 2**10
"""So many deadlines of calls by a line are kept before those of ended calls are dropped: nobody else looks at them then."""
LINE_BYTES = 16 * 2**10
"""Payload bytes of a call that may travel by a line."""


class Router(WorkerSide, DomainSide):
    """See the module's text. Times are seconds of one monotonic clock."""

    def __init__(self, grace: float = GRACE, drain: float = DRAIN, quarantine: Quarantine | None = None) -> None:
        self.grace, self.drain = grace, drain
        self._quarantine = quarantine or Quarantine(None, 0.0)
        self.workers: dict[bytes, WorkerState] = {}
        self.plugins: dict[int, Plugin] = {}
        self.calls: dict[int, CallState] = {}
        self.draining = self.closed = False
        """draining: nothing more is accepted, but what calls in progress need."""
        self.failures: dict[Domain, str] = {}
        """Why no worker can be had any more."""
        self._crowded: set[Domain] = set()
        """Domains whose calls found no room."""
        self._next_id = 1
        self._timers: list[tuple[float, int]] = []
        self._turn: deque[int] = deque()
        """Plugins with queued calls, each once; the first is next."""
        self._out: list[Instruction] = []
        self._outbox: dict[bytes, list[Any]] = {}
        self._accepted = self._ended = self._rejected = self._late = self._protocol_errors = 0
        self._mean = 0.001
        self.gone = Tally()
        """Of plugins that were dropped."""
        self._endings: list[tuple[Tally, CallState, SandboxError | None]] = []
        """Calls that have ended since the last instructions were handed out."""
        self._leaving: list[Tally] = []
        """Of plugins that have been dropped since."""

    # ---- stimuli: application ----

    def add_plugin(self, plugin: Plugin) -> None:
        """A plugin from now on may get calls."""
        self.plugins[plugin.id] = plugin

    def remove_plugin(self, plugin_id: int, now: float) -> list[Instruction]:
        """Queued calls are cancelled, calls in flight end as usual, then the workers drop the plugin."""
        plugin = self.plugins.get(plugin_id)
        if plugin is not None and not plugin.removed:
            plugin.removed = True
            for call in list(plugin.queue):
                self._finish(call, error=Cancelled("the plugin was unloaded"))
            self._unload_if_idle(plugin)
        return self._flush(now)

    def retire_plugin(self, plugin_id: int, now: float) -> list[Instruction]:
        """Nothing more is accepted, all calls that it has end as usual, then the workers drop the plugin."""
        plugin = self.plugins.get(plugin_id)
        if plugin is not None and not plugin.removed:
            plugin.removed = plugin.retired = True
            self._unload_if_idle(plugin)
        return self._flush(now)

    def submit(self, spec: CallSpec, now: float) -> tuple[int, list[Instruction]]:
        """Accepts a call and returns its id.

        Raises HostClosed, UnknownFunction (the plugin is unloaded), WorkerStartError, Overloaded: then nothing was accepted.
        """
        (call_id,), instructions = self.submit_many([spec], now)
        return call_id, instructions

    def submit_many(self, specs: list[CallSpec], now: float) -> tuple[list[int], list[Instruction]]:
        """Accepts all of the calls (of one plugin) or none; see `submit`."""
        if self.closed or (self.draining and not (specs and specs[0].parent in self.calls)):
            raise HostClosed("the host is closed")
        plugin = self.plugins.get(specs[0].plugin) if specs else None
        if not specs or plugin is None or plugin.removed:
            raise UnknownFunction("the plugin is not loaded (any more)")
        count = len(specs) if specs[0].kind != "rows" else sum(spec.rows for spec in specs)
        try:
            self._admit(plugin, specs[0].function)
        except SandboxError as exc:
            plugin.tally.refuse(exc, count)
            raise
        if plugin.pending + count > plugin.limits.pending_calls:
            self._rejected += count
            error = Overloaded(f"{plugin.name}: {plugin.pending} calls are pending, {plugin.limits.pending_calls} are allowed",
                               limit="pending_calls", allowed=plugin.limits.pending_calls, plugin=plugin.name,
                               retry_after=max(0.001, self._mean * plugin.pending / max(1, self._threads())))
            plugin.tally.refuse(error, count)
            raise error
        ids = [self._accept(plugin, spec, now) for spec in specs]
        return ids, self._flush(now)

    def begin(self, spec: CallSpec, now: float) -> tuple[bytes, wire.Call | wire.Run] | None:
        """The short way for a call that a thread waits for: accepts it and says what to send to which worker by its line.

        None, and nothing has happened, unless it can start at once in a worker that does nothing else and holds the plugin:
        then `submit` it, which also finds the words for a refusal.
        """
        plugin = self.plugins.get(spec.plugin)
        if plugin is None or plugin.removed or plugin.queue or self._turn or self.closed or self.draining or spec.parent or (
                spec.kind not in ("call", "run")) or spec.descriptors or plugin.quarantined or plugin.mourned:
            return None
        limit = plugin.concurrency
        if plugin.pending >= plugin.limits.pending_calls or (limit is not None and plugin.in_flight >= limit):
            return None
        if len(spec.payload) > LINE_BYTES or len(spec.function) > LINE_BYTES:
            return None
        for worker in (plugin.home,) if plugin.home is not None else self.workers.values():
            if not worker.calls and worker.line and worker.state == "ready" and worker.plugins.get(plugin.id):
                break
        else:
            return None
        call = CallState(self._next_id, spec, worker, now)
        self._next_id += 1
        self._accepted += 1
        self.calls[call.id] = worker.calls[call.id] = call
        plugin.pending += 1
        plugin.in_flight += 1
        if plugin.persistent:
            plugin.home, plugin.alive = worker, plugin.alive or spec.kind == "call"
        if spec.deadline is not None:
            if len(self._timers) > 2 * len(self.calls) + TIMERS:
                self._forget_timers()
            heapq.heappush(self._timers, (spec.deadline, call.id))
        fuel = wire.Signed(wire.UNLIMITED if plugin.limits.fuel is None else plugin.limits.fuel)
        return worker.id, one_message(call, fuel, now)

    def complete(self, worker_id: bytes, call_id: int, message: wire.Result | wire.ResultShared, now: float,
                 output: int = 0) -> Finish | None:
        """The short way back: `received` for one RESULT of a call that `begin` accepted, after that many bytes of output, when it
        is all that there is to do. None, and nothing has happened, when it is not.
        """
        call = self.calls.get(call_id)
        if message.id != call_id or call is None or call.worker is None or call.worker.id != worker_id or self._turn:
            return None
        worker, plugin = call.worker, self.plugins[call.spec.plugin]
        if worker.state != "ready" or plugin.removed or len(message.payload) > plugin.limits.result_bytes or (
                call.output + output > plugin.limits.output_bytes):
            return None
        del self.calls[call_id], worker.calls[call_id]
        self._ended += 1
        plugin.pending -= 1
        plugin.in_flight -= 1
        worker.ended += 1
        self._mean += (message.time_ns / 1e9 - self._mean) / 16
        tally = plugin.tally  # as Tally.end and .use
        tally.recent.append(now - call.accepted)
        if len(tally.recent) > MOST_RECENT:
            tally.fold()
        tally.busy_ns += message.time_ns
        if message.memory > tally.peak:
            tally.peak = message.memory
        return Finish(call_id, message.payload, None, Usage(message.fuel, message.time_ns, message.memory, worker.pid))

    def cancel(self, call_id: int, now: float) -> list[Instruction]:
        """Ends a call as soon as possible; a call that has ended already is left alone."""
        call = self.calls.get(call_id)
        if call is not None and not call.cancelled:
            if call.worker is None:
                self._finish(call, error=Cancelled("cancelled before it was started"))
            else:
                call.cancelled = True
                self._send(call.worker, wire.Cancel(call.id))
                heapq.heappush(self._timers, (now + self.grace, call.id))
        return self._flush(now)

    def host_result(self, call_id: int, sequence: int, ok: bool, payload: bytes, now: float) -> list[Instruction]:
        """A function of the application has returned packed results, or failed with a text."""
        call = self.calls.get(call_id)
        if call is not None and call.worker is not None and 0 < sequence == call.asked:
            call.asked = 0
            self._send(call.worker, wire.HostResult(call_id, sequence, ok, payload))
        return self._flush(now)

    def close(self, now: float) -> list[Instruction]:
        """Every pending call ends with HostClosed; workers are told to stop."""
        self.closed = True
        for call in list(self.calls.values()):
            self._finish(call, error=HostClosed("the host was closed while the call was pending"))
        for worker in self.workers.values():
            if worker.state in ("ready", "draining"):
                self._send(worker, wire.Stop())
        return self._flush(now)

    # ---- stimuli: workers ----

    def worker_started(self, worker_id: bytes, pid: int, line: bool = False, domain: Domain = DEFAULT) -> None:
        """A process was given its domain; it gets calls after READY. line: `begin` may choose it."""
        self.workers[worker_id] = WorkerState(worker_id, pid=pid, line=line, domain=domain)

    def drain_worker(self, worker_id: bytes, reason: str, now: float) -> list[Instruction]:
        """It gets no further calls, and is killed when those that it has have ended: it is being recycled."""
        worker = self.workers.get(worker_id)
        if worker is not None and worker.state == "ready":
            worker.state, worker.kill_for = "draining", (reason, Loss.HOST)
        return self._flush(now)

    def pinned(self, worker_id: bytes) -> bool:
        """Whether the instance of a persistent plugin lives there."""
        return any(plugin.alive and plugin.home is not None and plugin.home.id == worker_id for plugin in self.plugins.values())

    def unwritten(self, worker_id: bytes, call_ids: Iterable[int], now: float) -> list[Instruction]:
        """The worker could not be reached: these calls certainly never left and may go elsewhere. `worker_lost` follows."""
        worker = self.workers.get(worker_id)
        if worker is not None:
            worker.state = "killed"
            for call in [worker.calls[i] for i in sorted(call_ids, reverse=True) if i in worker.calls]:
                self._lose(worker, call, "it could not be reached", True)
        return self._flush(now)

    def worker_lost(self, worker_id: bytes, reason: str, now: float, kind: Loss = Loss.KILLED) -> list[Instruction]:
        """The process is gone."""
        worker = self.workers.pop(worker_id, None)
        if worker is not None:
            worker.state = "lost"
            for plugin in self.plugins.values():
                if plugin.home is worker:
                    plugin.home, plugin.last_loss = None, kind
                    plugin.mourned, plugin.alive = reason if plugin.alive else "", False
            self._blame(worker, kind, reason, now)
            self._outbox.pop(worker_id, None)
            for call in reversed(list(worker.calls.values())):
                self._lose(worker, call, reason, False, kind)
            for plugin in [p for p in self.plugins.values() if p.mourned and p.queue]:
                call = plugin.queue[0]
                self._finish(call, error=self._mourn(plugin, call.spec.function))
        return self._flush(now)

    def no_workers(self, reason: str, now: float, domain: Domain = DEFAULT) -> list[Instruction]:
        """Workers of a domain cannot be started: its pending calls end with WorkerStartError, further ones are refused."""
        self.failures[domain] = reason
        for call in list(self.calls.values()):
            if self.plugins[call.spec.plugin].domain == domain:
                self._finish(call, error=WorkerStartError(reason))
        return self._flush(now)

    def received(self, worker_id: bytes, messages: list[Any], now: float) -> list[Instruction]:
        """Decoded messages of one worker. One that breaks the protocol gets the worker killed."""
        worker = self.workers.get(worker_id)
        if worker is not None and worker.state != "killed":
            try:
                for message in messages:
                    self._HANDLERS[type(message)](self, worker, message, now)
            except ProtocolError as exc:
                self._violation(worker, str(exc))
        return self._flush(now)

    def violation(self, worker_id: bytes, text: str, now: float) -> list[Instruction]:
        """The driver found a broken frame of this worker."""
        worker = self.workers.get(worker_id)
        if worker is not None:
            self._violation(worker, text)
        return self._flush(now)

    def tick(self, now: float) -> list[Instruction]:
        """Time has passed; call it at `next_time` at the latest."""
        while self._timers and self._timers[0][0] <= now:
            call = self.calls.get(heapq.heappop(self._timers)[1])
            if call is not None:
                self._overdue(call, now)
        for worker in self.workers.values():
            if worker.state == "draining" and (not worker.calls or (worker.kill_at is not None and worker.kill_at <= now)):
                worker.state = "killed"
                self._out.append(Kill(worker.id, *worker.kill_for))
        self._acquit(now)
        return self._flush(now)

    def next_time(self) -> float | None:
        """When `tick` wants to be called; None: not before something happens."""
        if len(self._timers) > 2 * len(self.calls) + 1024:  # most are of calls that ended in time
            self._forget_timers()
        while self._timers and self._timers[0][1] not in self.calls:
            heapq.heappop(self._timers)
        draining = [worker for worker in self.workers.values() if worker.state == "draining"]
        ends = [worker.kill_at if worker.calls else 0.0 for worker in draining]
        times = [end for end in ends if end is not None]
        if self._timers:
            times.append(self._timers[0][0])
        return min(times, default=None)

    def _forget_timers(self) -> None:
        """Of calls that have ended."""
        self._timers = [timer for timer in self._timers if timer[1] in self.calls]
        heapq.heapify(self._timers)

    def counters(self) -> Counters:
        """A snapshot."""
        return Counters(self._accepted, self._ended, self._rejected, self._late, self._protocol_errors)

    # ---- calls ----

    def _accept(self, plugin: Plugin, spec: CallSpec, now: float) -> int:
        call = CallState(self._next_id, spec, None, now)
        self._next_id += 1
        self._accepted += spec.rows
        self.calls[call.id] = call
        plugin.pending += spec.rows
        if spec.deadline is not None:
            heapq.heappush(self._timers, (spec.deadline, call.id))
        call.maker = spec.parent
        parent = self._waiting_in(plugin.domain, spec.parent)
        if parent is not None and parent.worker is not None:
            call.spec.parent = parent.id
            plugin.in_flight += 1
            self._write(parent.worker, plugin, call)
        else:
            call.spec.parent = 0
            self._enqueue(plugin, call)
        return call.id

    def _waiting_in(self, domain: Domain, call_id: int) -> CallState | None:
        """The call that waits for its host function on a worker of this domain: the maker of a call, or the maker's maker …"""
        call = self.calls.get(call_id)
        while call is not None:
            if call.worker is not None and call.worker.domain == domain and call.worker.state == "ready":
                return call
            call = self.calls.get(call.maker)
        return None

    def _enqueue(self, plugin: Plugin, call: CallState, first: bool = False) -> None:
        if not plugin.queue:
            self._turn.append(plugin.id)
        if first:
            plugin.queue.appendleft(call)
        else:
            plugin.queue.append(call)

    def _write(self, worker: WorkerState, plugin: Plugin, call: CallState) -> None:
        spec = call.spec
        call.worker = worker
        worker.calls[call.id] = call
        worker.threadless += spec.threadless
        if plugin.persistent and spec.kind in ("call", "rows"):
            plugin.alive = True
        if plugin.id not in worker.plugins:
            worker.plugins[plugin.id] = False
            self._out.append(SendDescriptors(worker.id, "load", plugin.id))
            load_id = call.id
            if spec.kind != "load":
                load_id, self._next_id = self._next_id, self._next_id + 1
                worker.loads[load_id] = plugin.id
            self._send(worker, wire.Load(load_id, plugin.id, plugin.name, plugin.options))
        elif spec.kind == "load":
            self._finish(call, usage=Usage())
        if spec.kind == "load":
            return
        if spec.descriptors:
            self._out.append(SendDescriptors(worker.id, "run", call.id))
        fuel = wire.Signed(wire.UNLIMITED if plugin.limits.fuel is None else plugin.limits.fuel)
        self._send(worker, Timed(call, fuel))

    def _finish(self, call: CallState, payload: bytes = b"", error: SandboxError | None = None,
                usage: Usage | None = None) -> None:
        """The one place where a call ends."""
        if self.calls.pop(call.id, None) is None:
            return
        self._ended += call.spec.rows
        plugin = self.plugins[call.spec.plugin]
        plugin.pending -= call.spec.rows
        worker = call.worker
        if worker is None:
            if call in plugin.queue:
                plugin.queue.remove(call)
                if not plugin.queue:
                    self._turn.remove(plugin.id)
        else:
            plugin.in_flight -= 1
            worker.calls.pop(call.id, None)
            worker.threadless -= call.spec.threadless
            worker.ended += call.spec.rows
            if usage is None and worker.state not in ("lost", "killed"):
                self._abandon(worker, plugin, call)
        if call.spec.kind != "load":
            self._endings.append((plugin.tally, call, error))
            if usage is not None:
                plugin.tally.use(usage.time_ns, usage.memory)
        usage = (usage or Usage())._replace(worker=worker.pid if worker is not None else 0)
        if error is not None:
            place(error, plugin.name, call.spec.function, usage)
        self._out.append(Finish(call.id, payload, error, usage))
        if plugin.removed:
            self._unload_if_idle(plugin)

    def _abandon(self, worker: WorkerState, plugin: Plugin, call: CallState) -> None:
        """The worker has not answered yet."""
        spec = call.spec
        worker.abandoned[call.id] = Abandoned(
            plugin.id, spec.kind == "load", 2 * spec.rows + most_outputs(plugin.limits, spec.rows))
        if len(worker.abandoned) > MOST_ABANDONED:
            self._violation(worker, f"{len(worker.abandoned)} calls ended without an answer of its own")

    def _lose(self, worker: WorkerState, call: CallState, reason: str, unwritten: bool, kind: Loss = Loss.KILLED) -> None:
        plugin = self.plugins[call.spec.plugin]
        again = unwritten or (call.spec.idempotent and not call.retried and not plugin.quarantined)
        if again and not (call.cancelled or call.spec.parent or self.closed or (plugin.removed and not plugin.retired)):
            call.retried = call.retried or not unwritten
            plugin.mourned = plugin.mourned if unwritten else ""  # who allows repeating has allowed this
            call.worker = None
            call.host_calls = call.output = call.outputs = call.asked = 0
            call.base = call.done
            worker.calls.pop(call.id)
            worker.threadless -= call.spec.threadless
            plugin.in_flight -= 1
            self._enqueue(plugin, call, first=True)
        elif call.cancelled:
            self._finish(call, error=Cancelled(f"cancelled; its worker was lost: {reason}"))
        else:
            gone = bool(plugin.mourned) and call.spec.kind in ("call", "rows")
            text = f"the worker was lost during the call: {reason}" + ("; its instance is gone" if gone else "")
            plugin.mourned = "" if gone else plugin.mourned
            self._finish(call, error=WorkerLost(text, maybe_ran=not unwritten, kind=kind, reason=reason, instance_lost=gone))

    def _overdue(self, call: CallState, now: float) -> None:
        """A timer of the call went off: its deadline, or the end of the grace time."""
        spec, worker = call.spec, call.worker
        overdue = spec.deadline is not None and spec.deadline <= now
        if worker is None:
            if overdue:
                self._finish(call, error=deadline_error(self.plugins[spec.plugin], "before it was started"))
        elif call.cancelled or (overdue and spec.deadline is not None and spec.deadline + self.grace <= now):
            error = Cancelled("cancelled") if call.cancelled else deadline_error(self.plugins[spec.plugin], "and did not react")
            self._finish(call, error=error)
            worker.culprits.add(spec.plugin)
            worker.state, worker.kill_for = "draining", IGNORED
            worker.kill_at = min(worker.kill_at or now + self.drain, now + self.drain)
        elif overdue and spec.deadline is not None:
            heapq.heappush(self._timers, (spec.deadline + self.grace, call.id))

    # ---- dispatch ----

    def _threads(self) -> int:
        return sum(worker.threads for worker in self.workers.values() if worker.state == "ready")

    def _unload_if_idle(self, plugin: Plugin) -> None:
        if plugin.in_flight or plugin.queue or self.plugins.get(plugin.id) is not plugin:
            return
        for worker in self.workers.values():
            if worker.plugins.pop(plugin.id, None) is not None and worker.state in ("ready", "draining"):
                self._send(worker, wire.Unload(plugin.id))
        del self.plugins[plugin.id]
        if all(other.tally is not plugin.tally for other in self.plugins.values()):
            self._leaving.append(plugin.tally)
        self._quarantine.forget(plugin.id)
        if all(other.domain != plugin.domain for other in self.plugins.values()) and plugin.domain != DEFAULT:
            self.failures.pop(plugin.domain, None)

    def _choose(self, plugin: Plugin, call: CallState) -> WorkerState | None:
        """The least busy ready worker with room; among equals one that holds the plugin."""
        if plugin.home is not None:
            return plugin.home if plugin.home.state == "ready" else None
        best: WorkerState | None = None
        rank: tuple[float, bool] = (0.0, False)
        for worker in self.workers.values():
            if worker.domain != plugin.domain:
                continue
            room = worker.threads * (PREFETCH_ROWS if call.spec.kind == "rows" else PREFETCH if call.spec.batch else 1)
            if worker.state == "ready" and (worker.busy < room or call.spec.kind == "load"):
                own = (worker.busy / worker.threads, plugin.id not in worker.plugins)
                if best is None or own < rank:
                    best, rank = worker, own
        return best

    def _dispatch(self) -> None:
        blocked = 0
        while self._turn and blocked < len(self._turn):
            plugin = self.plugins[self._turn[0]]
            limit = plugin.concurrency
            free = limit is None or plugin.in_flight < limit
            worker = self._choose(plugin, plugin.queue[0]) if free else None
            if worker is None:
                if free and plugin.home is None:
                    self._crowded.add(plugin.domain)
                blocked += 1
                self._turn.rotate(-1)
                continue
            blocked = 0
            call = plugin.queue.popleft()
            if plugin.persistent:
                plugin.home = worker
            plugin.in_flight += 1
            if plugin.queue:
                self._turn.rotate(-1)
            else:
                self._turn.popleft()
            self._write(worker, plugin, call)

    def _send(self, worker: WorkerState, message: Any) -> None:
        if worker.state in ("ready", "draining"):
            self._outbox.setdefault(worker.id, []).append(message)

    def _flush(self, now: float) -> list[Instruction]:
        """Hands out work, and what is to be written as one frame a worker; counts what has ended."""
        for tally, call, error in self._endings:
            tally.end(call, error, now)
        self._endings.clear()
        for tally in self._leaving:
            self.gone.add(tally)
        self._leaving.clear()
        if not self.closed:
            self._dispatch()
        if self._crowded:
            self._out += map(Grow, self._crowded)
            self._crowded.clear()
        for worker_id, messages in self._outbox.items():
            self._out.append(Send(worker_id, tuple(m.message(now) if type(m) is Timed else m for m in messages)))
        out, self._out = self._out, []
        self._outbox.clear()
        return out


__all__ = [
    "CallSpec", "Counters", "Emit", "Finish", "Instruction", "InvokeHost", "Kill", "Part", "Plugin", "Router", "Send",
    "SendDescriptors",
]
