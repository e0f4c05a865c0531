"""sandboxhost's own engine, in this process: the interpreter or the compiled tier, without workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as release
from typing import Any

PACKAGE = ""
MASK = 2**64 - 1


def version() -> str:
    """Our release; a tree that is not installed says so."""
    try:
        return release("sandboxhost")
    except PackageNotFoundError:
        return "not installed, run from its source"


def compile(data: bytes, options: Mapping[str, Any]) -> Any:
    """Decodes, validates and lowers the module into an image."""
    import sandboxworker.store  # noqa: F401  # what is imported here is not counted as start-up
    from sandboxworker.engine import Engine, Module

    engine = Engine(tier=options.get("tier", "auto"), metered=bool(options.get("metered")))
    module = Module(data)
    engine.compile_module(module)
    return engine, module


def start(compiled: Any) -> Callable[[int], int]:
    """A fresh instance's `run`."""
    from sandboxworker.store import Store

    engine, module = compiled
    function: Any = Store(engine).instantiate(module).exports["run"]

    def run(size: int) -> int:
        return int(function.call(size)[0]) & MASK

    return run
