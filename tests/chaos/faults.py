"""The faults, and the schedule of a seed: which one when, on whom. A schedule depends on the seed and on nothing else."""

from __future__ import annotations

import os
import queue
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from .world import World

CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS", "SIGTERM", "SIGQUIT", "SIGXCPU")


@dataclass(frozen=True)
class Fault:
    """One fault: `delay` seconds after the one before; `pick` in [0, 1) chooses a victim; `how` a variant."""

    name: str
    delay: float
    pick: float
    how: int


@dataclass
class Scene:
    """Where faults happen."""

    world: World
    errands: queue.SimpleQueue[tuple[str, int]]
    """What the clients shall do next."""
    stopped: list[tuple[float, int]]
    """(when, which process) gets SIGCONT."""


def schedule(seed: int, count: int, rate: float, only: Sequence[str] = ()) -> Iterator[Fault]:
    """`count` faults, `rate` a second; of these names alone, when there are any."""
    chance = random.Random(f"{seed} faults")
    names = tuple(name for name in FAULTS if not only or name in only)
    weights = tuple(FAULTS[name][0] for name in names)
    for _ in range(count):
        (name,) = chance.choices(names, weights)
        yield Fault(name, chance.expovariate(rate), chance.random(), chance.getrandbits(16))


def inject(fault: Fault, scene: Scene) -> None:
    """Does it. Never raises for want of a victim."""
    FAULTS[fault.name][1](fault, scene)


def _victim(fault: Fault, scene: Scene, *states: str) -> int | None:
    """A worker's process id, as soon as there is one in such a state; None: none within a second."""
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        found = scene.world.pids(*states)
        if found:
            return found[int(fault.pick * len(found))]
        time.sleep(0.002)
    return None


def _send(pid: int | None, number: signal.Signals) -> None:
    if pid is not None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # another fault was quicker


def _kill(fault: Fault, scene: Scene) -> None:
    _send(_victim(fault, scene, "ready", "draining"), signal.SIGKILL)


def _kill_starting(fault: Fault, scene: Scene) -> None:
    """A worker that is not ready yet; the one that comes after a killed one, when all are."""
    if not scene.world.pids("starting"):
        _kill(fault, scene)
    _send(_victim(fault, scene, "starting"), signal.SIGKILL)


def _crash(fault: Fault, scene: Scene) -> None:
    _send(_victim(fault, scene, "ready"), signal.Signals[CRASHES[fault.how % len(CRASHES)]])


def _stop(fault: Fault, scene: Scene) -> None:
    """SIGSTOP; every other one goes on a moment later."""
    pid = _victim(fault, scene, "ready")
    _send(pid, signal.SIGSTOP)
    if pid is not None and fault.how & 1:
        scene.stopped.append((time.monotonic() + fault.how / 65536, pid))


def _errand(name: str) -> Callable[[Fault, Scene], None]:
    return lambda fault, scene: scene.errands.put((name, fault.how))


def _full_memory(fault: Fault, scene: Scene) -> None:
    """Shared memory takes no byte more: writing to a memfd fails as on a full file system, here and in what is started now."""
    scene.errands.put(("load", fault.how | 1))
    scene.errands.put(("run", 0))
    with _lowered(resource.RLIMIT_FSIZE, 64):
        time.sleep(0.02 + fault.pick * 0.08)


def _no_descriptors(fault: Fault, scene: Scene) -> None:
    """The application is at its limit of descriptors, or a few below; a worker dies at that moment, or a module is loaded."""
    victim = scene.world.pids("ready") if fault.how & 8 else []
    scene.errands.put(("load", fault.how | 1))
    with few_descriptors(fault.how % 8):
        if victim:
            _send(victim[int(fault.pick * len(victim))], signal.SIGKILL)
        time.sleep(0.02 + fault.pick * 0.08)


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """This process can open so many descriptors, and no more: every number below the limit is taken, but for these."""
    taken, highest = [], max(map(int, os.listdir("/proc/self/fd")))
    try:
        while not taken or taken[-1] < highest:
            taken.append(os.dup(0))
        with _lowered(resource.RLIMIT_NOFILE, taken[-1] + 1 + more):
            yield
    finally:
        for fd in taken:
            os.close(fd)


@contextmanager
def _lowered(kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def _kill_compiler(fault: Fault, scene: Scene) -> None:
    """A compile process, as soon as one is seen, or a moment later."""
    scene.errands.put(("load", fault.how | 1))
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        for child in psutil.Process().children():
            try:
                if "compile" in child.cmdline():
                    time.sleep(fault.pick * 0.05)
                    _send(child.pid, signal.SIGKILL if fault.how & 6 else signal.SIGSEGV)
                    return
            except psutil.Error:
                pass  # it has ended
        time.sleep(0.005)


def _restart(fault: Fault, scene: Scene) -> None:
    """The host is closed and opened: the campaign's doing, which ends a round with it."""
    raise AssertionError("a round ends with a restart")


FAULTS: dict[str, tuple[int, Callable[[Fault, Scene], None]]] = {
    "SIGKILL": (14, _kill),
    "SIGKILL at start": (4, _kill_starting),
    "crash": (10, _crash),
    "SIGSTOP": (6, _stop),
    "memory blow-up": (8, _errand("hog")),
    "full shared memory": (7, _full_memory),
    "no descriptors": (7, _no_descriptors),
    "malformed frames": (14, _errand("betray")),
    "slow host function": (8, _errand("slow")),
    "runaway": (10, _errand("spin")),
    "load and unload": (6, _errand("load")),
    "compile process killed": (4, _kill_compiler),
    "host restart": (2, _restart),
}
"""(Share, what it does) by name."""
