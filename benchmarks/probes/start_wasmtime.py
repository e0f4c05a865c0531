"""Start-up in PyPI wasmtime, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wasmtime

from benchmarks import modules
from benchmarks.peers import wasmtime_py
from benchmarks.probes.common import Answer, require, seconds_each
from benchmarks.probes.programs_wasmtime import OLDER_NAME, PREVIEW1
from benchmarks.probes.start_ours import CACHED, FIRST_RESULT, FRESH, FRESH_MEMORY, INSTANTIATE, INSTANTIATE_LARGE


def measure(task: dict[str, Any]) -> Answer:
    """Figures as of start_ours; its cache is the compiled module at hand."""
    engine = wasmtime.Engine()
    small, with_memory = (wasmtime.Module(engine, data) for data in (modules.add(), modules.add_with_memory()))
    large = wasmtime.Module(engine, Path(task["file"]).read_bytes())

    def call_fresh(engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        store = wasmtime.Store(engine)
        function: Any = wasmtime.Instance(store, module, []).exports(store)["add"]
        require(function(store, 2, 40), 42, "add")

    def cold() -> None:
        fresh_engine = wasmtime.Engine()
        call_fresh(fresh_engine, wasmtime.Module(fresh_engine, modules.add()))

    def instantiate_large() -> None:
        store = wasmtime.Store(engine)
        store.set_wasi(wasmtime.WasiConfig())
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        for wanted in large.imports:
            if wanted.module == OLDER_NAME and wanted.name:
                linker.define(store, OLDER_NAME, wanted.name, linker.get(store, PREVIEW1, wanted.name))
        linker.instantiate(store, large)

    figures = {
        FIRST_RESULT: seconds_each(cold), CACHED: seconds_each(lambda: call_fresh(engine, small)),
        FRESH: seconds_each(lambda: call_fresh(engine, small)),
        FRESH_MEMORY: seconds_each(lambda: call_fresh(engine, with_memory)),
        INSTANTIATE: seconds_each(lambda: wasmtime.Instance(wasmtime.Store(engine), small, [])),
        INSTANTIATE_LARGE: seconds_each(instantiate_large),
    }  # fmt: skip
    return {"version": wasmtime_py.version(), "figures": {row: (seconds, "s") for row, seconds in figures.items()}}
