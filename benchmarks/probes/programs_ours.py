"""A WASI command in our Host: `where` is "workers" (one worker process, a compile process) or "in process"."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks import modules
from benchmarks.peers import ours
from benchmarks.probes.common import Answer, open_host


def measure(task: dict[str, Any]) -> Answer:
    """Figures: cold (load to output, nothing cached), warm (again, the image in the cache), load and run of the cold one."""
    from sandboxhost import Grants, Limits

    data = Path(task["file"]).read_bytes()
    stdin = task["stdin"].encode()
    limits = Limits(memory=2**30, deadline=None, module_bytes=2**30, output_bytes=2**28, argument_bytes=2**28)
    grants = Grants(clock=1e-6)
    with open_host(task, 0 if task["where"] == "in process" else 1, threads=1) as host:
        # Opening a host and starting its worker is not the program's time: a first, tiny plugin pays for it.
        host.load(modules.add()).call("add", 2, 40)
        began = time.perf_counter()
        plugin = host.load(data, limits=limits, grants=grants, name=task["name"])
        loaded = time.perf_counter()
        first = plugin.run(task["arguments"], stdin)
        done = time.perf_counter()
        plugin.unload()
        again = time.perf_counter()
        second = host.load(data, limits=limits, grants=grants, name=task["name"]).run(task["arguments"], stdin)
        ended = time.perf_counter()
    figures = {
        "cold, load to output": done - began, "warm, load to output": ended - again,
        "cold, load": loaded - began, "cold, run": done - loaded,
    }  # fmt: skip
    return {
        "version": ours.version(), "figures": {row: (seconds, "s") for row, seconds in figures.items()},
        "stdout": first.stdout.decode("utf-8", "replace"), "exit_code": first.exit_code,
        "same_again": (first.stdout, first.exit_code) == (second.stdout, second.exit_code),
    }  # fmt: skip
