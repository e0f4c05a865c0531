"""The specification's types as the engine uses them: those of sandboxhost.values, plus the calling plan of a signature."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from sandboxhost.errors import SignatureMismatch
from sandboxhost.values import (
    SLOT_FORMATS,
    ExternKind,
    ExternType,
    FunctionType,
    GlobalType,
    MemoryType,
    TableType,
    Value,
    ValueType,
)

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

_NARROW = (ValueType.I32, ValueType.F32)


class CallPlan:
    """How the values of one signature go into and out of a call engine's buffer; made once a signature."""

    __slots__ = ("_raw", "funcrefs", "has_references", "pack_into", "param_count", "slots", "type", "unpack_from")

    def __init__(self, type_: FunctionType) -> None:
        self.type = type_
        self.param_count = len(type_.params)
        self.slots = max(len(type_.params), len(type_.results), 1)
        self.has_references = not all(t in SLOT_FORMATS for t in (*type_.params, *type_.results))
        self._raw = struct.Struct("<" + "".join("I4x" if t in _NARROW else "Q" for t in type_.params))
        self.funcrefs = tuple(i for i, t in enumerate(type_.params) if t is ValueType.FUNCREF)
        if not self.has_references:
            self.pack_into = _codec(type_.params).pack_into
            self.unpack_from = _codec(type_.results).unpack_from

    def clean(self, payload: bytes) -> bytes:
        """Packed parameters from another process, with i32 and f32 zero-extended whatever was sent: executors rely on it. Raises
        SignatureMismatch: wrong length, or a funcref that is not null."""
        if len(payload) != 8 * self.param_count:
            raise SignatureMismatch(f"expected {self.param_count} params, but passed {len(payload) / 8:g}")
        fields = self._raw.unpack(payload)
        for i in self.funcrefs:
            if fields[i]:
                raise SignatureMismatch(f"argument {i + 1}: only null can be passed as funcref between processes")
        return self._raw.pack(*fields)


def _codec(types: Sequence[ValueType]) -> struct.Struct:
    return struct.Struct("<" + "".join(SLOT_FORMATS[t] for t in types))


@lru_cache(maxsize=4096)
def call_plan(type_: FunctionType) -> CallPlan:
    """The plan of a signature."""
    return CallPlan(type_)


@lru_cache(maxsize=4096)
def function_type(params: tuple[int, ...], results: tuple[int, ...]) -> FunctionType:
    """A function type from value type codes."""
    return FunctionType(tuple(map(ValueType, params)), tuple(map(ValueType, results)))
