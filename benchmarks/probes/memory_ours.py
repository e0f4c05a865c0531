"""Proportional set size of workers that hold the same large module, beyond workers that hold none."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.peers import ours
from benchmarks.probes.common import Answer, open_host, require

WORKERS = (1, 2, 8)
PATIENCE_SECONDS = 60.0


def measure(task: dict[str, Any]) -> Answer:
    """Figures: for n = 1, 2, 8: mean PSS of n workers that all have run the module, less that of n idle ones."""
    figures: dict[str, tuple[float, str]] = {}
    for count in WORKERS:
        with open_host(task, count, threads=1) as host:
            idle = mean_pss(ready_workers(host, count))
            run_everywhere(host, task, count)
            loaded = mean_pss(ready_workers(host, count))
        figures[f"idle worker, one of {count}"] = idle, "B"
        figures[f"worker with the module, one of {count}, beyond idle"] = loaded - idle, "B"
    return {"version": ours.version(), "figures": figures}


def ready_workers(host: Any, count: int) -> list[int]:
    """Process ids, once all workers are ready."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        ready = [worker.pid for worker in host.statistics().workers if worker.state == "ready"]
        if len(ready) == count:
            return ready
        time.sleep(0.01)
    raise SystemExit(f"{count} workers were not ready within {PATIENCE_SECONDS:g} s")


def run_everywhere(host: Any, task: dict[str, Any], count: int) -> None:
    """Loads the module, and runs it at the same time in as many threads as there are workers until each worker has run it."""
    from sandboxhost import Limits

    limits = Limits(memory=2**30, deadline=None)
    plugin = host.load(task["file"], limits=limits, name=task["name"])
    done: list[Any] = []
    end = time.monotonic() + PATIENCE_SECONDS
    while len({outcome.usage.worker for outcome in done}) < count:
        if time.monotonic() > end:
            raise SystemExit(f"not every worker has run the module within {PATIENCE_SECONDS:g} s")
        threads = [threading.Thread(target=lambda: done.append(plugin.run(task["arguments"]))) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for outcome in done:
        require(outcome.stdout.decode(), task["stdout"], task["name"])


def mean_pss(pids: list[int]) -> float:
    """Bytes, of each process on average."""
    return sum(map(pss, pids)) / len(pids)


def pss(pid: int) -> int:
    """Bytes: /proc/PID/smaps_rollup."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/{pid}/smaps_rollup names no Pss")
