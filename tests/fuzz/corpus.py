"""Where fuzzing starts from: hand-made modules, and a dictionary out of the operation table. All made, none committed."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from native.ops.table import OPS
from spectest.assemble import AssemblyFailure, assemble
from spectest.script import AssertFailure, AssertModule, ModuleCommand, ModuleText, parse
from spectest.suite import find_suite, scripts
from tests import builder

from .build import ROOT

LARGEST = 24_000
"""Bytes of a module that still makes a good start."""


def _script_modules(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        for command in parse(path.read_bytes()):
            subject = command.subject if isinstance(command, AssertFailure) else getattr(command, "module", None)
            if isinstance(subject, ModuleText) and isinstance(command, ModuleCommand | AssertModule | AssertFailure):
                try:
                    yield assemble(subject)
                except AssemblyFailure:
                    pass  # its text is what is wrong: there is no binary of it


def _found() -> Iterator[bytes]:
    for folder in ("plugins_example", "benchmarks", "tests"):
        for path in sorted((ROOT / folder).rglob("*.wasm")):
            yield path.read_bytes()
    yield builder.assemble(builder.everything())
    yield from _script_modules(sorted((ROOT / "tests" / "wast").glob("*.wast")))
    if find_suite() is not None:
        yield from _script_modules(scripts([], ["core"]))
    else:
        print("*** the official suite was NOT found: its modules are NOT among those to start from", file=sys.stderr)


def handmade(cache: Path = ROOT / "build" / "fuzz" / "handmade") -> list[Path]:
    """Files of the modules that people or their compilers wrote: our examples, kernels, scripts; the official suite's."""
    stamp = cache / ("complete" if find_suite() is not None else "without_suite")
    if not stamp.exists():
        cache.mkdir(parents=True, exist_ok=True)
        for data in _found():
            if len(data) <= LARGEST:
                (cache / f"{hashlib.sha256(data).hexdigest()[:16]}.wasm").write_bytes(data)
        stamp.touch()
    return sorted(cache.glob("*.wasm"))


def dictionary() -> str:
    """libFuzzer's dictionary: opcodes, value types, section heads, LEB128 edges."""
    tokens = {f"op_{op.ident}": op.opcode.to_bytes(1 + (op.opcode > 0xFF), "big") for op in OPS}
    tokens |= {f"section_{number}": bytes([number]) for number in range(13)}
    tokens |= {f"type_{code:x}": bytes([code]) for code in (0x40, 0x60, 0x6F, 0x70, 0x7C, 0x7D, 0x7E, 0x7F)}
    for value in (0x7F, 0x80, 0x3FFF, 0x4000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        tokens[f"number_{value:x}"] = builder.unsigned(value)
        tokens[f"minus_{value:x}"] = builder.signed(-value)
    tokens["header"] = builder.HEADER
    escaped = {name: "".join(rf"\x{byte:02x}" for byte in data) for name, data in sorted(tokens.items())}
    return "".join(f'{name}="{text}"\n' for name, text in escaped.items())
