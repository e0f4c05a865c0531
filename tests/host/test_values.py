"""Packing by signature: every value comes back, and every mistake is named by function, position and type."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxhost.errors import ProtocolError, SignatureMismatch
from sandboxhost.values import ValueType, pack, unpack

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
FUNCREF, EXTERNREF = ValueType.FUNCREF, ValueType.EXTERNREF
VALUES: dict[ValueType, st.SearchStrategy[Any]] = {
    I32: st.integers(-(2**31), 2**31 - 1),
    I64: st.integers(-(2**63), 2**63 - 1),
    F32: st.floats(width=32),
    F64: st.floats(),
    FUNCREF: st.none(),
    EXTERNREF: st.none() | st.integers(0, 2**64 - 2),
}
TYPED = st.lists(st.sampled_from(list(VALUES)).flatmap(lambda t: st.tuples(st.just(t), VALUES[t])), max_size=8)


def same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


@given(TYPED)
def test_values_come_back(typed: list[tuple[ValueType, Any]]) -> None:
    types, values = [t for t, _ in typed], [v for _, v in typed]
    data = pack(types, values)
    assert len(data) == 8 * len(types)
    assert all(map(same, unpack(types, data), values))


@given(st.sampled_from([I32, I64]), st.data())
def test_unsigned_integers_are_taken_too(kind: ValueType, data: st.DataObject) -> None:
    bits = 32 if kind is I32 else 64
    value = data.draw(st.integers(2 ** (bits - 1), 2**bits - 1))
    assert unpack([kind], pack([kind], [value])) == (value - 2**bits,)


def test_the_layout_is_that_of_a_slot() -> None:
    assert pack([I32], [-1]) == b"\xff\xff\xff\xff\0\0\0\0" == pack([I32], [2**32 - 1])
    assert pack([F32], [1.0]) == struct.pack("<f4x", 1.0)
    assert pack([EXTERNREF, EXTERNREF], [None, 0]) == bytes(8) + b"\x01" + bytes(7)


@pytest.mark.parametrize(
    ("types", "values", "words"),
    [
        ([I32], [], "f: expected 1 params, but passed 0"),
        ([], [1], "f: expected 0 params, but passed 1"),
        ([I32, I32], [1, "x"], "f: argument 2: expected i32, got str"),
        ([I32], [1.5], "f: argument 1: expected i32, got float"),
        ([I32], [2**32], "f: argument 1: 4294967296 is out of range for i32"),
        ([I64], [-(2**63) - 1], "out of range for i64"),
        ([I64], [10**100000], "an integer of 332193 bits is out of range"),
        ([F64], ["1"], "f: argument 1: expected f64, got str"),
        ([F32], [1e300], r"1e\+300 is out of range for f32"),
        ([F64], [10**400], "out of range for f64"),
        ([F64], [None], "got NoneType"),
        ([FUNCREF], [1], "only null"),
        ([EXTERNREF], [-1], "out of range for externref"),
        ([EXTERNREF], ["x"], "expected externref, got str"),
        ([ValueType.V128], [1], "v128"),
        ([I32], [None], "expected i32, got NoneType"),
    ],
)
def test_mistakes_are_named(types: list[ValueType], values: list[Any], words: str) -> None:
    with pytest.raises(SignatureMismatch, match=words) as caught:
        pack(types, values, "f")
    assert caught.value.function == "f" and isinstance(caught.value, TypeError)


@given(st.lists(st.sampled_from(list(VALUES)), max_size=4), st.binary(max_size=40))
def test_any_bytes_unpack_or_are_refused(types: list[ValueType], data: bytes) -> None:
    try:
        values = unpack(types, data)
    except ProtocolError:
        assert len(data) != 8 * len(types) or FUNCREF in types
    else:
        assert len(values) == len(types)
