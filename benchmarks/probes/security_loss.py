"""Workers that are killed during calls: how soon the caller has its error, and how soon another worker is ready."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from benchmarks import modules
from benchmarks.figures import percentile
from benchmarks.peers import ours
from benchmarks.probes.common import Answer, open_host

TO_ERROR, TO_READY = "worker killed, to the caller's error", "worker killed, to its replacement"
KILLS = 120
PATIENCE = 30.0
"""Seconds for what takes milliseconds."""


def measure(task: dict[str, Any]) -> Answer:
    """Figures: 95th percentile and most, over kills of busy workers while a spare is there; half of the callers wait in `call`,
    half for a future."""
    from sandboxhost import Limits, Supervision

    errors: list[float] = []
    replaced: list[float] = []
    rules = Supervision(quarantine_losses=None, restarts=10_000)
    with open_host(task, 2, threads=1, supervision=rules) as host:
        plugin = host.load(modules.endless(), limits=Limits(deadline=PATIENCE))
        for number in range(task.get("kills", KILLS)):
            _wait(lambda: _ready(host) == 2 and host.statistics().spares >= 1, "two workers and a spare")
            noted: list[float] = []
            caller = threading.Thread(target=_call, args=(plugin, number % 2 == 0, noted))
            caller.start()
            _wait(lambda: any(worker.in_flight for worker in host.statistics().workers), "a call in flight")
            victim = next(worker.pid for worker in host.statistics().workers if worker.in_flight)
            began = time.perf_counter()
            os.kill(victim, signal.SIGKILL)
            _wait(lambda: _ready(host, victim) == 2, "a replacement")  # noqa: B023 - called at once
            replaced.append(time.perf_counter() - began)
            caller.join(PATIENCE)
            if not noted:
                raise SystemExit("a call on a killed worker has no outcome")
            errors.append(noted[0] - began)
    figures = {}
    for row, values in ((TO_ERROR, errors), (TO_READY, replaced)):
        figures[f"{row}, 95 % within"] = percentile(values, 95), "s"
        figures[f"{row}, most"] = max(values), "s"
    return {"version": ours.version(), "figures": figures}


def _call(plugin: Any, waits: bool, noted: list[float]) -> None:
    from sandboxhost import WorkerLost

    try:
        if waits:
            plugin.call("run")
        else:
            plugin.submit("run").result(PATIENCE)
    except WorkerLost:
        noted.append(time.perf_counter())


def _ready(host: Any, victim: int = 0) -> int:
    return sum(worker.state == "ready" and worker.pid != victim for worker in host.statistics().workers)


def _wait(condition: Any, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.0005)
