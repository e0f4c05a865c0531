"""Calls in this process, in PyPI wasmtime: Python to wasm, wasm to Python."""

from __future__ import annotations

from typing import Any

import wasmtime

from benchmarks import modules
from benchmarks.peers import wasmtime_py
from benchmarks.probes.call_ours import HOST_CALLS, HOST_FUNCTION, PREPARED, UNPREPARED
from benchmarks.probes.common import Answer, require, seconds_each


def measure(task: dict[str, Any]) -> Answer:
    """Figures as of call_ours."""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    instance = wasmtime.Instance(store, wasmtime.Module(engine, modules.add()), [])
    i32 = wasmtime.ValType.i32()
    host = wasmtime.Func(store, wasmtime.FuncType([i32, i32], [i32]), lambda a, b: a + b)
    run: Any = wasmtime.Instance(store, wasmtime.Module(engine, modules.host_caller()), [host]).exports(store)["run"]
    add: Any = instance.exports(store)["add"]

    require(add(store, 2, 40), 42, "add")
    require(run(store, HOST_CALLS), HOST_CALLS, "run")
    figures = {
        PREPARED: seconds_each("add(store, 2, 40)", add=add, store=store),
        UNPREPARED: seconds_each('instance.exports(store)["add"](store, 2, 40)', instance=instance, store=store),
        HOST_FUNCTION: seconds_each(lambda: run(store, HOST_CALLS)) / HOST_CALLS,
    }
    return {"version": wasmtime_py.version(), "figures": {row: (seconds, "s") for row, seconds in figures.items()}}
