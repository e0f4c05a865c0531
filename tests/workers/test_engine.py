"""Engine: the compile cache, its counts, single flight; what a compiled module shows; options."""

from __future__ import annotations

import threading

import pytest

from sandboxhost.errors import (
    DecodeError,
    ElementOffsetOutOfBounds,
    InstantiationError,
    LimitExceeded,
    ValidationError,
    WorkerError,
)
from sandboxhost.limits import Limits
from sandboxworker import native
from sandboxworker.engine import Engine, Module
from sandboxworker.module_engine import TableInitEntry
from sandboxworker.store import Store
from sandboxworker.types import ExternKind, FunctionType, GlobalType, MemoryType, TableType, ValueType

from .driver import I32, I64, module

ADD = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'
LOOP = '(module (func (export "loop") (loop (br 0))))'


def test_compile_module_is_idempotent_and_counted(engine: Engine) -> None:
    assert engine.compiled_module_count() == 0
    first, same, other = module(ADD), module(ADD), module(LOOP)
    engine.compile_module(first)
    image = engine.image(first)
    engine.compile_module(same)
    assert engine.compiled_module_count() == 1
    assert engine.image(same) is image
    engine.compile_module(other)
    assert engine.compiled_module_count() == 2


def test_n_threads_that_compile_the_same_bytes_compile_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, started, release = [], threading.Event(), threading.Event()
    real = native.compile_bytes

    def slow(data: bytes, options: native.CompileOptions) -> object:
        compiled.append(data)
        started.set()
        assert release.wait(10)
        return real(data, options)

    monkeypatch.setattr(native, "compile_bytes", slow)
    wanted = module(ADD)
    images: list[object] = []

    def work() -> None:
        engine.compile_module(wanted)
        images.append(engine.image(wanted))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    assert engine.compiled_module_count() == 0  # in flight is not compiled
    release.set()
    for thread in threads:
        thread.join(10)
    assert len(compiled) == 1
    assert len(images) == 8 and len(set(map(id, images))) == 1
    assert engine.compiled_module_count() == 1


def test_a_failure_is_told_to_every_waiter_and_caches_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Module(b"\0asm\1\0\0\0\1")
    started, release = threading.Event(), threading.Event()
    real = native.compile_bytes

    def slow(data: bytes, options: native.CompileOptions) -> object:
        started.set()
        assert release.wait(10)
        return real(data, options)

    monkeypatch.setattr(native, "compile_bytes", slow)
    seen: list[BaseException] = []

    def work() -> None:
        try:
            engine.compile_module(bad)
        except DecodeError as exc:
            seen.append(exc)

    threads = [threading.Thread(target=work) for _ in range(3)]
    threads[0].start()
    assert started.wait(10)
    for thread in threads[1:]:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 3
    assert engine.compiled_module_count() == 0
    with pytest.raises(InstantiationError):
        engine.image(bad)


def test_delete_drops_the_entry_and_missing_is_no_error(engine: Engine) -> None:
    wanted = module(ADD)
    engine.delete_compiled_module(wanted)
    engine.compile_module(wanted)
    engine.delete_compiled_module(wanted)
    assert engine.compiled_module_count() == 0
    engine.delete_compiled_module(wanted)
    with pytest.raises(InstantiationError, match="must be compiled before instantiation"):
        engine.image(wanted)
    engine.compile_module(wanted)
    assert engine.compiled_module_count() == 1


def test_delete_is_safe_with_instances_and_a_call_in_progress(engine: Engine, store: Store) -> None:
    wanted = module("""(module (import "h" "wait" (func $wait)) (data (i32.const 3) "kept") (memory (export "m") 1)
        (func (export "f") (result i32) (call $wait) (i32.load (i32.const 3))))""")
    engine.compile_module(wanted)

    def wait() -> None:
        engine.delete_compiled_module(wanted)
        assert engine.compiled_module_count() == 0

    host = store.host_function(FunctionType(), wait)
    instance = store.instantiate(wanted, imports={("h", "wait"): host})
    assert instance.exports["f"].call() == (int.from_bytes(b"kept", "little"),)
    assert instance.exports["f"].call() == (int.from_bytes(b"kept", "little"),)


def test_new_module_engine_refuses_a_module_that_is_not_compiled(engine: Engine) -> None:
    with pytest.raises(InstantiationError, match="^source module for calculator must be compiled before instantiation$"):
        engine.new_module_engine("calculator", module(ADD), [], [], [], [])


def test_instantiate_refuses_a_module_that_is_not_compiled(store: Store) -> None:
    with pytest.raises(InstantiationError, match="^source module for calculator must be compiled before instantiation$"):
        store.instantiate(module(ADD), name="calculator")


def test_errors_carry_the_offset(engine: Engine) -> None:
    with pytest.raises(DecodeError) as decode:
        engine.compile_module(Module(b"\0asm\2\0\0\0"))
    assert decode.value.offset == 4
    body = b"\0asm\1\0\0\0" + b"\1\4\1\x60\0\0" + b"\3\2\1\0" + b"\x0a\5\1\3\0\x6a\x0b"  # i32.add on an empty stack
    with pytest.raises(ValidationError, match="type mismatch") as invalid:
        engine.compile_module(Module(body))
    assert invalid.value.offset == body.index(b"\x6a")


@pytest.mark.parametrize("data", [b"", b"\0", b"\0as", b"not wasm at all", b"\0asm", b"\0asm\1\0\0"])
def test_truncated_headers_are_decode_errors(engine: Engine, data: bytes) -> None:
    with pytest.raises(DecodeError):
        engine.compile_module(Module(data))


def test_hard_limits_on_modules(engine: Engine) -> None:
    data = module("(module (func) (func) (func))").data
    Engine(limits=Limits(functions=3)).compile_module(Module(data))
    with pytest.raises(LimitExceeded, match="functions"):
        Engine(limits=Limits(functions=2)).compile_module(Module(data))
    with pytest.raises(LimitExceeded):
        Engine(limits=Limits(module_bytes=len(data) - 1)).compile_module(Module(data))


def test_unknown_features_and_tiers_are_refused() -> None:
    with pytest.raises(ValueError, match="'teleportation'"):
        Engine(features=["teleportation"])
    with pytest.raises(ValueError, match="simd"):
        Engine(features=["simd"])
    with pytest.raises(ValueError, match="tier"):
        Engine(tier="fastest")  # type: ignore[arg-type]
    if native.HAS_COMPILED_TIER:
        assert Engine(tier="compiled").tier == "compiled"
    else:
        with pytest.raises(WorkerError, match="compiled tier"):
            Engine(tier="compiled")
    assert Engine(tier="interpreter").tier == "interpreter"


def test_features_decide_what_validates() -> None:
    extend = module("(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))")
    Engine(features=["sign-extension"]).compile_module(extend)
    with pytest.raises(ValidationError, match="sign-extension"):
        Engine(features=[]).compile_module(extend)


def test_image_shows_the_module(engine: Engine) -> None:
    wanted = module("""(module
        (import "a" "f" (func (param i32) (result i64)))
        (import "a" "g" (global (mut f64)))
        (import "a" "m" (memory 1 5))
        (import "a" "t" (table 2 externref))
        (table (export "own") 3 7 funcref)
        (global (export "answer") i32 (i32.const 42))
        (func $named (export "z") (param f32))
        (@custom "note" "hello"))""")
    engine.compile_module(wanted)
    image = engine.image(wanted)
    assert [(i.module, i.name, i.kind, i.type) for i in image.imports] == [
        ("a", "f", ExternKind.FUNC, FunctionType((I32,), (I64,))),
        ("a", "g", ExternKind.GLOBAL, GlobalType(ValueType.F64, True)),
        ("a", "m", ExternKind.MEMORY, MemoryType(1, 5)),
        ("a", "t", ExternKind.TABLE, TableType(ValueType.EXTERNREF, 2)),
    ]
    assert {e.name: e.type for e in image.exports} == {
        "answer": GlobalType(I32), "own": TableType(ValueType.FUNCREF, 3, 7), "z": FunctionType((ValueType.F32,)),
    }  # fmt: skip
    assert [(f.name, f.imported) for f in image.functions] == [("", True), ("named", False)]
    assert ("note", 5) in [tuple(c) for c in image.custom_sections]
    assert image.memories == [MemoryType(1, 5)] and len(image.tables) == 2
    assert image.disassemble(1) and image.tier == engine.tier
    with pytest.raises(RuntimeError, match="function 0 has no code in this image"):
        image.disassemble(0)


TABLE_INITS = [TableInitEntry(0, 1, [0]), TableInitEntry(0, 3, [0, 0])]


@pytest.mark.parametrize(("features", "written"), [(None, True), ([], False)], ids=["reference types", "without"])
def test_new_module_engine_and_elements_out_of_bounds(features: list[str] | None, written: bool) -> None:
    """With reference types earlier entries stay written; without them nothing is written."""
    engine = Engine(features=features)
    wanted = module('(module (table (export "t") 4 funcref) (func (export "f")))')
    engine.compile_module(wanted)
    with Store(engine) as store:
        instance = store.instantiate(wanted)
        table = instance.exports["t"]
        with pytest.raises(ElementOffsetOutOfBounds, match="out of bounds table access"):
            engine.new_module_engine("m", wanted, [], instance.functions, instance.tables, TABLE_INITS)
        assert table.get(1) is (instance.exports["f"] if written else None)
        assert table.get(3) is None


def test_new_module_engine_applies_entries_in_order_and_writes_null(engine: Engine, store: Store) -> None:
    wanted = module('(module (import "h" "f" (func)) (table (export "t") 4 funcref) (func (export "f") (param i32)))')
    engine.compile_module(wanted)
    host = store.host_function(FunctionType(), lambda: None)
    instance = store.instantiate(wanted, imports={("h", "f"): host})
    table, own = instance.exports["t"], instance.exports["f"]
    entries = [TableInitEntry(0, 0, [0, 1, 1, 0]), TableInitEntry(0, 1, [None]), TableInitEntry(0, 3, [1])]
    made = engine.new_module_engine("m", wanted, [host], instance.functions, instance.tables, entries)
    assert made.name == "m"
    assert [table.get(i) for i in range(4)] == [host, None, own, own]


@pytest.mark.parametrize("features", [None, []], ids=["reference types", "without"])
def test_a_modules_own_elements_out_of_bounds(features: list[str] | None) -> None:
    engine = Engine(features=features)
    provider = module('(module (table (export "t") 4 funcref) (global (export "at") i32 (i32.const 3)))')
    wanted = module("""(module (import "p" "t" (table 1 funcref)) (import "p" "at" (global i32)) (func $f)
        (elem (i32.const 0) $f) (elem (global.get 0) $f $f))""")
    for item in (provider, wanted):
        engine.compile_module(item)
    with Store(engine) as store:
        first = store.instantiate(provider)
        imports = {("p", name): first.exports[name] for name in ("t", "at")}
        with pytest.raises(ElementOffsetOutOfBounds, match="out of bounds table access"):
            store.instantiate(wanted, imports=imports)
        assert (first.exports["t"].get(0) is None) == (features is not None)


def test_without_reference_types_a_segment_that_cannot_fit_is_refused_statically() -> None:
    wanted = module("(module (table 1 funcref) (func $f) (elem (i32.const 1) $f))")
    with pytest.raises(ElementOffsetOutOfBounds):
        Engine(features=[]).compile_module(wanted)
    Engine().compile_module(wanted)
