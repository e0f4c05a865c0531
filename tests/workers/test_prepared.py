"""Prepared calls: they accept, give and raise what FunctionInstance.call does; however they end, the engine is usable."""

from __future__ import annotations

import gc
import itertools
import math
import threading
import time
import weakref
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from sandboxhost.errors import GuestExit, HostFunctionError, SignatureMismatch, StackLimit, Trap
from sandboxworker import native
from sandboxworker.context import CallContext
from sandboxworker.engine import Engine
from sandboxworker.module_instance import FunctionInstance, MemoryInstance, ModuleInstance
from sandboxworker.prepared import Record
from sandboxworker.store import Store
from sandboxworker.types import FunctionType
from sandboxworker.wasi import Wasi

from .driver import I32, module


def wait_until_inside(memory: MemoryInstance) -> None:
    """The guest says so in its memory."""
    end = time.monotonic() + 10
    while memory.read(1, 1) == b"\0":
        assert time.monotonic() < end


NAMES = {"i32": (-1, 2**31 - 1, 2**32 - 1, -(2**31), 0), "i64": (-1, 2**63 - 1, 2**64 - 1, -(2**63), native.PREPARED_ASK),
         "f32": (1.5, -math.inf, 3), "f64": (0.1, math.inf, 2**60)}  # fmt: skip
TEXT = """(module
    (import "h" "f" (func $host (param i32) (result i32)))
    (memory (export "m") 1)
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "nothing"))
    (func (export "host") (param i32) (result i32) (call $host (local.get 0)))
    (func $inner (result i64) unreachable)
    (func (export "trap") (result i64) (call $inner))
    (func (export "outside") (param i32) (result i32) (i32.load (local.get 0)))
    (func $recurse (export "recurse") (result f64) (call $recurse))
    (func (export "spin") (result i32) (i32.store8 (i32.const 1) (i32.const 1))
        (loop (br_if 0 (i32.eqz (i32.load8_u (i32.const 0))))) (i32.const 7))
    (func (export "nan") (result f64) (f64.const nan:0x123))
    (func (export "single") (param f32) (result f32) (local.get 0))
    (func (export "wide") (param i64) (result i64) (local.get 0))
    (func (export "two") (param i32) (result i32 i32) (local.get 0) (local.get 0))
    (func (export "refs") (param externref) (result externref) (local.get 0)))"""


@pytest.fixture(params=["interpreter", "compiled"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with Store(Engine(tier=request.param)) as made:
        yield made


def make(store: Store, host: Any = lambda n: n, text: str = TEXT) -> ModuleInstance:
    wanted = module(text)
    store.engine.compile_module(wanted)
    imports = {("h", "f"): store.host_function(FunctionType((I32,), (I32,)), host)} if '"h"' in text else {}
    return store.instantiate(wanted, "m", imports)


def export(instance: ModuleInstance, name: str) -> FunctionInstance:
    found = instance.exports[name]
    assert isinstance(found, FunctionInstance)
    return found


def outcome(call: Any, *params: Any) -> tuple[Any, ...]:
    try:
        return "result", repr(call(*params))
    except (SignatureMismatch, Trap, StackLimit, HostFunctionError, RuntimeError) as exc:
        return type(exc), str(exc), getattr(exc, "frames", None), type(exc.__cause__)


def test_every_mix_of_types_gives_back_what_was_passed(store: Store) -> None:
    for count in range(5):
        functions = []
        for number, types in enumerate(itertools.product(NAMES, repeat=count) if count < 4 else [("i32", "i64", "i32", "i64")]):
            functions += [(f"{number}.{which}", types, which) for which in range(count)]
        text = "".join(
            f'(func (export "{name}") (param {" ".join(types)}) (result {types[which]}) (local.get {which}))'
            for name, types, which in functions
        )
        instance = make(store, text=f"(module {text})")
        for name, types, which in functions:
            function = export(instance, name)
            prepared = function.prepare()
            for turn in range(5):
                params = [NAMES[t][turn % len(NAMES[t])] for t in types]
                expected = function.call(*params)[0]
                got = prepared(*params)
                assert got == expected and type(got) is type(expected), (types, which, params)


WRONG: list[tuple[str, tuple[Any, ...]]] = [
    ("add", ()), ("add", (1,)), ("add", (1, 2, 3)), ("add", (2**32, 0)), ("add", (-(2**31) - 1, 0)), ("add", (2**64, 1)),
    ("add", (1.0, 2)), ("add", ("1", 2)), ("add", (None, 2)), ("add", (Decimal(1), Decimal("2.5"))), ("add", (1, [2])),
    ("wide", (2**64,)), ("wide", (-(2**63) - 1,)), ("wide", (1.5,)), ("single", (1e300,)), ("single", ("x",)),
    ("single", (10**400,)), ("nothing", (1,)), ("two", ()), ("refs", ("x",)), ("refs", (-1,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params"), WRONG)
def test_wrong_arguments_are_refused_in_the_same_words(store: Store, name: str, params: tuple[Any, ...]) -> None:
    function = export(make(store), name)
    kind, text, *_ = outcome(function.call, *params)
    assert kind is SignatureMismatch
    assert outcome(function.prepare(), *params)[:2] == (kind, text)
    if len(params) != len(function.type.params):
        assert f"expected {len(function.type.params)} params, but passed {len(params)}" in text


def test_other_shapes_of_results(store: Store) -> None:
    instance = make(store)
    assert export(instance, "nothing").prepare()() is None
    assert export(instance, "two").prepare()(5) == (5, 5)
    assert export(instance, "refs").prepare()(None) is None
    assert export(instance, "refs").prepare()(9) == 9
    assert export(instance, "add").prepare()(True, 2) == 3


def test_a_result_that_looks_like_a_question_is_a_result(store: Store) -> None:
    instance = make(store)
    assert export(instance, "wide").prepare()(native.PREPARED_ASK) == native.PREPARED_ASK
    assert math.isnan(export(instance, "nan").prepare()())
    assert math.isnan(export(instance, "single").prepare()(math.nan))


@pytest.mark.parametrize(("name", "params"), [("trap", ()), ("outside", (2**32 - 1,)), ("recurse", ())])
def test_traps_and_their_frames_and_the_engine_afterwards(store: Store, name: str, params: tuple[int, ...]) -> None:
    instance = make(store)
    function, add = export(instance, name), export(instance, "add").prepare()
    expected, prepared = outcome(function.call, *params), function.prepare()
    assert expected[0] in (Trap, StackLimit)
    for _ in range(3):
        assert outcome(prepared, *params) == expected
        assert add(2, 40) == 42 and add(-1, 0) == -1


def test_host_functions_run_and_may_call_back(store: Store) -> None:
    handles: dict[str, Any] = {}

    def host(n: int) -> int:
        return int(handles["add"](n, 1)) if n < 5 else int(handles["host"](n - 5)) * 10

    instance = make(store, host)
    handles.update({name: export(instance, name).prepare() for name in ("add", "host", "trap")})
    assert [handles["host"](n) for n in (0, 4, 5, 9)] == [1, 5, 10, 50]
    assert handles["add"](1, 1) == 2


def test_a_host_functions_exception(store: Store) -> None:
    def host(n: int) -> int:
        raise KeyError(n)

    instance = make(store, host)
    prepared, add = export(instance, "host").prepare(), export(instance, "add").prepare()
    for _ in range(2):
        with pytest.raises(HostFunctionError, match="KeyError: 3") as caught:
            prepared(3)
        assert isinstance(caught.value.__cause__, KeyError)
        assert add(1, 2) == 3


def test_exit(store: Store) -> None:
    wanted = module('(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))'
                    '(memory (export "memory") 1) (func (export "leave") (param i32) (call 0 (local.get 0))))')  # fmt: skip
    store.engine.compile_module(wanted)
    wasi = Wasi(store)
    instance = store.instantiate(wanted, "m", wasi.imports(store.engine.image(wanted)))
    leave = export(instance, "leave").prepare()
    for code in (3, 0):
        with pytest.raises(GuestExit) as caught:
            leave(code)
        assert caught.value.code == code


def test_another_thread_is_refused_and_the_call_goes_on(store: Store) -> None:
    instance = make(store)
    spin, add, memory = export(instance, "spin").prepare(), export(instance, "add"), instance.memories[0]
    prepared = add.prepare()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(spin()))
    thread.start()
    wait_until_inside(memory)
    for call in (prepared, spin, add.call):
        with pytest.raises(RuntimeError, match="in use"):
            call(*(1, 2)[: 0 if call is spin else 2])
    with pytest.raises(RuntimeError, match="in use"):
        store.close()
    memory.write(0, b"\1")
    thread.join()
    assert results == [7]
    assert prepared(1, 2) == 3


def test_an_interrupt_without_a_context_is_passed_over(store: Store) -> None:
    instance = make(store)
    spin, memory = export(instance, "spin").prepare(), instance.memories[0]
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(spin()))
    thread.start()
    wait_until_inside(memory)
    for _ in range(3):
        store.own_call_engine().interrupt()
    memory.write(0, b"\1")
    thread.join()
    assert results == [7]


def test_calls_with_a_context_between(store: Store) -> None:
    add = export(make(store), "add")
    prepared = add.prepare()
    for n in range(3):
        assert prepared(n, 1) == n + 1
        assert add.call(n, 1, context=CallContext.within(10)) == (n + 1,)


def test_a_closed_store(store: Store) -> None:
    prepared = export(make(store), "add").prepare()
    assert prepared(1, 2) == 3
    store.close()
    with pytest.raises(RuntimeError, match="the store is closed"):
        prepared(1, 2)


def test_it_keeps_its_store_and_is_kept_by_nobody() -> None:
    made = Store(Engine())
    gone = weakref.ref(made)
    prepared = export(make(made), "add").prepare()
    del made
    gc.collect()
    assert prepared(1, 2) == 3
    del prepared
    gc.collect()
    assert gone() is None


def test_a_failure_that_nobody_asked_about_heals(store: Store) -> None:
    """As when KeyboardInterrupt comes between the core's answer and the question."""
    instance = make(store)
    function = export(instance, "host")
    engine = store.own_call_engine()
    record = Record.make(engine.native, function.pointer, False)
    assert record is not None
    for _ in range(2):  # the second call of this thread throws the first one away
        assert record.entry([False], False)(record.pointer, 1) == native.PREPARED_ASK
        assert record.outcome() == native.HOST_CALL
    with pytest.raises(RuntimeError, match="in use"):
        function.call(1)
    del record
    gc.collect()
    assert function.call(1) == (1,)


def test_fuel_is_without_end() -> None:
    with Store(Engine(metered=True)) as store:
        instance = make(store)
        add = export(instance, "add")
        prepared = add.prepare()
        for n in range(3):
            context = CallContext(fuel=1000)
            assert add.call(n, n, context=context) == (2 * n,)
            assert 0 < context.fuel_used < 1000
            assert prepared(n, n) == 2 * n
