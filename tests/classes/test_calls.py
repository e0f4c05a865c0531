"""Calls: types that must not be taken for one another, within a store, across modules and across processes; traps everywhere."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from sandboxhost import wire
from sandboxhost.errors import FuelExhausted, HostFunctionError, LinkError, MemoryLimit, StackLimit, Trap
from sandboxhost.limits import Limits
from sandboxworker.context import CallContext
from sandboxworker.store import Store
from sandboxworker.types import FunctionType, TableType, ValueType
from tests.workers.driver import I32, I64, WorkerDriver, binary, image_of

from .executors import TIERS, Executor, exports, instantiate

MISMATCH = "^indirect call type mismatch"


# ---- type-id confusion

# Types that differ in one place: another type, one more or less, or only in where parameters end and results begin.
SHAPES = [
    ("", ""), ("i32", ""), ("", "i32"), ("i64", ""), ("", "i64"), ("i32", "i32"), ("i32 i32", ""), ("", "i32 i32"),
    ("i64", "i32"), ("i32", "i64"), ("f32", "i32"), ("funcref", "i32"), ("externref", "i32"), ("i32 i32", "i32"),
    ("i32", "i32 i32"),
    ("i32 i32 i32", ""), ("f64 i32", "i32"), ("i32 f64", "i32"), ("i32 " * 7, "i32"), ("i32 " * 8, "i32"), ("i32 " * 500, "i32"),
    ("i32 " * 501, "i32"), ("i32 " * 500, ""),
]  # fmt: skip


def signature(shape: tuple[str, str]) -> str:
    return f"(param {shape[0]}) (result {shape[1]})"


def zero(type_: str) -> str:
    return f"(ref.null {type_[:-3]})" if type_.endswith("ref") else f"({type_}.const 0)"


def provider(order: list[int], number: int) -> str:
    """Functions of the shapes in this order, in a table of their own; each answers with zeros. Unused types stand between."""
    text = "(type (func (param f64 f64 f64))) " * number
    for i in order:
        text += f'(type $t{i} (func {signature(SHAPES[i])})) (type (func (result {"f32 " * (i + 2)}))) '
    for i in order:
        text += f'(func $f{i} (export "f{i}") (type $t{i}) {" ".join(zero(t) for t in SHAPES[i][1].split())}) '
    elements = " ".join(f"$f{i}" for i in range(len(SHAPES)))
    return f'(module {text} (table (export "t") {len(SHAPES)} funcref) (elem (i32.const 0) {elements}))'


def caller(order: list[int]) -> str:
    """Calls entry `at` of an imported table as each of the shapes."""
    text = ""
    for i in order:
        text += f"(type $t{i} (func {signature(SHAPES[i])})) (type (func (param {'f32 ' * (i + 2)}))) "
    text += f'(import "h" "t" (table {len(SHAPES)} funcref)) '
    for i in order:
        arguments = " ".join(zero(t) for t in SHAPES[i][0].split())
        drops = "drop " * len(SHAPES[i][1].split())
        text += f'(func (export "as{i}") (param $at i32) {arguments} (call_indirect (type $t{i}) (local.get $at)) {drops}) '
    return f"(module {text})"


def test_type_id_confusion_between_modules_of_a_store(store: Store) -> None:
    """Each function called as each type, through tables shared by modules that number their types otherwise: equal types only."""
    orders = [list(range(len(SHAPES))), list(reversed(range(len(SHAPES)))), [7 * i % len(SHAPES) for i in range(len(SHAPES))]]
    providers = [exports(store, provider(order, 3 * n)) for n, order in enumerate(orders)]
    tables = [made["t"] for made in providers]
    mixed = store.new_table(TableType(ValueType.FUNCREF, len(SHAPES)))
    for i in range(len(SHAPES)):
        mixed.set(i, providers[i % 3][f"f{i}"])
    for order, table in [(orders[0], tables[1]), (orders[1], tables[0]), (orders[2], tables[2]), (orders[1], mixed)]:
        made: Any = exports(store, caller(order), t=table)
        for i in range(len(SHAPES)):
            for at in range(len(SHAPES)):
                if i == at:
                    made[f"as{i}"].call(at)
                else:
                    with pytest.raises(Trap, match=MISMATCH):
                        made[f"as{i}"].call(at)


def test_type_id_confusion_of_imports(store: Store) -> None:
    """A function links as its own type only, whichever module it comes from and however often it went through others."""
    first = exports(store, provider(list(range(len(SHAPES))), 0))
    again: dict[str, Any] = {}
    for i, shape in enumerate(SHAPES):
        text = f'(module (type (func (result f32))) (import "h" "f" (func {signature(shape)})) (export "g" (func 0)))'
        again[f"f{i}"] = instantiate(store, text, f=first[f"f{i}"]).exports["g"]
    for i, shape in enumerate(SHAPES):
        text = f'(module (import "h" "f" (func {signature(shape)})))'
        for k in range(len(SHAPES)):
            if i == k:
                instantiate(store, text, f=again[f"f{k}"])
            else:
                with pytest.raises(LinkError, match="^incompatible import type"):
                    instantiate(store, text, f=again[f"f{k}"])


def test_type_id_confusion_of_host_functions_in_tables(store: Store) -> None:
    """Host functions are of the store's types too; the same type from two sides is one."""
    table = store.new_table(TableType(ValueType.FUNCREF, 4))
    types = [FunctionType((I32,), (I32,)), FunctionType((), (I32, I32)), FunctionType((I32, I32)), FunctionType((I32,), (I64,))]
    answers: list[Any] = [lambda n: n + 1, lambda: (1, 2), lambda a, b: None, lambda n: n]
    for i, (type_, answer) in enumerate(zip(types, answers, strict=True)):
        table.set(i, store.host_function(type_, answer))
    made: Any = exports(store, f"""(module (type (func)) (import "h" "t" (table {len(types)} funcref))
        (func (export "call") (param i32 i32) (result i32)
            (call_indirect (param i32) (result i32) (local.get 0) (local.get 1))))""", t=table)  # fmt: skip
    assert made["call"].call(41, 0) == (42,)
    for at in (1, 2, 3):
        with pytest.raises(Trap, match=MISMATCH):
            made["call"].call(41, at)


MODULES = {
    "a": ("(i32)->(i32)", "(param i32) (result i32)", "(local.get 0)"),
    "b": ("(i64)->(i64)", "(param i64) (result i64)", "(local.get 0)"),
    "c": ("(f64)->(i32)", "(param f64) (result i32)", "(i32.const 3)"),
}


def own_types(which: str) -> str:
    """A table with one function of each type; the module's own type comes first. "call N" calls it as the type of this module."""
    order = [which, *(name for name in MODULES if name != which)]
    text = " ".join(f"(type ${name} (func {MODULES[name][1]}))" for name in order)
    text += " ".join(f"(func $f{name} (type ${name}) {MODULES[name][2]})" for name in reversed(order))
    zeros = {"a": "i32.const 7", "b": "i64.const 7", "c": "f64.const 7"}
    drop = "(drop (call_indirect (type $%s) (%s) (local.get 0)))" % (which, zeros[which])  # noqa: UP031
    return f"""(module {text} (table 3 funcref) (elem (i32.const 0) $fa $fb $fc)
        (func (export "call") (param i32) (result i32) {drop} (i32.const 1)))"""


@pytest.mark.parametrize("tier", TIERS)
def test_type_id_confusion_between_processes(tier: str) -> None:
    """One image a module, used by two workers that load them in all orders: each entry is callable as its own type only."""
    names = list(MODULES)
    images = {name: binary(own_types(name)) for name in names}
    assert len({bytes(image_of(data, tier=tier)) for data in images.values()}) == 3
    type_ = FunctionType((I32,), (I32,))
    workers = [WorkerDriver(threads=1) for _ in range(2)]
    try:
        number = 0
        for order in permutations(names):
            loaded: list[list[tuple[int, str]]] = []
            for worker, mine in zip(workers, (order, order[::-1]), strict=True):
                plugins = []
                for name in mine:
                    number += 1
                    assert isinstance(worker.load(images[name], plugin=number, tier=tier), wire.Loaded)
                    plugins.append((number, name))
                loaded.append(plugins)
            for worker, plugins in zip(workers, loaded, strict=True):
                for plugin, name in plugins + plugins[::-1]:
                    for at, other in enumerate(names):
                        if other == name:
                            assert worker.result(type_, "call", at, plugin=plugin) == (1,)
                        else:
                            with pytest.raises(Trap, match=MISMATCH):
                                worker.result(type_, "call", at, plugin=plugin)
    finally:
        for worker in workers:
            worker.close()


# ---- trap in each frame kind

TRAPS: dict[str, tuple[str, str]] = {
    "unreachable": ("unreachable", "unreachable"),
    "divide": ("(drop (i32.div_u (i32.const 1) (global.get $zero)))", "integer divide by zero"),
    "overflow": ("(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))", "integer overflow"),
    "truncate": ("(drop (i32.trunc_f32_s (f32.const nan)))", "invalid conversion to integer"),
    "load": ("(drop (i64.load (i32.const -8)))", "out of bounds memory access"),
    "store": ("(i32.store8 (i32.const -1) (i32.const 1))", "out of bounds memory access"),
    "fill": ("(memory.fill (i32.const -1) (i32.const 1) (i32.const 9))", "out of bounds memory access"),
    "table": ("(drop (table.get $t (i32.const 99)))", "out of bounds table access"),
    "element": ("(call_indirect (i32.const 99))", "undefined element"),
    "null": ("(call_indirect (i32.const 0))", "uninitialized element"),
    "type": ("(call_indirect (param i64) (i64.const 0) (i32.const 1))", "indirect call type mismatch"),
}
FRAMES = """(module
    (import "h" "back" (func $back (param i32) (result i32))) (import "h" "stop" (func $stop (param i32) (result i32)))
    (memory 1) (table $t 3 funcref) (elem (i32.const 1) $trap $trap) (global $zero (mut i32) (i32.const 0))
    (func $trap TRAP)
    (func (export "entry") TRAP)
    (func $one (call $trap)) (func $two (param i64) (result i32) (call $one) (i32.const 1))
    (func (export "nested") (drop (call $two (i64.const 5))))
    (func (export "indirect") (call_indirect (i32.const 1)))
    (func (export "pinned") (local $i i32) (local $x f64)
        (loop (local.set $x (f64.add (local.get $x) (f64.const 1))) (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 50))))
        (if (f64.eq (local.get $x) (f64.const 50)) (then (call $trap))))
    (func (export "after suspension") (local $i i32)
        (loop (local.set $i (i32.add (local.get $i) (call $stop (i32.const 1))))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 5))))
        TRAP)
    (func (export "in a host call") (drop (call $back (i32.const 1))) unreachable)
    (func (export "below a host call") (drop (call $back (i32.const 2))) unreachable)
    (func (export "after a host call") (drop (call $back (i32.const 0))) TRAP)
    (func (export "fine") (param i32) (result i32) (i32.add (local.get 0) (call $stop (i32.const 1)))))"""
KINDS = ["entry", "nested", "indirect", "pinned", "after suspension", "in a host call", "below a host call", "after a host call"]
DEEPEST = {
    "entry": ["entry"], "nested": ["trap", "one", "two", "nested"], "indirect": ["trap", "indirect"],
    "pinned": ["trap", "pinned"],
    "after suspension": ["after suspension"], "in a host call": ["entry"], "below a host call": ["trap", "one", "two", "nested"],
    "after a host call": ["after a host call"],
}  # fmt: skip


@pytest.mark.parametrize("cause", TRAPS)
def test_trap_in_each_frame_kind(executor: Executor, cause: str) -> None:
    """The cause, the frames down to where it was raised, and an engine that goes on as if nothing had been."""
    code, words = TRAPS[cause]
    with executor.store() as store:
        made: dict[str, Any] = {}

        def back(kind: int) -> int:
            if kind:
                made["entry" if kind == 1 else "nested"].call()
            return 1

        hosts = {"back": store.host_function(FunctionType((I32,), (I32,)), back),
                 "stop": store.host_function(FunctionType((I32,), (I32,)), lambda n: n)}  # fmt: skip
        made.update(exports(store, FRAMES.replace("TRAP", code), **hosts))
        for _ in range(2):
            for kind in KINDS:
                with pytest.raises(Trap) as caught:
                    made[kind].call()
                assert (caught.value.cause, [frame.name for frame in caught.value.frames]) == (words, DEEPEST[kind])
                assert made["fine"].call(41) == (42,)


@pytest.mark.parametrize("cause", TRAPS)
def test_trap_in_each_frame_kind_start_function_and_other_module(executor: Executor, cause: str) -> None:
    code, words = TRAPS[cause]
    head = "(memory 1) (table $t 3 funcref) (elem (i32.const 1) $trap $trap) (global $zero (mut i32) (i32.const 0))"
    with executor.store() as store:
        with pytest.raises(Trap) as caught:
            instantiate(store, f"(module {head} (func $trap {code}) (func $start (call $trap)) (start $start))")
        assert (caught.value.cause, [f.name for f in caught.value.frames]) == (words, ["trap", "start"])
        inner = exports(store, f'(module {head} (func $trap (export "trap") {code}))')
        outer: Any = exports(store, """(module (import "h" "trap" (func $other)) (memory 2)
            (table 1 funcref) (elem (i32.const 0) $other)
            (func (export "direct") (call $other)) (func $f (call_indirect (i32.const 0))) (func (export "indirect") (call $f))
            (func (export "fine") (result i32) (i32.store (i32.const 0x1fffc) (i32.const 7)) (i32.load (i32.const 0x1fffc))))""",
            trap=inner["trap"])  # fmt: skip
        for name, frames in (("direct", ["trap", "direct"]), ("indirect", ["trap", "f", "indirect"])):
            with pytest.raises(Trap) as caught:
                outer[name].call()
            assert (caught.value.cause, [f.name for f in caught.value.frames]) == (words, frames)
            assert outer["fine"].call() == (7,), "the memory is the outer module's again"


def test_trap_in_each_frame_kind_other_ends(executor: Executor) -> None:
    """What is no trap but ends a call there too: stack, fuel, a host function's exception, a refused grow before a trap."""
    with executor.store(Limits(memory=2 * 65_536), metered=True) as store:
        made: dict[str, Any] = {}

        def back(kind: int) -> int:
            if kind == 9:
                raise ValueError("no")
            if kind:
                made[{1: "deep", 2: "loop", 3: "grow"}[kind]].call()
            return 1

        made.update(exports(store, """(module (import "h" "back" (func $back (param i32) (result i32))) (memory 1)
            (func $deep (export "deep") (call $deep)) (func (export "loop") (loop (br 0)))
            (func (export "grow") (drop (memory.grow (i32.const 5))) unreachable)
            (func (export "in a host call") (param i32) (drop (call $back (local.get 0))))
            (func (export "fine") (result i32) (call $back (i32.const 0))))""",
            back=store.host_function(FunctionType((I32,), (I32,)), back)))  # fmt: skip
        ends = ((1, "deep", StackLimit, 10**9), (2, "loop", FuelExhausted, 10**5), (3, "grow", MemoryLimit, 10**5))
        for kind, name, error, fuel in ends:
            for function, params in ((name, ()), ("in a host call", (kind,))):
                with pytest.raises(error):
                    made[function].call(*params, context=CallContext(fuel=fuel))
                assert made["fine"].call(context=CallContext(fuel=1000)) == (1,)
        with pytest.raises(HostFunctionError):
            made["in a host call"].call(9)
        assert made["fine"].call() == (1,)


@pytest.mark.parametrize("tier", TIERS)
def test_trap_in_each_frame_kind_in_a_worker(tier: str) -> None:
    """In a thread of a worker process: before, in and behind a host call of the application, in a start function, among rows."""
    worker = WorkerDriver(threads=1)
    try:
        head = '(module (import "app" "ask" (func $ask (param i32) (result i32))) (memory 1)'
        data = binary(f"""{head} (func (export "before") (param i32) (result i32) (i32.load (local.get 0)))
            (func (export "behind") (param i32) (result i32) (drop (call $ask (i32.const 0))) (i32.load (local.get 0))))""")
        void, unary = FunctionType(), FunctionType((I32,), (I32,))
        assert isinstance(worker.load(data, functions=(("app", "ask"),), tier=tier), wire.Loaded)
        for _ in range(3):
            with pytest.raises(Trap, match="out of bounds memory access"):
                worker.result(unary, "before", -1)
            outer = worker.call("behind", (I32,), (-1,))
            asked = worker.expect(wire.HostCall)
            inner = worker.call("before", (I32,), (-1,), parent=outer)
            failed = worker.expect(wire.Failed)
            assert (failed.id, failed.code) == (inner, "trap")
            worker.send(wire.HostResult(outer, asked.sequence, True, bytes(8)))
            failed = worker.expect(wire.Failed)
            assert (failed.id, failed.code) == (outer, "trap")
            assert worker.result(unary, "before", 0) == (0,)
        start = binary("(module (func $s unreachable) (start $s) (func (export \"f\")))")
        worker.load(start, plugin=2, tier=tier)
        with pytest.raises(Trap, match="unreachable"):
            worker.result(void, "f", plugin=2)
        worker.next_id += 1
        rows = b"".join((n & 0xFFFFFFFF).to_bytes(8, "little") for n in (0, -1, 4, -4, 65_532, 65_533))
        worker.send(wire.CallRows(worker.next_id, 1, "before", 6, False, wire.Signed(-1), wire.Signed(10**10), rows))
        outcomes: dict[int, bool] = {}
        while not isinstance(message := worker.receive(), wire.Result):
            if isinstance(message, wire.RowResults):
                outcomes.update((message.first + i, True) for i in range(message.rows))
            else:
                assert isinstance(message, wire.RowFailed) and message.code == "trap", message
                outcomes[message.row] = False
        assert outcomes == {0: True, 1: False, 2: True, 3: False, 4: True, 5: False}
    finally:
        worker.close()
