"""Fresh instances: the next call sees nothing of one, whatever it wrote and however it ended; limits, WASI, bounds."""

from __future__ import annotations

import gc
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandboxhost.errors import (
    DeadlineExceeded,
    ElementOffsetOutOfBounds,
    FuelExhausted,
    HostFunctionError,
    LinkError,
    MemoryLimit,
    SignatureMismatch,
    Trap,
    UnknownFunction,
)
from sandboxhost.limits import Limits
from sandboxhost.options import LoadOptions, RunOptions
from sandboxhost.values import FunctionType, ValueType, pack, unpack
from sandboxworker import recycling
from sandboxworker.call_engine import CallEngine
from sandboxworker.context import CallContext
from sandboxworker.engine import Engine, Module
from sandboxworker.fresh import FreshInstances
from sandboxworker.plugin import Job, Plugin

from .driver import module

# All that a guest can change, and a hash over all of it. $dirty writes everywhere, grows, drops; then it ends as it is told.
CANARY = """(module
    (import "h" "f" (func $host (param i32) (result i32)))
    (memory PAGES 16)
    (table $t 4 64 funcref) (table $x 2 8 externref)
    (global $a (mut i32) (i32.const 7)) (global $b (mut f64) (f64.const 1.5)) (global $c (mut funcref) (ref.func $one))
    (global $d (mut externref) (ref.null extern))
    (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
    (elem (table $t) (i32.const 1) func $one $two) (elem $passive func $two $two $two)
    (data (i32.const 100) "hello") (data (i32.const 8192) BIG) (data $kept "abcdefgh")
    (func (export "scan") (result i64) (local $h i64) (local $i i32)
        (local.set $h (i64.add (i64.extend_i32_u (memory.size)) (i64.mul (i64.const 1000) (i64.extend_i32_u (table.size $t)))))
        (loop $next
            (local.set $h (i64.add (i64.rotl (local.get $h) (i64.const 7)) (i64.load (local.get $i))))
            (local.set $i (i32.add (local.get $i) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $i) (i32.mul (memory.size) (i32.const 65536)))))
        (local.set $h (i64.add (local.get $h) (i64.extend_i32_u (global.get $a))))
        (local.set $h (i64.xor (local.get $h) (i64.reinterpret_f64 (global.get $b))))
        (local.set $h (i64.add (local.get $h) (i64.extend_i32_u (ref.is_null (global.get $d)))))
        (local.set $h (i64.add (local.get $h) (i64.extend_i32_u (i32.mul (table.size $x) (i32.const 16)))))
        (local.set $h (i64.add (local.get $h) (i64.extend_i32_u (ref.is_null (table.get $x (i32.const 1))))))
        (local.set $h (i64.add (local.get $h) (i64.extend_i32_u (i32.shl (ref.is_null (table.get $t (i32.const 0)))
            (i32.const 9)))))
        (local.set $h (i64.add (local.get $h) (i64.extend_i32_u (call_indirect $t (result i32) (i32.const 1)))))
        (i64.add (local.get $h) (i64.extend_i32_u (call_indirect $t (result i32) (i32.const 2)))))
    (func (export "segments") (result i64)
        (memory.init $kept (i32.const 0) (i32.const 0) (i32.const 8))
        (table.init $t $passive (i32.const 0) (i32.const 0) (i32.const 3))
        (i64.load (i32.const 0)))
    (func $spoil (param i32)
        (memory.fill (i32.const 0) (i32.const 0xEE) (i32.mul (memory.size) (i32.const 65536)))
        (if (i32.ne (memory.grow (i32.const 2)) (i32.const -1))
            (then (memory.fill (i32.const 65536) (i32.const 0xDD) (i32.const 65536))))
        (global.set $a (i32.const 99)) (global.set $b (f64.const -3)) (global.set $c (ref.func $two))
        (global.set $d (table.get $x (i32.const 0)))
        (drop (table.grow $t (ref.func $two) (i32.const 20))) (drop (table.grow $x (table.get $x (i32.const 0)) (i32.const 3)))
        (table.fill $t (i32.const 0) (ref.func $two) (table.size $t)) (table.set $t (i32.const 2) (ref.null func))
        (data.drop $kept) (elem.drop $passive))
    (func (export "dirty") (param i32) (result i32)
        (table.set $x (i32.const 0) (table.get $x (i32.const 0)))
        (call $spoil (local.get 0))
        (if (i32.eq (local.get 0) (i32.const 1)) (then unreachable))
        (if (i32.eq (local.get 0) (i32.const 2)) (then (drop (i32.load (i32.const -4)))))
        (if (i32.eq (local.get 0) (i32.const 3)) (then (loop (br 0))))
        (call $host (local.get 0)))
    (func (export "mark") (param externref) (table.set $x (i32.const 1) (local.get 0)) (global.set $d (local.get 0))))"""


def canary(pages: int = 1, big: int = 16) -> Module:
    """big: bytes of a data segment; from 16 KiB on it is mapped from the image instead of copied."""
    return module(CANARY.replace("PAGES", str(pages)).replace("BIG", '"' + "Z" * big + '"'))


def host(n: int) -> int:
    if n == 4:
        raise ValueError("no")
    return n


IMPORTS = {("h", "f"): host}


@pytest.fixture(params=["interpreter", "compiled"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(tier=request.param)


def make(engine: Engine, source: Module, **options: Any) -> FreshInstances:
    engine.compile_module(source)
    return FreshInstances(engine, source, **options)


@pytest.mark.parametrize(("pages", "big"), [(1, 16), (1, 20_000), (3, 16), (3, 100_000)])
def test_data_of_one_call_is_not_seen_by_the_next(engine: Engine, pages: int, big: int) -> None:
    with make(engine, canary(pages, big), imports=IMPORTS) as fresh:
        clean, kept = fresh.call("scan"), fresh.call("segments")
        assert kept == (struct.unpack("<q", b"abcdefgh")[0],)
        scan, dirty, mark = fresh.prepare("scan"), fresh.prepare("dirty"), fresh.prepare("mark")
        ways: list[tuple[Callable[..., Any], int, type[BaseException] | None]] = []
        for way, error in ((0, None), (1, Trap), (2, Trap), (4, HostFunctionError), (5, None)):
            ways += [(dirty, way, error), (lambda n: fresh.call("dirty", n), way, error)]
        for call, way, error in ways:
            if error is None:
                assert call(way) in (way, (way,))
            else:
                with pytest.raises(error):
                    call(way)
            mark(77)
            assert fresh.call("scan") == clean == (scan(),)
            assert fresh.call("segments") == kept
        with pytest.raises(DeadlineExceeded):
            fresh.call("dirty", 3, context=CallContext.within(0.02))
        assert (scan(),) == clean


def test_what_cannot_be_renewed_or_leave_is_refused(engine: Engine) -> None:
    with pytest.raises(LinkError, match="unknown import"):
        make(engine, canary())
    with pytest.raises(LinkError, match="cannot be given"):
        make(engine, module('(module (import "h" "f" (memory 1)))'), imports=IMPORTS)
    with pytest.raises(LinkError, match="cannot be given"):
        make(engine, module('(module (import "h" "f" (func (param funcref))))'), imports=IMPORTS)
    fresh = make(engine, module('(module (func (export "f") (result funcref) (ref.null func)) (memory (export "m") 1))'))
    with pytest.raises(SignatureMismatch, match="funcref"):
        fresh.call("f")
    with pytest.raises(UnknownFunction, match="exports no function 'g'"):
        fresh.prepare("g")
    with pytest.raises(UnknownFunction, match="is no function"):
        fresh.call("m")


def test_start_function_and_initialize_run_each_time(engine: Engine) -> None:
    text = """(module (global $n (mut i32) (i32.const 0)) (func $add (global.set $n (i32.add (global.get $n) (i32.const 1))))
        (start $add) (func (export "_initialize") (call $add) (call $add)) (func (export "n") (result i32) (global.get $n)))"""
    with make(engine, module(text)) as fresh:
        assert fresh.call("n") == fresh.call("n") == (3,)
        assert fresh.prepare("n")() == 3


def test_segments_that_do_not_fit(engine: Engine) -> None:
    for text, error in (("(table 1 funcref) (elem (i32.const 1) func $f)", ElementOffsetOutOfBounds),
                        ("(memory 1) (data (i32.const 65536) \"x\")", Trap)):  # fmt: skip
        fresh = make(engine, module(f'(module {text} (func $f) (func (export "f") (call $f)))'))
        prepared = fresh.prepare("f")
        for _ in range(2):
            with pytest.raises(error, match="out of bounds"):
                prepared()
            with pytest.raises(error, match="out of bounds"):
                fresh.call("f")


def test_one_call_at_a_time(engine: Engine) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def wait(n: int) -> int:
        inside.set()
        go_on.wait(10)
        return n

    fresh = make(engine, canary(), imports={("h", "f"): wait})
    dirty, scan = fresh.prepare("dirty"), fresh.prepare("scan")
    for call in (dirty, lambda n: fresh.call("dirty", n)):
        inside.clear()
        go_on.clear()
        answers: list[Any] = []
        thread = threading.Thread(target=lambda call=call, answers=answers: answers.append(call(9)))
        thread.start()
        assert inside.wait(10)
        for other in (scan, lambda: fresh.call("scan"), fresh.close):
            with pytest.raises(RuntimeError, match="in use"):
                other()
        go_on.set()
        thread.join()
        assert answers in ([9], [(9,)])
        assert fresh.call("scan") == (scan(),)


def test_a_host_function_that_calls_back_is_refused(engine: Engine) -> None:
    calls: list[Callable[[], Any]] = []

    def back(n: int) -> int:
        return int(calls[n]())

    fresh = make(engine, canary(), imports={("h", "f"): back})
    scan = fresh.prepare("scan")
    calls += [scan, lambda: fresh.call("scan")]
    clean = scan()
    for call in (fresh.prepare("dirty"), lambda n: fresh.call("dirty", n)):
        with pytest.raises(HostFunctionError, match="in use"):
            call(0)
        assert scan() == clean


# ---- plugins


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[recycling.KeptInstances]:
    """The process's kept instances, none at first and none afterwards."""
    gc.collect()
    recycling.kept.drop()
    yield recycling.kept
    recycling.kept.drop()


def plugin(source: Module, limits: Limits | None = None, tier: Any = "auto", **options: Any) -> Plugin:
    engine = Engine(tier=tier, metered=limits is not None and limits.fuel is not None)
    engine.compile_module(source)
    fields: dict[str, Any] = {
        "instance": "fresh", "calls": 0,
        "functions": (), "directories": (), "environment": (), "arguments": ("p",), "clock_ns": None,
        "random_seed": 1, "limits": (limits or Limits()).to_wire(), "image_bytes": 0,
    }  # fmt: skip
    return Plugin("p", engine.image(source), LoadOptions(**{**fields, **options}), [])


def perform(made: Plugin, name: str, *params: int, engine: CallEngine | None = None, **context: Any) -> Any:
    types = {e.name: e.type for e in made.image.exports}[name] if name else FunctionType()
    assert isinstance(types, FunctionType)
    output: list[tuple[int, bytes]] = []
    run = None if name != "_start" else RunOptions((), (), b"", "capture")
    job = Job(name, pack(types.params, params), CallContext(**context), host_call, lambda *w: output.append(w), run)
    outcome = made.perform(job, engine or CallEngine())
    if outcome.error is not None:
        raise outcome.error
    return unpack((ValueType.I32,) if run else types.results, outcome.payload), b"".join(data for _, data in output)


def host_call(number: int, payload: bytes) -> bytes:
    assert number == 0
    return pack((ValueType.I32,), (host(*unpack((ValueType.I32,), payload)),))


@pytest.mark.parametrize(("pages", "big"), [(1, 16), (2, 40_000)])
@pytest.mark.parametrize("tier", ["interpreter", "compiled"])
def test_plugins_instances_are_as_new(kept: recycling.KeptInstances, tier: str, pages: int, big: int) -> None:
    made = plugin(canary(pages, big), tier=tier, functions=(("h", "f"),))
    thread = CallEngine()
    clean = perform(made, "scan", engine=thread)
    for way, error in ((0, None), (1, Trap), (2, Trap), (4, HostFunctionError), (7, None)):
        if error:
            with pytest.raises(error):
                perform(made, "dirty", way, engine=thread)
        else:
            assert perform(made, "dirty", way, engine=thread)[0] == (way,)
        assert perform(made, "scan", engine=thread) == clean
        assert perform(made, "segments", engine=CallEngine())[0] == (struct.unpack("<q", b"abcdefgh")[0],)
        assert len(kept) <= 1
    made.close()
    assert len(kept) == 0


def test_fuel_deadline_and_memory_limits_of_renewed_instances(kept: recycling.KeptInstances) -> None:
    made = plugin(canary(2), Limits(fuel=10_000_000, memory=3 * 65536), functions=(("h", "f"),))
    clean = perform(made, "scan", fuel=10_000_000)
    for _ in range(2):
        with pytest.raises(FuelExhausted):
            perform(made, "dirty", 3, fuel=50_000)
        with pytest.raises(MemoryLimit):
            perform(made, "dirty", 2, fuel=10_000_000)  # its grow was refused, then it trapped
        with pytest.raises(Trap):
            perform(plugin_that_traps(), "f")
        assert perform(made, "scan", fuel=10_000_000) == clean
    made.close()


def plugin_that_traps() -> Plugin:
    return plugin(module('(module (func (export "f") unreachable))'))


WASI = """(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 64) "written")
    (func (export "random") (result i64) (drop (call $random (i32.const 8) (i32.const 8))) (i64.load (i32.const 8)))
    (func (export "write") (param i32) (result i32)
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (local.get 0))
        (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
    (func (export "close") (result i32) (call $close (i32.const 1)))
    (func (export "args") (result i32) (drop (call $args (i32.const 0) (i32.const 4))) (i32.load (i32.const 0))))"""


def test_wasi_is_as_new_too(kept: recycling.KeptInstances) -> None:
    made = plugin(module(WASI))
    first = perform(made, "random")
    for _ in range(3):
        assert perform(made, "random") == first  # the seed's stream begins anew
        assert perform(made, "write", 7) == ((0,), b"written")
        assert perform(made, "write", 3) == ((0,), b"wri")
        assert perform(made, "close")[0] == (0,)  # open again the next time
        assert perform(made, "args")[0] == (1,)
        assert len(kept) == 1
    made.close()


def test_what_is_kept_is_bounded(kept: recycling.KeptInstances, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling.kept, "_most", 3)
    monkeypatch.setattr(recycling.kept, "_most_bytes", 5 * 65536)
    plugins = [plugin(canary(pages), functions=(("h", "f"),)) for pages in (1, 1, 1, 1, 3, 6)]
    for made in plugins:
        perform(made, "dirty", 0)
        assert len(kept) <= 3
        assert sum(one.store.memory_bytes() for one in recycling.kept._kept) <= 5 * 65536
    for made in plugins:
        assert perform(made, "dirty", 0)[0] == (0,)
        made.close()
    assert len(kept) == 0


def test_threads_have_instances_of_their_own(kept: recycling.KeptInstances) -> None:
    made = plugin(canary(), functions=(("h", "f"),))
    clean, failures = perform(made, "scan"), []

    def work() -> None:
        thread = CallEngine()
        for n in range(10, 60):
            failures.extend([n] * (perform(made, "dirty", n, engine=thread)[0] != (n,)))
            failures.extend([n] * (perform(made, "scan", engine=thread) != clean))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert 1 <= len(kept) <= 4
    made.close()
    assert len(kept) == 0
