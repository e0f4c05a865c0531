"""wasmtime, the optimizing compiler (Cranelift), through PyPI `wasmtime`, with its default configuration and no cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version as release
from typing import Any

PACKAGE = "wasmtime"
MASK = 2**64 - 1


def version() -> str:
    """The release of the package."""
    return release(PACKAGE)


def compile(data: bytes, options: Mapping[str, Any]) -> Any:
    """Compiles the module to machine code."""
    import wasmtime

    engine = wasmtime.Engine()
    return engine, wasmtime.Module(engine, data)


def start(compiled: Any) -> Callable[[int], int]:
    """A fresh instance's `run`."""
    import wasmtime

    engine, module = compiled
    store = wasmtime.Store(engine)
    function: Any = wasmtime.Instance(store, module, []).exports(store)["run"]

    def run(size: int) -> int:
        return int(function(store, size)) & MASK

    return run
