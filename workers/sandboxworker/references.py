"""References as numbers: packing of values by signature where functions of this process may be among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sandboxhost import values
from sandboxhost.errors import SignatureMismatch

from .types import ValueType

if TYPE_CHECKING:
    from .store import Store


def pack(store: Store, types: Sequence[ValueType], params: Sequence[Any], function: str = "", what: str = "argument") -> bytes:
    """As sandboxhost.values.pack, and a FunctionInstance of this store is taken as funcref."""
    if ValueType.FUNCREF not in types or len(types) != len(params):
        return values.pack(types, params, function, what)
    return b"".join(
        to_bits(store, t, param).to_bytes(8, "little")
        if t is ValueType.FUNCREF
        else values.pack((t,), (param,), function, f"{what} {i} of {len(types)}:")
        for i, (t, param) in enumerate(zip(types, params, strict=True), 1)
    )


def unpack(store: Store, types: Sequence[ValueType], data: bytes) -> tuple[Any, ...]:
    """As sandboxhost.values.unpack, and a funcref becomes its FunctionInstance."""
    if ValueType.FUNCREF not in types:
        return values.unpack(types, data)
    return tuple(from_bits(store, t, int.from_bytes(data[8 * i : 8 * i + 8], "little")) for i, t in enumerate(types))


def to_bits(store: Store, type_: ValueType, value: Any) -> int:
    """One value as 64 bits. Raises SignatureMismatch."""
    if type_ is not ValueType.FUNCREF:
        return int.from_bytes(values.pack((type_,), (value,), what="value"), "little")
    if value is None:
        return 0
    address = getattr(value, "address", None)
    if address is None:
        raise SignatureMismatch(f"expected funcref, got {type(value).__name__}")
    if value.store is not store:
        raise SignatureMismatch(f"function {value.name!r} belongs to another store")
    return int(address)


def from_bits(store: Store, type_: ValueType, bits: int) -> Any:
    """The Python value of 64 bits."""
    if type_ is ValueType.FUNCREF:
        return store.function_at(bits) if bits else None
    return values.unpack((type_,), bits.to_bytes(8, "little"))[0]


def raw_to_bits(store: Store, type_: ValueType, value: Any) -> int:
    """As to_bits, but numbers are given as their bits."""
    if type_ in (ValueType.FUNCREF, ValueType.EXTERNREF):
        return to_bits(store, type_, value)
    if not isinstance(value, int) or not 0 <= value < 1 << (32 if type_ in (ValueType.I32, ValueType.F32) else 64):
        raise SignatureMismatch(f"expected the bits of {type_}, got {value!r}")
    return value


def bits_to_raw(store: Store, type_: ValueType, bits: int) -> Any:
    """As from_bits, but numbers stay bits, i32 and f32 zero-extended."""
    if type_ in (ValueType.FUNCREF, ValueType.EXTERNREF):
        return from_bits(store, type_, bits)
    return bits & 0xFFFF_FFFF if type_ in (ValueType.I32, ValueType.F32) else bits
