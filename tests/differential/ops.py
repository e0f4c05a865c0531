"""Instructions and constants that the program generator draws from. Written from the specification, not from our own table."""

from __future__ import annotations

import struct
from random import Random

NUMBERS = ("i32", "i64", "f32", "f64")
REFERENCES = ("funcref", "externref")

_INTEGER_BINARY = "add sub mul and or xor shl shr_s shr_u rotl rotr"
_INTEGER_DIVIDE = "div_s div_u rem_s rem_u"
_INTEGER_COMPARE = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"
_FLOAT_BINARY = "add sub mul div min max"
_FLOAT_UNARY = "abs neg sqrt ceil floor trunc nearest"
_FLOAT_COMPARE = "eq ne lt gt le ge"


def _operators() -> list[tuple[str, tuple[str, ...], str]]:
    """(instruction, operand types, result type) of every numeric instruction that cannot trap and hides no NaN bits."""
    rows: list[tuple[str, tuple[str, ...], str]] = []
    for t in ("i32", "i64"):
        rows += [(f"{t}.{op}", (t, t), t) for op in _INTEGER_BINARY.split()]
        rows += [(f"{t}.{op}", (t, t), "i32") for op in _INTEGER_COMPARE.split()]
        rows += [(f"{t}.{op}", (t,), t) for op in ("clz", "ctz", "popcnt", "extend8_s", "extend16_s")]
        rows += [(f"{t}.eqz", (t,), "i32")]
        rows += [(f"{t}.trunc_sat_{f}_{s}", (f,), t) for f in ("f32", "f64") for s in "su"]
    for t in ("f32", "f64"):
        rows += [(f"{t}.{op}", (t, t), t) for op in _FLOAT_BINARY.split()]
        rows += [(f"{t}.{op}", (t,), t) for op in _FLOAT_UNARY.split()]
        rows += [(f"{t}.{op}", (t, t), "i32") for op in _FLOAT_COMPARE.split()]
        rows += [(f"{t}.convert_{i}_{s}", (i,), t) for i in ("i32", "i64") for s in "su"]
    rows += [
        ("i64.extend32_s", ("i64",), "i64"), ("i64.extend_i32_s", ("i32",), "i64"), ("i64.extend_i32_u", ("i32",), "i64"),
        ("i32.wrap_i64", ("i64",), "i32"), ("f32.demote_f64", ("f64",), "f32"), ("f64.promote_f32", ("f32",), "f64"),
        ("f32.reinterpret_i32", ("i32",), "f32"), ("f64.reinterpret_i64", ("i64",), "f64"),
    ]
    return rows


OPERATORS = _operators()
BY_RESULT = {t: [row for row in OPERATORS if row[2] == t] for t in NUMBERS}
UNARY_IN_PLACE = {t: [op for op, params, result in OPERATORS if params == (t,) and result == t] for t in NUMBERS}
BINARY_IN_PLACE = {t: [op for op, params, result in OPERATORS if params == (t, t) and result == t] for t in NUMBERS}
# The comparisons a branch may be fused with.
COMPARISONS = [row for row in OPERATORS if row[0].split(".")[1] in {*_INTEGER_COMPARE.split(), *_FLOAT_COMPARE.split(), "eqz"}]
DIVISIONS = {t: [f"{t}.{op}" for op in _INTEGER_DIVIDE.split()] for t in ("i32", "i64")}
TRUNCATIONS = {t: [(f"{t}.trunc_{f}_{s}", f) for f in ("f32", "f64") for s in "su"] for t in ("i32", "i64")}
LOADS = {
    "i32": ["i32.load", "i32.load8_s", "i32.load8_u", "i32.load16_s", "i32.load16_u"],
    "i64": ["i64.load", "i64.load8_s", "i64.load8_u", "i64.load16_s", "i64.load16_u", "i64.load32_s", "i64.load32_u"],
    "f32": ["f32.load"],
    "f64": ["f64.load"],
}
STORES = {
    "i32": ["i32.store", "i32.store8", "i32.store16"],
    "i64": ["i64.store", "i64.store8", "i64.store16", "i64.store32"],
    "f32": ["f32.store"],
    "f64": ["f64.store"],
}

_EDGES = (0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 127, 128, 255, 256, 32767, 32768, 65535, 65536)
_EDGES32 = (
    *_EDGES, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFF80, 0xFFFF8000, 0x12345678, 0x00FF00FF,
)
_EDGES64 = (
    *_EDGES32, 1 << 32, (1 << 32) + 1, (1 << 31) + 1, (1 << 33) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 63) + 1,
    (1 << 64) - 1, (1 << 64) - (1 << 31), (1 << 64) - (1 << 31) - 1, (1 << 64) - (1 << 32), (1 << 64) - 128, 0x0123456789ABCDEF,
)
_FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 3.0, 10.0, 0.1, 1e10, -1e10, 1e-10, 100.25, 255.0, 256.0, 65536.0,
    2147483647.0, 2147483648.0, -2147483648.0, -2147483649.0, 4294967295.0, 4294967296.0, 9007199254740993.0,
    9223372036854775807.0, -9223372036854775808.0, 18446744073709551615.0, 8388607.5, 4503599627370495.5,
    1.401298464324817e-45, 1.1754943508222875e-38, 3.4028234663852886e38, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308,
    float("inf"), float("-inf"), float("nan"),
)


def bits(rng: Random, value_type: str) -> int:
    """A random value's raw bits, mostly an interesting one."""
    roll = rng.random()
    if value_type == "i32":
        return rng.choice(_EDGES32) if roll < 0.7 else rng.getrandbits(32)
    if value_type == "i64":
        return rng.choice(_EDGES64) if roll < 0.7 else rng.getrandbits(64)
    if roll < 0.75:
        return float_bits(rng.choice(_FLOATS), value_type)
    return rng.getrandbits(32 if value_type == "f32" else 64)


def float_bits(value: float, value_type: str) -> int:
    """The bits of a number in f32 or f64; too large for f32 is infinity."""
    try:
        data = struct.pack("<f" if value_type == "f32" else "<d", value)
    except OverflowError:
        data = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return int.from_bytes(data, "little")


def constant(value_type: str, raw: int) -> str:
    """The const instruction for raw bits, exact for NaNs too."""
    if value_type in ("i32", "i64"):
        width = int(value_type[1:])
        return f"{value_type}.const {raw - (1 << width) if raw >> (width - 1) else raw}"
    width, mantissa = (32, 23) if value_type == "f32" else (64, 52)
    sign = "-" if raw >> (width - 1) else ""
    fraction = raw & ((1 << mantissa) - 1)
    exponent = (raw >> mantissa) & ((1 << (width - 1 - mantissa)) - 1)
    if exponent == (1 << (width - 1 - mantissa)) - 1:
        return f"{value_type}.const {sign}" + (f"nan:{fraction:#x}" if fraction else "inf")
    value = struct.unpack("<f" if width == 32 else "<d", (raw & ~(1 << (width - 1))).to_bytes(width // 8, "little"))[0]
    return f"{value_type}.const {sign}{value.hex()}"
