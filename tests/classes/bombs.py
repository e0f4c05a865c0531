"""Small modules that could cost much to compile, and the program that compiles them under the kernel's limits.

``python -m tests.classes.bombs``: one line of JSON a bomb: its name, its bytes, the image's bytes or the refusal. Processor time
and data memory of each are bounded, far above what it needs on a slow machine: what goes beyond ends the process.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sandboxhost.errors import SandboxError
from sandboxworker import native
from tests import builder as b
from tests.classes.executors import TIERS

MEBIBYTE = 1 << 20
MEMORY_PER_BYTE, MEMORY_BESIDE = 96, 64 * MEBIBYTE
"""Data memory that a compilation may take: so much for each byte of the module, and so much for any."""
CPU_SECONDS = 6
"""For one bomb, and ten times that under a sanitizer. They take some 20 ms each; with quadratic time it would be minutes."""
SIZE = MEBIBYTE // 2
MANY_VALUES = 128 << 10
"""Bytes of those in which a byte stands for hundreds of values: their time is a multiple of the others'."""
IMAGE_PER_BYTE, IMAGE_FLOOR = 136, 4 * MEBIBYTE
"""What the core lets code grow to: 64 units of two bytes for a byte, and room for small modules; records come on top."""


def _body(code: bytes, types: list[bytes] | None = None, locals_: list[tuple[int, int]] | None = None) -> bytes:
    return b.module(
        b.section(b.TYPE, b.vector(types or [b.function_type()])), b.section(b.FUNCTION, b.vector([b"\0"])),
        b.section(b.TABLE, b.vector([b"\x70" + b.limits(1)])), b.section(b.MEMORY, b.vector([b.limits(1)])),
        b.section(b.CODE, b.vector([b.body(code, locals_ or [])])),
    )  # fmt: skip


def _repeated(unit: bytes, before: bytes = b"", after: bytes = b"", **more: object) -> bytes:
    return _body(before + unit * (SIZE // len(unit)) + after + b.END, **more)  # type: ignore[arg-type]


def _functions(body: bytes, type_: bytes, count: int) -> bytes:
    return b.module(
        b.section(b.TYPE, b.vector([type_])), b.section(b.FUNCTION, b.vector([b"\0"] * count)),
        b.section(b.CODE, b.vector([body] * count)),
    )  # fmt: skip


THOUSAND = b.function_type([b.I64] * 1000, [b.I64] * 1000)
TAKES_ONE = [b.function_type([b.I32])]
RESULTS = b.function_type([], [b.I64] * 1000)
TYPES = b.section(b.TYPE, b.vector([b.function_type()]))
PUSH, SET = b.LOCAL_GET + b"\0", b.LOCAL_SET + b"\0"
CALL_MANY = b.CALL + b"\0"
BLOCK = b.BLOCK + bytes([b.EMPTY])
ARGUMENTS = b"".join(b.LOCAL_GET + b.unsigned(i) for i in range(1000))


def _many_results(unit: bytes, depth: int = 1) -> bytes:
    """`unit` again and again where a thousand values lie on the stack, inside blocks that take and give a thousand."""
    code = ARGUMENTS + (b.BLOCK + b"\0") * depth + unit * (MANY_VALUES // len(unit)) + b.END * (depth + 1)
    return _body(code, [THOUSAND])


BOMBS: dict[str, Callable[[], bytes]] = {
    "types of a thousand parameters": lambda: b.module(b.section(b.TYPE, b.vector([THOUSAND] * (SIZE // 2005)))),
    "empty functions": lambda: _functions(b.body(b.END), b.function_type(), SIZE // 4),
    "functions of 50,000 locals": lambda: _functions(b.body(b.END, [(49_999, b.I64)]), b.function_type(), SIZE // 9),
    "functions of as many locals as are allowed": lambda: _functions(b.body(b.END, [(49_999, b.I64)]), b.function_type(), 200),
    "functions of a thousand parameters": lambda: _functions(b.body(b.END), b.function_type([b.I64] * 1000), MANY_VALUES // 4),
    "functions that pass on a thousand results": lambda: _functions(b.body(CALL_MANY + b.END), RESULTS, MANY_VALUES // 6),
    "functions that branch with a thousand results": lambda: _functions(
        b.body(CALL_MANY + (b.i32_const(1) + b.BR_IF + b"\0") * 5 + b.END), RESULTS, MANY_VALUES // 26),
    "runs of no locals": lambda: _body(b.END, locals_=[(0, b.I32)] * (SIZE // 2)),
    "runs of one local": lambda: _body(b.END, locals_=[(1, b.I32), (1, b.I64)] * 25_000),
    "imports": lambda: b.module(TYPES, b.section(b.IMPORT, b.vector([b"\0\0\0\0"] * 100_000))),
    "globals": lambda: b.module(b.section(b.GLOBAL, b.vector([bytes([b.I32, 0]) + b.i32_const(1) + b.END] * (SIZE // 5)))),
    "element segments": lambda: b.module(b.section(b.ELEMENT, b.vector([b"\1\0\0"] * (SIZE // 3)))),
    "data segments": lambda: b.module(b.section(b.DATA, b.vector([b"\1\0"] * (SIZE // 2)))),
    "data at the ends of a large memory": lambda: b.module(
        b.section(b.MEMORY, b.vector([b.limits(65_536)])),
        b.section(b.DATA, b.vector([b"\0" + b.i32_const(i * 0x3F000 - 2**31) + b.END + b.name("x") for i in range(16_000)])),
    ),
    "data over the same page": lambda: b.module(
        b.section(b.MEMORY, b.vector([b.limits(1)])),
        b.section(b.DATA, b.vector([b"\0" + b.i32_const(0) + b.END + b.name("x" * 60)] * 16_000)),
    ),
    "tables": lambda: b.module(b.section(b.TABLE, b.vector([b"\x70" + b.limits(1_000_000_000)] * 100_000))),
    "exports": lambda: b.module(
        TYPES, b.section(b.FUNCTION, b"\1\0"),
        b.section(b.EXPORT, b.vector([b.name(f"{i:x}") + b"\0\0" for i in range(SIZE // 8)])),
        b.section(b.CODE, b.vector([b.body(b.END)]))),
    "names": lambda: b.module(b.section(b.CUSTOM, b.name("name") + b"\1" + b.name(b.vector([b"\0\0"] * (SIZE // 4))))),
    "nops": lambda: _repeated(b.NOP),
    "constants": lambda: _repeated(b.I64_CONST + b.signed(-(2**63)) + b.DROP),
    "pushes": lambda: _repeated(PUSH + b.DROP, types=TAKES_ONE),
    "a local on the stack, set again and again": lambda: _body(
        PUSH * 60_000 + (b.i32_const(1) + SET) * 100_000 + b.DROP * 60_000 + b.END, TAKES_ONE),
    "a local pushed and set by turns": lambda: _body(
        (PUSH + b.i32_const(1) + SET) * 60_000 + b.DROP * 60_000 + b.END, TAKES_ONE),
    "blocks side by side": lambda: _repeated(BLOCK + b.END),
    "loops side by side": lambda: _repeated(b.LOOP + bytes([b.EMPTY]) + b.END),
    "loops with pushes": lambda: _repeated(b.LOOP + bytes([b.EMPTY]) + PUSH + b.DROP + b.END, types=TAKES_ONE),
    "nested blocks": lambda: _body(BLOCK * 65_000 + b.END * 65_001),
    "nested loops with a local in each": lambda: _body(
        (b.LOOP + bytes([b.EMPTY]) + PUSH + SET) * 60_000 + b.END * 60_001, TAKES_ONE),
    "nested blocks on a tall stack": lambda: _body(PUSH * 30_000 + BLOCK * 60_000 + b.END * 60_000 + b.DROP * 30_000 + b.END,
                                                   TAKES_ONE),
    "branches out of nested blocks": lambda: _body(
        BLOCK * 60_000 + (PUSH + b.BR_IF + b.unsigned(59_999)) * (SIZE // 6) + b.END * 60_001, TAKES_ONE),
    "branches to one label": lambda: _body(BLOCK + (PUSH + b.BR_IF + b"\0") * (SIZE // 4) + b.END * 2, TAKES_ONE),
    "a long branch table": lambda: _body(b.i32_const(0) + b.BR_TABLE + b.vector([b"\0"] * SIZE) + b"\0" + b.END),
    "branch tables": lambda: _body((BLOCK + PUSH + b.BR_TABLE + b.vector([b"\0"] * 40) + b"\0" + b.END) * (SIZE // 46) + b.END,
                                   TAKES_ONE),
    "a branch table that carries a thousand values": lambda: _body(
        ARGUMENTS + (b.BLOCK + b"\0") * 1000 + b.i32_const(0) + b.BR_TABLE
        + b.vector([b.unsigned(i % 1000) for i in range(200_000)]) + b"\0" + b.END * 1001, [THOUSAND]),
    "blocks of a thousand values": lambda: _many_results(b.BLOCK + b"\0" + b.END),
    "nested blocks of a thousand values": lambda: _many_results(b.NOP, 60_000),
    "loops of a thousand values": lambda: _many_results(b.LOOP + b"\0" + b.END),
    "conditional branches of a thousand values": lambda: _many_results(b.i32_const(1) + b.BR_IF + b"\0"),
    "calls of a thousand values": lambda: _many_results(CALL_MANY),
    "indirect calls of a thousand values": lambda: _many_results(b.i32_const(0) + b.CALL_INDIRECT + b"\0\0"),
    "ifs of a thousand values": lambda: _many_results(b.i32_const(1) + b.IF + b"\0" + b.ELSE + b.END),
    "returns in dead code": lambda: _many_results(b.RETURN),
    "branches in dead code": lambda: _repeated(b.BR + b"\0", b.UNREACHABLE),
    "dead branch tables": lambda: _repeated(b.BR_TABLE + b.vector([b"\0"] * 20) + b"\0", b.UNREACHABLE),
    "loads": lambda: _repeated(b.i32_const(0) + b"\x29\x03\x00" + b.DROP),
    "stores far away": lambda: _repeated(b.i32_const(0) + b.i32_const(0) + b"\x36\x02" + b.unsigned(2**32 - 1)),
    "bulk operations": lambda: _repeated(b.i32_const(0) * 3 + b"\xfc\x0a\0\0"),
    "conversions": lambda: _repeated(PUSH + b"\xb7" + b"\xfc\x06" + b"\xa7" + b.DROP, types=TAKES_ONE),
    "divisions": lambda: _repeated(PUSH + PUSH + b"\x6d" + b.DROP, types=TAKES_ONE),
    "rounding": lambda: _repeated(PUSH + b"\xb7\x9c\x9d\x9e\x9b" + b.DROP, types=TAKES_ONE),
}  # fmt: skip


def _data_bytes() -> int:
    """Private writable memory of this process: what RLIMIT_DATA counts."""
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def _bounded(module_bytes: int) -> None:
    """Limits of this process for one compilation."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(spent.ru_utime + spent.ru_stime) + 1 + CPU_SECONDS * (10 if native.sanitized() else 1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    if not native.sanitized():  # whose shadow of the memory would not fit
        most = _data_bytes() + MEMORY_BESIDE + MEMORY_PER_BYTE * module_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


def exploded(name: str, tier: str) -> Iterator[dict[str, object]]:
    """What comes of a bomb, counting fuel: that makes the larger code."""
    data = BOMBS[name]()
    _bounded(len(data))
    yield {"bomb": name, "tier": tier, "bytes": len(data)}
    try:
        yield {"image": len(bytes(native.compile_bytes(data, native.CompileOptions(0, True, compiled=tier == "compiled"))))}
    except SandboxError as error:
        yield {"refused": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Compiles all of them in every tier."""
    for name in BOMBS:
        for tier in TIERS:
            for line in exploded(name, tier):
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
