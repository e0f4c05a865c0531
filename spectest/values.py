"""Constants of .wast scripts, exact to the bit: numbers, NaN classes, references; and whether a result matches one.

A value is its raw 64-bit pattern (i32 and f32 zero-extended); references are as FunctionInstance.call_raw gives them.
Source: WebAssembly Core Specification, chapters 6.3.1 and 6.3.2 (text of integers and floating-point numbers).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .sexpr import Form

# (exponent bits, mantissa bits) of the two formats.
_FORMATS = {"f32": (8, 23), "f64": (11, 52)}
_REFERENCES = {"ref.null", "ref.extern", "ref.func", "ref.host", "ref.any", "ref.eq", "ref.i31", "ref.struct", "ref.array"}
_FLOAT = re.compile(
    r"(?:0x(?P<hex>[0-9a-fA-F]+)(?:\.(?P<hexfraction>[0-9a-fA-F]*))?(?:[pP](?P<binary>[+-]?\d+))?"
    r"|(?P<dec>\d+)(?:\.(?P<fraction>\d*))?(?:[eE](?P<exponent>[+-]?\d+))?)\Z"
)


@dataclass(frozen=True, slots=True)
class Constant:
    """``type``: i32, i64, f32, f64 or ref. ``form``: bits, canonical, arithmetic; for references null, extern, func.

    ``value``: the bits, or the number of a ref.extern; None where any value of the form matches.
    """

    type: str
    form: str
    value: int | None = None
    text: str = ""

    def __str__(self) -> str:
        return self.text


def parse_constant(form: Form) -> Constant:
    """``(i32.const 1)``, ``(ref.extern 3)`` … Raises ValueError for anything else."""
    head = form.head
    text = f"({' '.join(str(item) for item in form.items)})"
    operand = form.items[1] if len(form.items) > 1 else None
    if operand is not None and not isinstance(operand, str):
        raise ValueError(f"bad constant {head}")
    if head in ("i32.const", "i64.const") and operand is not None:
        return Constant(head[:3], "bits", parse_integer(operand, int(head[1:3])), text)
    if head in ("f32.const", "f64.const") and operand is not None:
        if operand.removeprefix("-").removeprefix("+") in ("nan:canonical", "nan:arithmetic"):
            return Constant(head[:3], operand.rpartition(":")[2], None, text)
        return Constant(head[:3], "bits", parse_float(operand, head[:3]), text)
    if head == "ref.null":
        return Constant("ref", "null", None, text)
    if head in ("ref.extern", "ref.func", "ref.host"):
        return Constant("ref", head[4:], None if operand is None else parse_integer(operand, 32), text)
    if head in _REFERENCES or head == "v128.const":
        raise ValueError(f"{head} needs a feature that this engine refuses")
    raise ValueError(f"unknown constant {head!r}")


def parse_expected(form: Form) -> tuple[Constant, ...]:
    """The alternatives of one expected result: several for ``(either …)``."""
    if form.head == "either":
        return tuple(parse_constant(item) for item in form.items[1:] if isinstance(item, Form))
    return (parse_constant(form),)


def parse_integer(text: str, width: int) -> int:
    """Two's complement bits of a signed or unsigned literal. Raises ValueError when it does not fit ``width`` bits."""
    value = int(text.replace("_", ""), 16 if text.lstrip("+-").startswith("0x") else 10)
    if not -(1 << (width - 1)) <= value < 1 << width:
        raise ValueError(f"{text} does not fit {width} bits")
    return value & ((1 << width) - 1)


def parse_float(text: str, type_name: str) -> int:
    """IEEE 754 bits of a literal, rounded once, to nearest, ties to even. Raises ValueError when it is none."""
    exponent_bits, mantissa_bits = _FORMATS[type_name]
    body = text.replace("_", "")
    sign = (1 if body.startswith("-") else 0) << (exponent_bits + mantissa_bits)
    body = body.lstrip("+-")
    infinity = ((1 << exponent_bits) - 1) << mantissa_bits
    if body == "inf":
        return sign | infinity
    if body == "nan":
        return sign | infinity | 1 << (mantissa_bits - 1)
    if body.startswith("nan:0x"):
        return sign | infinity | int(body[6:], 16)
    return sign | _round(_rational(body), exponent_bits, mantissa_bits)


def _rational(body: str) -> Fraction:
    match = _FLOAT.match(body)
    if match is None:
        raise ValueError(f"not a number: {body}")
    part = match.groupdict(default="")
    if part["hex"]:
        digits = int(part["hex"] + part["hexfraction"], 16)
        return Fraction(digits) * Fraction(2) ** (int(part["binary"] or 0) - 4 * len(part["hexfraction"]))
    digits = int(part["dec"] + part["fraction"])
    return Fraction(digits) * Fraction(10) ** (int(part["exponent"] or 0) - len(part["fraction"]))


def _round(value: Fraction, exponent_bits: int, mantissa_bits: int) -> int:
    """Bits, without sign, of the nearest representable number."""
    if not value:
        return 0
    bias = (1 << (exponent_bits - 1)) - 1
    # The exponent e with 2^e <= value < 2^(e+1), kept at the smallest normal one for subnormal numbers.
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    if value < Fraction(2) ** exponent:
        exponent -= 1
    exponent = max(exponent, 1 - bias)
    mantissa = round(value / Fraction(2) ** (exponent - mantissa_bits))  # round() of a Fraction: ties to even
    # A subnormal has no hidden bit and a carry moves into the exponent, both by plain addition.
    bits = ((exponent + bias - 1) << mantissa_bits) + mantissa
    infinity = ((1 << exponent_bits) - 1) << mantissa_bits
    if bits >= infinity:
        raise ValueError("constant out of range")
    return bits


def is_nan(bits: int, type_name: str, form: str) -> bool:
    """Is this the canonical NaN (either sign), or an arithmetic one (top mantissa bit set)?"""
    exponent_bits, mantissa_bits = _FORMATS[type_name]
    infinity = ((1 << exponent_bits) - 1) << mantissa_bits
    quiet = infinity | 1 << (mantissa_bits - 1)
    magnitude = bits & ((1 << (exponent_bits + mantissa_bits)) - 1)
    return magnitude == quiet if form == "canonical" else magnitude & quiet == quiet


def matches(constant: Constant, type_name: str, raw: Any) -> bool:
    """Does a result of type ``type_name`` (as ValueType names it), given as call_raw gives it, match the constant?"""
    if constant.type == "ref":
        if constant.form == "null":
            return raw is None and type_name.endswith("ref")
        if constant.form == "func":
            return type_name == "funcref" and raw is not None
        return type_name == "externref" and raw is not None and (constant.value is None or raw == constant.value)
    if type_name != constant.type or not isinstance(raw, int):
        return False
    if constant.form == "bits":
        return raw == constant.value
    return is_nan(raw, type_name, constant.form)


def show(type_name: str, raw: Any) -> str:
    """A result in words, for a failure's reason."""
    if raw is None:
        return "null"
    if type_name in _FORMATS or type_name in ("i32", "i64"):
        return f"{type_name}:{raw:#x}"
    return f"{type_name}:{raw}"
