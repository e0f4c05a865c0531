"""A WASI command in PyPI wasmtime, in this process: default configuration, no cache of its own."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import wasmtime

from benchmarks import modules
from benchmarks.peers import wasmtime_py
from benchmarks.probes.common import Answer

PREVIEW1, OLDER_NAME = "wasi_snapshot_preview1", "wasi_unstable"


def measure(task: dict[str, Any]) -> Answer:
    """Figures: cold (load to output), warm (again with the compiled module at hand), load and run of the cold one."""
    data = Path(task["file"]).read_bytes()
    engine = wasmtime.Engine()
    wasmtime.Instance(wasmtime.Store(engine), wasmtime.Module(engine, modules.add()), [])
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        module = wasmtime.Module(engine, data)
        loaded = time.perf_counter()
        first = _run(engine, module, task, Path(place))
        done = time.perf_counter()
        second = _run(engine, module, task, Path(place))
        ended = time.perf_counter()
    figures = {
        "cold, load to output": done - began, "warm, load to output": ended - done,
        "cold, load": loaded - began, "cold, run": done - loaded,
    }  # fmt: skip
    return {
        "version": wasmtime_py.version(), "figures": {row: (seconds, "s") for row, seconds in figures.items()},
        "stdout": first[1], "exit_code": first[0], "same_again": first == second,
    }  # fmt: skip


def _run(engine: wasmtime.Engine, module: wasmtime.Module, task: dict[str, Any], place: Path) -> tuple[int, str]:
    """Exit code and output of one run."""
    stdin, stdout, stderr = (place / name for name in ("stdin", "stdout", "stderr"))
    stdin.write_bytes(task["stdin"].encode())
    wasi = wasmtime.WasiConfig()
    wasi.argv = [task["name"], *task["arguments"]]
    wasi.stdin_file, wasi.stdout_file, wasi.stderr_file = str(stdin), str(stdout), str(stderr)
    store = wasmtime.Store(engine)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    for wanted in module.imports:
        if wanted.module == OLDER_NAME and wanted.name:  # wasmtime's C interface defines the newer name only
            linker.define(store, OLDER_NAME, wanted.name, linker.get(store, PREVIEW1, wanted.name))
    start: Any = linker.instantiate(store, module).exports(store)["_start"]
    code = 0
    try:
        start(store)
    except wasmtime.ExitTrap as ended:
        code = ended.code
    del store, start
    return code, stdout.read_text(errors="replace")
