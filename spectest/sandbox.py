"""The engine under test: sandboxworker in this process, one store a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sandboxhost.errors import DecodeError, InstantiationError, LinkError, SandboxError, StackLimit, Trap, ValidationError
from sandboxworker.engine import Engine, Module
from sandboxworker.module_instance import FunctionInstance, GlobalInstance, ModuleInstance
from sandboxworker.store import Store
from sandboxworker.types import FunctionType, GlobalType, MemoryType, TableType, ValueType

from .embedding import Failure, Instance
from .values import Constant

Tier = Literal["auto", "interpreter", "compiled"]

# The first class that fits names the kind.
_KINDS: tuple[tuple[type[SandboxError], str], ...] = (
    (DecodeError, "malformed"),
    (ValidationError, "invalid"),
    (LinkError, "unlinkable"),
    (Trap, "trap"),
    (InstantiationError, "trap"),
    (StackLimit, "exhaustion"),
)


def _failure(error: SandboxError) -> Failure:
    for error_class, kind in _KINDS:
        if isinstance(error, error_class):
            if isinstance(error, Trap):
                return Failure(kind, error.cause, tuple((frame.function_index, frame.offset) for frame in error.frames))
            return Failure(kind, str(error))
    return Failure("other", f"{type(error).__name__}: {error}")


class SandboxInstance:
    """A module instance, or the host module ``spectest``: its exports by name."""

    def __init__(self, exports: Mapping[str, Any]) -> None:
        self.exports = exports

    def invoke(self, field: str, args: Sequence[Constant]) -> list[tuple[str, Any]]:
        """See Instance."""
        function = self.exports.get(field)
        if not isinstance(function, FunctionInstance):
            raise Failure("other", f"no exported function {field!r}")
        try:
            results = function.call_raw(*(constant.value for constant in args))
        except SandboxError as error:
            raise _failure(error) from error
        return [(type_.name.lower(), raw) for type_, raw in zip(function.type.results, results, strict=True)]

    def get(self, field: str) -> tuple[str, Any]:
        """See Instance."""
        cell = self.exports.get(field)
        if not isinstance(cell, GlobalInstance):
            raise Failure("other", f"no exported global {field!r}")
        return cell.type.type.name.lower(), cell.raw


class SandboxEmbedding:
    """An Engine and a Store for one script. ``tier``, ``explicit_bounds`` and ``metered`` are the Engine's."""

    def __init__(self, tier: Tier = "auto", explicit_bounds: bool = False, metered: bool = False) -> None:
        self.engine = Engine(tier=tier, explicit_bounds=explicit_bounds, metered=metered)
        self.store = Store(self.engine)

    def compile(self, data: bytes) -> Module:
        """See Embedding."""
        module = Module(data)
        try:
            self.engine.compile_module(module)
        except SandboxError as error:
            raise _failure(error) from error
        return module

    def instantiate(self, module: Module, imports: Mapping[str, Instance]) -> SandboxInstance:
        """See Embedding."""
        externs: dict[tuple[str, str], Any] = {}
        for wanted in self.engine.image(module).imports:
            source = imports.get(wanted.module)
            if isinstance(source, SandboxInstance) and wanted.name in source.exports:
                externs[wanted.module, wanted.name] = source.exports[wanted.name]
        try:
            instance: ModuleInstance = self.store.instantiate(module, imports=externs)
        except SandboxError as error:
            raise _failure(error) from error
        return SandboxInstance(instance.exports)

    def spectest(self) -> SandboxInstance:
        """The host module of the suite (interpreter/host/spectest.ml in the specification's repository)."""
        i32, i64, f32, f64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
        signatures: dict[str, tuple[ValueType, ...]] = {
            "print": (), "print_i32": (i32,), "print_i64": (i64,), "print_f32": (f32,), "print_f64": (f64,),
            "print_i32_f32": (i32, f32), "print_f64_f64": (f64, f64),
        }
        store = self.store
        exports: dict[str, Any] = {
            name: store.host_function(FunctionType(params, ()), lambda *values: None) for name, params in signatures.items()
        }
        for value_type, value in ((i32, 666), (i64, 666), (f32, 666.6), (f64, 666.6)):
            exports[f"global_{value_type.name.lower()}"] = store.new_global(GlobalType(value_type, mutable=False), value)
        exports["table"] = store.new_table(TableType(ValueType.FUNCREF, 10, 20))
        exports["memory"] = store.new_memory(MemoryType(1, 2))
        return SandboxInstance(exports)

    def close(self) -> None:
        """See Embedding."""
        self.store.close()
