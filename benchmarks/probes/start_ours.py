"""Start-up in our engine, in this process and in workers: load to first result, instances, a host."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import modules
from benchmarks.peers import ours
from benchmarks.probes.common import Answer, open_host, require, seconds_each

FIRST_RESULT, CACHED = "load to first result, cold", "load to first result, from the cache"
FRESH, FRESH_MEMORY = "fresh instance + call", "fresh instance with memory + call"
BY_HAND, BY_HAND_MEMORY = "store, instance + call", "store, instance with memory + call"
INSTANTIATE, INSTANTIATE_LARGE = "instantiate a small module", "instantiate SQLite"
OPEN = "open a host, until its first result"


def measure(task: dict[str, Any]) -> Answer:
    """`where`: "in process" (Engine and Store), "host in process" (Host without workers), "workers"."""
    if task["where"] == "in process":
        figures = in_process(task)
    elif task["where"] == "host in process":
        figures = host_figures(task, 0)
    else:
        figures = host_figures(task, 1)
    return {"version": ours.version(), "figures": {row: (seconds, "s") for row, seconds in figures.items()}}


def in_process(task: dict[str, Any]) -> dict[str, float]:
    """Engine, Store and instances by hand."""
    from sandboxworker.engine import Engine, Module
    from sandboxworker.fresh import FreshInstances
    from sandboxworker.store import Store
    from sandboxworker.wasi import Wasi

    tier = task.get("tier", "auto")
    module, engine = Module(modules.add()), Engine(tier=tier)

    def call_fresh(engine: Any, module: Any) -> None:
        with Store(engine) as store:
            function: Any = store.instantiate(module).exports["add"]
            require(function.call(2, 40), (42,), "add")

    def cold() -> None:
        engine = Engine(tier=tier)
        engine.compile_module(module)
        call_fresh(engine, module)

    def instantiate() -> None:
        with Store(engine) as store:
            store.instantiate(module)

    large_engine, large = Engine(tier=tier), Module(Path(task["file"]).read_bytes())
    large_engine.compile_module(large)
    image = large_engine.image(large)

    def instantiate_large() -> None:
        with Store(large_engine) as store:
            store.instantiate(large, imports=Wasi(store).imports(image))

    def by_hand(data: bytes) -> float:
        small = Module(data)
        engine.compile_module(small)
        return seconds_each(lambda: call_fresh(engine, small))

    def fresh(data: bytes) -> float:
        small = Module(data)
        engine.compile_module(small)
        with FreshInstances(engine, small) as instances:
            add = instances.prepare("add")
            require(add(2, 40), 42, "add")
            return seconds_each("add(2, 40)", add=add)

    engine.compile_module(module)
    return {
        FIRST_RESULT: seconds_each(cold),
        CACHED: seconds_each(lambda: call_fresh(engine, module)),
        FRESH: fresh(modules.add()),
        FRESH_MEMORY: fresh(modules.add_with_memory()),
        BY_HAND: by_hand(modules.add()),
        BY_HAND_MEMORY: by_hand(modules.add_with_memory()),
        INSTANTIATE: seconds_each(instantiate),
        INSTANTIATE_LARGE: seconds_each(instantiate_large),
    }


def host_figures(task: dict[str, Any], workers: int) -> dict[str, float]:
    """The same through Host."""
    data, opened = modules.add(), []
    for _ in range(3):
        began = time.perf_counter()
        with open_host(task, workers, threads=1) as host:
            require(host.load(data).call("add", 2, 40), 42, "add")
            opened.append(time.perf_counter() - began)
    with open_host(task, workers, threads=1) as host:
        host.load(data).call("add", 2, 40)

        def cached() -> None:
            plugin = host.load(data)
            require(plugin.call("add", 2, 40), 42, "add")
            plugin.unload()

        def cold() -> None:
            host.delete_compiled_module(data)
            cached()

        def fresh_of(data: bytes) -> Callable[[], None]:
            plugin = host.load(data)
            return lambda: require(plugin.call("add", 2, 40), 42, "add")

        return {
            FIRST_RESULT: seconds_each(cold), CACHED: seconds_each(cached), FRESH: seconds_each(fresh_of(data)),
            FRESH_MEMORY: seconds_each(fresh_of(modules.add_with_memory())), OPEN: sorted(opened)[1],
        }  # fmt: skip
