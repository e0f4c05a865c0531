"""wasm3, the interpreter, through PyPI `pywasm3`. It compiles functions when first called: that shows as start-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version as release
from typing import Any

PACKAGE = "pywasm3"
MASK = 2**64 - 1
STACK_BYTES = 512 * 1024


def version() -> str:
    """The release of the package."""
    return release(PACKAGE)


def compile(data: bytes, options: Mapping[str, Any]) -> Any:
    """Parses the module."""
    import wasm3

    environment = wasm3.Environment()
    return environment, environment.parse_module(data)


def start(compiled: Any) -> Callable[[int], int]:
    """Loads the module into a runtime; its `run`."""
    environment, module = compiled
    runtime = environment.new_runtime(STACK_BYTES)
    runtime.load(module)
    function = runtime.find_function("run")

    def run(size: int) -> int:
        return int(function(size)) & MASK

    # The function keeps no reference to what it lives in.
    run.keeps = (environment, module, runtime)  # type: ignore[attr-defined]
    return run
