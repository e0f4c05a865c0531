"""Audit of the built interpreter: hot handlers neither call nor push, and every operation goes on by an indirect jump."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import sandboxworker._native as native

# Divisions need rdx, which holds the memory's base; run-time operations call C by design.
MAY_PUSH = re.compile(
    r"op_(i32|i64)_(div|rem)_|op_zero|op_f(32|64)_(ceil|floor|trunc|nearest)|_c[sai]{1,2}(_d|_[sai])?$|op_f32_copysign|op_call_indirect"
)
RUNTIME = re.compile(
    r"op_(call_other|call_import|entry|exit|trap_|out_of_fuel|stack_exhausted|interrupted|cross_return|unreachable|memory_|data_|table_|elem_|ref_func)"
)


def handlers() -> Iterator[tuple[str, list[str]]]:
    """(name, instructions) of every handler in the extension."""
    command = ["objdump", "-d", "--no-show-raw-insn", "--section=sbx_ops", native.__file__]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for part in re.split(r"\n(?=[0-9a-f]+ <op_)", text):
        head = re.match(r"[0-9a-f]+ <(op_\w+)", part)
        if head:
            yield head[1], re.findall(r"^\s+[0-9a-f]+:\s+(\S.*?)\s*$", part, re.MULTILINE)


def uses_stack(instruction: str) -> bool:
    return instruction.startswith("push") or (instruction.endswith(",%rsp") and not instruction.startswith("cmp"))


def test_hot_handlers_neither_call_nor_push() -> None:
    assert shutil.which("objdump"), "binutils come with the compiler that built the extension"
    if native.ffi.string(native.lib.sbx_dispatch()) == b"loop":
        sections = subprocess.run(["objdump", "-h", native.__file__], capture_output=True, text=True, check=True).stdout
        assert "sbx_ops" not in sections, "the loop's handlers lie in no section of their own"
        return
    hot = {name: code for name, code in handlers() if not RUNTIME.match(name)}
    assert len(hot) > 1500
    assert [name for name, code in hot.items() if any(i.startswith("call") for i in code)] == []
    assert [name for name, code in hot.items() if not MAY_PUSH.search(name) and any(map(uses_stack, code))] == []
    assert [name for name, code in hot.items() if not any(re.match(r"(notrack )?jmp +\*", i) for i in code)] == []
