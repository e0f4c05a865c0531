"""Every numeric instruction of the operation table, in every operand form, over edge values: both tiers, bit for bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product

import pytest

from sandboxworker import native
from tests.differential.ops import constant
from tests.workers.driver import binary

from .machine import LETTERS, OPS, TIERS, Op, Subject, compare, packed

pytestmark = pytest.mark.skipif(not native.HAS_COMPILED_TIER, reason="this machine has no compiled tier")

NUMERIC = [op for op in OPS if op.kind in ("unary", "binary", "compare", "test")]


def _f32(*values: float) -> list[int]:
    return [struct.unpack("<I", struct.pack("<f", v))[0] for v in values]


def _f64(*values: float) -> list[int]:
    return [struct.unpack("<Q", struct.pack("<d", v))[0] for v in values]


_BOUNDARIES = (2.0**31, 2.0**32, 2.0**63, 2.0**64)
"""Where conversions to integers begin to trap."""
_COMMON = (
    0.0,
    -0.0,
    0.5,
    -0.5,
    1.0,
    -1.0,
    1.5,
    2.5,
    -2.5,
    0.1,
    float("inf"),
    float("-inf"),
    *_BOUNDARIES,
    *(-b for b in _BOUNDARIES),
)
EDGES: dict[str, list[int]] = {
    "i32": [0, 1, 2, 7, 31, 32, 33, 0x7F, 0x80, 0xFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE,
            0xFFFFFFFF, 0x12345678],
    "i64": [0, 1, 31, 32, 63, 64, 65, 0x80, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 0x7FFFFFFFFFFFFFFF,
            0x8000000000000000,
            0x8000000000000001, 0xFFFFFFFF7FFFFFFF, 0xFFFFFFFF80000000, 0xFFFFFFFFFFFFFFFF, 0x20000000000001, 0x8000008000000001],
    "f32": [*_f32(*_COMMON, -2147483904.0), 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x80000001, 0x4EFFFFFF, 0x4F7FFFFF,
            0x5EFFFFFF, 0x5F7FFFFF, 0xBF7FFFFF,
            0x7FC00000, 0xFFC00000, 0x7FA00000, 0xFF800001, 0x7FFFFFFF, 0x4B000001],
    "f64": [*_f64(*_COMMON, -2147483649.0, 2147483647.5, 4294967295.5, 3.4028235677973366e38), 1, 0xFFFFFFFFFFFFF,
            0x10000000000000, 0x7FEFFFFFFFFFFFFF,
            0x41DFFFFFFFFFFFFF, 0x41EFFFFFFFFFFFFF, 0x43DFFFFFFFFFFFFF, 0x43EFFFFFFFFFFFFF, 0xBFEFFFFFFFFFFFFF,
            0xC1E0000000100000,
            0x7FF8000000000000, 0xFFF8000000000000, 0x7FF4000000000000, 0xFFF0000000000001, 0x7FFFFFFFFFFFFFFF,
            0x4330000000000001],
}  # fmt: skip

_PRESSURE = "".join(f"(i64.load (i32.const {1024 + 8 * i}))" for i in range(7)) + "".join(
    f"(f64.load (i32.const {2048 + 8 * i}))" for i in range(9)
)
_RELEASE = "f64.add " * 8 + "local.set $sum " + "i64.xor " * 6 + "local.set $xor"
_LOOP = "(br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3)))"


class Forms:
    """The text of a module with one function for each operand form of an instruction."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self.params = [LETTERS[letter] for letter in op.params]
        self.result = LETTERS[op.signature.partition(":")[2]]
        self.fields: list[str] = []
        self.functions: list[tuple[str, int]] = []

    def add(self, name: str, body: str, results: str = "", count: int = 1, locals_: str = "") -> None:
        """One exported function with the instruction's parameters."""
        head = f'(func (export "{name}") (param {" ".join(self.params)}) (result {results or self.result}) {locals_}'
        self.fields.append(f"{head} {body})")
        self.functions.append((name, count))

    def of(self, *operands: str) -> str:
        """The instruction on these operands."""
        return f"({self.op.name} {' '.join(operands)})"

    def text(self) -> str:
        """The module."""
        names = [f"(local.get {i})" for i in range(len(self.params))]
        self.add("locals", self.of(*names))
        for position, type_ in enumerate(self.params):
            for bits in EDGES[type_]:
                operands = [f"({constant(type_, bits)})" if i == position else name for i, name in enumerate(names)]
                self.add(f"constant {position} {bits:#x}", self.of(*operands))
        self._pins(names)
        self._elsewhere(names)
        if self.result == "i32":
            self._conditions(self.of(*names))
        identities = "".join(f"(func $id_{t} (param {t}) (result {t}) (local.get 0))" for t in dict.fromkeys(self.params))
        filled = "".join(f"\\{(37 * i + 11) % 127:02x}" for i in range(72))
        data = f'(data (i32.const 1024) "{filled}") (data (i32.const 2048) "{filled}")'
        return f"(module (memory 1) {data} {identities} {' '.join(self.fields)})"

    def _pins(self, names: list[str]) -> None:
        """Locals in registers, and the result into one: another, or an operand's."""
        counter = f"(local $r {self.result}) (local $n i32)"
        self.add("pinned", f"(loop (local.set $r {self.of(*names)}) {_LOOP}) (local.get $r)", locals_=counter)
        self.add("pinned tee", f"(loop (drop (local.tee $r {self.of(*names)})) {_LOOP}) (local.get $r)", locals_=counter)
        if len(set(self.params)) < len(self.params):
            self.add(
                "twice the same", f"(loop (local.set $r {self.of(names[1], names[1])}) {_LOOP}) (local.get $r)", locals_=counter
            )
            self.add("turned", f"(loop (local.set $r {self.of(names[1], names[0])}) {_LOOP}) (local.get $r)", locals_=counter)
        for position, type_ in enumerate(self.params):
            if type_ == self.result:
                body = f"(loop (local.set {position} {self.of(*names)}) {_LOOP}) (local.get {position})"
                self.add(f"into operand {position}", body, locals_="(local $n i32)")
                waiting = f"(local.get {position}) (local.set {position} {self.of(*names)}) (local.set $r)"
                kept = f"(loop (local.set $r (local.get {position})) {waiting} {_LOOP})"
                self.add(
                    f"into operand {position}, which waits on the stack",
                    f"{kept} (local.get {position}) (local.get $r)",
                    f"{self.result} {self.result}",
                    2,
                    counter,
                )

    def _elsewhere(self, names: list[str]) -> None:
        """Operands from memory, at home after a call, and beside more values than there are registers."""
        stores = "".join(
            f"({t}.store (i32.const {8 * i}) {name})" for i, (t, name) in enumerate(zip(self.params, names, strict=True))
        )
        loads = [f"({t}.load (i32.const {8 * i}))" for i, t in enumerate(self.params)]
        self.add("from memory", f"{stores} {self.of(*loads)}")
        for position in range(len(names)):
            mixed = [load if i == position else name for i, (load, name) in enumerate(zip(loads, names, strict=True))]
            self.add(f"from memory {position}", f"{stores} {self.of(*mixed)}")
        self.add("from calls", self.of(*(f"(call $id_{t} {name})" for t, name in zip(self.params, names, strict=True))))
        three, extra = f"{self.result} i64 f64", f"(local $r {self.result}) (local $xor i64) (local $sum f64)"
        tail = f"(local.set $r) {_RELEASE} (local.get $r) (local.get $xor) (local.get $sum)"
        self.add("under pressure", f"{_PRESSURE} {self.of(*names)} {tail}", three, 3, extra)
        self.add("loads under pressure", f"{stores} {_PRESSURE} {self.of(*loads)} {tail}", three, 3, extra)
        again = f"(local.set $r {self.of(*loads)}) {_PRESSURE} {' '.join(loads)} {self.op.name} {tail}"
        self.add("operands spilled", f"{stores} {again}", three, 3, extra)

    def _conditions(self, condition: str) -> None:
        """What a comparison is fused with."""
        pick = "(i32.const 11) (i32.const 22)"
        self.add("if", f"(if (result i32) {condition} (then (i32.const 1)) (else (i32.const 2)))")
        self.add("if not", f"(if (result i32) (i32.eqz {condition}) (then (i32.const 1)) (else (i32.const 2)))")
        self.add("if not not", f"(if (result i32) (i32.eqz (i32.eqz {condition})) (then (i32.const 1)) (else (i32.const 2)))")
        self.add("branch", f"(block (br_if 0 {condition}) (return (i32.const 5))) (i32.const 6)")
        self.add("branch not", f"(block (br_if 0 (i32.eqz {condition})) (return (i32.const 5))) (i32.const 6)")
        self.add("branch with a value", f"(block (result i32) (i32.const 9) {condition} (br_if 0) (drop) (i32.const 8))")
        self.add("select", f"(select {pick} {condition})")
        self.add("select not", f"(select {pick} (i32.eqz {condition}))")
        self.add("select floats", f"(select (f64.const 1) (f64.const 2) {condition})", "f64")
        self.add("masked", f"(if (result i32) (i32.and {condition} (i32.const 1)) (then (i32.const 3)) (else (i32.const 4)))")


def parameters(forms: Forms) -> Iterator[bytes]:
    """Every combination of edge values."""
    for values in product(*(EDGES[t] for t in forms.params)):
        yield packed(*values)


def test_the_table_has_rows() -> None:
    assert len(NUMERIC) > 130


@pytest.mark.parametrize("op", NUMERIC, ids=lambda op: op.name)
def test_both_tiers_agree(op: Op) -> None:
    forms = Forms(op)
    data = binary(forms.text())
    subjects = [Subject(data, tier) for tier in TIERS]
    try:
        compared, found = compare(subjects, forms.functions, list(parameters(forms)))
    finally:
        for subject in subjects:
            subject.close()
    assert compared > 300
    assert not found, f"{len(found)} of {compared} differ: " + "; ".join(found[:3])
