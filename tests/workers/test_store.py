"""Store and instances: linking, memories, tables, globals, limits, identity, closing."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from sandboxhost.errors import LinkError, MemoryLimit, SignatureMismatch, Trap
from sandboxhost.limits import Limits
from sandboxworker import call_engine
from sandboxworker import store as store_module
from sandboxworker.engine import Engine
from sandboxworker.module_instance import ModuleInstance
from sandboxworker.store import Store
from sandboxworker.types import FunctionType, GlobalType, MemoryType, TableType, ValueType

from .driver import F64, I32, I64, module

FUNCREF, EXTERNREF = ValueType.FUNCREF, ValueType.EXTERNREF


def make(store: Store, text: str, **imports: Any) -> ModuleInstance:
    """Instantiates; imports are those of module "h"."""
    wanted = module(text)
    store.engine.compile_module(wanted)
    return store.instantiate(wanted, "m", {("h", name): extern for name, extern in imports.items()})


def test_unknown_and_incompatible_imports(store: Store) -> None:
    text = '(module (import "h" "f" (func (param i32))) (import "h" "g" (global i32)))'
    good = store.host_function(FunctionType((I32,)), lambda n: None)
    number = store.new_global(GlobalType(I32), 1)
    with pytest.raises(LinkError, match='^unknown import: "h"."f"'):
        make(store, text)
    with pytest.raises(LinkError, match="^unknown import"):
        make(store, text, f=good)
    with pytest.raises(LinkError, match="^incompatible import type"):
        make(store, text, f=number, g=number)
    with pytest.raises(LinkError, match="^incompatible import type.*h.*f"):
        make(store, text, f=store.host_function(FunctionType((I64,)), lambda n: None), g=number)
    with pytest.raises(LinkError, match="^incompatible import type"):
        make(store, text, f=good, g=store.new_global(GlobalType(I32, mutable=True), 1))
    with Store(store.engine) as other, pytest.raises(LinkError, match="another store"):
        make(store, text, f=other.host_function(FunctionType((I32,)), lambda n: None), g=number)
    make(store, text, f=good, g=number)


def test_imported_limits_are_matched(store: Store) -> None:
    text = '(module (import "h" "m" (memory 2 4)) (import "h" "t" (table 2 4 funcref)))'
    table = store.new_table(TableType(FUNCREF, 2, 4))
    for bad in (MemoryType(1, 4), MemoryType(2), MemoryType(2, 5)):
        with pytest.raises(LinkError, match="^incompatible import type"):
            make(store, text, m=store.new_memory(bad), t=table)
    memory = store.new_memory(MemoryType(1, 3))
    assert memory.grow(1) == 1  # its size now is what counts
    make(store, text, m=memory, t=table)
    with pytest.raises(LinkError, match="^incompatible import type"):
        make(store, text, m=memory, t=store.new_table(TableType(EXTERNREF, 2, 4)))


def test_memory(store: Store) -> None:
    memory = make(store, '(module (memory (export "m") 1 3) (data (i32.const 65530) "abcdef"))').exports["m"]
    assert (memory.size, memory.byte_size, memory.type) == (1, 65536, MemoryType(1, 3))
    assert memory.read(65530, 6) == b"abcdef" and memory.read(65536, 0) == b""
    memory.write(0, b"xyz")
    assert memory.read(0, 4) == b"xyz\0"
    for offset, length in ((65531, 6), (-1, 1), (0, 65537), (2**64, 1), (0, -1)):
        with pytest.raises(IndexError, match="out of bounds memory access"):
            memory.read(offset, length)
    with pytest.raises(IndexError):
        memory.write(65530, b"1234567")
    assert memory.read(65530, 6) == b"abcdef"  # all or nothing
    assert memory.grow(1) == 1 and memory.grow(0) == 2 and memory.grow(2) == -1 and memory.grow(2**70) == -1
    assert memory.size == 2 and memory.read(65536, 4) == bytes(4)


def test_table(store: Store) -> None:
    instance = make(store, '(module (table (export "t") 2 5 funcref) (func $f (export "f")) (elem (i32.const 1) $f))')
    table, function = instance.exports["t"], instance.exports["f"]
    assert (table.size, table.type) == (2, TableType(FUNCREF, 2, 5))
    assert table.get(0) is None and table.get(1) is function
    table.set(0, function)
    assert table.grow(2, function) == 2 and table.get(3) is function and table.grow(2) == -1
    for index in (-1, 4, 2**32):
        with pytest.raises(IndexError, match="out of bounds table access"):
            table.get(index)
        with pytest.raises(IndexError):
            table.set(index, None)
    with pytest.raises(SignatureMismatch):
        table.set(0, 5)
    external = store.new_table(TableType(EXTERNREF, 2), 7)
    external.set(0, 0)
    assert [external.get(0), external.get(1)] == [0, 7]


def test_globals(store: Store) -> None:
    exports = make(store, """(module (global (export "c") i64 (i64.const -1)) (global (export "v") (mut f64) (f64.const 0.5))
        (func (export "get") (result f64) (global.get 1)))""").exports
    assert exports["c"].value == -1 and exports["c"].raw == 2**64 - 1 and exports["c"].type == GlobalType(I64)
    exports["v"].set(2.5)
    assert exports["v"].value == 2.5 and exports["get"].call() == (2.5,)
    with pytest.raises(SignatureMismatch, match="immutable"):
        exports["c"].set(1)
    with pytest.raises(SignatureMismatch):
        exports["v"].set("x")
    shared = store.new_global(GlobalType(F64, True), 1.25)
    text = '(module (import "h" "g" (global (mut f64))) (func (export "set") (global.set 0 (f64.const 9))))'
    other = make(store, text, g=shared)
    other.exports["set"].call()
    assert shared.value == 9.0


def test_exports_are_a_mapping_and_one_object_each(store: Store) -> None:
    instance = make(store, '(module (func (export "a")) (export "b" (func 0)) (memory (export "m") 0))')
    assert sorted(instance.exports) == ["a", "b", "m"] and len(instance.exports) == 3 and "a" in instance.exports
    assert instance.exports["a"] is instance.exports["b"]
    with pytest.raises(KeyError):
        instance.exports["nothing"]


def test_an_imported_function_keeps_its_identity(store: Store) -> None:
    host = store.host_function(FunctionType((I32,), (I32,)), lambda n: n + 1)
    instance = make(store, '(module (import "h" "f" (func (param i32) (result i32))) (export "again" (func 0)))', f=host)
    assert instance.exports["again"] is host
    assert host.call(1) == (2,)


def test_functions_of_one_module_called_through_another(store: Store) -> None:
    first = make(store, '(module (func (export "f") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3))))')
    second = make(store, """(module (import "h" "f" (func (param i32) (result i32)))
        (func (export "g") (param i32) (result i32) (call 0 (call 0 (local.get 0)))))""", f=first.exports["f"])  # fmt: skip
    assert second.exports["g"].call(5) == (45,)


def test_start_runs_once_and_its_trap_fails_the_instantiation(store: Store) -> None:
    seen: list[int] = []
    host = store.host_function(FunctionType((I32,)), seen.append)
    make(store, '(module (import "h" "f" (func (param i32))) (func $s (call 0 (i32.const 7))) (start $s))', f=host)
    assert seen == [7]
    with pytest.raises(Trap, match="^unreachable"):
        make(store, "(module (func $s unreachable) (start $s))")


def test_a_failed_instantiation_leaves_its_writes(store: Store) -> None:
    memory = store.new_memory(MemoryType(1))
    with pytest.raises(Trap, match="^out of bounds memory access"):
        make(store, '(module (import "h" "m" (memory 1)) (data (i32.const 0) "kept") (data (i32.const 65535) "xx"))', m=memory)
    assert memory.read(0, 4) == b"kept" and memory.read(65535, 1) == b"\0"


def test_limits_on_memory_and_tables() -> None:
    with Store(Engine(), Limits(memory=3 * 65536, table_elements=10)) as store:
        with pytest.raises(MemoryLimit):
            make(store, "(module (memory 4))")
        with pytest.raises(MemoryLimit):
            make(store, "(module (table 11 funcref))")
        memory = make(store, '(module (memory (export "m") 2))').exports["m"]
        assert memory.grow(1) == 2 and memory.grow(1) == -1
        assert store.memory_bytes() == 3 * 65536
        assert store.take_memory_refusal() and not store.take_memory_refusal()
        table = make(store, '(module (table (export "t") 2 funcref))').exports["t"]
        assert table.grow(8) == 2 and table.grow(1) == -1


def test_a_closed_store_refuses_everything_and_crashes_nothing(engine: Engine) -> None:
    store = Store(engine)
    exports = make(store, """(module (memory (export "m") 1) (table (export "t") 1 funcref)
        (global (export "g") i32 (i32.const 1)) (func (export "f")))""").exports
    everything = dict(exports.items())
    store.close()
    store.close()
    acts: list[Any] = [
        lambda: everything["f"].call(), lambda: everything["m"].read(0, 1), lambda: everything["m"].grow(1),
        lambda: everything["t"].get(0), lambda: everything["t"].grow(1), lambda: everything["g"].value,
        lambda: everything["m"].type,
        lambda: store.new_memory(MemoryType(1)), lambda: store.host_function(FunctionType(), print), lambda: exports["f"].call(),
        lambda: make(store, "(module)"),
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(RuntimeError, match="closed"):
            act()


def test_a_store_that_nobody_uses_is_freed_at_once(engine: Engine) -> None:
    gc.disable()
    try:
        store = Store(engine)
        instance = make(store, '(module (memory (export "m") 1) (func (export "f") (result i32) (i32.const 1)))')
        function, memory = instance.exports["f"], instance.exports["m"]
        watched = weakref.ref(store)
        del store, instance, memory
        assert function.call() == (1,)  # one of its functions keeps it
        assert watched() is not None
        del function
        assert watched() is None
    finally:
        gc.enable()


def test_thousands_of_stores_come_and_go(engine: Engine) -> None:
    wanted = module('(module (memory 1) (data (i32.const 0) "x") (func (export "f") (result i32) (i32.load8_u (i32.const 0))))')
    engine.compile_module(wanted)
    for _ in range(3000):
        with Store(engine) as store:
            assert store.instantiate(wanted).exports["f"].call() == (120,)


def test_a_closed_stores_call_engine_serves_the_next(engine: Engine) -> None:
    wanted = module('(module (func (export "f") unreachable) (func (export "one") (result i32) (i32.const 1)))')
    engine.compile_module(wanted)

    def call(function: Any) -> tuple[Any, ...]:
        return function.call()  # type: ignore[no-any-return]

    spare_engines = call_engine.SpareEngines(most=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "spare_engines", spare_engines)
        for _ in range(3):
            with Store(engine) as first, Store(engine) as second:
                for made in (first, second):
                    exports = made.instantiate(wanted).exports
                    with pytest.raises(Trap):
                        call(exports["f"])
                    assert call(exports["one"]) == (1,)
            assert len(spare_engines) == 1
        with Store(engine) as made:
            lent = made.call_engine()  # whoever has it may still interrupt it
        assert len(spare_engines) == 0 and lent.call_depth == made.limits.call_depth
