"""Calls in this process, on our engine: Python to wasm, wasm to Python."""

from __future__ import annotations

from typing import Any

from benchmarks import modules
from benchmarks.peers import ours
from benchmarks.probes.common import Answer, require, seconds_each

PREPARED, UNPREPARED, HOST_FUNCTION = "Python to wasm, prepared", "Python to wasm, export looked up", "wasm to Python"
HOST_CALLS = 1_000


def measure(task: dict[str, Any]) -> Answer:
    """Figures: seconds of add(i32, i32), prepared, with the export looked up and otherwise; of a host function."""
    from sandboxworker.call_engine import CallEngine
    from sandboxworker.engine import Engine, Module
    from sandboxworker.store import Store
    from sandboxworker.types import FunctionType, ValueType

    engine = Engine(tier=task.get("tier", "auto"), metered=bool(task.get("metered")))
    adder, caller = Module(modules.add()), Module(modules.host_caller())
    engine.compile_module(adder)
    engine.compile_module(caller)
    store = Store(engine)
    instance: Any = store.instantiate(adder)
    signature = FunctionType((ValueType.I32, ValueType.I32), (ValueType.I32,))
    host = store.host_function(signature, lambda a, b: a + b)
    run: Any = store.instantiate(caller, imports={("host", "f"): host}).exports["run"]
    function = instance.exports["add"]
    add = function.prepare()
    require(add(2, 40), 42, "add")
    require(run.call(HOST_CALLS), (HOST_CALLS,), "run")
    reused = CallEngine(function)
    figures = {
        PREPARED: seconds_each("add(2, 40)", add=add),
        UNPREPARED: seconds_each('instance.exports["add"].call(2, 40)', instance=instance),
        "Python to wasm, call of a FunctionInstance": seconds_each("call(2, 40)", call=function.call),
        "Python to wasm, call of a CallEngine": seconds_each("call(2, 40)", call=reused.call),
        "Python to wasm, a CallEngine for each call": seconds_each(lambda: CallEngine(function).call(2, 40)),
        HOST_FUNCTION: seconds_each(lambda: run.call(HOST_CALLS)) / HOST_CALLS,
    }
    return {"version": ours.version(), "figures": {row: (seconds, "s") for row, seconds in figures.items()}}
