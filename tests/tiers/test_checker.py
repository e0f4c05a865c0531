"""The checker over machine code: it accepts what the compiler makes, and rejects every planted mistake by name and place."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import pytest

from sandboxhost.errors import WorkerError
from sandboxworker import native
from sandboxworker.engine import Engine
from sandboxworker.image import Image
from tests.differential.program import generate
from tests.differential.reduce import assemble
from tests.workers.driver import binary

pytestmark = pytest.mark.skipif(not native.HAS_COMPILED_TIER, reason="this machine has no compiled tier")

TEXT = (
    """(module
    (type $unary (func (param i32) (result i32)))
    (import "m" "f" (func $import (param i32) (result i32)))
    (memory 1) (table 4 funcref) (elem (i32.const 0) $wrapped) (global $g (mut i32) (i32.const 0))
    (func $wrapped (param i32) (result i32) (i32.load offset=8 (i32.wrap_i64 (i64.extend_i32_s (local.get 0)))))
    (func $sum (param i32 i32) (result i32) (i32.load8_u (i32.add (local.get 0) (local.get 1))))
    (func $walk (param i32 i32) (result i32) (local i32)
        (loop (local.set 2 (i32.add (local.get 2) (i32.load (local.get 0))))
              (local.set 0 (i32.add (local.get 0) (i32.const 4)))
              (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
        (local.get 2))
    (func $far (param i32) (result i32) (i32.load offset=0xfffffff0 (local.get 0)))
    (func $switch (param i32) (result i32)
        (block (block (block (br_table 0 1 2 (local.get 0))) (return (i32.const 1))) (return (i32.const 2))) (i32.const 3))
    (func $indirect (param i32 i32) (result i32) (call_indirect (type $unary) (local.get 0) (local.get 1)))
    (func $direct (param i32) (result i32) (i32.load (call $wrapped (call $import (local.get 0)))))
    (func $global (param i32) (global.set $g (local.get 0)))
    (func $index (result i32) (i32.load (global.get $g)))
    (func $store (param i32 i64) (i64.store (local.get 0) (local.get 1)))
    (func $grow (result i32) (i32.load (memory.grow (i32.const 1))))
    (func $zeroed (result i32) (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
        (i32.load (select (local.get 11) (local.get 3) ("""
    + "".join(f"i32.add (local.get {i}) (" for i in range(11))
    + """local.get 5"""
    + ")" * 16
)

Mutation = Callable[[bytes], bytes]
LINE = re.compile(r"^ *([0-9a-f]+)  ((?:[0-9a-f]{2} )+) *(.*)$")


def compiled(text: str | bytes, metered: bool = False, explicit_bounds: bool = False) -> bytes:
    """The image's bytes."""
    engine = Engine(tier="compiled", metered=metered, explicit_bounds=explicit_bounds)
    return bytes(native.compile_bytes(binary(text) if isinstance(text, str) else text, engine.options))


def mutate(image: bytes, function: str, pattern: str, change: Mutation) -> bytes:
    """Changes the first instruction of the function whose text matches; its length stays."""
    opened = Image.description(image)
    index = next(f.index for f in opened.functions if f.name == function)
    place, size = opened.machine_code_place(index)
    at = place
    for line in opened.disassemble(index).splitlines():
        match = LINE.match(line)
        assert match, line
        old = bytes.fromhex(match[2])
        if re.search(pattern, match[3]):
            new = change(old)
            assert len(new) == len(old) and new != old and image[at : at + len(old)] == old
            return image[:at] + new + image[at + len(old) :]
        at += len(old)
    raise AssertionError(f"{function} has no instruction {pattern!r} in {size} bytes:\n{opened.disassemble(index)}")


def byte(position: int, value: int) -> Mutation:
    """Sets a byte; counted from the end when negative."""
    return lambda old: old[:position] + bytes([value]) + old[position + 1 :] if position != -1 else old[:-1] + bytes([value])


def add(position: int, value: int) -> Mutation:
    """Adds to a 32-bit field."""

    def change(old: bytes) -> bytes:
        field = int.from_bytes(old[position : position + 4], "little") + value
        return old[:position] + (field & 0xFFFFFFFF).to_bytes(4, "little") + old[position + 4 :]

    return change


def opcode(value: int) -> Mutation:
    """Replaces a one-byte opcode, which stands behind REX if there is one."""
    return lambda old: byte(1 if 0x40 <= old[0] <= 0x4F else 0, value)(old)


def wide(old: bytes) -> bytes:
    """The same with 64-bit operands."""
    assert 0x40 <= old[0] <= 0x47, f"no REX prefix to widen in {old.hex()}"
    return bytes([old[0] | 8]) + old[1:]


def into_r15(old: bytes) -> bytes:
    """The register field becomes r15."""
    assert 0x40 <= old[0] <= 0x4F
    return bytes([old[0] | 4]) + old[1:2] + bytes([old[2] | 0x38]) + old[3:]


REJECTED: list[tuple[str, str, str, Mutation, str]] = [
    ("the move to 32 bits is dropped", "wrapped", r"^mov e\w+, (e|dword)", opcode(0x3B), "an index that may be anything"),
    ("an unknown instruction", "wrapped", r"^ret$", byte(0, 0xF4), "no instruction that the compiler makes"),
    ("a system call", "sum", r"^add e|^lea e", lambda old: b"\x0f\x05" + old[2:], "no instruction that the compiler makes"),
    (
        "an index from a 64-bit operation",
        "walk",
        r"^add r\d+d",
        wide,
        "an index that may be anything|an i32 result that may be larger",
    ),
    (
        "an index of twice the width",
        "walk",
        r"^mov .*\[r15",
        lambda old: old[:3] + bytes([old[3] | 0x40]) + old[4:],
        "shape|anything",
    ),
    ("an offset below zero", "wrapped", r"\[r15.*\+0x8\]", byte(-1, 0xF8), "a shape that the compiler does not make"),
    ("a jump into an instruction", "walk", r"^jn?e 0x", add(2, 1), "no instruction of its function"),
    ("a jump out of the function", "walk", r"^jn?e 0x", add(2, 0x10000), "no instruction of its function"),
    ("an unbounded table index", "switch", r"^cmova", byte(1, 0x42), "not through a table of its function"),
    ("a longer table", "switch", r"^mov ecx, 0x2", byte(1, 40), "no instruction|not through a table|outside"),
    (
        "an indirect jump",
        "indirect",
        r"^call qword",
        lambda old: old[:1] + bytes([old[1] & 0xC7 | 0x20]) + old[2:],
        "not through a table",
    ),
    ("a call of another field", "indirect", r"^call qword", byte(-1, 0x20), "no function of a compared type"),
    (
        "the type is not compared",
        "indirect",
        r"^cmp .*e?cx|^cmp dword",
        byte(-1, 0x10),
        "holds no pointer|no function of a compared type",
    ),
    ("the index is not compared", "indirect", r"^jbe", byte(1, 0x87), "holds no pointer"),
    ("null is not compared", "indirect", r"^je", byte(1, 0x85), "no function of a compared type|holds no pointer"),
    ("a call into a function", "direct", r"^call 0x", add(1, 4), "neither a function nor a stub|no function of a compared type"),
    ("a write to r15", "index", r"^mov \w+, [dq]word \[rbx", into_r15, "belongs to the run time"),
    ("another instance field", "index", r"^mov \w+, [dq]word \[rbx", lambda old: byte(-1 if len(old) < 7 else 3, 0x48)(old), "."),
    ("a pin that is not restored", "walk", r"^pop", lambda old: old[:-1] + bytes([old[-1] ^ 1]), "what the prologue saved"),
    ("the wrong constant's slot", "zeroed", r"^mov ecx, ", add(1, 1000), "zeroes beyond the frame"),
    ("a store elsewhere", "store", r"\[r15", lambda old: bytes([old[0] & ~1]) + old[1:], "."),
    ("an operation of nobody", "grow", r"^mov eax, 0x40", byte(1, 0x10), "must not get"),
]


@pytest.mark.parametrize(
    ("function", "pattern", "change", "words"), [row[1:] for row in REJECTED], ids=[row[0] for row in REJECTED]
)
def test_planted_mistakes_are_rejected(function: str, pattern: str, change: Mutation, words: str) -> None:
    image = compiled(TEXT)
    Image.description(image).check_machine_code()
    changed = mutate(image, function, pattern, change)
    with pytest.raises(WorkerError, match=rf"machine code of function \d+ at \+\w+, .*: .*({words})"):
        Image.description(changed).check_machine_code()


@pytest.mark.parametrize("pattern", [r"^ja ", r"^cmp r\w+, qword"])
def test_explicit_bounds_must_be_compared(pattern: str) -> None:
    image = compiled(TEXT, explicit_bounds=True)
    Image.description(image).check_machine_code()
    change = byte(1, 0x86) if pattern.startswith("^ja") else byte(-1, 0)
    with pytest.raises(WorkerError, match="not compared with its size|holds no pointer"):
        Image.description(mutate(image, "sum", pattern, change)).check_machine_code()


def test_fuel_is_only_counted() -> None:
    image = compiled(TEXT, metered=True)
    Image.description(image).check_machine_code()
    with pytest.raises(WorkerError, match="the fuel counter"):
        Image.description(
            mutate(image, "walk", r"^sub r14", lambda old: old[:2] + bytes([old[2] & 0xC7 | 0x20]) + old[3:])
        ).check_machine_code()


def test_an_image_of_the_interpreter_has_nothing_to_check() -> None:
    Image.description(bytes(native.compile_bytes(binary(TEXT), Engine(tier="interpreter").options))).check_machine_code()


@pytest.mark.parametrize("metered", [False, True], ids=["unmetered", "metered"])
@pytest.mark.parametrize("explicit_bounds", [False, True], ids=["guarded", "explicit"])
def test_generated_programs_are_accepted(metered: bool, explicit_bounds: bool) -> None:
    for seed in range(40):
        for data in assemble(generate(Random(seed))) or []:
            Image.description(compiled(data, metered=metered, explicit_bounds=explicit_bounds)).check_machine_code()


def test_random_damage_never_upsets_the_checker() -> None:
    """Whatever the bytes, it ends with a verdict; most damage is seen."""
    image, rng = compiled(TEXT), Random(3)
    opened = Image.description(image)
    places = [opened.machine_code_place(f.index) for f in opened.functions if not f.imported]
    rejected = 0
    for _ in range(3000):
        place, size = rng.choice(places)
        at = place + rng.randrange(size)
        changed = image[:at] + bytes([rng.getrandbits(8)]) + image[at + 1 :]
        try:
            Image.description(changed).check_machine_code()
        except WorkerError:
            rejected += 1
    assert rejected > 1000
