"""What several probes share: timing, our host with the task's options, where module bytes come from."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import modules

Answer = dict[str, Any]

seconds = 0.4
"""About how long seconds_each measures; a task may hold another value."""


def seconds_each(call: Callable[[], object] | str, /, at_least: int = 5, **names: object) -> float:
    """Seconds of one call: the median over batches, each long enough for the clock, for about `seconds` in all.

    call: a function, or a statement over `names`, which is written out in the loop: for what takes less than a microsecond.
    """
    timer = timeit.Timer(call, timer=time.perf_counter, globals=names) if isinstance(call, str) else timeit.Timer(call)
    timer.timeit(1)
    count = 1
    while (took := timer.timeit(count)) < seconds / 20 and count < 1 << 24:
        count = max(count * 2, min(int(count * seconds / 20 / max(took, 1e-9)), count * 16))
    samples = [took / count]
    end = time.perf_counter() + seconds
    while len(samples) < at_least or time.perf_counter() < end:
        samples.append(timer.timeit(count) / count)
    samples.sort()
    return samples[len(samples) // 2]


def module_bytes(task: dict[str, Any]) -> bytes:
    """The task's module: `module` names one of benchmarks.modules, `file` is a path."""
    if "module" in task:
        data: bytes = getattr(modules, task["module"])()
        return data
    return Path(task["file"]).read_bytes()


def open_host(task: dict[str, Any], workers: int | None, **options: Any) -> Any:
    """Our Host; the task's tier is passed on when it is not the default."""
    from sandboxhost import Host

    tier = task.get("tier", "auto")
    return Host(workers, **options, **({} if tier == "auto" else {"tier": tier}))


def require(got: object, expected: object, what: str) -> None:
    """Ends the measurement when a result is wrong."""
    if got != expected:
        raise SystemExit(f"{what}: got {got!r:.200}, expected {expected!r:.200}")
