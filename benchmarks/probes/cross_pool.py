"""Calls across processes by the standard library: concurrent.futures.ProcessPoolExecutor, which isolates nothing."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.modules import MIB
from benchmarks.probes.common import Answer, require, seconds_each
from benchmarks.probes.cross_ours import CALLS, LARGE, ROUND_TRIP, THROUGHPUT

CHUNK = 512
"""Calls that travel together, as many as of ours."""


def add(a: int, b: int) -> int:
    """What the other process does."""
    return a + b


def copy(data: bytes) -> bytes:
    """The same for a large argument."""
    return bytes(data)


def measure(task: dict[str, Any]) -> Answer:
    """Figures as of cross_ours."""
    figures: dict[str, tuple[float, str]] = {}
    calls = task.get("calls", CALLS)
    with ProcessPoolExecutor(1) as pool:
        require(pool.submit(add, 2, 40).result(), 42, "add")
        figures[ROUND_TRIP] = seconds_each(lambda: pool.submit(add, 2, 40).result()), "s"
        data = bytes(MIB)
        figures[LARGE] = seconds_each(lambda: pool.submit(copy, data).result()), "s"
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(add, range(2_000), [1] * 2_000, chunksize=CHUNK))
        began = time.perf_counter()
        results = list(pool.map(add, range(calls), [1] * calls, chunksize=CHUNK))
        figures[THROUGHPUT] = calls / (time.perf_counter() - began), "/s"
        require(results, list(range(1, calls + 1)), "map")
    return {"version": f"Python {platform.python_version()}", "figures": figures}
