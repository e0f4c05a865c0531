"""Hostile binaries: wrong counts, truncation at every byte, limits and one beyond, deep nesting, random bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxhost.errors import DecodeError, LimitExceeded, ModuleError, SandboxError, ValidationError
from sandboxworker import native
from sandboxworker.engine import Engine, Module
from sandboxworker.store import Store
from tests import builder as b

ENGINE = Engine()
WRONG_COUNTS = (0, 1, 2, 5, 127, 128, 1000, 1_000_000, 1_000_001, 2**31 - 1, 2**31, 2**32 - 1)


def compile_(data: bytes, **limits: int) -> None:
    """Decodes and validates, with lower limits."""
    native.compile_bytes(data, native.CompileOptions(0, module_limits=tuple(limits.items())))


def refused(data: bytes, **limits: int) -> SandboxError:
    """The error of a module that must not compile; its offset lies in the module."""
    with pytest.raises((DecodeError, ValidationError, LimitExceeded)) as caught:
        compile_(data, **limits)
    error = caught.value
    assert str(error)
    if isinstance(error, ModuleError):
        assert error.offset is not None
        assert 0 <= error.offset <= len(data)
    return error


def compiles_or_refuses(data: bytes) -> bool:
    """True when it compiles; any error must be a typed one with an offset in the module."""
    try:
        compile_(data)
    except ModuleError as error:
        assert isinstance(error, DecodeError | ValidationError)
        assert error.offset is not None
        assert 0 <= error.offset <= len(data)
        return False
    except LimitExceeded:
        return False
    return True


def test_the_module_with_everything_compiles() -> None:
    compile_(b.assemble(b.everything()))


# -- counts and sizes


@pytest.mark.parametrize("number", [n for n in b.everything() if n not in (b.START, b.CUSTOM, b.DATA_COUNT)])
def test_wrong_vector_counts_are_refused_with_an_offset(number: int) -> None:
    payloads = b.everything()
    true_count, items = payloads[number][0], payloads[number][1:]
    for count in WRONG_COUNTS:
        payloads[number] = b.unsigned(count) + items
        if count != true_count:
            refused(b.assemble(payloads))


@pytest.mark.parametrize("count", [2**31, 2**32 - 1, 2**32, 2**35])
def test_a_count_of_nested_vectors_beyond_the_bytes_is_refused(count: int) -> None:
    huge = b.unsigned(count)
    code = b.END
    broken = {
        "parameters": b.module(b.section(b.TYPE, b.vector([b"\x60" + huge]))),
        "results": b.module(b.section(b.TYPE, b.vector([b"\x60\0" + huge]))),
        "name": b.module(b.section(b.IMPORT, b.vector([huge + b"m"]))),
        "custom": b.module(b.section(b.CUSTOM, huge + b"name")),
        "locals": b.module(
            b.section(b.TYPE, b.vector([b.function_type()])), b.section(b.FUNCTION, b.vector([b"\0"])),
            b.section(b.CODE, b.vector([b.unsigned(len(huge) + len(code)) + huge + code])),
        ),
        "elements": b.module(
            b.section(b.TABLE, b.vector([b"\x70" + b.limits(1)])), b.section(b.ELEMENT, b.vector([b"\1\0" + huge])),
        ),
        "data": b.module(b.section(b.MEMORY, b.vector([b.limits(1)])), b.section(b.DATA, b.vector([b"\1" + huge]))),
        "labels": b.one_function(b.i32_const(0) + b.BR_TABLE + huge + b"\0" + b.END),
        "select types": b.one_function(b.i32_const(0) * 3 + b"\x1c" + huge + b.DROP + b.END),
        "body": b.module(
            b.section(b.TYPE, b.vector([b.function_type()])), b.section(b.FUNCTION, b.vector([b"\0"])),
            b.section(b.CODE, b.vector([huge + b"\0" + code])),
        ),
        "section": b.HEADER + b"\1" + huge + b"\0",
    }
    for what, data in broken.items():
        assert isinstance(refused(data), DecodeError | ValidationError | LimitExceeded), what


def test_section_sizes_must_fit_their_contents() -> None:
    for number, payload in b.everything().items():
        for size in (len(payload) - 1, len(payload) + 1, len(payload) + 1000, 0, 2**32 - 1):
            sections = [
                b.section(n, p, size if n == number else None) for n, p in b.everything().items() if n != b.CUSTOM or number == n
            ]
            if number == b.CUSTOM and size in (len(payload) - 1,):
                continue  # a custom section may have any contents; what follows is then the section that is broken
            refused(b.module(*sections))


@pytest.mark.parametrize("width", range(1, 12))
def test_overlong_numbers(width: int) -> None:
    data = b.module(b.section(b.TYPE, b.unsigned(1, width) + b.function_type()))
    if width <= 5:
        compile_(data)
    else:
        assert str(refused(data)).startswith("integer representation too long")
    constant = b.one_function(b.I64_CONST + b.signed(-1, width) + b.DROP + b.END)
    if width <= 10:
        compile_(constant)
    else:
        assert str(refused(constant)).startswith("integer representation too long")


def test_sections_out_of_order_or_twice() -> None:
    payloads = b.everything()
    names = [number for number in payloads if number != b.CUSTOM]
    for first, second in pairwise(names):
        order = list(names)
        at = order.index(first)
        order[at], order[at + 1] = second, first
        error = refused(b.assemble({n: payloads[n] for n in order}))
        # Code before the data count: a body that needs the count comes first.
        wanted = "data count section required" if first == b.DATA_COUNT else "unexpected content after last section"
        assert wanted in str(error)
    for number in names:
        twice = b.assemble({n: payloads[n] for n in names}) + b.section(number, payloads[number])
        assert "unexpected content after last section" in str(refused(twice))


# -- truncation and noise


def test_truncation_at_every_byte() -> None:
    payloads = b.everything()
    data = b.assemble(payloads)
    whole = {len(b.HEADER)}
    position = len(b.HEADER)
    for number, payload in payloads.items():
        position += len(b.section(number, payload))
        whole.add(position)
    for length in range(len(data)):
        compiled = compiles_or_refuses(data[:length])
        assert not compiled or length in whole, f"cut at {length}"
    assert isinstance(refused(b""), DecodeError)


def test_every_byte_changed() -> None:
    data = b.assemble(b.everything())
    for position in range(len(data)):
        for value in {0, 1, 0x7F, 0x80, 0xFF, data[position] ^ 0x40, data[position] ^ 1} - {data[position]}:
            compiles_or_refuses(data[:position] + bytes([value]) + data[position + 1 :])


def test_every_byte_removed_or_doubled() -> None:
    data = b.assemble(b.everything())
    for position in range(len(data)):
        compiles_or_refuses(data[:position] + data[position + 1 :])
        compiles_or_refuses(data[: position + 1] + data[position:])


@given(st.binary(max_size=200))
def test_random_bytes(noise: bytes) -> None:
    compiles_or_refuses(noise)
    compiles_or_refuses(b.HEADER + noise)


@given(st.binary(max_size=100), st.sampled_from([b.TYPE, b.IMPORT, b.GLOBAL, b.ELEMENT, b.CODE, b.DATA, b.CUSTOM]))
def test_random_section_contents(noise: bytes, number: int) -> None:
    payloads = b.everything()
    payloads[number] = payloads[number][:1] + noise
    compiles_or_refuses(b.assemble(payloads))


@given(st.binary(min_size=1, max_size=120))
def test_random_bodies(code: bytes) -> None:
    compiles_or_refuses(b.one_function(code + b.END, [b.I32, b.I64], [b.I32], [(2, b.F32), (3, b.F64)]))


# -- limits


def _types(count: int) -> bytes:
    return b.module(b.section(b.TYPE, b.vector([b.function_type()] * count)))


def _functions(count: int) -> bytes:
    return b.module(
        b.section(b.TYPE, b.vector([b.function_type()])), b.section(b.FUNCTION, b.vector([b"\0"] * count)),
        b.section(b.CODE, b.vector([b.body(b.END)] * count)),
    )


def _imports(count: int) -> bytes:
    entry = b.name("m") + b.name("g") + b"\3" + bytes([b.I32, 0])
    return b.module(b.section(b.IMPORT, b.vector([entry] * count)))


def _exports(count: int) -> bytes:
    entries = [b.name(f"e{i}") + b"\2\0" for i in range(count)]
    return b.module(b.section(b.MEMORY, b.vector([b.limits(0)])), b.section(b.EXPORT, b.vector(entries)))


def _globals(count: int) -> bytes:
    return b.module(b.section(b.GLOBAL, b.vector([bytes([b.I32, 0]) + b.i32_const(1) + b.END] * count)))


def _tables(count: int) -> bytes:
    return b.module(b.section(b.TABLE, b.vector([bytes([b.FUNCREF]) + b.limits(0)] * count)))


def _segments(count: int) -> bytes:
    return b.module(b.section(b.DATA, b.vector([b"\1" + b.name("")] * count)))


def _elements(count: int) -> bytes:
    return b.module(b.section(b.ELEMENT, b.vector([b"\1\0" + b.vector([])] * count)))


def _params(count: int) -> bytes:
    return b.module(b.section(b.TYPE, b.vector([b.function_type([b.I32] * count)])))


def _results(count: int) -> bytes:
    return b.module(b.section(b.TYPE, b.vector([b.function_type([], [b.F64] * count)])))


def _locals(count: int) -> bytes:
    return b.one_function(b.END, params=[b.I32], locals_=[(count - 3, b.I64), (2, b.F32)])


def _body(count: int) -> bytes:
    return b.one_function(b.NOP * (count - 2) + b.END)


def _nesting(count: int) -> bytes:
    return b.one_function(((b.BLOCK + bytes([b.EMPTY])) * count) + b.END * (count + 1))


LIMITS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "types": ("types", _types), "functions": ("functions", _functions), "imports": ("imports", _imports),
    "exports": ("exports", _exports), "globals": ("globals", _globals), "tables": ("tables", _tables),
    "data segments": ("segments", _segments), "element segments": ("segments", _elements), "params": ("params", _params),
    "results": ("results", _results), "locals": ("locals", _locals), "body": ("body_bytes", _body),
    "nesting": ("nesting", _nesting),
}


@pytest.mark.parametrize("what", LIMITS)
@pytest.mark.parametrize("limit", [5, 100, 300])
def test_at_the_limit_and_beyond(what: str, limit: int) -> None:
    field, make = LIMITS[what]
    compile_(make(limit), **{field: limit})
    compile_(make(limit - 1), **{field: limit})
    error = refused(make(limit + 1), **{field: limit})
    assert isinstance(error, LimitExceeded), error
    assert str(limit) in str(error)


def test_module_bytes_limit() -> None:
    data = _functions(10)
    compile_(data, module_bytes=len(data))
    assert isinstance(refused(data, module_bytes=len(data) - 1), LimitExceeded)


def test_default_limits() -> None:
    compile_(_params(1000))
    compile_(_results(1000))
    compile_(_locals(50_000))
    for data in (_params(1001), _results(1001), _locals(50_001), _body(7_654_322)):
        assert isinstance(refused(data), LimitExceeded)


@pytest.mark.parametrize("runs", [[(2**32 - 1, b.I32)], [(2**32 - 1, b.I32), (2**32 - 1, b.I64)], [(2**31, b.F32)] * 4])
def test_locals_beyond_every_count(runs: list[tuple[int, int]]) -> None:
    refused(b.one_function(b.END, locals_=runs))


def test_a_million_empty_runs_of_locals() -> None:
    compile_(b.one_function(b.END, locals_=[(0, b.I32)] * 1_000_000))


# -- deep and wide bodies


@pytest.mark.parametrize("opener", ["block", "loop", "if"])
def test_a_million_nested_blocks_are_refused_quickly(opener: str) -> None:
    start = {"block": b.BLOCK, "loop": b.LOOP, "if": b.i32_const(1) + b.IF}[opener] + bytes([b.EMPTY])
    began = time.monotonic()
    assert isinstance(refused(b.one_function(start * 1_000_000 + b.END * 1_000_001)), LimitExceeded)
    assert isinstance(refused(b.one_function(start * 1_000_000)), ModuleError | LimitExceeded)
    assert time.monotonic() - began < 20


def run(data: bytes, *arguments: int) -> tuple[object, ...]:
    """Calls the export f of a module."""
    module = Module(data)
    ENGINE.compile_module(module)
    with Store(ENGINE) as store:
        return store.instantiate(module).exports["f"].call(*arguments)  # type: ignore[union-attr]


def test_deepest_nesting_runs() -> None:
    depth = 65_536
    code = (b.BLOCK + bytes([b.I32])) * depth + b.i32_const(7) + b.BR + b.unsigned(depth - 1) + b.END * (depth + 1)
    assert run(b.one_function(code, results=[b.I32])) == (7,)


def test_all_locals_can_be_used() -> None:
    last = 49_999
    code = (
        b.i32_const(5) + b.LOCAL_SET + b.unsigned(last) + b.LOCAL_GET + b.unsigned(last) + b.LOCAL_GET + b.unsigned(last - 1)
        + b.I32_ADD + b.LOCAL_GET + b"\0" + b.I32_ADD + b.END
    )
    assert run(b.one_function(code, [b.I32], [b.I32], [(last, b.I32)]), 30) == (35,)


@pytest.mark.parametrize("height", [1000, 65_000, 66_000, 140_000])
def test_tall_operand_stacks(height: int) -> None:
    code = b"".join(b.LOCAL_GET + b"\0" if i % 3 else b.i32_const(i) for i in range(height)) + b.I32_ADD * (height - 1) + b.END
    expected = sum(1 if i % 3 else i for i in range(height))
    data = b.one_function(code, [b.I32], [b.I32])
    if height < 65_500:
        assert run(data, 1) == (expected,)
    else:
        assert "frame" in str(refused(data))


def test_long_branch_table() -> None:
    labels = [b.unsigned(i % 2) for i in range(100_000)]
    inner = b.LOCAL_GET + b"\0" + b.BR_TABLE + b.vector(labels) + b"\0"
    code = b.BLOCK + bytes([b.EMPTY]) + b.BLOCK + bytes([b.EMPTY]) + inner + b.END + b.i32_const(10) + b.RETURN + b.END
    data = b.one_function(code + b.i32_const(20) + b.END, [b.I32], [b.I32])
    assert run(data, 0) == (10,)
    assert run(data, 1) == (20,)
    assert run(data, 99_999) == (20,)
    assert run(data, 100_000) == (10,)
    assert run(data, -1) == (10,)


@pytest.mark.parametrize(
    "unit",
    [
        b.LOCAL_GET + b"\0" + b.DROP,
        b.LOCAL_GET + b"\0" + b.LOCAL_SET + b"\1",
        b.LOCAL_GET + b"\0",
        b.BLOCK + bytes([b.EMPTY]) + b.END,
        b.LOCAL_GET + b"\1" + b.IF + bytes([b.EMPTY]) + b.LOCAL_GET + b"\0" + b.LOCAL_SET + b"\1" + b.ELSE + b.END,
        b.I64_CONST + b.signed(-(2**63)) + b.DROP,
    ],
    ids=["get drop", "get set", "get", "block", "if else", "constants"],
)
def test_long_bodies_compile_in_linear_time(unit: bytes) -> None:
    def seconds(count: int) -> float:
        data = b.one_function(unit * count + b.UNREACHABLE + b.END, [b.I32, b.I32])
        began = time.monotonic()
        compile_(data)
        return time.monotonic() - began

    count = 4000 if unit == b.LOCAL_GET + b"\0" else 60_000 // len(unit)  # what stays on the stack needs a slot
    small = min(seconds(count) for _ in range(3))
    large = seconds(count * 16)
    assert large < 16 * small * 8 + 0.5, f"{small:.4f} s for {count}, {large:.4f} s for {16 * count}"


def test_one_local_many_times_on_the_stack_then_set() -> None:
    count = 40_000
    code = (b.LOCAL_GET + b"\0") * count + b.i32_const(100) + b.LOCAL_SET + b"\0" + b.I32_ADD * (count - 1) + b.END
    assert run(b.one_function(code, [b.I32], [b.I32]), 2) == (2 * count,)
