"""Calls across processes through our Host: round trip, throughput, a mebibyte in and out."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import modules
from benchmarks.peers import ours
from benchmarks.probes.common import Answer, open_host, require, seconds_each

ROUND_TRIP, ROUND_TRIP_KEPT = "round trip", "round trip, persistent instance"
THROUGHPUT, THROUGHPUT_KEPT = "throughput", "throughput, persistent instance"
LARGE = "1 MiB in, 1 MiB out"
CALLS = 20_000


def measure(task: dict[str, Any]) -> Answer:
    """Figures: seconds of a synchronous call; calls a second of `map`; seconds of a command that copies a mebibyte."""
    figures: dict[str, tuple[float, str]] = {}
    calls = task.get("calls", CALLS)
    data = modules.add()
    with open_host(task, 1, threads=1) as host:
        fresh, kept = host.load(data), host.load(data, instance="persistent")
        for row, plugin in ((ROUND_TRIP, fresh), (ROUND_TRIP_KEPT, kept)):
            require(plugin.call("add", 2, 40), 42, "add")
            figures[row] = seconds_each("plugin.call('add', 2, 40)", plugin=plugin), "s"
        text = bytes(range(256)) * (modules.MIB // 256)
        copier = host.load(modules.cat())
        require(copier.run(stdin=text).stdout, text, "a copied mebibyte")
        figures[LARGE] = seconds_each(lambda: copier.run(stdin=text)), "s"
    with open_host(task, None) as host:
        fresh, kept = host.load(data), host.load(data, instance="persistent")
        rows = [(number, 1) for number in range(calls)]
        expected = [number + 1 for number in range(calls)]
        for row, plugin in ((THROUGHPUT, fresh), (THROUGHPUT_KEPT, kept)):
            plugin.map("add", rows[:2_000])
            began = time.perf_counter()
            results = plugin.map("add", rows)
            figures[row] = calls / (time.perf_counter() - began), "/s"
            require(results, expected, "map")
    return {"version": ours.version(), "figures": figures}
