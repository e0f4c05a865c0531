"""The second engine as an observer: PyPI wasmtime does with a module what tests/fuzz/native/observe.c does."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from typing import Any

import wasmtime
from wasmtime import WasmtimeError

from tests.oracle import Raw, engine, trap_words

from .observer import (
    BUDGET,
    MAX_CALLS,
    MAX_ELEMENTS,
    MAX_PAGES,
    ROUNDS,
    STATUS,
    TABLE_SHOWN,
    Event,
    Library,
    Observation,
    Outcome,
    Tag,
)  # fmt: skip

FUEL = 1_000_000
CODES = {"i32": 0x7F, "i64": 0x7E, "f32": 0x7D, "f64": 0x7C, "funcref": 0x70, "externref": 0x6F, "anyref": 0x6F}
_NAMES = {code: name for name, code in CODES.items()}
_NAN = {"f32": 0x7FC00000, "f64": 0x7FF8000000000000}
_MASK = {"f32": (0x7FFFFFFF, 0x7F800000), "f64": (0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000)}
# The second engine cannot tell these two apart.
SAME_TRAP = {"undefined element": "out of bounds table access"}


class _Ended(Exception):
    """The run is over before its end; the outcome is the argument."""


def plain(type_name: str, raw: Any) -> int:
    """As fz_plain: NaNs are one value, a function is 1, a null reference 0."""
    if type_name in _NAN:
        mask, infinity = _MASK[type_name]
        return _NAN[type_name] if raw & mask > infinity else raw
    if type_name == "funcref":
        return int(raw is not None)
    return int(raw or 0)


def _types(types: Sequence[Any]) -> bytes:
    return bytes(CODES[str(value_type)] for value_type in types)


class SecondEngine:
    """Observes modules on wasmtime; hashes and arguments are the library's."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def observe(self, data: bytes) -> Observation:
        """Compiles and runs a module."""
        try:
            module = wasmtime.Module(engine(metered=True), data)
        except WasmtimeError as error:
            return Observation(Outcome.REFUSED, (), " ".join(str(error).split()))
        run = _Run(self._library, module)
        try:
            run.all()
        except _Ended as ended:
            return Observation(ended.args[0], tuple(run.events))
        finally:
            run.store.close()
            module.close()
        return Observation(Outcome.SEEN, tuple(run.events))


class _Run:
    """One module, from its imports to its last state."""

    def __init__(self, library: Library, module: wasmtime.Module) -> None:
        self.library, self.module = library, module
        self.store = wasmtime.Store(engine(metered=True))
        self.store.set_limits(memory_size=MAX_PAGES << 16, table_elements=MAX_ELEMENTS)
        self.store.set_fuel(FUEL)
        self.raw = Raw(self.store)
        self.events: list[Event] = []
        self.host_hash = 0
        self.exports: dict[str, Any] = {}

    def all(self) -> None:
        """Everything; raises _Ended."""
        try:
            externs = [self._extern(number, wanted.type) for number, wanted in enumerate(self.module.imports)]
            instance = wasmtime.Instance(self.store, self.module, externs)
        except (wasmtime.Trap, WasmtimeError) as error:
            self.events.append(Event(Tag.INSTANTIATED, 0, self._ending(error)))
            return
        self.events.append(Event(Tag.INSTANTIATED, 0, 0))
        sorted_exports = sorted(self.module.exports, key=lambda export: export.name.encode())
        found = instance.exports(self.store)
        self.exports = {export.name: found[export.name] for export in sorted_exports}
        functions = [(self.exports[e.name], e.type) for e in sorted_exports if isinstance(e.type, wasmtime.FuncType)][:MAX_CALLS]
        budget = self._budget()
        signatures = [(_types(t.params), len(t.results)) for _, t in functions]
        for round_ in range(ROUNDS):
            for number, ((function, _), (params, results)) in enumerate(zip(functions, signatures, strict=True)):
                if budget is not None:
                    budget.set_value(self.store, BUDGET)
                self._call(function, number, round_, params, results)
        self.events.append(Event(Tag.HOST, 0, self.host_hash))
        for index, name in enumerate(self.exports):
            self._state(index, self.exports[name])

    def _budget(self) -> wasmtime.Global | None:
        cell = self.exports.get("B")
        if isinstance(cell, wasmtime.Global):
            type_ = cell.type(self.store)
            if type_.mutable and str(type_.content) == "i32":
                return cell
        return None

    def _ending(self, error: Exception) -> int:
        if not isinstance(error, wasmtime.Trap):
            text = str(error)
            if "all fuel consumed" in text:
                raise _Ended(Outcome.TOO_LONG)
            if "limit" in text or "failed to allocate" in text:
                return STATUS + self.library.status["memory_limit"]
            raise error
        words = trap_words(error)
        if "all fuel consumed" in words:
            raise _Ended(Outcome.TOO_LONG)
        if words == "call stack exhausted":
            raise _Ended(Outcome.NO_STACK)
        return self.library.traps[SAME_TRAP.get(words, words)]

    def _call(self, function: wasmtime.Func, number: int, round_: int, params: bytes, result_count: int) -> None:
        from wasmtime import _ffi as ffi

        values = self.library.arguments(number, round_, params)
        packed = (ffi.wasmtime_val_t * max(1, len(params)))()
        for i, code in enumerate(params):
            name = _NAMES[code]
            raw = values[i] if code > 0x70 else None if values[i] == 0 else values[i]
            packed[i] = self.raw.pack(name, raw)
        results = (ffi.wasmtime_val_t * max(1, result_count))()
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        context = self.store._context()
        callee = ctypes.byref(function._func)
        error = ffi.wasmtime_func_call(context, callee, packed, len(params), results, result_count, ctypes.byref(trap))
        label = number * ROUNDS + round_
        if error or trap:  # null pointers are false
            failure = WasmtimeError._from_ptr(error) if error else wasmtime.Trap._from_ptr(trap)
            self.events.append(Event(Tag.CALLED, label, self._ending(failure)))
            return
        self.events.append(Event(Tag.CALLED, label, 0))
        for i in range(result_count):
            self.events.append(Event(Tag.RESULT, i, plain(*self.raw.unpack(results[i]))))

    def _state(self, index: int, extern: Any) -> None:
        if isinstance(extern, wasmtime.Table):
            size, value = extern.size(self.store), 0
            for i in range(min(size, TABLE_SHOWN)):
                element = extern.get(self.store, i)
                if isinstance(element, wasmtime.Val):  # an external reference
                    element = element.value
                value = self.library.mix(value, 1 if isinstance(element, wasmtime.Func) else int(element or 0))
            self.events += (Event(Tag.TABLE_SIZE, index, size), Event(Tag.TABLE, index, value))
        elif isinstance(extern, wasmtime.Memory):
            size = extern.data_len(self.store)
            address = ctypes.cast(extern.data_ptr(self.store), ctypes.c_void_p).value or 0
            self.events += (Event(Tag.MEMORY_SIZE, index, size), Event(Tag.MEMORY, index, self.library.hash(address, size)))
        elif isinstance(extern, wasmtime.Global):
            self.events.append(Event(Tag.GLOBAL, index, plain(*self.raw.global_value(extern))))

    def _extern(self, number: int, type_: Any) -> Any:
        if isinstance(type_, wasmtime.FuncType):
            return wasmtime.Func(self.store, type_, self._host_function(number, type_))
        if isinstance(type_, wasmtime.MemoryType):
            return wasmtime.Memory(self.store, type_)
        if isinstance(type_, wasmtime.TableType):
            return wasmtime.Table(self.store, type_, None)
        return wasmtime.Global(self.store, type_, self._value(str(type_.content)))

    def _value(self, type_name: str) -> Any:
        raw = self.library.imported_global(CODES[type_name])
        return _as_python(type_name, raw)

    def _host_function(self, number: int, type_: wasmtime.FuncType) -> Callable[..., Any]:
        params, results = [str(t) for t in type_.params], _types(type_.results)
        library = self.library

        def call(*args: Any) -> Any:
            value = number
            for name, arg in zip(params, args, strict=True):
                value = library.mix(value, _bits(name, arg))
            self.host_hash = library.mix(self.host_hash, value)
            memory = self.exports.get("m0")
            if number % 4 == 1 and value & 3 == 0 and isinstance(memory, wasmtime.Memory):
                try:
                    memory.grow(self.store, 1)
                except WasmtimeError:
                    pass  # at its limit
            given = library.host_results(number, value, results)
            answer = [_as_python(_NAMES[code], raw) for code, raw in zip(results, given, strict=True)]
            return answer[0] if len(answer) == 1 else answer or None

        return call


def _as_python(type_name: str, raw: int) -> Any:
    """Raw bits as what wasmtime's Python takes."""
    if type_name in ("i32", "i64"):
        width = int(type_name[1:])
        return raw - (1 << width) if raw >> (width - 1) else raw
    if type_name == "f32":
        return struct.unpack("<f", raw.to_bytes(4, "little"))[0]
    if type_name == "f64":
        return struct.unpack("<d", raw.to_bytes(8, "little"))[0]
    return None if raw == 0 else raw


def _bits(type_name: str, arg: Any) -> int:
    """A host function's argument as fz_plain sees it."""
    if type_name == "i32":
        return int(arg) & 0xFFFFFFFF
    if type_name == "i64":
        return int(arg) & 0xFFFFFFFFFFFFFFFF
    if type_name == "f32":
        return _NAN["f32"] if arg != arg else int.from_bytes(struct.pack("<f", arg), "little")
    if type_name == "f64":
        return _NAN["f64"] if arg != arg else int.from_bytes(struct.pack("<d", arg), "little")
    if type_name == "funcref":
        return int(arg is not None)
    return int(arg or 0)
