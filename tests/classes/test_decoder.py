"""Decoder and validator: counts that lie, rules that are forgotten, constant expressions and nesting without end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sandboxhost.errors import DecodeError, LimitExceeded, ModuleError, StackLimit, ValidationError
from sandboxworker import native
from tests import builder as b
from tests.differential.validity import ours, theirs
from tests.workers.driver import binary

from .executors import EXECUTORS, TIERS, Executor, exports
from .rules import RULES

SMALL_STACK = 160 * 1024
"""Bytes of a thread's stack on which a million levels of anything must not overflow."""


def compile_(data: bytes, tier: str = "interpreter", **limits: int) -> bytes:
    """The image of a module."""
    options = native.CompileOptions(0, module_limits=tuple(limits.items()), compiled=tier == "compiled")
    return bytes(native.compile_bytes(data, options))


def refusal(data: bytes, tier: str = "interpreter") -> ModuleError | LimitExceeded:
    """The error of a module that must be refused."""
    with pytest.raises((DecodeError, ValidationError, LimitExceeded)) as caught:
        compile_(data, tier)
    return caught.value  # type: ignore[return-value]


# ---- count overflow to a short allocation

TYPES = b.section(b.TYPE, b.vector([b.function_type()]))
FUNCTIONS = b.section(b.FUNCTION, b.vector([b"\0"]))
MEMORY = b.section(b.MEMORY, b.vector([b.limits(1)]))
TABLE = b.section(b.TABLE, b.vector([b"\x70" + b.limits(1)]))
OFFSET = b.i32_const(0) + b.END


def _body(code: bytes) -> bytes:
    return b.module(TYPES, FUNCTIONS, TABLE, MEMORY, b.section(b.CODE, b.vector([b.unsigned(len(code)) + code])))


# Every vector of the binary format: a module in which its count is n, and `tail` follows in place of its items.
VECTORS: dict[str, tuple[int, Callable[[bytes, bytes], bytes]]] = {
    "types": (1_000_000, lambda n, tail: b.module(b.section(b.TYPE, n + tail))),
    "parameters": (1_000, lambda n, tail: b.module(b.section(b.TYPE, b"\1\x60" + n + tail))),
    "results": (1_000, lambda n, tail: b.module(b.section(b.TYPE, b"\1\x60\0" + n + tail))),
    "imports": (100_000, lambda n, tail: b.module(b.section(b.IMPORT, n + tail))),
    "bytes of a module's name": (100_000, lambda n, tail: b.module(b.section(b.IMPORT, b"\1" + n + tail))),
    "bytes of an import's name": (100_000, lambda n, tail: b.module(b.section(b.IMPORT, b"\1\0" + n + tail))),
    "functions": (1_000_000, lambda n, tail: b.module(TYPES, b.section(b.FUNCTION, n + tail))),
    "tables": (100_000, lambda n, tail: b.module(b.section(b.TABLE, n + tail))),
    "memories": (100, lambda n, tail: b.module(b.section(b.MEMORY, n + tail))),
    "globals": (1_000_000, lambda n, tail: b.module(b.section(b.GLOBAL, n + tail))),
    "exports": (1_000_000, lambda n, tail: b.module(b.section(b.EXPORT, n + tail))),
    "bytes of an export's name": (100_000, lambda n, tail: b.module(b.section(b.EXPORT, b"\1" + n + tail))),
    "element segments": (1_000_000, lambda n, tail: b.module(TABLE, b.section(b.ELEMENT, n + tail))),
    **{
        f"elements of form {form}": (
            10_000_000,
            lambda n, tail, head=head: b.module(TABLE, b.section(b.ELEMENT, b"\1" + head + n + tail)),
        )
        for form, head in enumerate(
            [
                b"\0" + OFFSET, b"\1\0", b"\2\0" + OFFSET + b"\0", b"\3\0", b"\4" + OFFSET, b"\5\x70", b"\6\0" + OFFSET + b"\x70",
                b"\7\x70",
            ]
        )
    },
    "bodies": (1_000_000, lambda n, tail: b.module(TYPES, FUNCTIONS, b.section(b.CODE, n + tail))),
    "bytes of a body": (7_654_321, lambda n, tail: b.module(TYPES, FUNCTIONS, b.section(b.CODE, b"\1" + n + tail))),
    "runs of locals": (50_000, lambda n, tail: _body(n + tail)),
    "locals of a run": (50_000, lambda n, tail: _body(b"\1" + n + tail)),
    "labels": (7_654_321, lambda n, tail: _body(b"\0" + b.i32_const(0) + b.BR_TABLE + n + tail)),
    "types of a select": (1, lambda n, tail: _body(b"\0" + b.i32_const(0) * 3 + b"\x1c" + n + tail)),
    "data segments": (1_000_000, lambda n, tail: b.module(MEMORY, b.section(b.DATA, n + tail))),
    "bytes of an active data segment": (2**28, lambda n, tail: b.module(MEMORY, b.section(b.DATA, b"\1\0" + OFFSET + n + tail))),
    "bytes of a passive data segment": (2**28, lambda n, tail: b.module(MEMORY, b.section(b.DATA, b"\1\1" + n + tail))),
    "the data count": (1_000_000, lambda n, tail: b.module(b.section(b.DATA_COUNT, n + tail))),
    "bytes of a custom section's name": (2**28, lambda n, tail: b.module(b.section(b.CUSTOM, n + tail))),
    "bytes of a section": (2**28, lambda n, tail: b.HEADER + b"\1" + n + tail),
}


@pytest.mark.parametrize("what", VECTORS)
def test_count_overflow_of_every_vector(what: str) -> None:
    """A count is compared with the bytes behind it before anything is allocated for it; under ASan a short allocation shows."""
    limit, make = VECTORS[what]
    counts = {limit, limit + 1, 2**16, 2**24, 2**28, 2**29, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**35}
    # Times the size of an item, these are small again in 32 bits.
    counts |= {2**32 // size + extra for size in (2, 4, 8, 12, 16, 24, 32, 40, 48, 64) for extra in (0, 1)}
    for count in sorted(counts - {1}):
        for width in (0, 5):
            for tail in (b"", b"\0", b"\x7f" * 40, b"\0" * 40, b"\x0b" * 40):
                error = refusal(make(b.unsigned(count, width), tail))
                assert str(error) and "out of memory" not in str(error), (count, "allocated before it was compared")
    if "custom" not in what:  # where anything may follow
        for tail in (b"\x60", b"\x7f" * 3):
            assert isinstance(refusal(make(b"\0", tail)), ModuleError), "none, but something follows"


def test_count_overflow_in_the_name_section_is_passed_over() -> None:
    """Names are a help, so a broken name section makes no module invalid; it must not be believed either."""
    head = b.module(TYPES, FUNCTIONS, b.section(b.CODE, b.vector([b.body(b.END)])))
    plain = len(compile_(head))
    for count in (2**16, 2**28, 2**29 + 1, 2**31, 2**32 - 1):
        n = b.unsigned(count)
        for subsection in (b"\1" + n, b"\1\x0a" + n + b"\0\1a", b"\1\x0a\1\0" + n + b"a", b"\2\x0a\1\0" + n, b"\7" + n):
            data = head + b.section(b.CUSTOM, b.name("name") + subsection)
            assert len(compile_(data)) <= plain + 64


# ---- missing validation

@pytest.mark.parametrize("rule", RULES)
def test_missing_validation_of_each_rule(rule: str) -> None:
    """Both judges refuse what breaks the rule and accept what keeps it, whatever the module is to be compiled to."""
    broken, kept = (binary(f"(module {fields})") for fields in RULES[rule])
    assert theirs(broken) and not theirs(kept), "the case itself is wrong"
    for behind in (b"", b.section(b.CUSTOM, b.name("room") + bytes(64))):  # far from the end there is a shorter way
        assert not ours(kept + behind)
        for tier in TIERS:
            assert isinstance(refusal(broken + behind, tier), ValidationError)
            compile_(kept + behind, tier)


# ---- constant expressions

def _global(init: bytes) -> bytes:
    return b.module(b.section(b.GLOBAL, b.vector([bytes([b.I32, 0]) + init])))


MILLION = 1_000_000
CONSTANTS: dict[str, Callable[[bytes], bytes]] = {
    "global": _global,
    "data offset": lambda e: b.module(MEMORY, b.section(b.DATA, b.vector([b"\0" + e + b.name("x")]))),
    "element offset": lambda e: b.module(TABLE, b.section(b.ELEMENT, b.vector([b"\0" + e + b"\0"]))),
    "element": lambda e: b.module(TABLE, b.section(b.ELEMENT, b.vector([b"\5\x70" + b.vector([e])]))),
}
DEEP: dict[str, bytes] = {
    "blocks": (b.BLOCK + bytes([b.I32])) * MILLION + b.i32_const(0) + b.END * (MILLION + 1),
    "sums": b.i32_const(1) * MILLION + b.I32_ADD * (MILLION - 1) + b.END,
    "sums one by one": b.i32_const(1) + (b.i32_const(1) + b.I32_ADD) * MILLION + b.END,
    "no end": b.i32_const(1) * MILLION,
    "reads": (b"\x23\0") * MILLION + b.END,
    "ifs": (b.i32_const(1) + b.IF + bytes([b.EMPTY])) * MILLION + b.END * (MILLION + 1),
    "nothing": b.END,
    "references": b"\xd0\x70" * MILLION + b.END,
}


def on_a_small_stack(act: Callable[[], Any]) -> Any:
    """What `act` gives, in a thread with a small native stack: recursion on input would end the process."""
    found: list[Any] = []
    before = threading.stack_size(SMALL_STACK if not native.sanitized() else 16 * SMALL_STACK)
    try:
        thread = threading.Thread(target=lambda: found.append(act()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert found, "the thread ended without an answer"
    return found[0]


@pytest.mark.parametrize("place", CONSTANTS)
def test_const_expression_nesting_has_no_depth(place: str) -> None:
    """A constant expression is one instruction; a million are refused in words, wherever they stand."""
    for what, expression in DEEP.items():
        data = CONSTANTS[place](expression)
        error = on_a_small_stack(lambda data=data: refusal(data))
        assert isinstance(error, ModuleError) and error.offset is not None, what
        assert error.offset <= len(data)


def test_const_expression_nesting_by_chains_of_globals() -> None:
    """A hundred thousand globals, each initialised from the one before: only imported ones may be read."""
    count = 100_000
    own = b.vector([bytes([b.I32, 0]) + b"\x23" + b.unsigned(max(0, i - 1)) + b.END for i in range(count)])
    assert isinstance(refusal(b.module(b.section(b.GLOBAL, own))), ValidationError)
    imported = b.section(b.IMPORT, b.vector([b.name("h") + b.name("g") + b"\3" + bytes([b.I32, 0])]))
    fine = b.vector([bytes([b.I32, 0]) + b"\x23\0" + b.END] * count)
    assert compile_(b.module(imported, b.section(b.GLOBAL, fine)))


# ---- native recursion

OPENERS = {
    "block": b.BLOCK + bytes([b.EMPTY]),
    "loop": b.LOOP + bytes([b.EMPTY]),
    "if": b.i32_const(1) + b.IF + bytes([b.EMPTY]),
    "block of a type": b.BLOCK + b"\0",
}


@pytest.mark.parametrize("opener", OPENERS)
def test_native_recursion_on_nested_blocks(opener: str) -> None:
    """A million levels are refused, the deepest that are allowed compile, on a native stack with room for few frames."""
    start = OPENERS[opener]
    for ends in (0, MILLION + 1):
        data = b.one_function(start * MILLION + b.END * ends)
        assert isinstance(on_a_small_stack(lambda data=data: refusal(data)), LimitExceeded | ModuleError)
    deepest = b.one_function(start * 65_536 + b.END * 65_537)
    for tier in TIERS:
        assert on_a_small_stack(lambda tier=tier: compile_(deepest, tier))


def test_native_recursion_on_chains_of_types() -> None:
    """100,000 types, each used by a block inside the one before; as parameters they all are different."""
    count = 100_000
    kinds = (b.I32, b.I64, b.F32, b.F64, b.FUNCREF, b.EXTERNREF)

    def number(n: int) -> list[int]:
        digits = []
        while n:
            digits.append(kinds[n % 6])
            n //= 6
        return digits

    types = b.section(b.TYPE, b.vector([b.function_type(number(i)) for i in range(count)]))
    data = b.module(types, b.section(b.FUNCTION, b.vector([b"\0"])), b.section(b.CODE, b.vector([b.body(b.END)])))
    assert on_a_small_stack(lambda: compile_(data))
    body = b"".join(b.UNREACHABLE + b.BLOCK + b.signed(i) for i in range(60_000)) + b.UNREACHABLE + b.END * 60_001
    data = b.module(types, b.section(b.FUNCTION, b.vector([b"\0"])), b.section(b.CODE, b.vector([b.body(body)])))
    for tier in TIERS:
        assert on_a_small_stack(lambda tier=tier: compile_(data, tier))


@pytest.mark.parametrize("executor", EXECUTORS, ids=str)
def test_native_recursion_by_calls(executor: Executor) -> None:
    """A hundred thousand functions that call each other: the guest's stack is not the native one, and it ends in words."""
    count = 100_000
    calls = [b.body(b.CALL + b.unsigned((i + 1) % count) + b.END) for i in range(count)]
    data = b.module(
        TYPES, b.section(b.FUNCTION, b.vector([b"\0"] * count)), b.section(b.EXPORT, b.vector([b.name("f") + b"\0\0"])),
        b.section(b.CODE, b.vector(calls)),
    )  # fmt: skip

    def run() -> str:
        with executor.store() as store:
            try:
                exports(store, data)["f"].call()
            except StackLimit as error:
                return str(error)
        return "returned"

    assert on_a_small_stack(run).startswith("call stack exhausted")
