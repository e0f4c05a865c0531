"""Value and extern types, the annotation aliases of host functions, and the packing of values by signature.

A packed value is 8 bytes, little-endian, just as an executor's slot holds it: i32 and f32 zero-extended, a null reference 0,
externref n as n + 1. A payload is therefore what a call engine takes as it is, and its length says how many values it holds.
"""
from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from .errors import ProtocolError, SignatureMismatch

__all__ = [
    "ExternKind", "ExternType", "FunctionType", "GlobalType", "MemoryType", "TableType", "Value", "ValueType",
    "externref", "f32", "f64", "funcref", "i32", "i64", "pack", "unpack",
]


class ValueType(enum.IntEnum):
    """The specification's value types; the number is the binary format's code."""

    I32 = 0x7F
    I64 = 0x7E
    F32 = 0x7D
    F64 = 0x7C
    V128 = 0x7B
    FUNCREF = 0x70
    EXTERNREF = 0x6F

    def __str__(self) -> str:
        return self.name.lower()

    @property
    def is_reference(self) -> bool:
        return self in (ValueType.FUNCREF, ValueType.EXTERNREF)


class ExternKind(enum.IntEnum):
    """Kinds of imports and exports; the number is the binary format's code."""

    FUNC = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3

    def __str__(self) -> str:
        return self.name.lower()


class FunctionType(NamedTuple):
    """Parameters and results of a function."""

    params: tuple[ValueType, ...] = ()
    results: tuple[ValueType, ...] = ()

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.params))}) -> ({', '.join(map(str, self.results))})"


class TableType(NamedTuple):
    """Element type and size limits (in elements) of a table; maximum None: not declared."""

    element: ValueType
    minimum: int
    maximum: int | None = None

    def __str__(self) -> str:
        return f"{self.element} {_range(self.minimum, self.maximum)}"


class MemoryType(NamedTuple):
    """Size limits of a memory in pages of 64 KiB; maximum None: not declared."""

    minimum: int
    maximum: int | None = None

    def __str__(self) -> str:
        return f"{_range(self.minimum, self.maximum)} pages"


class GlobalType(NamedTuple):
    """Type of a global variable."""

    type: ValueType
    mutable: bool = False

    def __str__(self) -> str:
        return f"{'mut ' if self.mutable else ''}{self.type}"


def _range(minimum: int, maximum: int | None) -> str:
    return f"{minimum}.." if maximum is None else f"{minimum}..{maximum}"


ExternType = FunctionType | TableType | MemoryType | GlobalType
Value = int | float | None
"""What a wasm value is in Python: i32 and i64 signed ints, f32 and f64 floats, null None, externref a non-negative int."""

# Annotations for host functions: `def lookup(key: i32) -> i64`.
i32 = Annotated[int, ValueType.I32]
i64 = Annotated[int, ValueType.I64]
f32 = Annotated[float, ValueType.F32]
f64 = Annotated[float, ValueType.F64]
externref = Annotated[int | None, ValueType.EXTERNREF]
funcref = Annotated[None, ValueType.FUNCREF]

SLOT_FORMATS = {ValueType.I32: "i4x", ValueType.I64: "q", ValueType.F32: "f4x", ValueType.F64: "d"}
"""How `struct` packs the types that are no references; the others need a look at each value."""
_MAX_EXTERNREF = 2**64 - 2


@lru_cache(maxsize=4096)
def _codec(types: tuple[ValueType, ...]) -> struct.Struct | None:
    """One struct for the whole signature; None when a reference type needs a look at each value."""
    if not all(t in SLOT_FORMATS for t in types):
        return None
    return struct.Struct("<" + "".join(SLOT_FORMATS[t] for t in types))


def pack(types: Sequence[ValueType], values: Sequence[Any], function: str = "", what: str = "argument") -> bytes:
    """The values as 8 bytes each.

    Integers may be given signed or unsigned. Raises SignatureMismatch: wrong count, type or range; the text names `function`, the
    position (from 1) and the type.
    """
    types = tuple(types)
    codec = _codec(types)
    if codec is not None:
        try:
            return codec.pack(*values)
        except (struct.error, OverflowError, TypeError):
            pass  # an unsigned integer, or an error whose words are found below
    if len(types) != len(values):
        where = f"{function}: " if function else ""
        plural = "params" if what == "argument" else f"{what}s"
        raise SignatureMismatch(f"{where}expected {len(types)} {plural}, but passed {len(values)}", function=function)
    return b"".join(_pack_one(t, value, function, what, i + 1) for i, (t, value) in enumerate(zip(types, values, strict=True)))


def _pack_one(kind: ValueType, value: Any, function: str, what: str, position: int) -> bytes:
    def mismatch(problem: str) -> SignatureMismatch:
        where = f"{function}: " if function else ""
        return SignatureMismatch(f"{where}{what} {position}: {problem}", function=function)

    if kind in (ValueType.I32, ValueType.I64):
        if not isinstance(value, int):
            raise mismatch(f"expected {kind}, got {type(value).__name__}")
        bits = 32 if kind is ValueType.I32 else 64
        if not -(1 << (bits - 1)) <= value < 1 << bits:
            raise mismatch(f"{_short(value)} is out of range for {kind}")
        return (value & ((1 << bits) - 1)).to_bytes(8, "little")
    if kind in (ValueType.F32, ValueType.F64):
        if not isinstance(value, (int, float)):
            raise mismatch(f"expected {kind}, got {type(value).__name__}")
        try:
            return struct.pack("<f4x" if kind is ValueType.F32 else "<d", value)
        except (OverflowError, struct.error):  # an integer beyond any float
            raise mismatch(f"{_short(value)} is out of range for {kind}") from None
    if kind is ValueType.V128:
        raise mismatch("v128 values cannot be passed yet")
    if value is None:
        return bytes(8)
    if kind is ValueType.FUNCREF:
        raise mismatch("only null (None) can be passed as funcref between processes")
    if not isinstance(value, int):
        raise mismatch(f"expected {kind}, got {type(value).__name__}")
    if not 0 <= value <= _MAX_EXTERNREF:
        raise mismatch(f"{_short(value)} is out of range for {kind} (0 to 2^64-2)")
    return (value + 1).to_bytes(8, "little")


def unpack(types: Sequence[ValueType], data: bytes, what: str = "payload") -> tuple[Any, ...]:
    """The values in `data`: signed ints, floats, None for null, externref as int.

    Raises ProtocolError: the length does not fit the signature, or bits that the type does not have.
    """
    types = tuple(types)
    if len(data) != 8 * len(types):
        raise ProtocolError(f"{what}: expected {8 * len(types)} bytes for {len(types)} values, got {len(data)}")
    codec = _codec(types)
    if codec is not None:
        return codec.unpack(data)
    return tuple(_UNPACK[t](data[8 * i : 8 * i + 8], what) for i, t in enumerate(types))


def _unpack_with(code: str) -> Callable[[bytes, str], Any]:
    codec = struct.Struct("<" + code)
    return lambda data, what: codec.unpack(data)[0]


def _unpack_externref(data: bytes, what: str) -> int | None:
    bits = int.from_bytes(data, "little")
    return None if bits == 0 else bits - 1


def _unpack_funcref(data: bytes, what: str) -> None:
    if any(data):
        raise ProtocolError(f"{what}: a funcref other than null cannot leave its process")


def _unpack_v128(data: bytes, what: str) -> None:
    raise ProtocolError(f"{what}: v128 values cannot be passed yet")


_UNPACK: dict[ValueType, Callable[[bytes, str], Any]] = {
    **{t: _unpack_with(code) for t, code in SLOT_FORMATS.items()},
    ValueType.EXTERNREF: _unpack_externref, ValueType.FUNCREF: _unpack_funcref, ValueType.V128: _unpack_v128,
}


def _short(value: object) -> str:
    """repr() that stays short: an integer of a million digits is named by its size."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)
