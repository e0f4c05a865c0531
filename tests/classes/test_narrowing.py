"""Silent narrowing in the compiled form: functions at the widths of its fields, one below and one above, run or are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandboxhost.errors import LimitExceeded, Trap
from sandboxhost.limits import Limits
from sandboxworker.context import CallContext
from sandboxworker.engine import Module
from sandboxworker.store import Store
from tests import builder as b

from .executors import EXECUTORS, TIERS, Executor, exports

BYTE, WORD = 1 << 8, 1 << 16
AROUND_A_BYTE_AND_A_WORD = [BYTE - 1, BYTE, BYTE + 1, WORD - 1, WORD, WORD + 1]
AROUND_128 = [127, 128, 129]
ROOMY = Limits(memory=65_536 * 65_536)


@pytest.fixture(params=TIERS)
def executor(request: pytest.FixtureRequest) -> Executor:
    return Executor(request.param, False)


@pytest.fixture(params=[False, True], ids=["free", "metered"])
def store(request: pytest.FixtureRequest, executor: Executor) -> Iterator[Store]:
    with executor.store(ROOMY, metered=request.param) as made:
        yield made


def get(local: int) -> bytes:
    return b.LOCAL_GET + b.unsigned(local)


def set_(local: int) -> bytes:
    return b.LOCAL_SET + b.unsigned(local)


def block(*code: bytes, type_: int = b.EMPTY) -> bytes:
    return b.BLOCK + bytes([type_]) + b"".join(code) + b.END


# ---- locals, parameters, results, operands: slots of a frame


@pytest.mark.parametrize("count", [*AROUND_128, BYTE - 1, BYTE, BYTE + 1, 4095, 4096, 4097, 49_999, 50_000])
def test_silent_narrowing_of_locals(store: Store, count: int) -> None:
    """The last local, the one before and the first are three."""
    code = (
        b.i32_const(1000) + set_(count - 1) + b.i32_const(200) + set_(count - 2)
        + get(count - 1) + get(count - 2) + b.I32_ADD + get(0) + b.I32_ADD + b.END
    )
    f = exports(store, b.one_function(code, [b.I32], [b.I32], [(count - 1, b.I32)]))["f"]
    assert f.call(5) == (1205,)


@pytest.mark.parametrize("count", [*AROUND_128, BYTE - 1, BYTE, BYTE + 1, 999, 1000])
def test_silent_narrowing_of_parameters_and_results(store: Store, count: int) -> None:
    """All of them through a call, an indirect call, and out."""
    all_ = b"".join(map(get, range(count)))
    same = b.function_type([b.I64] * count, [b.I64] * count)
    bodies = [all_ + b.END, all_ + b.CALL + b"\0" + b.END, all_ + b.i32_const(0) + b.CALL_INDIRECT + b"\0\0" + b.END]
    data = b.module(
        b.section(b.TYPE, b.vector([same])), b.section(b.FUNCTION, b.vector([b"\0"] * 3)),
        b.section(b.TABLE, b.vector([b"\x70" + b.limits(1)])),
        b.section(b.EXPORT, b.vector([b.name(f"f{i}") + b"\0" + b.unsigned(i) for i in range(3)])),
        b.section(b.ELEMENT, b.vector([b"\0" + b.i32_const(0) + b.END + b.vector([b"\0"])])),
        b.section(b.CODE, b.vector([b.body(body) for body in bodies])),
    )  # fmt: skip
    made = exports(store, data)
    numbers = tuple(range(1, count + 1))
    for i in range(3):
        assert made[f"f{i}"].call(*numbers) == numbers


def largest(accepted: Callable[[int], bool], low: int, high: int) -> int:
    """The largest that is accepted, by bisection; everything below is, everything above is not."""
    assert accepted(low) and not accepted(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if accepted(middle) else (low, middle)
    return low


@pytest.mark.parametrize("locals_", [1, 128, 49_999])
def test_silent_narrowing_of_frame_slots_and_stack_height(executor: Executor, locals_: int) -> None:
    """Up to the tallest stack that is accepted every operand comes back; the next one is refused in words."""

    operands = [get(0) if i % 2 else b.i32_const(i) for i in range(70_001)]

    def tall(height: int) -> bytes:
        stack = b"".join(operands[:height])
        return b.one_function(stack + b.I32_ADD * (height - 1) + get(locals_) + b.I32_ADD + b.END, [b.I32], [b.I32],
                              [(locals_, b.I32)])  # fmt: skip

    engine = executor.engine()

    def accepted(height: int) -> bool:
        try:
            engine.compile_module(Module(tall(height)))
        except LimitExceeded as error:
            assert "frame" in str(error) and "65535" in str(error)
            return False
        return True

    most = largest(accepted, 10, 70_000)
    assert WORD - locals_ - 16 < most < WORD - locals_
    for height in (most - 1, most):
        with executor.store() as store:
            wanted = sum(3 if i % 2 else i for i in range(height))
            assert exports(store, tall(height))["f"].call(3) == (wanted,)


@pytest.mark.parametrize("call_depth", [3000, 300_000])
@pytest.mark.parametrize("locals_", [1, 128, 49_999])
def test_tail_call_class_a_larger_frame_at_the_last_stack_slot(executor: Executor, locals_: int, call_depth: int) -> None:
    """No tail calls yet; ordinary calls have the same edge: whoever calls at the end of the stack, the callee's frame fits or the
    call is refused. A small function recurses to every depth around the end, and there calls one with a frame of 60,000 slots."""
    height = 60_000 - locals_
    stack = b"".join(get(0) for _ in range(height))
    large = b.body(stack + b.I32_ADD * (height - 1) + get(locals_) + b.I32_ADD + b.END, [(locals_, b.I32)])
    down = (
        get(0) + b.IF + bytes([b.I32]) + get(0) + b.i32_const(1) + b"\x6b" + b.CALL + b"\1"
        + b.ELSE + b.i32_const(1) + b.CALL + b"\0" + b.END + b.END
    )
    data = b.module(
        b.section(b.TYPE, b.vector([b.function_type([b.I32], [b.I32])])), b.section(b.FUNCTION, b.vector([b"\0"] * 2)),
        b.section(b.EXPORT, b.vector([b.name("down") + b"\0\1"])), b.section(b.CODE, b.vector([large, b.body(down)])),
    )  # fmt: skip
    with executor.store(Limits(call_depth=call_depth)) as store:  # the lower one ends the frames, the other the slots
        function = exports(store, data)["down"]

        def fits(depth: int) -> bool:
            try:
                assert function.call(depth) == (height,)
            except LimitExceeded as error:
                assert error.limit == "call_depth"
                return False
            return True

        most = largest(fits, 0, 30_000_000)
        for depth in range(max(0, most - 20), most + 21):
            assert fits(depth) == (depth <= most)


# ---- branches


@pytest.mark.parametrize("count", [1, *AROUND_128, *AROUND_A_BYTE_AND_A_WORD, 300_000])
def test_silent_narrowing_of_branch_tables(store: Store, count: int) -> None:
    """The last label, the one before it and the default lead to three places."""
    labels = [b"\0"] * (count - 2) + [b"\1", b"\2"][-min(count, 2):]
    table = get(0) + b.BR_TABLE + b.vector(labels) + b"\3"
    code = block(
        block(block(block(table), b.i32_const(10), b.RETURN), b.i32_const(11), b.RETURN), b.i32_const(12), b.RETURN
    ) + b.i32_const(13) + b.END  # fmt: skip
    f = exports(store, b.one_function(code, [b.I32], [b.I32]))["f"]
    assert f.call(count - 1) == (12,)
    if count > 1:
        assert f.call(count - 2) == (11,)
    if count > 2:
        assert f.call(0) == f.call(count - 3) == (10,)
    for index in (count, count + BYTE, count + WORD, 2**31 - 1, -(2**31), -1):
        assert f.call(index) == (13,)


@pytest.mark.parametrize("depth", [*AROUND_128, *AROUND_A_BYTE_AND_A_WORD[:-2]])
def test_silent_narrowing_of_labels(store: Store, depth: int) -> None:
    """br, br_if and br_table out of many blocks, each of which would add one."""
    label = b.unsigned(depth)
    for way in (b.BR + label, b.i32_const(1) + b.BR_IF + label, get(0) + b.BR_TABLE + b"\0" + label):
        add = get(1) + b.i32_const(1) + b.I32_ADD + set_(1)
        inner = b.BLOCK + bytes([b.EMPTY])
        code = inner * (depth + 1) + way + (b.END + add) * (depth + 1) + get(1) + b.END
        f = exports(store, b.one_function(code, [b.I32], [b.I32], [(1, b.I32)]))["f"]
        assert f.call(7) == (1,)


FILLER = get(1) + b.i32_const(3) + b"\x6c" + b.i32_const(1) + b.I32_ADD + set_(1)
"""local 1 times 3 and 1 more: 11 bytes, two operations of the interpreter, some 10 bytes of machine code."""


@pytest.mark.parametrize("fill", [10, 3_000, 6_000, 11_000, 22_000, 100_000])
def test_silent_narrowing_of_code_size(store: Store, fill: int) -> None:
    """Branches forward and backward over code of 2^15, 2^16 units and many more bytes, and calls over it."""
    far = FILLER * fill
    loop = (
        b.LOOP + bytes([b.EMPTY]) + block(get(2) + b.BR_IF + b"\0" + far) + get(2) + b.i32_const(1) + b.I32_ADD + set_(2)
        + get(2) + get(0) + b"\x48" + b.BR_IF + b"\0" + b.END
    )
    bodies = [
        b.body(get(0) + b.CALL + b"\2" + b.END),
        b.body(loop + get(1) + b.END, [(2, b.I32)]),
        b.body(get(0) + b.CALL + b"\1" + b.END),
    ]
    data = b.module(
        b.section(b.TYPE, b.vector([b.function_type([b.I32], [b.I32])])), b.section(b.FUNCTION, b.vector([b"\0"] * 3)),
        b.section(b.EXPORT, b.vector([b.name("f") + b"\0\0"])), b.section(b.CODE, b.vector(bodies)),
    )  # fmt: skip
    wanted = 0
    for _ in range(fill):
        wanted = (wanted * 3 + 1) & 0xFFFFFFFF
    assert exports(store, data)["f"].call_raw(3) == (wanted,)


def test_silent_narrowing_of_offsets_of_traps(executor: Executor) -> None:
    """A trap behind megabytes of code names its own offset in the module."""
    for fill in (1, 5_957, 5_958, 600_000):
        with executor.store() as store:
            data = b.one_function(FILLER * fill + b.UNREACHABLE + b.END, [b.I32], [b.I32], [(1, b.I32)])
            with pytest.raises(Trap, match="unreachable") as caught:
                exports(store, data)["f"].call(1)
            assert caught.value.frames[0].offset == data.rindex(b.UNREACHABLE + b.END)


STRAIGHT = [BYTE, *range(WORD - 8, WORD + 10, 2), 2 * WORD + 4]


@pytest.mark.parametrize("ending", ["end", "return", "br", "br_if", "br_table", "if", "loop", "call", "call_indirect"])
def test_silent_narrowing_of_the_cost_of_a_straight_line(ending: str) -> None:
    """Fuel of a line of n instructions, ended in each way, in both executors: two more cost two more."""
    ends: dict[str, bytes] = {
        "end": b"", "return": b.RETURN, "br": b.BR + b"\0", "br_if": get(0) + b.BR_IF + b"\0",
        "br_table": get(0) + b.BR_TABLE + b.vector([b"\0"]) + b"\0", "if": get(0) + b.IF + bytes([b.EMPTY]) + b.END,
        "loop": b.LOOP + bytes([b.EMPTY]) + b.END, "call": b.CALL + b"\1",
        "call_indirect": b.i32_const(0) + b.CALL_INDIRECT + b"\1\0",
    }  # fmt: skip

    def spent(executor: Executor, length: int) -> int:
        code = (get(0) + set_(0)) * (length // 2) + ends[ending] + b.END
        data = b.module(
            b.section(b.TYPE, b.vector([b.function_type([b.I32]), b.function_type()])),
            b.section(b.FUNCTION, b.vector([b"\0", b"\1"])), b.section(b.TABLE, b.vector([b"\x70" + b.limits(1)])),
            b.section(b.EXPORT, b.vector([b.name("f") + b"\0\0"])),
            b.section(b.ELEMENT, b.vector([b"\0" + b.i32_const(0) + b.END + b.vector([b"\1"])])),
            b.section(b.CODE, b.vector([b.body(code), b.body(b.END)])),
        )  # fmt: skip
        with executor.store(metered=True) as store:
            context = CallContext()
            exports(store, data)["f"].call(1, context=context)
            return context.fuel_used

    for executor in (Executor(tier, False) for tier in TIERS):
        short = spent(executor, 2)
        assert [spent(executor, n) - short for n in STRAIGHT] == [n - 2 for n in STRAIGHT]


# ---- indices


@pytest.mark.parametrize("count", [*AROUND_A_BYTE_AND_A_WORD, 100_001])
def test_silent_narrowing_of_function_and_type_counts(store: Store, count: int) -> None:
    """The last function, by call, through the table and by export; its type is the last of as many."""
    last = b.unsigned(count - 1)
    own = b.function_type([b.I64], [b.I64])
    types = b.vector([b.function_type()] * (count - 1) + [own])
    bodies = [b.body(b.END)] * (count - 3)
    bodies += [
        b.body(get(0) + b.CALL + last + b.END),
        b.body(get(0) + b.i32_const(count - 1) + b.CALL_INDIRECT + last + b"\0" + b.END),
        b.body(get(0) + b.I64_CONST + b.signed(7) + b"\x7e" + b.END),
    ]
    data = b.module(
        b.section(b.TYPE, types), b.section(b.FUNCTION, b.vector([b"\0"] * (count - 3) + [last] * 3)),
        b.section(b.TABLE, b.vector([b"\x70" + b.limits(count)])),
        b.section(b.EXPORT, b.vector([b.name(f"f{i}") + b"\0" + b.unsigned(count - 3 + i) for i in range(3)])),
        b.section(b.ELEMENT, b.vector([b"\0" + b.i32_const(0) + b.END + b.vector([b.unsigned(i) for i in range(count)])])),
        b.section(b.CODE, b.vector(bodies)),
    )  # fmt: skip
    made = exports(store, data)
    assert [made[f"f{i}"].call(6) for i in range(3)] == [(42,)] * 3


@pytest.mark.parametrize("count", AROUND_A_BYTE_AND_A_WORD)
def test_silent_narrowing_of_globals_tables_and_segments(store: Store, count: int) -> None:
    """The last of each kind is not one of the first."""
    last, first = b.unsigned(count - 1), b"\0"
    is_, three = b"\x23", b.i32_const(0) * 2 + b.i32_const(1)
    code = (
        b.i32_const(5) + b"\x24" + last + is_ + first + b.i32_const(100) + b"\x6c" + is_ + last + b.I32_ADD  # 100 * 1 + 5
        + three + b"\xfc\x08" + last + b"\0" + b.i32_const(0) + b"\x2d\0\0" + b.I32_ADD  # memory.init, load: 'z'
        + three + b"\xfc\x0c" + last + last + b"\xfc\x10" + last + b.I32_ADD  # table.init, table.size: 2
        + b.i32_const(0) + b"\x25" + last + b"\xd1" + b.I32_ADD  # table.get, ref.is_null: 0
        + b.i32_const(0) + b"\x25" + first + b"\xd1" + b.I32_ADD + b.END
    )
    data = b.module(
        b.section(b.TYPE, b.vector([b.function_type([], [b.I32])])), b.section(b.FUNCTION, b.vector([b"\0"])),
        b.section(b.TABLE, b.vector([b"\x70" + b.limits(1)] * (count - 1) + [b"\x70" + b.limits(2)])),
        b.section(b.MEMORY, b.vector([b.limits(1)])),
        b.section(b.GLOBAL, b.vector([bytes([b.I32, 1]) + b.i32_const(1) + b.END] * count)),
        b.section(b.EXPORT, b.vector([b.name("f") + b"\0\0"])),
        b.section(b.ELEMENT, b.vector([b"\1\0\0"] * (count - 1) + [b"\1\0" + b.vector([b"\0"])])),
        b.section(b.DATA_COUNT, b.unsigned(count)), b.section(b.CODE, b.vector([b.body(code)])),
        b.section(b.DATA, b.vector([b"\1" + b.name("a")] * (count - 1) + [b"\1" + b.name("z")])),
    )  # fmt: skip
    assert exports(store, data)["f"].call() == (105 + ord("z") + 2 + 0 + 1,)


# ---- numbers

OFFSETS = [0, 127, 128, 2**15, 2**16, 2**31 - 9, 2**31 - 8, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 9, 2**32 - 8, 2**32 - 1]


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("executor", EXECUTORS, ids=str)
def test_silent_narrowing_of_offsets(executor: Executor, offset: int) -> None:
    """Stored at index + offset, by a variable and a constant index, and read at the sum; never anywhere near."""
    with executor.store(ROOMY) as store:
        check_offset(store, offset)


def check_offset(store: Store, offset: int) -> None:
    pages = 65_536 if offset > 2**20 else 4
    indices = [0, 1, 2**16] if offset > 2**20 else [0, 1, 1000]
    operations = b"\x03" + b.unsigned(offset)
    bodies, types = [], [b.function_type([b.I32, b.I64]), b.function_type([b.I32], [b.I64]), b.function_type()]
    bodies += [b.body(get(0) + get(1) + b"\x37" + operations + b.END), b.body(get(0) + b"\x29" + operations + b.END)]
    bodies += [b.body(b.i32_const(i) + b.I64_CONST + b.signed(-2 - i) + b"\x37" + operations + b.END) for i in indices]
    data = b.module(
        b.section(b.TYPE, b.vector(types)), b.section(b.FUNCTION, b.vector([b"\0", b"\1"] + [b"\2"] * len(indices))),
        b.section(b.MEMORY, b.vector([b.limits(pages)])),
        b.section(b.EXPORT, b.vector([b.name("m") + b"\2\0"] + [b.name(f"f{i}") + b"\0" + b.unsigned(i) for i in range(5)])),
        b.section(b.CODE, b.vector(bodies)),
    )  # fmt: skip
    made: Any = exports(store, data)
    size = pages * 65_536
    for number, index in enumerate(indices):
        at = index + offset
        for write, value in ((lambda index=index: made["f0"].call(index, 0x0123456789ABCDEF), 0x0123456789ABCDEF),
                             (lambda number=number: made[f"f{2 + number}"].call(), -2 - index)):  # fmt: skip
            if at + 8 > size:
                with pytest.raises(Trap, match="out of bounds memory access"):
                    write()
                continue
            write()
            assert made["m"].read(at, 8) == struct.pack("<q", value)
            assert made["f1"].call(index) == (value,)
            for wrong in {at % 2**16, at % 2**31, at + 2**31} - {at}:
                if wrong + 8 <= size and abs(wrong - at) >= 8:
                    assert made["m"].read(wrong, 8) == bytes(8)
            made["m"].write(at, bytes(8))


IMMEDIATES = [s * (2**n + d) for n in (7, 8, 15, 16, 31) for d in (-1, 0, 1) for s in (1, -1)]
WIDE = IMMEDIATES + [s * (2**n + d) for n in (32, 33, 53, 63) for d in (-1, 0, 1) for s in (1, -1)]


@pytest.mark.parametrize("tier", TIERS)
def test_silent_narrowing_of_constants(tier: str) -> None:
    """A constant operand on either side, stored, returned and compared, at the widths that encodings have."""
    acts = {0: int.__add__, 1: int.__sub__, 2: int.__mul__, 7: int.__and__, 9: int.__xor__}
    for kind, numbers, width, const, first in (
        (b.I32, IMMEDIATES, 32, b.I32_CONST, 0x6A), (b.I64, WIDE, 64, b.I64_CONST, 0x7C),
    ):  # fmt: skip
        signed = sorted({(n + 2 ** (width - 1)) % 2**width - 2 ** (width - 1) for n in numbers})
        bodies, wanted = [], []
        for n in signed:
            for code, act in acts.items():
                constant = const + b.signed(n)
                for body, answer in ((get(0) + constant, act(-77, n)), (constant + get(0), act(n, -77))):
                    bodies.append(b.body(body + bytes([first + code]) + b.END))
                    wanted.append((answer + 2 ** (width - 1)) % 2**width - 2 ** (width - 1))
        data = b.module(
            b.section(b.TYPE, b.vector([b.function_type([kind], [kind])])),
            b.section(b.FUNCTION, b.vector([b"\0"] * len(bodies))),
            b.section(b.EXPORT, b.vector([b.name(f"f{i}") + b"\0" + b.unsigned(i) for i in range(len(bodies))])),
            b.section(b.CODE, b.vector(bodies)),
        )  # fmt: skip
        with Executor(tier, False).store() as store:
            made = exports(store, data)
            assert [made[f"f{i}"].call(-77)[0] for i in range(len(bodies))] == wanted
