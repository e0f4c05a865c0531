"""What a round works on: a host, its plugins, the application's functions; and the gate at which clients wait in between."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

from sandboxhost import Grants, GroupLimits, Host, HostClosed, Limits, Plugin, ProcessLimits, SandboxError, Supervision, i32, i64

from . import guests
from .ledger import FACTOR, Ledger

WORKERS, THREADS = 4, 2
DEADLINE, SHORT = 1.5, 0.15
"""Seconds: of most calls, and of those that never end by themselves."""
MIB = 1 << 20
HOG = (128 if os.environ.get("SANDBOXHOST_SANITIZE") else 1024) * MIB
"""Of one instance: more than RLIMIT_DATA leaves it; a sanitizer's build has no such limit."""

GROUPS = GroupLimits(use="own", memory=None, processes=256)
"""A control group around each worker wherever there can be one. Not of memory: whose the machine's is, the run does not know."""


class Broken(Exception):
    """The run cannot go on; the text says why."""


class World:
    """One host with plugins of each kind. Raises what Host and load raise."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger, self.folder = ledger, folder
        self._names = itertools.count(1)
        # faults are nobody's fault, and there are many
        rules = Supervision(quarantine_losses=None, restarts=0, max_backoff=0.05)
        limits = ProcessLimits(data=512 * MIB, open_files=128)
        self.host = Host(WORKERS, threads=THREADS, process_limits=limits, supervision=rules, group_limits=GROUPS)
        try:
            self._register()
            limits = Limits(memory=64 * MIB, deadline=DEADLINE, compile_seconds=5.0)
            short = limits.replace(deadline=SHORT)
            load, bee = self.host.load, guests.bee()
            self.bee = load(bee, name="bee", limits=limits)
            self.patient = load(bee, name="patient", limits=limits, idempotent=True)
            self.kept = load(bee, name="kept", limits=limits, instance="persistent")
            self.runaway = load(bee, name="runaway", limits=short)
            self.hog = load(bee, name="hog", limits=limits.replace(memory=HOG))
            self.command = load(guests.copier(), name="cat", limits=limits)
            self.scribe = load(guests.scribe(), name="scribe", limits=limits, grants=Grants(directories={"/": (folder, "rw")}))
            self.limits = limits
        except BaseException:
            self.host.close()
            raise

    def _register(self) -> None:
        host, ledger = self.host, self.ledger

        @host.function("ledger", "ran")
        def ran(number: i64) -> None:
            ledger.ran(number)

        @host.function("ledger", "slow")
        def slow(number: i64, milliseconds: i32) -> None:
            time.sleep(milliseconds / 1000)

        @host.function("ledger", "born")
        def born() -> i32:
            return next(self._names)

        @host.function("ledger", "nest")
        def nest(number: i64) -> i64:
            answer: int = self.bee.call("plain", number)
            return answer

    def pids(self, *states: str) -> list[int]:
        """The workers in one of these states, in the order of their start."""
        return [worker.pid for worker in self.host.statistics().workers if worker.state in states]

    def recovers(self, patience: float) -> str:
        """Every plugin serves a call again, within so many seconds; else what is wrong."""
        for plugin in (self.bee, self.patient, self.kept):
            problem = self._serves(plugin, time.monotonic() + patience)
            if problem:
                return problem
        return ""

    def _serves(self, plugin: Plugin, end: float) -> str:
        while True:
            number = self.ledger.issue("recovery", plugin is self.patient)
            try:
                value = plugin.call("record", number)
            except SandboxError as exc:
                self.ledger.error(number, exc)
                if isinstance(exc, HostClosed) or time.monotonic() > end:
                    return f"{plugin.name} does not serve calls any more: {type(exc).__name__}: {exc}"
                time.sleep(0.02)
            else:
                self.ledger.result(number, value, number * FACTOR)
                return ""

    def tables(self) -> dict[str, Any]:
        """What the host still keeps of calls; nothing may be, when none is under way."""
        statistics, core = self.host.statistics(), self.host._backend
        router: Any = core._router  # type: ignore[attr-defined]
        kept = {
            "pending": statistics.pending,
            "accepted but not ended": statistics.accepted - statistics.ended,
            "in flight": sum(worker.in_flight for worker in statistics.workers),
            "calls": len(router.calls),
            "plugins with pending calls": [plugin.name for plugin in router.plugins.values() if plugin.pending or plugin.queue],
            "sinks": len(core._sinks),  # type: ignore[attr-defined]
            "shared": len(core._sharing),  # type: ignore[attr-defined]
            "lines led": len(core._lines.led),  # type: ignore[attr-defined]
        }
        return {name: value for name, value in kept.items() if value}


class Gate:
    """Lets the clients in while a world is there."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._world: World | None = None
        self._inside = 0
        self._ended = False

    def open(self, world: World) -> None:
        """The clients may use it."""
        with self._change:
            self._world = world
            self._change.notify_all()

    def shut(self) -> None:
        """Nobody comes in any more."""
        with self._change:
            self._world = None

    def end(self) -> None:
        """The clients end."""
        with self._change:
            self._world, self._ended = None, True
            self._change.notify_all()

    def enter(self) -> World | None:
        """Waits for a world; None at the end. Who got one must `leave`."""
        with self._change:
            while self._world is None and not self._ended:
                self._change.wait()
            if self._world is not None:
                self._inside += 1
            return self._world

    def leave(self) -> None:
        """Done for now."""
        with self._change:
            self._inside -= 1
            self._change.notify_all()

    def wait_empty(self, patience: float) -> bool:
        """True when everybody has left within so many seconds."""
        with self._change:
            return self._change.wait_for(lambda: not self._inside, patience)
