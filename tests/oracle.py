"""The second engine: PyPI wasmtime behind the runner's Embedding interface, exact to the bit. What ours is compared with."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import wasmtime
from wasmtime import TrapCode, WasmtimeError
from wasmtime import _ffi as ffi

from spectest.embedding import Failure, Instance
from spectest.values import Constant

# wasmtime's trap codes in the specification's words.
TRAP_WORDS = {
    TrapCode.STACK_OVERFLOW: "call stack exhausted",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "out of bounds memory access",
    TrapCode.TABLE_OUT_OF_BOUNDS: "out of bounds table access",
    TrapCode.INDIRECT_CALL_TO_NULL: "uninitialized element",
    TrapCode.BAD_SIGNATURE: "indirect call type mismatch",
    TrapCode.INTEGER_OVERFLOW: "integer overflow",
    TrapCode.INTEGER_DIVISION_BY_ZERO: "integer divide by zero",
    TrapCode.BAD_CONVERSION_TO_INTEGER: "invalid conversion to integer",
    TrapCode.UNREACHABLE: "unreachable",
}
_KINDS = {
    ffi.WASMTIME_I32.value: "i32", ffi.WASMTIME_I64.value: "i64", ffi.WASMTIME_F32.value: "f32", ffi.WASMTIME_F64.value: "f64",
    ffi.WASMTIME_FUNCREF.value: "funcref", ffi.WASMTIME_EXTERNREF.value: "externref",
}
_KIND_OF = {name: kind for kind, name in _KINDS.items()}
_NARROW = {"i32", "f32"}


_OTHER_FEATURES = (
    "multi_memory", "memory64", "tail_call", "relaxed_simd", "simd", "threads", "exceptions", "gc", "function_references",
)  # fmt: skip


@cache
def engine(metered: bool = False) -> wasmtime.Engine:
    """WebAssembly 2.0 as far as ours goes, quick to compile. metered: with fuel."""
    config = wasmtime.Config()
    for feature in _OTHER_FEATURES:
        setattr(config, f"wasm_{feature}", False)
    config.cranelift_opt_level = "none"
    config.parallel_compilation = False
    config.consume_fuel = metered
    config.memory_reservation = 1 << 26
    config.memory_guard_size = 1 << 16
    return wasmtime.Engine(config)


def trap_words(trap: wasmtime.Trap) -> str:
    """A trap's cause in the specification's words; wasmtime's own where there are none."""
    code = trap.trap_code
    return TRAP_WORDS.get(code, str(trap)) if code is not None else str(trap)


def _failure(error: Exception) -> Failure:
    if isinstance(error, wasmtime.Trap):
        words = trap_words(error)
        if words == "call stack exhausted":
            return Failure("exhaustion", words)
        return Failure("trap", words, tuple((frame.func_index, frame.module_offset) for frame in error.frames))
    return Failure("other", " ".join(str(error).split()))


class Raw:
    """Calls that keep every bit: Python's floats would quieten signalling NaNs."""

    def __init__(self, store: wasmtime.Store) -> None:
        self.store = store
        self._numbers: dict[int, int] = {}

    def pack(self, type_name: str, raw: Any) -> ffi.wasmtime_val_t:
        """A raw value as wasmtime's C structure."""
        if type_name in ("externref", "anyref"):  # wasmtime's Python prints an externref type as anyref
            return wasmtime.Val.externref(raw)._new_raw(self.store)
        value = ffi.wasmtime_val_t(kind=_KIND_OF[type_name])
        if type_name != "funcref":
            ctypes.c_uint64.from_buffer(value, ffi.wasmtime_val_t.of.offset).value = raw
        elif raw is not None:
            raise Failure("other", "a function reference as an argument is not supported here")
        return value

    def unpack(self, value: ffi.wasmtime_val_t) -> tuple[str, Any]:
        """(type name, raw bits); a function reference is an arbitrary object, a null one None."""
        type_name = _KINDS[int(value.kind)]
        if type_name in ("externref", "funcref"):
            return type_name, wasmtime.Val._from_raw(self.store, value).value
        bits = ctypes.c_uint64.from_buffer(value, ffi.wasmtime_val_t.of.offset).value
        return type_name, bits & 0xFFFFFFFF if type_name in _NARROW else bits

    def call(self, function: wasmtime.Func, args: Sequence[Any]) -> list[tuple[str, Any]]:
        """Raises wasmtime.Trap or WasmtimeError."""
        type_ = function.type(self.store)
        if len(args) != len(type_.params):
            raise WasmtimeError(f"expected {len(type_.params)} params, but passed {len(args)}")
        packed = (ffi.wasmtime_val_t * max(1, len(args)))(
            *(self.pack(str(param), raw) for param, raw in zip(type_.params, args, strict=True))
        )
        results = (ffi.wasmtime_val_t * max(1, len(type_.results)))()
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        context, callee = self.store._context(), ctypes.byref(function._func)
        error = ffi.wasmtime_func_call(context, callee, packed, len(args), results, len(type_.results), ctypes.byref(trap))
        if error:  # type: ignore[truthy-bool]  # a null pointer is false
            raise WasmtimeError._from_ptr(error)
        if trap:  # type: ignore[truthy-bool]
            raise wasmtime.Trap._from_ptr(trap)
        return [self.unpack(results[i]) for i in range(len(type_.results))]

    def global_value(self, cell: wasmtime.Global) -> tuple[str, Any]:
        """(type name, raw bits) of a global."""
        value = ffi.wasmtime_val_t()
        ffi.wasmtime_global_get(self.store._context(), ctypes.byref(cell._global), ctypes.byref(value))
        return self.unpack(value)


class OracleInstance:
    """See spectest.embedding.Instance."""

    def __init__(self, raw: Raw, exports: Mapping[str, Any]) -> None:
        self.raw = raw
        self.exports = exports

    def invoke(self, field: str, args: Sequence[Constant]) -> list[tuple[str, Any]]:
        """See Instance."""
        function = self.exports.get(field)
        if not isinstance(function, wasmtime.Func):
            raise Failure("other", f"no exported function {field!r}")
        try:
            return self.raw.call(function, [constant.value for constant in args])
        except (wasmtime.Trap, WasmtimeError) as error:
            raise _failure(error) from error

    def get(self, field: str) -> tuple[str, Any]:
        """See Instance."""
        cell = self.exports.get(field)
        if not isinstance(cell, wasmtime.Global):
            raise Failure("other", f"no exported global {field!r}")
        return self.raw.global_value(cell)


class OracleEmbedding:
    """See spectest.embedding.Embedding. A refused module is kind "invalid", whether malformed or invalid."""

    def __init__(self, its_engine: wasmtime.Engine | None = None) -> None:
        self._engine = its_engine or engine()
        self.store = wasmtime.Store(self._engine)
        self.raw = Raw(self.store)

    def compile(self, data: bytes) -> wasmtime.Module:
        """See Embedding."""
        try:
            return wasmtime.Module(self._engine, data)
        except WasmtimeError as error:
            raise Failure("invalid", " ".join(str(error).split())) from error

    def instantiate(self, module: wasmtime.Module, imports: Mapping[str, Instance]) -> OracleInstance:
        """See Embedding."""
        externs = []
        for wanted in module.imports:
            source = imports.get(wanted.module)
            if not isinstance(source, OracleInstance) or wanted.name not in source.exports:
                raise Failure("unlinkable", "unknown import")
            externs.append(source.exports[str(wanted.name)])
        try:
            instance = wasmtime.Instance(self.store, module, externs)
        except wasmtime.Trap as error:
            raise _failure(error) from error
        except WasmtimeError as error:
            text = str(error)
            if "incompatible import type" in text or "types incompatible" in text:
                raise Failure("unlinkable", "incompatible import type") from error
            raise _failure(error) from error
        exports = instance.exports(self.store)
        return OracleInstance(self.raw, {export.name: exports[export.name] for export in module.exports})

    def spectest(self) -> OracleInstance:
        """See Embedding."""
        names = {"print": [], "print_i32": ["i32"], "print_i64": ["i64"], "print_f32": ["f32"], "print_f64": ["f64"],
                 "print_i32_f32": ["i32", "f32"], "print_f64_f64": ["f64", "f64"]}
        exports: dict[str, Any] = {}
        for name, params in names.items():
            type_ = wasmtime.FuncType([getattr(wasmtime.ValType, param)() for param in params], [])
            exports[name] = wasmtime.Func(self.store, type_, lambda *values: None)
        for type_name, value in (("i32", 666), ("i64", 666), ("f32", 666.6), ("f64", 666.6)):
            value_type = getattr(wasmtime.ValType, type_name)()
            exports[f"global_{type_name}"] = wasmtime.Global(self.store, wasmtime.GlobalType(value_type, False), value)
        table_type = wasmtime.TableType(wasmtime.ValType.funcref(), wasmtime.Limits(10, 20))
        exports["table"] = wasmtime.Table(self.store, table_type, None)
        exports["memory"] = wasmtime.Memory(self.store, wasmtime.MemoryType(wasmtime.Limits(1, 2)))
        return OracleInstance(self.raw, exports)

    def close(self) -> None:
        """See Embedding."""
        self.store.close()
