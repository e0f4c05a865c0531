"""One attack of a compromised worker on a host, with a neighbour at work and the host's memory watched: what the tests and the
figures share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandboxhost import Host, Limits, process
from sandboxhost.statistics import HostStatistics

from . import compromised

SCRIPT = Path(compromised.__file__)


def _name(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def module() -> bytes:
    """A module with a function of each attack's name, which does nothing in a worker that is well, and `add`."""
    names = list(compromised.functions())
    exports = b"".join(_name(name) + b"\0\0" for name in names) + _name("add") + b"\0\1"
    exports = bytes([len(names) + 1]) + exports
    size = len(exports)
    return b"".join((
        b"\0asm\1\0\0\0",
        b"\1\x0a\2\x60\0\0\x60\2\x7f\x7f\1\x7f",
        b"\3\3\2\0\1",
        b"\7", bytes([size & 0x7F | 0x80, size >> 7]), exports,
        b"\x0a\x0c\2\2\0\x0b\7\0\x20\0\x20\1\x6a\x0b",
    ))


@contextmanager
def first_worker_compromised() -> Iterator[None]:
    """The next worker that is started is, and no other."""
    real, left = process._command, [1]

    def command() -> tuple[str, ...]:
        main, *paths = real()
        if threading.current_thread().name == "sandboxhost-io" and left:
            left.clear()
            return str(SCRIPT), *paths
        return main, *paths

    process._command = command  # type: ignore[assignment]
    try:
        yield
    finally:
        process._command = real


@dataclass
class Watch:
    """The largest resident memory of this process while it runs, in bytes above that at the start."""

    growth: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Watch]:
        page, start = os.sysconf("SC_PAGE_SIZE"), 0

        def resident() -> int:
            return int(Path("/proc/self/statm").read_text().split()[1]) * page

        def look() -> None:
            while not self._stop.wait(0.005):
                self.growth = max(self.growth, resident() - start)

        start = resident()
        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()


@dataclass
class Neighbour:
    """Calls of another plugin, one after the other, while the attack goes on."""

    made: int = 0
    wrong: list[Any] = field(default_factory=list)
    slowest: float = 0.0

    @contextmanager
    def working(self, call: Callable[[int], Any]) -> Iterator[Neighbour]:
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                started = time.monotonic()
                try:
                    result = call(self.made)
                except Exception as exc:
                    result = exc
                if result != self.made + 1:
                    self.wrong.append(result)
                self.made += 1
                self.slowest = max(self.slowest, time.monotonic() - started)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()


@dataclass
class Figures:
    """What came of an attack."""

    growth: int
    """Bytes."""
    killed_after: float
    """Seconds from the attack's call to the end of the process."""
    failed: list[BaseException]
    """What calls of the attack's function ended with; those that the other worker got end well."""
    neighbour: Neighbour
    after: HostStatistics


TOGETHER = 8
"""Calls of the attack's function at one time: one of them gets to the compromised worker, the others are answered."""


def _calls_until_lost(host: Host, calls: Callable[[], list[BaseException]]) -> tuple[list[BaseException], float]:
    """What failed, and how long after the last calls began the worker was dead."""
    failed: list[BaseException] = []
    started = time.monotonic()
    end = started + 30
    while host.statistics().workers_lost == 0 and time.monotonic() < end:
        if not failed:
            started = time.monotonic()
            failed = calls()
        time.sleep(0.0005)
    return failed, time.monotonic() - started


def attack(name: str, *, deadline: float = 5.0) -> Figures:
    """Runs it, on a host with a compromised worker and one that is well and has work."""
    with first_worker_compromised(), Host(workers=2, threads=1) as host:
        calm = host.load(module(), name="neighbour")
        victim = host.load(module(), name="victim", limits=Limits(deadline=deadline))
        while len([w for w in host.statistics().workers if w.state == "ready"]) < 2:
            time.sleep(0.001)
        pids = {worker.pid for worker in host.statistics().workers}

        def calls() -> list[BaseException]:
            errors = [future.exception(30) for future in [victim.submit(name) for _ in range(TOGETHER)]]
            return [error for error in errors if error is not None]

        with Watch().running() as watch, Neighbour().working(lambda n: calm.call("add", n, 1)) as neighbour:
            failed, killed_after = _calls_until_lost(host, calls)
            end, made = time.monotonic() + 0.1, neighbour.made
            while time.monotonic() < end or neighbour.made < made + 10:
                time.sleep(0.01)
        after = host.statistics()
        assert len({worker.pid for worker in after.workers} & pids) == 1, f"the other worker lives: {after}, {pids}, {failed}"
        return Figures(watch.growth, killed_after, failed, neighbour, after)


def attack_by_line(name: str, *, deadline: float = 5.0) -> Figures:
    """Runs it on a host that has no other worker, in a call that travels by the worker's lifeline."""
    with first_worker_compromised(), Host(workers=1, threads=1) as host:
        victim = host.load(module(), name="victim", limits=Limits(deadline=deadline))

        def calls() -> list[BaseException]:
            try:
                victim.call(name)
            except Exception as exc:
                return [exc]
            return []

        with Watch().running() as watch:
            failed, killed_after = _calls_until_lost(host, calls)
        neighbour = Neighbour()
        with neighbour.working(lambda n: victim.call("add", n, 1)):
            while not neighbour.made:
                time.sleep(0.001)
        after = host.statistics()
        return Figures(watch.growth, killed_after, failed, neighbour, after)
