"""The supervisor: starts, boots and ends the worker processes that pools.py asks for, and finds out how each ended."""
from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import lockdown, wire
from .cgroups import Group, Groups
from .domains import Domain
from .errors import Loss, ProtocolError, WorkerError, WorkerStartError
from .limits import GroupLimits, ProcessLimits
from .logs import logger
from .options import Level, WorkerOptions
from .pools import Assign, Drain, End, Pools, Start
from .process import Process
from .supervision import Supervision
from .transport import Transport

__all__ = ["Changes", "Supervisor", "WorkerProcess"]

Reach = Callable[[Domain], tuple[tuple[bool, ...], list[int]]]
"""A domain's directories: whether each is writable, and descriptors that stay the owner's."""


@dataclass
class WorkerProcess:
    """One worker process of the supervisor."""

    routing_id: bytes
    process: Process
    domain: Domain | None = None
    """None: a spare."""
    group: Group | None = None
    """None: it has no control group of its own."""
    ready_at: float | None = None
    killed_for: str = ""
    """Why we killed it ourselves."""
    killed_kind: Loss | None = None
    killed_in_need: bool = False
    """For want of something that the host may have again: the next one may do."""
    resident: int = 0
    """Bytes, when it was last looked at (watch.py)."""
    _psutil: Any = None

    def kill(self, reason: str, kind: Loss = Loss.HOST) -> None:
        """SIGKILL, with the reason for what is told about it."""
        if self.killed_kind is None and not self.process.reason:  # else it was faster
            self.killed_for, self.killed_kind = reason, kind
        self.process.kill()

    def watched(self) -> Any:
        """psutil's view of it."""
        if self._psutil is None:
            import psutil

            self._psutil = psutil.Process(self.process.pid)
        return self._psutil

    @property
    def reason(self) -> str:
        """How it ended, after it was reaped."""
        return f"{self.process.reason}: {self.killed_for}" if self.killed_for else self.process.reason


class Changes(NamedTuple):
    """What a round of the supervisor has done and wants done."""

    new: list[WorkerProcess]
    """Processes that were started, spares included."""
    booted: list[WorkerProcess]
    """Those that have got their domain, new ones included."""
    drain: list[Drain]


class Supervisor:
    """Its owner drives it: one thread, which lives as long as the workers should."""

    def __init__(self, count: int, threads: int, transport: Transport, limits: ProcessLimits,
                 supervision: Supervision | None = None, reach: Reach = lambda domain: ((), []),
                 minimum_level: Level = lockdown.DEFAULT_MINIMUM, groups: GroupLimits | None = None) -> None:
        self.threads, self.limits = threads, limits
        self.pools = Pools(count, supervision or Supervision(), time.monotonic())
        self.workers: dict[bytes, WorkerProcess] = {}
        """Those that have a domain."""
        self.spares: dict[bytes, WorkerProcess] = {}
        self.stopping = False
        self.losses: dict[Loss, int] = {}
        self.started = 0
        """Workers that were given a domain."""
        self._transport, self._reach, self._minimum_level = transport, reach, minimum_level
        self._oom_kills = _kernel_oom_kills()
        self.groups = Groups(groups or GroupLimits())

    def check_level(self, routing_id: bytes, said: wire.Ready) -> None:
        """Raises ProtocolError: it is not locked down as it says, or too little, and then no further one is started;
        WorkerStartError: the host itself is short of what it needs to look, and another one is to be started."""
        worker = self.workers.get(routing_id)
        if worker is not None:
            try:
                lockdown.check(worker.process.pid, said.level, said.missing, self._minimum_level)
            except (ProtocolError, WorkerStartError) as exc:
                if worker.process.reap():  # of what has ended /proc shows little; how it did is told soon
                    raise WorkerStartError("it ended before it could be looked at") from None
                if isinstance(exc, ProtocolError):
                    raise
                if _passes(exc.__cause__):
                    worker.killed_in_need = True
                    raise WorkerStartError(f"the host cannot look at it now: {exc}") from None
                self.pools.refuse(routing_id, str(exc))  # the next one would be no better
                raise ProtocolError(str(exc)) from None

    def tick(self, now: float) -> Changes:
        """Does what the pools decide."""
        changes = Changes([], [], [])
        if self.stopping:
            return changes
        self.groups.tidy()
        for action in self.pools.decide(now):
            match action:
                case Start(domain):
                    self._start(domain, now, changes)
                case Assign(id_, domain):
                    self._assign(id_, domain, changes)
                case Drain():
                    changes.drain.append(action)
                case End(id_, why):
                    worker = self.workers.get(id_) or self.spares.get(id_)
                    if worker is not None:
                        worker.kill(why)
        return changes

    def _start(self, domain: Domain | None, now: float, changes: Changes) -> None:
        routing_id = b"\x01" + os.urandom(15)  # a first byte of 0 is ZeroMQ's own
        group = self.groups.new()
        try:
            process = Process("spare" if domain is None else "worker", group.joins() if group else ())
            worker = WorkerProcess(routing_id, process, group=group)
            if domain is not None:
                self._boot(worker, domain)
        except (WorkerError, OSError) as exc:
            self.groups.release(group)
            error = exc if isinstance(exc, OSError) else exc.__cause__
            self.pools.start_failed(domain, str(exc), now, _passes(error))
            return
        (self.spares if domain is None else self.workers)[routing_id] = worker
        self.pools.started(routing_id, domain, now)
        changes.new.append(worker)
        if domain is not None:
            changes.booted.append(worker)

    def _assign(self, id_: bytes, domain: Domain, changes: Changes) -> None:
        worker = self.spares.pop(id_)
        self.workers[id_] = worker
        try:
            self._boot(worker, domain, close=False)
        except (WorkerError, OSError) as exc:
            worker.kill(f"it did not take BOOT: {exc}")  # it is reaped, and counted, like any other
        changes.booted.append(worker)

    def _boot(self, worker: WorkerProcess, domain: Domain, close: bool = True) -> None:
        """Opens its endpoint and sends BOOT. Raises WorkerStartError, OSError; the process is closed then, if `close`."""
        process = worker.process
        worker.domain = domain
        try:
            endpoint, listener = self._transport.open_endpoint(worker.routing_id)
            with listener:
                writable, fds = self._reach(domain)
                options = WorkerOptions(endpoint, worker.routing_id, self.threads, self.limits.to_wire(), writable)
                process.send(wire.encode([wire.Boot(options.encode())]), [listener.fileno(), *fds])
        except (WorkerError, OSError) as exc:
            self._transport.close_endpoint(worker.routing_id)
            if not close:
                raise
            if isinstance(exc, OSError):
                process.close()
                raise
            process.reap(1.0)
            words = process.last_words()
            process.close()
            raise WorkerStartError(f"a worker ended at its start: {process.reason}: {words}") from None
        self.started += 1

    def heard_spare(self, worker: WorkerProcess) -> bool:
        """A spare's lifeline is readable; False: nothing more comes from it."""
        try:
            data = worker.process.receive(wire.MAX_DATAGRAM, 0.0)
            if data and wire.decode(data, wire.Direction.TO_HOST) != [wire.Warm()]:
                raise ProtocolError("a spare says nothing but WARM")
        except TimeoutError:
            return True
        except WorkerError as exc:
            worker.kill(str(exc), Loss.PROTOCOL)
            return False
        if data:
            self.pools.warm(worker.routing_id)
        return bool(data)

    def ready(self, routing_id: bytes, now: float) -> None:
        """The worker said READY."""
        worker = self.workers.get(routing_id)
        if worker is not None:
            self._transport.connected(routing_id)
            worker.ready_at = now
            if worker.group is not None and not worker.group.holds(worker.process.pid):
                logger.warning("worker %d did not get into its control group", worker.process.pid)
            self.pools.ready(routing_id, now)

    def ended(self, worker: WorkerProcess, now: float) -> tuple[str, Loss, str]:
        """Call it when the process was reaped: closes it, arranges for a new one. Returns how it ended, why, and the first with
        its last words, which callers need not hear."""
        words = worker.process.last_words()
        reason, kind = worker.reason, self._kind(worker)
        told = f"{reason}{': ' if words else ''}{words}"
        worker.process.close()
        self.groups.release(worker.group)
        self._transport.close_endpoint(worker.routing_id)
        self.workers.pop(worker.routing_id, None)
        self.spares.pop(worker.routing_id, None)
        if not self.stopping:
            before = self.pools.lost_workers
            status = worker.process.status
            self.pools.lost(worker.routing_id, told, status is not None and status < 0, now, worker.killed_in_need)
            if self.pools.lost_workers > before:
                self.losses[kind] = self.losses.get(kind, 0) + 1
        return reason, kind, told

    def _kind(self, worker: WorkerProcess) -> Loss:
        status = worker.process.status
        if worker.killed_kind is not None and status in (None, -signal.SIGKILL):
            return worker.killed_kind  # else it was faster
        if status == -signal.SIGKILL:
            kills = worker.group.oom_kills() if worker.group is not None else None
            if kills is not None:
                return Loss.MEMORY if kills else Loss.KILLED
            before, self._oom_kills = self._oom_kills, _kernel_oom_kills()
            return Loss.MEMORY if self._oom_kills > before else Loss.KILLED
        if status is None or status >= 0:
            return Loss.EXIT
        return _SIGNALS.get(-status, Loss.CRASH)

    def next_time(self) -> float | None:
        """When `tick` wants to be called."""
        return None if self.stopping else self.pools.next_time()

    def close(self, patience: float) -> None:
        """Ends every process: those that do not end by themselves within `patience` seconds in all are killed. Reaps them."""
        self.stopping = True
        for worker in self.spares.values():
            worker.process.kill()
        for worker in self.workers.values():
            if patience > 0 and worker.ready_at is not None:
                before = os.times().elapsed
                worker.process.reap(patience)
                patience -= os.times().elapsed - before
        for worker in self.workers.values():
            worker.process.kill()
        for worker in (*self.workers.values(), *self.spares.values()):
            worker.process.close()
            self.groups.release(worker.group)
        self.groups.close()
        self.workers.clear()
        self.spares.clear()


_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT})
"""What the application or the machine may have again in a moment: descriptors, memory, room."""
_SIGNALS: dict[int, Loss] = {signal.SIGSYS: Loss.ESCAPE, signal.SIGTERM: Loss.KILLED}


def _passes(error: BaseException | None) -> bool:
    """Whether trying again later makes sense."""
    return isinstance(error, OSError) and error.errno in _PASSING


def _kernel_oom_kills() -> int:
    """How often the kernel's out-of-memory killer has struck on this machine; 0 where it does not say (Linux before 4.13)."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError):
        return 0
