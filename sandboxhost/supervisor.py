"""The supervisor: keeps a fixed number of worker processes alive, notices each death, gives up when workers cannot start."""
from __future__ import annotations

import os
from dataclasses import dataclass

from . import wire
from .errors import WorkerError, WorkerStartError
from .limits import ProcessLimits
from .options import WorkerOptions
from .process import Process
from .transport import Transport

__all__ = ["Supervisor", "WorkerProcess"]

BOOT_SECONDS = 30.0
"""A worker that is not READY by then is killed."""
BOOT_ATTEMPTS = 3
"""So many workers in a row that ended by themselves before READY, and no further one is started."""
KILLED_ATTEMPTS = 12
"""The same for workers that a signal ended before READY: that may be somebody else's doing, and pass."""
BACKOFF = 0.05
"""Seconds before the second attempt; doubled for each further one."""
MAX_BACKOFF = 2.0
YOUNG = 1.0
"""A worker that dies within so many seconds after READY counts towards the backoff (not towards giving up)."""


@dataclass
class WorkerProcess:
    """One worker process of the supervisor."""

    routing_id: bytes
    process: Process
    ready_at: float | None = None
    killed_for: str = ""
    """Why we killed it ourselves."""

    def kill(self, reason: str) -> None:
        """SIGKILL, with the reason for what is told about it."""
        self.killed_for = self.killed_for or reason
        self.process.kill()

    @property
    def reason(self) -> str:
        """How it ended, after it was reaped."""
        return f"{self.process.reason}: {self.killed_for}" if self.killed_for else self.process.reason


class Supervisor:
    """Starts, replaces and ends workers. Its owner drives it: one thread, which lives as long as the workers should."""

    def __init__(self, count: int, threads: int, transport: Transport, limits: ProcessLimits) -> None:
        self.count, self.threads, self.limits = count, threads, limits
        self._transport = transport
        self.workers: dict[bytes, WorkerProcess] = {}
        self.started = self.lost = 0
        self.failure = ""
        """Why no further worker will be started."""
        self.stopping = False
        self._failures = 0.0
        self._attempts = 0
        self._backoff = 0
        self._not_before = 0.0

    def tick(self, now: float) -> list[WorkerProcess]:
        """Kills workers that do not come up, starts those that are missing; returns the new ones."""
        new: list[WorkerProcess] = []
        for worker in self.workers.values():
            if worker.ready_at is None and now - worker.process.started > BOOT_SECONDS:
                worker.kill(f"it was not ready after {BOOT_SECONDS:g} s")
        while not (self.stopping or self.failure) and len(self.workers) < self.count and now >= self._not_before:
            try:
                worker = self._start()
            except (WorkerError, OSError) as exc:
                self._boot_failed(str(exc), now)
                continue
            self.workers[worker.routing_id] = worker
            new.append(worker)
        return new

    def _start(self) -> WorkerProcess:
        routing_id = b"\x01" + os.urandom(15)  # a first byte of 0 is ZeroMQ's own
        process = Process("worker")
        try:
            endpoint = self._transport.open_endpoint(routing_id)
            options = WorkerOptions(endpoint, routing_id, self.threads, self.limits.to_wire())
            process.send(wire.encode([wire.Boot(options.encode())]))
        except (WorkerError, OSError) as exc:
            self._transport.close_endpoint(routing_id)
            if isinstance(exc, OSError):
                process.close()
                raise
            process.reap(1.0)
            words = process.last_words()
            process.close()
            raise WorkerStartError(f"a worker ended at its start: {process.reason}: {words}") from None
        self.started += 1
        return WorkerProcess(routing_id, process)

    def ready(self, routing_id: bytes, now: float) -> None:
        """The worker said READY."""
        worker = self.workers.get(routing_id)
        if worker is not None:
            self._transport.connected(routing_id)
            worker.ready_at = now
            self._failures, self._attempts = 0.0, 0

    def ended(self, worker: WorkerProcess, now: float) -> str:
        """Call it when the process was reaped: closes it, arranges for a new one, returns how it ended."""
        words = worker.process.last_words()
        reason = worker.reason
        worker.process.close()
        self._transport.close_endpoint(worker.routing_id)
        self.workers.pop(worker.routing_id, None)
        if not self.stopping:
            self.lost += 1
            if worker.ready_at is None:
                weight = BOOT_ATTEMPTS / KILLED_ATTEMPTS if worker.process.reason.startswith("killed by") else 1
                self._boot_failed(f"{reason}{': ' if words else ''}{words}", now, weight)
            elif now - worker.ready_at < YOUNG:
                self._delay(now)
            else:
                self._backoff = 0
        return reason

    def _boot_failed(self, words: str, now: float, weight: float = 1) -> None:
        self._attempts += 1
        self._failures += weight
        if self._failures >= BOOT_ATTEMPTS:
            self.failure = f"{self._attempts} workers in a row ended before they were ready; the last one: {words}"
        self._delay(now)

    def _delay(self, now: float) -> None:
        self._not_before = max(self._not_before, now + (BACKOFF * 2 ** (self._backoff - 1) if self._backoff else 0.0))
        self._not_before = min(self._not_before, now + MAX_BACKOFF)
        self._backoff = min(self._backoff + 1, 16)

    def next_time(self) -> float | None:
        """When `tick` wants to be called."""
        times = [w.process.started + BOOT_SECONDS for w in self.workers.values() if w.ready_at is None and not w.killed_for]
        if len(self.workers) < self.count and not (self.stopping or self.failure):
            times.append(self._not_before)
        return min(times, default=None)

    def close(self, patience: float) -> None:
        """Ends every process: those that do not end by themselves within `patience` seconds in all are killed. Reaps them."""
        self.stopping = True
        for worker in self.workers.values():
            if patience > 0 and worker.ready_at is not None:
                before = os.times().elapsed
                worker.process.reap(patience)
                patience -= os.times().elapsed - before
        for worker in self.workers.values():
            worker.process.kill()
        for worker in self.workers.values():
            worker.process.close()
        self.workers.clear()
