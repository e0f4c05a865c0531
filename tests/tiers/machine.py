"""What the tests of this folder share: modules in several engines, called with raw bits, answers that can be compared."""

from __future__ import annotations

import importlib.util
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sandboxworker import native
from sandboxworker.call_engine import CallEngine
from sandboxworker.engine import Engine, Module
from sandboxworker.store import Store

TIERS: tuple[str, ...] = ("interpreter", "compiled") if native.HAS_COMPILED_TIER else ("interpreter",)



def _operation_table() -> Any:
    """native/ops/table.py, which belongs to no package."""
    path = Path(__file__).resolve().parents[2] / "native" / "ops" / "table.py"
    spec = importlib.util.spec_from_file_location("operation_table", path)
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_TABLE = _operation_table()
OPS, LETTERS = _TABLE.OPS, _TABLE.LETTERS
Op = Any
"""A row of the operation table."""

Answer = bytes | str
"""Packed results, or the cause of the trap."""


class Subject:
    """One module instance under one engine; exported functions are called with 8 bytes a parameter."""

    def __init__(self, data: bytes, tier: str, explicit_bounds: bool = False) -> None:
        self.name = f"{tier}{', explicit bounds' if explicit_bounds else ''}"
        engine = Engine(tier=tier, explicit_bounds=explicit_bounds)  # type: ignore[arg-type]
        module = Module(data)
        engine.compile_module(module)
        if tier == "compiled":
            engine.image(module).check_machine_code()
        self.store = Store(engine)
        self._exports = self.store.instantiate(module).exports
        self._calls = CallEngine().native

    def function(self, name: str) -> native.Pointer:
        """The core's function of that export."""
        return self._exports[name].pointer

    def call(self, function: native.Pointer, params: bytes, results: int) -> Answer:
        """The answer to one call."""
        engine = self._calls
        engine.buffer[: len(params)] = params
        status = engine.call(function)
        if status == native.OK:
            return bytes(engine.buffer[: 8 * results])
        assert status == native.TRAP, status
        return engine.trap_cause()

    def close(self) -> None:
        """Releases the instance."""
        self.store.close()


def packed(*values: int) -> bytes:
    """Raw values as parameters."""
    return struct.pack(f"<{len(values)}Q", *values)


def compare(
    subjects: Sequence[Subject], functions: Iterable[tuple[str, int]], parameters: Sequence[bytes]
) -> tuple[int, list[str]]:
    """Calls every (export, results) with all parameters on all subjects: (answers compared, differences in words)."""
    compared, found = 0, []
    for name, results in functions:
        pointers = [(subject, subject.function(name)) for subject in subjects]
        for params in parameters:
            answers = [subject.call(pointer, params, results) for subject, pointer in pointers]
            compared += 1
            for subject, answer in zip(subjects[1:], answers[1:], strict=True):
                if answer != answers[0]:
                    shown = [a if isinstance(a, str) else a.hex(" ", 8) for a in (answers[0], answer)]
                    found.append(f"{name}({params.hex(' ', 8)}): {subjects[0].name} {shown[0]}, {subject.name} {shown[1]}")
    return compared, found
