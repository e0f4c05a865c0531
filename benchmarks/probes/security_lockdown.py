"""What the lock-down adds to a worker's start: its layers, put on in forked processes, and the host's look from outside."""

from __future__ import annotations

import os
import signal
import statistics
import struct
import time
from typing import Any

from benchmarks.peers import ours
from benchmarks.probes.common import Answer

COST = "lock-down, added to a worker's start"
TIMES = 100


def measure(task: dict[str, Any]) -> Answer:
    """Figures: medians, the host's look included."""
    from sandboxhost.options import LAYERS

    times = task.get("times", TIMES)
    pairs = [(_start(()), _start(tuple(LAYERS))) for _ in range(times)]
    added = statistics.median(on[0] - off[0] for on, off in pairs)
    look = statistics.median(on[1] for on, _ in pairs)
    figures = {COST: (added + look, "s"), "of it: the host's look": (look, "s")}
    return {"version": ours.version(), "figures": figures}


def _start(without: tuple[str, ...]) -> tuple[float, float]:
    """(seconds that the process takes to lock itself down, seconds that looking at it takes)."""
    from sandboxhost import lockdown

    mine, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _child(its, without)
        finally:
            os._exit(70)
    os.close(its)
    try:
        told = os.read(mine, 16)
        if len(told) != 8:
            raise SystemExit("the process to be locked down ended")
        began = time.perf_counter()
        if not without:
            lockdown.check(pid, "seccomp-only", "", "none")
        return struct.unpack("d", told)[0], time.perf_counter() - began
    finally:
        os.close(mine)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _child(its: int, without: tuple[str, ...]) -> None:
    from sandboxhost.limits import ProcessLimits
    from sandboxworker import bootstrap
    from sandboxworker.watchdog import watchdog

    os.dup2(its, 3)
    lock_down = bootstrap.LockDown(bootstrap.isolate(3), without)
    began = time.perf_counter()
    lock_down.confine(ProcessLimits(), ())
    confined = time.perf_counter() - began
    watchdog.start()
    began = time.perf_counter()
    lock_down.seal("WORKER")
    os.write(3, struct.pack("d", confined + time.perf_counter() - began))
    while True:
        time.sleep(10)
