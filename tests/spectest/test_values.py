"""Constants: bits of literals against Python's own rounding, and what matches what."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectest.sexpr import Form, Source, read
from spectest.values import matches, parse_constant, parse_expected, parse_float, parse_integer


def form(text: str) -> Form:
    return read(Source(text.encode()))[0]


@pytest.mark.parametrize(
    ("text", "width", "bits"),
    [("-1", 32, 0xFFFFFFFF), ("0xffff_ffff", 32, 0xFFFFFFFF), ("-0x80000000", 32, 1 << 31), ("+1_0", 64, 10), ("010", 32, 10)],
)
def test_integers(text: str, width: int, bits: int) -> None:
    assert parse_integer(text, width) == bits


@pytest.mark.parametrize("text", ["0x1_0000_0000", "-0x8000_0001", "4294967296", "x", ""])
def test_integers_out_of_range(text: str) -> None:
    with pytest.raises(ValueError):
        parse_integer(text, 32)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_round_trip(value: float) -> None:
    bits = int.from_bytes(struct.pack("<d", value), "little")
    assert parse_float(repr(value), "f64") == bits
    assert parse_float(value.hex(), "f64") == bits


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_single_floats_round_trip(value: float) -> None:
    assert parse_float(value.hex(), "f32") == int.from_bytes(struct.pack("<f", value), "little")


@given(st.floats(min_value=-3e38, max_value=3e38))
def test_single_floats_are_rounded_once(value: float) -> None:
    assert parse_float(value.hex(), "f32") == int.from_bytes(struct.pack("<f", value), "little")


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("inf", 0x7F800000),
        ("-inf", 0xFF800000),
        ("nan", 0x7FC00000),
        ("-nan:0x1", 0xFF800001),
        ("-0", 0x80000000),
        ("0x1p-149", 1),
        ("0x1p-150", 0),
        ("0x1.8p-150", 1),
        ("0x1.fffffep127", 0x7F7FFFFF),
        ("1e-46", 0),
        ("0x1.000001p0", 0x3F800000),
        ("0x1.0000010000000001p0", 0x3F800001),
        ("1_000.5e-1", 0x42C8199A),
    ],
)
def test_float_edges(text: str, bits: int) -> None:
    assert parse_float(text, "f32") == bits


@pytest.mark.parametrize("text", ["0x1p128", "0x1.ffffffp127", "1e39", "nan:x", "1.2.3", ""])
def test_impossible_floats(text: str) -> None:
    with pytest.raises(ValueError):
        parse_float(text, "f32")


@pytest.mark.parametrize(
    ("constant", "type_name", "raw", "expected"),
    [
        ("(i32.const -1)", "i32", 0xFFFFFFFF, True),
        ("(i32.const -1)", "i64", 0xFFFFFFFF, False),
        ("(i64.const 1)", "i64", 2, False),
        ("(f32.const 0)", "f32", 0, True),
        ("(f32.const -0)", "f32", 0, False),
        ("(f32.const nan:canonical)", "f32", 0x7FC00000, True),
        ("(f32.const nan:canonical)", "f32", 0xFFC00000, True),
        ("(f32.const nan:canonical)", "f32", 0x7FC00001, False),
        ("(f32.const nan:arithmetic)", "f32", 0xFFC00001, True),
        ("(f32.const nan:arithmetic)", "f32", 0x7FA00000, False),
        ("(f32.const nan:arithmetic)", "f32", 0x3F800000, False),
        ("(f32.const nan:0x200000)", "f32", 0x7FA00000, True),
        ("(f64.const nan:canonical)", "f64", 0x7FF8000000000000, True),
        ("(f64.const nan:canonical)", "f32", 0x7FC00000, False),
        ("(f64.const nan:arithmetic)", "f64", 0x7FF4000000000000, False),
        ("(ref.null func)", "funcref", None, True),
        ("(ref.null)", "externref", None, True),
        ("(ref.null extern)", "externref", 0, False),
        ("(ref.null func)", "i32", None, False),
        ("(ref.extern 0)", "externref", 0, True),
        ("(ref.extern 0)", "externref", None, False),
        ("(ref.extern 1)", "externref", 2, False),
        ("(ref.extern)", "externref", 5, True),
        ("(ref.func)", "funcref", object(), True),
        ("(ref.func)", "funcref", None, False),
        ("(ref.func)", "externref", 1, False),
    ],
)
def test_matching(constant: str, type_name: str, raw: Any, expected: bool) -> None:
    assert matches(parse_constant(form(constant)), type_name, raw) is expected


def test_either() -> None:
    assert [c.value for c in parse_expected(form("(either (i32.const 1) (i32.const 2))"))] == [1, 2]


@pytest.mark.parametrize("text", ["(v128.const i32x4 0 0 0 0)", "(i32.konst 1)", "(i32.const)", "(ref.i31)", "(f32.const x)"])
def test_constants_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError):
        parse_constant(form(text))
