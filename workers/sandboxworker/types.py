"""The specification's types as the engine uses them: those of sandboxhost.values, plus the calling plan of a signature."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from sandboxhost.values import ExternKind, ExternType, FunctionType, GlobalType, MemoryType, TableType, Value, ValueType

__all__ = [
    "CallPlan",
    "ExternKind",
    "ExternType",
    "FunctionType",
    "GlobalType",
    "MemoryType",
    "TableType",
    "Value",
    "ValueType",
    "call_plan",
    "function_type",
]

_CODES = {ValueType.I32: "i4x", ValueType.I64: "q", ValueType.F32: "f4x", ValueType.F64: "d"}


class CallPlan:
    """How the values of one signature go into and out of a call engine's buffer; made once a signature."""

    __slots__ = ("has_references", "pack_into", "param_count", "slots", "type", "unpack_from")

    def __init__(self, type_: FunctionType) -> None:
        self.type = type_
        self.param_count = len(type_.params)
        self.slots = max(len(type_.params), len(type_.results), 1)
        self.has_references = not all(t in _CODES for t in (*type_.params, *type_.results))
        if not self.has_references:
            self.pack_into = _codec(type_.params).pack_into
            self.unpack_from = _codec(type_.results).unpack_from


def _codec(types: Sequence[ValueType]) -> struct.Struct:
    return struct.Struct("<" + "".join(_CODES[t] for t in types))


@lru_cache(maxsize=4096)
def call_plan(type_: FunctionType) -> CallPlan:
    """The plan of a signature."""
    return CallPlan(type_)


@lru_cache(maxsize=4096)
def function_type(params: tuple[int, ...], results: tuple[int, ...]) -> FunctionType:
    """A function type from value type codes."""
    return FunctionType(tuple(map(ValueType, params)), tuple(map(ValueType, results)))
