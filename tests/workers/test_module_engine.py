"""ModuleEngine: names, functions, references of segments and globals."""

from __future__ import annotations

import pytest

from sandboxhost.errors import SignatureMismatch
from sandboxworker.call_engine import CallEngine
from sandboxworker.engine import Engine
from sandboxworker.module_engine import ModuleEngine
from sandboxworker.module_instance import FunctionInstance, ModuleInstance
from sandboxworker.store import Store
from sandboxworker.types import FunctionType, GlobalType, ValueType

from .driver import I32, module

FUNCREF = ValueType.FUNCREF


@pytest.fixture
def instance(engine: Engine, store: Store) -> ModuleInstance:
    wanted = module("""(module (import "h" "ten" (func $ten (result i32)))
        (func (export "one") (result i32) (i32.const 1))
        (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "ten and one") (result i32) (i32.add (call $ten) (call 1))))""")
    engine.compile_module(wanted)
    ten = store.host_function(FunctionType((), (I32,)), lambda: 10)
    return store.instantiate(wanted, name="numbers", imports={("h", "ten"): ten})


def test_it_has_the_name_it_was_instantiated_with(instance: ModuleInstance) -> None:
    assert isinstance(instance.engine, ModuleEngine)
    assert instance.engine.name == "numbers"
    assert instance.engine is instance.engine


def test_imports_come_first_then_the_modules_own_functions(instance: ModuleInstance) -> None:
    engine = instance.engine
    assert engine.function(0).name == "ten" or engine.function(0).call() == (10,)
    assert engine.function(1) is instance.exports["one"]
    assert engine.function(2) is instance.exports["add"]
    for index in (-1, 4, 2**32):
        with pytest.raises(IndexError, match="numbers: function index"):
            engine.function(index)


def test_new_call_engine_and_the_one_shot_call(instance: ModuleInstance) -> None:
    add = instance.exports["add"]
    reusable = instance.engine.new_call_engine(add)
    assert isinstance(reusable, CallEngine)
    assert [reusable.call(n, n) for n in range(3)] == [(0,), (2,), (4,)]
    assert instance.engine.call(add, 2, 40) == (42,)
    with pytest.raises(SignatureMismatch, match="expected 2 params, but passed 3"):
        instance.engine.call(add, 1, 2, 3)


def test_create_func_element_instance(instance: ModuleInstance) -> None:
    one, add = instance.exports["one"], instance.exports["add"]
    made = instance.engine.create_func_element_instance([1, None, 2, 1])
    assert made == [one, None, add, one]
    assert instance.engine.create_func_element_instance([]) == []
    with pytest.raises(IndexError):
        instance.engine.create_func_element_instance([99])


def test_initialize_funcref_globals(instance: ModuleInstance, store: Store) -> None:
    one, add = instance.exports["one"], instance.exports["add"]
    assert isinstance(add, FunctionInstance)
    indexed = store.new_global(GlobalType(FUNCREF), 1)
    null = store.new_global(GlobalType(FUNCREF), None)
    number = store.new_global(GlobalType(I32), 2)
    external = store.new_global(GlobalType(ValueType.EXTERNREF), 2)
    from_import = store.new_global(GlobalType(FUNCREF, True), add)  # what global.get of an imported global gives: a reference
    assert indexed.value is None
    everything = [indexed, null, number, external, from_import]
    for _ in range(2):  # the second time finds nothing to do
        instance.engine.initialize_funcref_globals(everything)
        assert [g.value for g in everything] == [one, None, 2, 2, add]
    with pytest.raises(IndexError):
        instance.engine.initialize_funcref_globals([store.new_global(GlobalType(FUNCREF), 1000)])


def test_funcref_globals_of_a_module(engine: Engine, store: Store) -> None:
    """ref.func, null, and a global that takes its reference from an imported global."""
    first = module("""(module (func $f (export "f") (result i32) (i32.const 7))
        (global (export "g") funcref (ref.func $f)) (global (export "null") funcref (ref.null func)))""")
    second = module("""(module (import "a" "g" (global funcref)) (global (export "again") funcref (global.get 0))
        (table 1 funcref) (func (export "call") (result i32)
            (table.set (i32.const 0) (global.get 1)) (call_indirect (result i32) (i32.const 0))))""")
    for item in (first, second):
        engine.compile_module(item)
    a = store.instantiate(first)
    b = store.instantiate(second, imports={("a", "g"): a.exports["g"]})
    assert a.exports["g"].value is a.exports["f"]
    assert a.exports["null"].value is None
    assert b.exports["again"].value is a.exports["f"]
    assert b.exports["call"].call() == (7,)
