"""CallEngine: reuse after every kind of end, counts of parameters, values, nesting, concurrency, contexts."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from typing import Any

import pytest

from sandboxhost.errors import (
    Cancelled,
    DeadlineExceeded,
    FuelExhausted,
    HostFunctionError,
    LimitExceeded,
    MemoryLimit,
    SignatureMismatch,
    StackLimit,
    Trap,
)
from sandboxhost.limits import Limits
from sandboxworker import native
from sandboxworker.call_engine import CallEngine
from sandboxworker.context import CallContext, Cancellation
from sandboxworker.engine import Engine
from sandboxworker.module_instance import ModuleInstance
from sandboxworker.store import Store
from sandboxworker.types import FunctionType

from .driver import I32, module

TEXT = """(module
    (import "h" "f" (func $host (param i32) (result i32)))
    (memory 1)
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "host") (param i32) (result i32) (call $host (local.get 0)))
    (func $inner unreachable)
    (func (export "trap") (call $inner))
    (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
    (func $recurse (export "recurse") (call $recurse))
    (func (export "loop") (loop (br 0)))
    (func $count (export "count") (param i32) (result i32)
        (if (result i32) (local.get 0) (then (i32.add (i32.const 1) (call $count (i32.sub (local.get 0) (i32.const 1)))))
            (else (i32.const 0))))
    (func (export "mixed") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
        (local.get 3) (local.get 2) (local.get 1) (local.get 0))
    (func (export "refs") (param externref funcref i32) (result i32 funcref externref)
        (local.get 2) (local.get 1) (local.get 0))
    (func (export "grow") (param i32) (drop (memory.grow (local.get 0))) (drop (i32.load (i32.const 0x20000)))))"""
ANSWER = (42,)


def make(store: Store, host: Any = lambda n: n, text: str = TEXT) -> ModuleInstance:
    wanted = module(text)
    store.engine.compile_module(wanted)
    return store.instantiate(wanted, "m", {("h", "f"): store.host_function(FunctionType((I32,), (I32,)), host)})


def failing(exports: Any) -> dict[str, tuple[type[Exception], Any]]:
    """Every way in which a call can end badly."""

    def cancelled() -> None:
        cancellation = Cancellation()
        threading.Timer(0.02, cancellation.cancel).start()
        exports["loop"].call(context=CallContext(cancellation=cancellation))

    return {
        "count": (SignatureMismatch, lambda: exports["add"].call(1)),
        "type": (SignatureMismatch, lambda: exports["add"].call(1, "x")),
        "trap": (Trap, lambda: exports["trap"].call()),
        "divide": (Trap, lambda: exports["divide"].call(1, 0)),
        "stack": (StackLimit, lambda: exports["recurse"].call()),
        "host": (HostFunctionError, lambda: exports["host"].call(-1)),
        "deadline": (DeadlineExceeded, lambda: exports["loop"].call(context=CallContext.within(0.02))),
        "cancelled": (Cancelled, cancelled),
        "host calls": (LimitExceeded, lambda: exports["host"].call(1, context=CallContext(host_calls=0))),
    }


def refuse_negative(n: int) -> int:
    if n < 0:
        raise ZeroDivisionError("negative")
    return n


def test_any_error_leaves_the_engine_reusable(store: Store) -> None:
    exports = make(store, refuse_negative).exports
    for name, (expected, act) in failing(exports).items():
        for _ in range(2):
            with pytest.raises(expected):
                act()
            assert exports["add"].call(2, 40) == ANSWER, name
            assert exports["host"].call(5) == (5,), name
    assert exports["count"].call(10_000) == (10_000,)  # and nothing of its depth is lost


def test_expected_n_params_but_passed_m(store: Store) -> None:
    instance = make(store)
    engine = instance.engine.new_call_engine(instance.exports["add"])
    for params in ((), (1,), (1, 2, 3)):
        with pytest.raises(SignatureMismatch, match=f"^expected 2 params, but passed {len(params)}$"):
            engine.call(*params)
    assert engine.call(2, 40) == ANSWER


def test_an_engine_without_a_function(store: Store) -> None:
    instance, engine = make(store), CallEngine()
    with pytest.raises(RuntimeError, match="without a function"):
        engine.call()
    assert engine.invoke(instance.exports["add"], (2, 40)) == ANSWER


def test_values_of_every_type(store: Store) -> None:
    mixed = make(store).exports["mixed"]
    assert mixed.call(-1, -2, 0.5, -0.25) == (-0.25, 0.5, -2, -1)
    assert mixed.call(2**32 - 1, 2**64 - 1, 1, 2) == (2.0, 1.0, -1, -1)  # unsigned integers, integers as floats
    assert all(math.isnan(x) for x in mixed.call(0, 0, math.nan, math.nan)[:2])
    for wrong in ((2**32, 0, 0, 0), (0, 2**64, 0, 0), (0.5, 0, 0, 0), (0, 0, "x", 0), (0, 0, None, 0)):
        with pytest.raises(SignatureMismatch):
            mixed.call(*wrong)


def test_raw_values_are_exact(store: Store) -> None:
    mixed = make(store).exports["mixed"]
    signalling32, signalling64 = 0x7FA0_0001, 0x7FF4_0000_0000_0001
    results = mixed.call_raw(2**32 - 1, 2**64 - 1, signalling32, signalling64)
    assert results == (signalling64, signalling32, 2**64 - 1, 2**32 - 1)
    with pytest.raises(SignatureMismatch):
        mixed.call_raw(2**32, 0, 0, 0)
    with pytest.raises(SignatureMismatch, match="expected 4 params, but passed 0"):
        mixed.call_raw()


def test_references(store: Store) -> None:
    exports = make(store).exports
    refs, add = exports["refs"], exports["add"]
    assert refs.call(0, add, -7) == (-7, add, 0)
    assert refs.call(None, None, 1) == (1, None, None)
    assert refs.call_raw(2**64 - 2, add, 5) == (5, add, 2**64 - 2)
    for wrong in ((-1, None, 0), (2**64 - 1, None, 0), ("x", None, 0), (0, 5, 0), (0, None, "x")):
        with pytest.raises(SignatureMismatch):
            refs.call(*wrong)
    with Store(store.engine) as other:
        foreign = make(other).exports["add"]
        with pytest.raises(SignatureMismatch, match="another store"):
            refs.call(None, foreign, 0)


def test_a_signature_larger_than_the_value_buffer(store: Store) -> None:
    count = 1000
    params, body = "i64 " * count, "".join(f"(local.get {i})" for i in range(count))
    text = f"""(module (import "h" "f" (func (param i32) (result i32)))
        (func (export "f") (param {params}) (result {params}) {body}))"""
    numbers = tuple(range(count))
    assert count > native.VALUE_SLOTS
    assert make(store, text=text).exports["f"].call(*numbers) == numbers


def test_a_trap_has_cause_and_backtrace(store: Store) -> None:
    instance = make(store)
    with pytest.raises(Trap) as caught:
        instance.exports["trap"].call()
    assert caught.value.cause == "unreachable" and str(caught.value).startswith("unreachable")
    assert [frame.name for frame in caught.value.frames] == ["inner", "trap"]
    data = module(TEXT).data
    assert data[caught.value.frames[0].offset] == 0x00  # the unreachable instruction
    assert data[caught.value.frames[1].offset] == 0x10  # the call
    with pytest.raises(Trap, match="^integer divide by zero"):
        instance.exports["divide"].call(1, 0)
    with pytest.raises(Trap, match="^integer overflow"):
        instance.exports["divide"].call(-(2**31), -1)


# The interpreter counts frames; machine code has room for that many of the largest, up to a page: for many more small ones.
SMALL_FRAMES = 32


def test_depth_is_a_stack_limit_and_is_obeyed() -> None:
    with Store(Engine(), Limits(call_depth=100)) as store:
        exports = make(store).exports
        exact = store.engine.tier == "interpreter"
        assert exports["count"].call(90) == (90,)
        with pytest.raises(StackLimit, match="^call stack exhausted") as caught:
            exports["count"].call(200 if exact else 100 * SMALL_FRAMES)
        assert (caught.value.limit, caught.value.allowed) == ("call_depth", 100)


def test_nested_calls_count_against_the_same_depth() -> None:
    """guest → host → guest …: 100 frames in all, not 100 for each."""
    with Store(Engine(), Limits(call_depth=100)) as store:
        exports: Any = {}
        count = make(store).exports["count"]

        def fits(n: int) -> bool:
            try:
                return bool(count.call(n) == (n,))
            except StackLimit:
                return False

        most = bisect_left(range(100 * SMALL_FRAMES), True, key=lambda n: not fits(n))
        assert most > 90
        part = most * 6 // 10

        text = TEXT.replace("(else (i32.const 0))", "(else (call $host (i32.const 1)))")
        depths: list[int] = []

        def deeper(n: int) -> int:
            depths.append(n)
            return int(exports["count"].call(part)[0])

        exports.update(make(store, deeper, text).exports)
        with pytest.raises(StackLimit):
            exports["count"].call(part)
        assert len(depths) == 1


def test_a_host_function_may_call_the_guest(store: Store) -> None:
    exports: Any = {}
    exports.update(make(store, lambda n: exports["host"].call(n - 1)[0] + 1 if n else 0).exports)
    assert exports["host"].call(20) == (20,)
    engine = store.call_engine()
    assert engine.invoke(exports["host"], (5,)) == (5,)


def test_a_trap_in_a_nested_call_is_that_trap(store: Store) -> None:
    exports: Any = {}
    exports.update(make(store, lambda n: exports["trap"].call()).exports)
    with pytest.raises(Trap, match="^unreachable"):
        exports["host"].call(1)
    assert exports["add"].call(2, 40) == ANSWER


def test_a_host_function_may_handle_a_trap(store: Store) -> None:
    exports: Any = {}

    def host(n: int) -> int:
        with pytest.raises(Trap):
            exports["trap"].call()
        return n + int(exports["add"].call(1, 1)[0])

    exports.update(make(store, host).exports)
    assert exports["host"].call(40) == ANSWER


def test_a_second_thread_is_refused(store: Store) -> None:
    entered, leave = threading.Event(), threading.Event()

    def host(n: int) -> int:
        entered.set()
        assert leave.wait(10)
        return n

    instance = make(store, host)
    engine = instance.engine.new_call_engine(instance.exports["host"])
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(engine.call(7)))
    thread.start()
    assert entered.wait(10)
    with pytest.raises(RuntimeError, match="in use by another thread"):
        engine.call(8)
    with pytest.raises(RuntimeError):  # another engine, but the same store
        instance.engine.call(instance.exports["add"], 1, 2)
    with pytest.raises(RuntimeError, match="in use"):
        store.close()
    leave.set()
    thread.join(10)
    assert results == [(7,)] and engine.call(9) == (9,)


def test_calls_in_different_stores_run_in_parallel(engine: Engine) -> None:
    """The interpreter lock is free while a guest runs: one thread's endless guest does not stop another."""
    with Store(engine) as first, Store(engine) as second:
        loop, add = make(first).exports["loop"], make(second).exports["add"]
        cancellation = Cancellation()

        def endless() -> None:
            with pytest.raises(Cancelled):
                loop.call(context=CallContext(cancellation=cancellation))

        thread = threading.Thread(target=endless)
        thread.start()
        for n in range(1000):
            assert add.call(n, 1) == (n + 1,)
        assert thread.is_alive()
        cancellation.cancel()
        thread.join(10)
        assert not thread.is_alive()


def test_an_expired_context_refuses_the_call_before_it_starts(store: Store) -> None:
    seen: list[int] = []
    exports = make(store, lambda n: seen.append(n) or n).exports
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        exports["host"].call(1, context=CallContext(cancellation=cancellation))
    with pytest.raises(DeadlineExceeded):
        exports["host"].call(1, context=CallContext(deadline=time.monotonic() - 1))
    assert seen == []


def test_the_deadline_is_met_and_touches_no_other_call(store: Store) -> None:
    exports = make(store).exports
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        exports["loop"].call(context=CallContext.within(0.05))
    took = time.monotonic() - started
    assert 0.05 <= took < 2
    assert caught.value.limit == "deadline" and isinstance(caught.value, TimeoutError)
    for _ in range(1000):  # a late interrupt would stop one of these
        assert exports["add"].call(1, 1) == (2,)
    assert exports["count"].call(1000) == (1000,)


def test_an_interrupt_without_an_expired_context_changes_nothing(store: Store) -> None:
    instance = make(store)
    engine = instance.engine.new_call_engine(instance.exports["count"])
    stop = threading.Event()

    def interrupt() -> None:
        while not stop.is_set():
            engine.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        for _ in range(200):
            assert engine.call(5000) == (5000,)
    finally:
        stop.set()
        thread.join(10)


def test_the_deadline_holds_through_host_functions_that_swallow_it(store: Store) -> None:
    exports: Any = {}

    def host(n: int) -> int:
        try:
            exports["loop"].call()
        except DeadlineExceeded:
            pass
        return n

    exports.update(make(store, host).exports)
    with pytest.raises(DeadlineExceeded):
        exports["host"].call(1, context=CallContext.within(0.05))
    assert exports["add"].call(2, 40) == ANSWER


def test_a_nested_call_with_a_later_deadline_obeys_the_outer_one(store: Store) -> None:
    exports: Any = {}
    exports.update(make(store, lambda n: exports["loop"].call(context=CallContext.within(30))).exports)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        exports["host"].call(1, context=CallContext.within(0.05))
    assert time.monotonic() - started < 25


def test_fuel_is_exact_and_the_same_every_time() -> None:
    with Store(Engine(metered=True)) as store:
        exports = make(store).exports
        contexts = [CallContext(fuel=1_000_000) for _ in range(2)]
        for context in contexts:
            assert exports["count"].call(100, context=context) == (100,)
        used = contexts[0].fuel_used
        assert used == contexts[1].fuel_used > 100
        assert exports["count"].call(100, context=CallContext(fuel=used)) == (100,)
        with pytest.raises(FuelExhausted) as caught:
            exports["count"].call(100, context=CallContext(fuel=used - 1))
        assert (caught.value.limit, caught.value.allowed) == ("fuel", used - 1)
        with pytest.raises(FuelExhausted):
            exports["loop"].call(context=CallContext(fuel=100_000))
        unlimited = CallContext()
        assert exports["count"].call(100, context=unlimited) == (100,)
        assert unlimited.fuel_used == used
        assert exports["count"].call(100) == (100,)


def test_one_context_has_one_fuel_for_all_its_calls() -> None:
    with Store(Engine(metered=True)) as store:
        exports = make(store).exports
        probe = CallContext()
        exports["count"].call(100, context=probe)
        context = CallContext(fuel=2 * probe.fuel_used)
        for _ in range(2):
            exports["count"].call(100, context=context)
        assert context.fuel_used == context.fuel
        with pytest.raises(FuelExhausted):
            exports["add"].call(1, 1, context=context)


def test_nested_calls_spend_the_same_fuel() -> None:
    with Store(Engine(metered=True)) as store:
        exports: Any = {}
        exports.update(make(store, lambda n: exports["count"].call(n)[0]).exports)
        small, large = CallContext(), CallContext()
        exports["host"].call(1, context=small)
        exports["host"].call(1000, context=large)
        assert large.fuel_used > small.fuel_used + 1000
        with pytest.raises(FuelExhausted):
            exports["host"].call(1000, context=CallContext(fuel=large.fuel_used - 1))


def test_a_trap_after_a_refused_grow_is_a_memory_limit() -> None:
    with Store(Engine(), Limits(memory=2 * 65536)) as store:
        grow = make(store).exports["grow"]
        with pytest.raises(MemoryLimit) as caught:
            grow.call(5)
        assert caught.value.limit == "memory" and caught.value.allowed == 2 * 65536
        assert isinstance(caught.value.__cause__, Trap) and caught.value.__cause__.cause == "out of bounds memory access"
        with pytest.raises(Trap, match="^out of bounds memory access"):
            grow.call(0)  # no grow was refused this time
