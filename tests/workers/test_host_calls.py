"""Host functions: values both ways, exceptions as causes, callers and their memory, guest memory's checks."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from sandboxhost.errors import DeadlineExceeded, HostFunctionError, LimitExceeded, SignatureMismatch, Trap
from sandboxworker.context import CallContext
from sandboxworker.guest_memory import GuestMemory
from sandboxworker.host_calls import Caller
from sandboxworker.module_instance import ModuleInstance
from sandboxworker.store import Store
from sandboxworker.types import FunctionType, MemoryType, ValueType

from .driver import F64, I32, I64, module


def make(store: Store, type_text: str, type_: FunctionType, function: Any, **options: Any) -> ModuleInstance:
    """A module that passes its parameters to the host function and returns its results, and has a memory."""
    gets = "".join(f"(local.get {i})" for i in range(len(type_.params)))
    wanted = module(f"""(module (import "h" "f" (func {type_text})) (memory (export "m") 1) (data (i32.const 16) "hello\\00")
        (func (export "f") {type_text} {gets} (call 0)))""")
    store.engine.compile_module(wanted)
    host = store.host_function(type_, function, "h.f", **options)
    return store.instantiate(wanted, "caller", {("h", "f"): host})


MIXED = FunctionType((I32, I64, F64, ValueType.EXTERNREF), (F64, ValueType.EXTERNREF, I32))
MIXED_TEXT = "(param i32 i64 f64 externref) (result f64 externref i32)"


def test_values_both_ways(store: Store) -> None:
    seen: list[tuple[Any, ...]] = []

    def host(*values: Any) -> tuple[float, int | None, int]:
        seen.append(values)
        return -0.5, 3, 2**32 - 1

    exports = make(store, MIXED_TEXT, MIXED, host).exports
    assert exports["f"].call(-1, -2, 1.5, None) == (-0.5, 3, -1)
    assert seen == [(-1, -2, 1.5, None)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [(None, "result"), ((1, 2), "expected 1 results, but passed 2"), ("x", "result 1: expected i32, got str"), (2**40, "range")],
)
def test_a_wrong_answer_is_the_host_functions_fault(store: Store, answer: Any, words: str) -> None:
    exports = make(store, "(result i32)", FunctionType((), (I32,)), lambda: answer).exports
    with pytest.raises(HostFunctionError, match=words) as caught:
        exports["f"].call()
    assert isinstance(caught.value.__cause__, SignatureMismatch)


def test_the_exception_itself_is_the_cause(store: Store) -> None:
    mine = KeyError("mine")

    def host() -> None:
        raise mine

    exports = make(store, "", FunctionType(), host).exports
    with pytest.raises(HostFunctionError, match="h.f raised KeyError") as caught:
        exports["f"].call()
    assert caught.value.__cause__ is mine


def test_what_is_no_exception_passes_unchanged_and_the_engine_stays_well(store: Store) -> None:
    def host() -> None:
        raise KeyboardInterrupt

    exports = make(store, "", FunctionType(), host).exports
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            exports["f"].call()


def test_an_error_of_another_plugin_is_a_cause_like_any_other(store: Store) -> None:
    def host() -> None:
        raise Trap("unreachable", cause="unreachable")

    exports = make(store, "", FunctionType(), host).exports
    with pytest.raises(HostFunctionError) as caught:
        exports["f"].call()
    assert isinstance(caught.value.__cause__, Trap)


def test_packed_host_functions_take_and_give_bytes(store: Store) -> None:
    type_ = FunctionType((I32, I64), (I32,))

    def host(payload: bytes) -> bytes:
        first, second = struct.unpack("<i4xq", payload)
        return struct.pack("<Q", (first + second) & 0xFFFF_FFFF | 0xDEAD << 32)  # the upper half must not reach the guest

    exports = make(store, "(param i32 i64) (result i32)", type_, host, packed=True).exports
    assert exports["f"].call_raw(40, 2) == (42,)
    exports = make(store, "(param i32 i64) (result i32)", type_, lambda payload: b"", packed=True).exports
    with pytest.raises(HostFunctionError):
        exports["f"].call(1, 2)


def test_the_caller_and_its_memory(store: Store) -> None:
    seen: list[Caller] = []

    def host(caller: Caller, address: int) -> int:
        seen.append(caller)
        text = caller.memory.read_c_string(address)
        caller.memory.write(100, text.upper())
        return len(text)

    instance = make(store, "(param i32) (result i32)", FunctionType((I32,), (I32,)), host, with_caller=True)
    context = CallContext.within(10)
    assert instance.exports["f"].call(16, context=context) == (5,)
    assert instance.exports["m"].read(100, 5) == b"HELLO"
    assert seen[0].instance is instance and seen[0].context is context


def test_a_function_called_from_outside_has_the_contexts_instance_as_caller(store: Store) -> None:
    seen: list[Any] = []
    instance = make(store, "", FunctionType(), lambda caller: seen.append(caller.instance), with_caller=True)
    host = instance.function(0)
    host.call()
    host.call(context=CallContext(instance))
    assert seen == [None, instance]


def test_the_number_of_host_calls_is_limited(store: Store) -> None:
    seen: list[int] = []
    wanted = module('(module (import "h" "f" (func)) (func (export "f") (loop (call 0) (br 0))))')
    store.engine.compile_module(wanted)
    host = store.host_function(FunctionType(), lambda: seen.append(1))
    instance = store.instantiate(wanted, "m", {("h", "f"): host})
    with pytest.raises(LimitExceeded) as caught:
        instance.exports["f"].call(context=CallContext(host_calls=10))
    assert caught.value.limit == "host_calls" and len(seen) == 10


def test_a_failure_after_the_deadline_is_the_deadline(store: Store) -> None:
    context = CallContext.within(0.02)

    def host() -> None:
        while context.remaining():
            pass
        raise OSError("the wait was given up")

    exports = make(store, "", FunctionType(), host).exports
    with pytest.raises(DeadlineExceeded):
        exports["f"].call(context=context)


def test_guest_memory_reads_and_writes_what_it_says(store: Store) -> None:
    memory = GuestMemory(store.new_memory(MemoryType(1)))
    assert len(memory) == 65536
    for width, write, read, value in (
        (1, memory.write_u8, memory.read_u8, 0xFE), (2, memory.write_u16, memory.read_u16, 0xFEDC),
        (4, memory.write_u32, memory.read_u32, 0xFEDC_BA98), (8, memory.write_u64, memory.read_u64, 0xFEDC_BA98_7654_3210),
    ):  # fmt: skip
        write(65536 - width, value)
        assert read(65536 - width) == value == int.from_bytes(memory.read(65536 - width, width), "little")
        for offset in (65536 - width + 1, -1, 65536, 2**32):
            with pytest.raises(IndexError):
                read(offset)
            with pytest.raises(IndexError):
                write(offset, value)
        with pytest.raises(struct.error):
            write(0, 1 << (8 * width))
    memory.write_f32(0, 0.5)
    memory.write_f64(8, -0.1)
    assert memory.read_f32(0) == 0.5 and memory.read_f64(8) == -0.1
    memory.pack("<IH", 32, 7, 8)
    assert memory.unpack("<IH", 32) == (7, 8)


def test_guest_memory_texts(store: Store) -> None:
    memory = GuestMemory(store.new_memory(MemoryType(1)))
    memory.write(0, "häuser\0".encode())
    assert memory.read_text(0, 7) == "häuser" and memory.read_c_string(0) == "häuser".encode()
    with pytest.raises(UnicodeDecodeError):
        memory.read_text(2, 3)
    memory.write(65530, b"xxxxxx")
    with pytest.raises(IndexError, match="no NUL"):
        memory.read_c_string(65530)
    with pytest.raises(IndexError, match="no NUL"):
        memory.read_c_string(0, most=3)
    with pytest.raises(IndexError):
        memory.read_c_string(70_000)
