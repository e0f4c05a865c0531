"""Memories and tables: widths of addresses, bases after a grow, interrupted bulk operations, dropped segments, 2^32 - 1."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sandboxhost.errors import DeadlineExceeded, FuelExhausted, MemoryLimit, Trap
from sandboxhost.limits import Limits
from sandboxworker.context import CallContext, Cancellation
from sandboxworker.engine import Module
from sandboxworker.fresh import FreshInstances
from sandboxworker.store import Store
from sandboxworker.types import FunctionType, MemoryType, TableType, ValueType
from tests.workers.driver import I32, binary

from .executors import TIERS, Executor, exports, instantiate

PAGE = 65_536
TOP = 2**32 - 1
MEMORY_BOUNDS, TABLE_BOUNDS = "^out of bounds memory access", "^out of bounds table access"


# ---- address width (every load and store: tests/tiers/test_accesses.py)

BULK = """(module (memory (export "m") PAGES) (data $d "0123456789abcdef")
    (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init") (param i32 i32 i32) (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wrapped") (param i32 i32 i32)
        (memory.fill (i32.wrap_i64 (i64.or (i64.extend_i32_u (local.get 0)) (i64.const 0xff00000000))) (local.get 1)
            (i32.wrap_i64 (i64.or (i64.extend_i32_u (local.get 2)) (i64.const 0xff00000000))))))"""


@pytest.mark.parametrize("pages", [0, 1, 65_536])
def test_address_width_of_bulk_operations(executor: Executor, pages: int) -> None:
    """Sums beyond 2^32 do not come around; beyond the end nothing is written; lengths of 0 may touch the end."""
    with executor.store(Limits(memory=65_536 * PAGE)) as store:
        made: Any = exports(store, BULK.replace("PAGES", str(pages)))
        size, memory = pages * PAGE, made["m"]
        ends = {size - 17, size - 16, size - 1, size, size + 1}
        edges = sorted(e for e in {0, 1, 15, 16, 17, TOP - 15, TOP} | ends if 0 <= e <= TOP)
        small = [0, 1, 15, 16, 17, TOP - 15, TOP]

        def traps(name: str, *params: int) -> bool:
            try:
                made[name].call(*params)
            except Trap as trap:
                assert trap.cause == "out of bounds memory access"
                return True
            return False

        for at in edges:
            for length in [n for n in small if n < 2**20 or at + n > size]:
                for name in ("fill", "wrapped"):
                    assert traps(name, at, 0, length) == (at + length > size), (name, at, length)
                for other in edges:
                    wanted = at + length > size or other + length > size
                    assert traps("copy", at, other, length) == wanted, ("copy", at, other, length)
                for start in small:
                    wanted = at + length > size or start + length > 16
                    assert traps("init", at, start, length) == wanted, ("init", at, start, length)
        if size:
            memory.write(size - 16, b"z" * 16)
            assert traps("fill", size - 16, 1, 17) and memory.read(size - 16, 16) == b"z" * 16, "all or nothing"
            made["fill"].call(size - 16, 0x1FE, 16)
            assert memory.read(size - 17, 17) == b"\0" + b"\xfe" * 16


# ---- stale memory base after grow in a host call

GROWING = """(module
    (import "h" "grow" (func $grow (param i32) (result i32)))
    (import "h" "m" (memory 1 40)) (import "h" "t" (table 1 4000 funcref))
    (type $number (func (result i32))) (elem declare func $seven) (func $seven (result i32) (i32.const 7))
    (func (export "own") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "at") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "around") (param $pages i32) (param $at i32) (result i32) (local $before i32)
        (i32.store (i32.const 16) (i32.const 0x11111111))
        (local.set $before (i32.load (i32.const 16)))
        (drop (call $grow (local.get $pages)))
        (i32.store (local.get $at) (i32.const 0x22222222))
        (i32.add (i32.add (local.get $before) (i32.load (i32.const 16))) (i32.load (local.get $at))))
    (func (export "loop") (param $n i32) (result i32) (local $at i32)
        (loop $next
            (drop (call $grow (i32.const 1)))
            (local.set $at (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)))
            (i32.store (local.get $at) (local.get $n))
            (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (i32.load (local.get $at)))
    (func (export "table") (param $at i32) (result i32)
        (drop (call $grow (i32.const 0)))
        (table.set (local.get $at) (ref.func $seven))
        (call_indirect (type $number) (local.get $at))))"""
SUM = 0x11111111 * 2 + 0x22222222


@pytest.mark.parametrize("way", ["from outside", "by a nested call", "by another module"])
def test_stale_memory_base_after_grow_in_a_host_call(store: Store, way: str) -> None:
    """Whoever grows the memory or the table: the guest that called sees all of it, and what it had there before."""
    memory, table = store.new_memory(MemoryType(1, 40)), store.new_table(TableType(ValueType.FUNCREF, 1, 4000))
    made: dict[str, Any] = {}

    def grow(pages: int) -> int:
        table.grow(50)  # its elements move
        act = {"from outside": memory.grow, "by a nested call": lambda n: made["own"].call(n)[0],
               "by another module": lambda n: made["other"].call(n)[0]}[way]  # fmt: skip
        return int(act(pages))

    host = store.host_function(FunctionType((I32,), (I32,)), grow)
    made.update(exports(store, GROWING, grow=host, m=memory, t=table))
    text = '(module (import "h" "m" (memory 1 40)) (func (export "other") (param i32) (result i32) (memory.grow (local.get 0))))'
    made.update(exports(store, text, m=memory))
    for pages in (0, 1, 3):
        at = (memory.size + pages) * PAGE - 4
        assert made["around"].call(pages, at) == (SUM,)
        with pytest.raises(Trap, match=MEMORY_BOUNDS):
            made["around"].call(0, at + 1)
        assert memory.read(at, 4) == b"\x22" * 4
    assert made["loop"].call(10) == (1,)
    assert memory.size == 1 + 0 + 1 + 3 + 10 and made["at"].call(memory.size * PAGE - 4) == (1,)
    with pytest.raises(Trap, match=MEMORY_BOUNDS):
        made["around"].call(100, memory.size * PAGE - 3)  # refused: nothing has changed
    at = table.size + 49
    assert made["table"].call(at) == (7,) and table.get(at).call() == (7,)
    with pytest.raises(Trap, match=TABLE_BOUNDS):
        made["table"].call(table.size + 50)


def test_stale_memory_base_across_modules(store: Store) -> None:
    """A calls B, which grows its own memory and A's; back in A, A's own memory is the one that is read."""
    first = store.new_memory(MemoryType(1, 10))
    inner = exports(store, """(module (import "h" "m" (memory 1 10)) (func (export "f") (param i32) (result i32)
        (drop (memory.grow (local.get 0))) (i32.store (i32.const 65536) (i32.const 5)) (i32.load (i32.const 65536))))""", m=first)
    outer = exports(store, """(module (import "h" "f" (func $f (param i32) (result i32))) (memory (export "m") 1)
        (table 1 funcref) (elem (i32.const 0) $f)
        (func (export "direct") (result i32) (local $x i32) (i32.store (i32.const 8) (i32.const 40))
            (local.set $x (call $f (i32.const 1))) (i32.add (local.get $x) (i32.load (i32.const 8))))
        (func (export "indirect") (result i32) (local $x i32) (i32.store (i32.const 8) (i32.const 40))
            (local.set $x (call_indirect (param i32) (result i32) (i32.const 1) (i32.const 0)))
            (i32.add (local.get $x) (i32.load (i32.const 8))))
        (func (export "beyond") (result i32) (drop (call $f (i32.const 1))) (i32.load (i32.const 65536))))""",
        f=inner["f"])  # fmt: skip
    assert outer["direct"].call() == outer["indirect"].call() == (45,)
    with pytest.raises(Trap, match=MEMORY_BOUNDS):
        outer["beyond"].call()
    assert first.size == 4 and outer["m"].size == 1


# ---- interruption inside a bulk operation

BULK_PAGES = 64
STORM = """(module (memory (export "m") PAGES) (table (export "t") 100000 externref)
    (data $d (i32.const 0) "") (global $n (mut i32) (i32.const 0))
    (func (export "fill") (loop (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (memory.fill (i32.const 0) (global.get $n) (i32.const BYTES)) (br 0)))
    (func (export "copy") (loop (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (memory.fill (i32.const 0) (global.get $n) (i32.const HALF))
        (memory.copy (i32.const HALF) (i32.const 0) (i32.const HALF)) (br 0)))
    (func (export "table") (param externref externref) (loop
        (table.fill (i32.const 0) (local.get 0) (i32.const 100000)) (table.fill (i32.const 0) (local.get 1) (i32.const 100000))
        (br 0))))"""
for _word, _number in (("PAGES", BULK_PAGES), ("BYTES", BULK_PAGES * PAGE), ("HALF", BULK_PAGES * PAGE // 2)):
    STORM = STORM.replace(_word, str(_number))


@pytest.mark.parametrize("how", ["deadline", "cancel", "fuel"])
@pytest.mark.parametrize("executor", [Executor(tier, False) for tier in TIERS], ids=str)
def test_interruption_inside_a_bulk_operation_is_all_or_nothing(executor: Executor, how: str) -> None:
    """A loop of bulk operations ends when it is told to, and the last one was done to its end or not begun."""
    with executor.store(metered=how == "fuel") as store:
        made: Any = exports(store, STORM)
        half = BULK_PAGES * PAGE // 2
        for attempt in range(3):
            for name in ("fill", "copy", "table"):
                context, error = CallContext.within(0.01 + 0.003 * attempt), DeadlineExceeded
                if how == "fuel":
                    context, error = CallContext(fuel=10_000_000 + 777_777 * attempt), FuelExhausted
                elif how == "cancel":
                    cancellation = Cancellation()
                    context = CallContext.within(60.0, cancellation=cancellation)
                    threading.Timer(0.01 + 0.003 * attempt, cancellation.cancel).start()
                    error = Exception
                params = (1, 2) if name == "table" else ()
                with pytest.raises(error) as caught:
                    made[name].call(*params, context=context)
                assert type(caught.value).__name__ in ("DeadlineExceeded", "Cancelled", "FuelExhausted")
                data = made["m"].read(0, 2 * half)
                if name == "fill":
                    assert data == data[:1] * (2 * half)
                elif name == "copy":
                    assert data == data[:1] * half + data[-1:] * half
                else:
                    assert len({made["t"].get(i) for i in range(0, 100_000, 999)} | {made["t"].get(99_999)}) == 1


def test_interruption_inside_a_bulk_operation_fuel_is_paid_first(executor: Executor) -> None:
    """An operation that cannot be paid has done nothing; the price is by length, the same everywhere."""
    text = """(module (memory (export "m") 16) (func (export "fill") (param i32)
        (memory.fill (i32.const 0) (i32.const 7) (local.get 0))))"""
    with executor.store(metered=True) as store:
        made: Any = exports(store, text)
        used = []
        for length in (0, 800, PAGE * 16):
            context = CallContext(fuel=10**9)
            made["fill"].call(length, context=context)
            used.append(context.fuel_used)
        assert [n - used[0] for n in used] == [0, 100, PAGE * 2]
        made["m"].write(0, bytes(16 * PAGE))
        with pytest.raises(FuelExhausted):
            made["fill"].call(PAGE * 16, context=CallContext(fuel=2 * PAGE - 1))
        assert made["m"].read(0, 16 * PAGE) == bytes(16 * PAGE)


# ---- dropped segments

DROPPING = """(module (memory (export "m") 1) (table (export "t") 4 funcref) (func $f)
    (data $active (i32.const 0) "active") (data $passive "passive")
    (elem $now (i32.const 0) func $f) (elem $later func $f $f) (elem $declared declare func $f)
    (func (export "data") (param i32 i32) (memory.init $passive (i32.const 64) (local.get 0) (local.get 1)))
    (func (export "active data") (param i32 i32) (memory.init $active (i32.const 64) (local.get 0) (local.get 1)))
    (func (export "drop data") (data.drop $passive)) (func (export "drop active data") (data.drop $active))
    (func (export "elem") (param i32 i32) (table.init $later (i32.const 1) (local.get 0) (local.get 1)))
    (func (export "active elem") (param i32 i32) (table.init $now (i32.const 1) (local.get 0) (local.get 1)))
    (func (export "declared elem") (param i32 i32) (table.init $declared (i32.const 1) (local.get 0) (local.get 1)))
    (func (export "drop elem") (elem.drop $later)) (func (export "drop active elem") (elem.drop $now)))"""


def gone(made: Any, name: str) -> None:
    """A segment that has no length any more."""
    bounds = MEMORY_BOUNDS if "data" in name else TABLE_BOUNDS
    made[name].call(0, 0)
    for start, length in ((0, 1), (1, 0), (1, 1), (0, TOP), (TOP, 1), (TOP, 0)):
        with pytest.raises(Trap, match=bounds):
            made[name].call(start, length)


@pytest.mark.parametrize("large", [False, True], ids=["copied", "mapped"])
def test_dropped_segments_are_gone_in_their_instance_only(executor: Executor, large: bool) -> None:
    """Active and declarative ones are dropped by instantiation, passive ones by the instruction: there, not in the image."""
    text = DROPPING.replace('"active")', f'"{"A" * 20_000}")') if large else DROPPING
    with executor.store() as store:
        wanted = Module(binary(text))
        store.engine.compile_module(wanted)
        first, second = (store.instantiate(wanted).exports for _ in range(2))
        for made in (first, second):
            for name in ("active data", "active elem", "declared elem"):
                gone(made, name)
        for name in ("data", "elem"):
            first[name].call(0, 2)
            for _ in range(2):
                first[f"drop {name}"].call()
                first[f"drop active {name}"].call()
                gone(first, name)
            second[name].call(1, 1)
            second[name].call(0, 2)
        assert second["m"].read(64, 2) == first["m"].read(64, 2) == b"pa"
    with fresh(executor, wanted) as again:
        for _ in range(3):
            again.call("data", 0, 7)
            again.call("elem", 0, 2)
            again.call("drop data")  # of an instance that is renewed for each call
            with pytest.raises(Trap, match=MEMORY_BOUNDS):
                again.call("active data", 0, 1)


def fresh(executor: Executor, wanted: Module) -> FreshInstances:
    engine = executor.engine()
    engine.compile_module(wanted)
    return FreshInstances(engine, wanted)


# ---- sizes and grow at 2^32 - 1

SIZES = """(module (memory (export "m") 1 100) (table $t (export "t") 2 externref)
    (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "table") (param i32) (result i32) (table.grow $t (ref.null extern) (local.get 0)))
    (func (export "size") (result i32) (table.size $t))
    (func (export "get") (param i32) (result externref) (table.get $t (local.get 0)))
    (func (export "set") (param i32 externref) (table.set $t (local.get 0) (local.get 1)))
    (func (export "fill") (param i32 i32) (table.fill $t (local.get 0) (ref.null extern) (local.get 1)))
    (func (export "copy") (param i32 i32 i32) (table.copy (local.get 0) (local.get 1) (local.get 2))))"""
HUGE = (TOP, TOP - 1, 2**31, 2**31 - 1, 2**29, 2**29 + 1, 2**28)


def test_table_size_and_grow_at_the_end_of_32_bits(executor: Executor) -> None:
    """A size times 8 that is small again in 32 bits, or a sum that comes around, changes nothing."""
    with executor.store(Limits(table_elements=1000, memory=100 * PAGE)) as store:
        made: Any = exports(store, SIZES)
        for delta in HUGE:
            assert made["table"].call(delta) == (-1,) and made["memory"].call(delta) == (-1,)
        assert made["table"].call(998) == (2,) and made["table"].call(1) == (-1,) and made["table"].call(0) == (1000,)
        assert made["memory"].call(99) == (1,) and made["memory"].call(1) == (-1,) and made["memory"].call(0) == (100,)
        for delta in HUGE:
            assert made["table"].call(delta) == (-1,) and made["memory"].call(delta) == (-1,)
        assert made["size"].call() == (1000,) == (made["t"].size,)
        for at in (1000, 1001, *HUGE, TOP - 999):
            for act in (lambda at=at: made["get"].call(at), lambda at=at: made["set"].call(at, 5),
                        lambda at=at: made["fill"].call(at, 1), lambda at=at: made["fill"].call(1, at),
                        lambda at=at: made["copy"].call(at, 0, 1), lambda at=at: made["copy"].call(0, at, 1),
                        lambda at=at: made["copy"].call(1, 2, at)):  # fmt: skip
                with pytest.raises(Trap, match=TABLE_BOUNDS):
                    act()
        made["set"].call(999, 5)
        assert made["get"].call(999) == (5,)


@pytest.mark.parametrize("size", [TOP, 2**31, 2**29, 10_000_001])
def test_table_size_declared_at_the_end_of_32_bits(executor: Executor, size: int) -> None:
    """Refused by the limit before anything is allocated; as a maximum it is fine."""
    with executor.store() as store:
        with pytest.raises(MemoryLimit):
            instantiate(store, f"(module (table {size} funcref))")
        with pytest.raises(MemoryLimit):
            store.new_table(TableType(ValueType.FUNCREF, size))
        table: Any = exports(store, f'(module (table (export "t") 1 {size} funcref))')["t"]
        assert table.grow(TOP) == -1 and table.grow(1) == 1 and table.size == 2
