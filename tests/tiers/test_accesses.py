"""Every load and store at edge offsets and indices, in memories of 0, 1 and all pages: both tiers, both bounds modes."""

from __future__ import annotations

import pytest

from tests.workers.driver import binary

from .machine import LETTERS, OPS, TIERS, Op, Subject, packed

ACCESSES = [op for op in OPS if op.kind in ("load", "store")]
PAGE = 65536
OFFSETS = [
    0,
    1,
    7,
    8,
    PAGE - 8,
    PAGE - 1,
    PAGE,
    0x7FFFFFF7,
    0x7FFFFFF8,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFF0,
    0xFFFFFFF8,
    0xFFFFFFFF,
]
INDICES = [
    0, 1, 7, PAGE - 9, PAGE - 8, PAGE - 7, PAGE - 4, PAGE - 2, PAGE - 1, PAGE, 0x7FFFFFF8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF7,
    0xFFFFFFF8, 0xFFFFFFFC, 0xFFFFFFFF,
]  # fmt: skip
WRAPPED = "(i32.wrap_i64 (i64.or (i64.extend_i32_s (local.get 0)) (i64.const 0xff00000000)))"
VALUE = 0x8899AABBCCDDEEFF
TRAP = "out of bounds memory access"


def text(op: Op, pages: int) -> str:
    """One function an offset and operand form; a store answers with what it stored, read back a byte at a time."""
    fields = []
    load = op.kind == "load"
    type_ = LETTERS[op.signature.partition(":")[2] if load else op.params[1]]
    constants = {"i32": VALUE & 0xFFFFFFFF, "i64": VALUE, "f32": "nan:0x200001", "f64": "nan:0x4000000000001"}
    value = "" if load else f"({type_}.const {constants[type_]})"
    for offset in OFFSETS:
        indices = {
            "local": "(local.get 0)",
            "sum": "(i32.add (local.get 0) (i32.const 0))",
            "wrapped": WRAPPED,
            **{f"constant {index:#x}": f"(i32.const {index})" for index in INDICES},
        }
        for name, index in indices.items():
            if load:
                fields.append(
                    f'(func (export "{name} {offset:#x}") (param i32) (result {type_}) ({op.name} offset={offset} {index}))'
                )
                continue
            stored = f"({op.name} offset={offset} {index} {value})"
            back = f"(i64.load8_u offset={offset} {index})"
            for byte in range(1, op.width):  # up to the last byte, which the memory may end with
                if offset + 8 < 1 << 32:
                    one = f"(i64.load8_u offset={offset} (i32.add {index} (i32.const {byte})))"
                    back = f"(i64.or {back} (i64.shl {one} (i64.const {8 * byte})))"
            fields.append(f'(func (export "{name} {offset:#x}") (param i32) (result i64) {stored} {back})')
        if not load:
            loop = f"(loop ({op.name} offset={offset} (local.get 0) (local.get 1)) (br_if 0 (i32.const 0)))"
            head = f'(func (export "pinned {offset:#x}") (param i32) (result i64) (local {type_})'
            fields.append(f"{head} (local.set 1 {value}) {loop} (i64.const 0))")
    data = '(data (i32.const 0) "\\80\\ff\\01\\7f\\fe\\81\\00\\90")' if pages else ""
    return f"(module (memory {pages}) {data} {' '.join(fields)})"


def traps(op: Op, index: int, offset: int, pages: int) -> bool:
    """The specification's rule."""
    return bool(index + offset + op.width > pages * PAGE)


@pytest.mark.parametrize("pages", [0, 1, 65536])
@pytest.mark.parametrize("op", ACCESSES, ids=lambda op: op.name)
def test_address_width_bounds_and_values(op: Op, pages: int) -> None:
    subjects = [Subject(binary(text(op, pages)), tier, explicit) for tier in TIERS for explicit in (False, True)]
    compared = 0
    try:
        for offset in OFFSETS:
            names = ["local", "sum", "wrapped", *(f"constant {index:#x}" for index in INDICES)]
            names += ["pinned"] if op.kind == "store" else []
            for name in names:
                functions = [subject.function(f"{name} {offset:#x}") for subject in subjects]
                for index in [int(name.split()[1], 16)] if name.startswith("constant") else INDICES:
                    answers = [s.call(f, packed(index), 1) for s, f in zip(subjects, functions, strict=True)]
                    where = f"{op.name} {name} {index:#x} offset {offset:#x} in {pages} pages"
                    assert len(set(answers)) == 1, f"{where}: {dict(zip((s.name for s in subjects), answers, strict=True))}"
                    if op.kind == "load" or name == "pinned" or offset + 8 < 1 << 32:
                        assert (answers[0] == TRAP) == _expected(op, name, index, offset, pages), where
                    compared += 1
    finally:
        for subject in subjects:
            subject.close()
    assert compared > 900


def _expected(op: Op, name: str, index: int, offset: int, pages: int) -> bool:
    if op.kind == "store" and name != "pinned" and not traps(op, index, offset, pages):
        # What is read back byte by byte wraps around in 32 bits.
        return any(((index + byte) & 0xFFFFFFFF) + offset + 1 > pages * PAGE for byte in range(op.width))
    return traps(op, index, offset, pages)
