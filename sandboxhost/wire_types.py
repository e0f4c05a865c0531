"""Extern types as the messages MODULE_IMPORT and MODULE_EXPORT of the compile process carry them."""
from __future__ import annotations

from . import wire
from .errors import ProtocolError
from .values import ExternKind, ExternType, FunctionType, GlobalType, MemoryType, TableType, ValueType

__all__ = ["fields", "type_of"]


def fields(kind: ExternKind, type_: ExternType) -> tuple[int, bytes, bytes, int, wire.Signed, bool]:
    """(kind, params, results, minimum, maximum, mutable) of ModuleImport and ModuleExport."""
    maximum: int | None = None
    params = results = b""
    minimum, mutable = 0, False
    if isinstance(type_, FunctionType):
        params, results = bytes(type_.params), bytes(type_.results)
    elif isinstance(type_, TableType):
        params, minimum, maximum = bytes([type_.element]), type_.minimum, type_.maximum
    elif isinstance(type_, MemoryType):
        minimum, maximum = type_
    else:
        params, mutable = bytes([type_.type]), type_.mutable
    return int(kind), params, results, minimum, wire.Signed(wire.UNLIMITED if maximum is None else maximum), mutable


def type_of(message: wire.ModuleImport | wire.ModuleExport) -> ExternType:
    """The type in a ModuleImport or ModuleExport. Raises ProtocolError naming the field."""
    name = type(message).__name__
    try:
        kind = ExternKind(message.kind)
        params = tuple(ValueType(code) for code in message.params)
        results = tuple(ValueType(code) for code in message.results)
    except ValueError as exc:
        raise ProtocolError(f"{name}: {exc}") from None
    maximum = None if message.maximum < 0 else int(message.maximum)
    if kind is ExternKind.FUNC:
        return FunctionType(params, results)
    if kind is ExternKind.MEMORY:
        return MemoryType(message.minimum, maximum)
    if len(params) != 1:
        raise ProtocolError(f"{name}.params: expected one type for a {kind}, got {len(params)}")
    return TableType(params[0], message.minimum, maximum) if kind is ExternKind.TABLE else GlobalType(params[0], message.mutable)
