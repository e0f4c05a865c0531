"""What the lock-down costs a call: round trips to a worker with all layers and to one with none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from benchmarks import modules
from benchmarks.peers import ours
from benchmarks.probes import unlocked
from benchmarks.probes.common import Answer, open_host, require, seconds_each

CALL = "lock-down, a call's round trip by that without"
ROUNDS = 5


@contextmanager
def layers(on: bool) -> Iterator[None]:
    """Whether the workers that are started put them on."""
    from sandboxhost import process

    command = process._command
    changed = command() if on else (unlocked.__file__, *command()[1:])
    process._command = lambda: changed  # type: ignore[assignment]
    try:
        yield
    finally:
        process._command = command


def measure(task: dict[str, Any]) -> Answer:
    """Figure: ratio of the medians, of workers with and without in turns."""
    calls: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(task.get("rounds", ROUNDS)):
        for on in (True, False):
            with layers(on), open_host(task, 1, threads=1, spares=0, minimum_level="none") as host:
                plugin = host.load(modules.add(), instance="persistent")
                calls[on].append(seconds_each("plugin.call('add', 2, 40)", plugin=plugin))
                levels = {worker.level for worker in host.statistics().workers}
                require("none" not in levels, on, "the worker's level of lock-down is not none")
    return {"version": ours.version(), "figures": {CALL: (median(calls[True]) / median(calls[False]), "x")}}
