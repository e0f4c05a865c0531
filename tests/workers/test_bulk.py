"""Large bulk operations on memories: an interrupt does not wait for them, and one that is taken back changes nothing."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import wasmtime

from sandboxhost.errors import DeadlineExceeded, Trap
from sandboxworker import native
from sandboxworker.context import CallContext
from sandboxworker.engine import Engine, Module
from sandboxworker.store import Store

MIB = 2**20
SIZE = 16 * MIB
TEXT = """(module (memory (export "memory") 256)
  (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func (export "shift") (param $times i32)
    (loop $again
      (memory.copy (i32.const 1) (i32.const 0) (i32.const 16777214))
      (memory.copy (i32.const 0) (i32.const 3) (i32.const 16777213))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
  )
  (func (export "for_ever") (loop $again (memory.fill (i32.const 0) (i32.const 7) (i32.const 16777216)) (br $again))))"""
TIERS = ["interpreter", *(["compiled"] if native.HAS_COMPILED_TIER else [])]


@pytest.fixture(params=TIERS)
def store(request: pytest.FixtureRequest) -> Any:
    with Store(Engine(tier=request.param, metered=True)) as made:
        yield made


def make(store: Store) -> Any:
    module = Module(bytes(wasmtime.wat2wasm(TEXT)))
    store.engine.compile_module(module)
    return store.instantiate(module, "m", {})


def contents(instance: Any) -> bytes:
    return bytes(instance.exports["memory"].read(0, SIZE))


@pytest.mark.parametrize(("to", "from_", "count"), [
    (0, 5 * MIB + 3, 9 * MIB + 1), (5 * MIB + 3, 0, 9 * MIB + 1), (1, 0, 3 * MIB), (0, 1, 3 * MIB), (7, 7, 2 * MIB + 1),
    (12 * MIB, 0, MIB), (12 * MIB, 0, MIB + 1), (SIZE - 2 * MIB, 1, 2 * MIB), (0, 1, 8 * MIB), (1, 0, 8 * MIB + 1),
    (1, 0, SIZE - 1), (0, 1, SIZE - 1),
])  # fmt: skip
def test_copies_of_several_steps(store: Store, to: int, from_: int, count: int) -> None:
    instance = make(store)
    pattern = bytearray((i * 2654435761 >> 24) & 0xFF for i in range(65521)) * (SIZE // 65521 + 1)
    del pattern[SIZE:]
    instance.exports["memory"].write(0, bytes(pattern))
    instance.exports["copy"].call(to, from_, count)
    pattern[to : to + count] = pattern[from_ : from_ + count]
    assert contents(instance) == bytes(pattern)


def test_nothing_is_written_when_it_does_not_fit(store: Store) -> None:
    instance = make(store)
    for name, arguments in (("fill", (MIB, 1, SIZE)), ("copy", (MIB, 0, SIZE)), ("copy", (0, MIB, SIZE))):
        with pytest.raises(Trap, match="out of bounds memory access"):
            instance.exports[name].call(*arguments)
    assert contents(instance) == bytes(SIZE)


def shifted(store: Store, interrupts: bool) -> tuple[bytes, int]:
    """The memory after some copies that overlap, and the fuel they took."""
    instance = make(store)
    instance.exports["fill"].call(0, 1, SIZE)
    instance.exports["memory"].write(12345, b"somewhere in the middle")
    engine = instance.engine.new_call_engine(instance.exports["shift"])
    context, stop = CallContext(fuel=10**9), threading.Event()

    def interrupt() -> None:
        while interrupts and not stop.is_set():
            engine.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        engine.call(5, context=context)
    finally:
        stop.set()
        thread.join()
    return contents(instance), context.fuel_used


def test_interrupts_that_are_taken_back_change_neither_memory_nor_fuel(store: Store) -> None:
    assert shifted(store, True) == shifted(store, False)


def test_a_deadline_does_not_wait_for_the_end_of_an_operation(store: Store) -> None:
    instance = make(store)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        instance.exports["for_ever"].call(context=CallContext.within(0.05))
    assert time.monotonic() - started < 20
    assert set(contents(instance)) <= {0, 7}
