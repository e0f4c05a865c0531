"""Cuts a program that shows a difference down to a small one that still shows it.

Nothing here knows the typing rules: every cut is tried, and what does not validate, or no longer differs, is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import wasmtime

from .generator import zero
from .ops import constant
from .tree import Invocation, Node, Program

Check = Callable[[Program], bool]


class Reducer:
    """``differs`` must be false for programs that do not even validate. ``attempts`` bounds the work."""

    def __init__(self, program: Program, differs: Check, attempts: int = 4000) -> None:
        self.program = program
        self._differs = differs
        self.attempts = attempts

    def run(self) -> Program:
        """Reduces in place until nothing more can go; returns the program."""
        while self.attempts > 0:
            before = sum(len(module.text()) for module in self.program.modules) + len(self.program.calls)
            self._calls()
            self._bodies()
            self._shrink_lists()
            self._replace()
            if sum(len(module.text()) for module in self.program.modules) + len(self.program.calls) == before:
                break
        self._definitions()
        return self.program

    def _still(self) -> bool:
        if self.attempts <= 0:
            return False
        self.attempts -= 1
        return self._differs(self.program)

    def _calls(self) -> None:
        calls = self.program.calls
        for index in reversed(range(len(calls))):
            if len(calls) > 1:
                removed = calls.pop(index)
                if not self._still():
                    calls.insert(index, removed)

    def _bodies(self) -> None:
        """Whole function bodies become a trap."""
        for module in self.program.modules:
            for function in module.functions:
                if len(function.body) == 1 and function.body[0].op == "unreachable":
                    continue
                kept, function.body = function.body, [Node("unreachable")]
                if not self._still():
                    function.body = kept

    def _sequences(self) -> Iterator[list[Node]]:
        for module in self.program.modules:
            for function in module.functions:
                yield function.body
                for node in function.body:
                    yield from node.sequences()

    def _shrink_lists(self) -> None:
        """Removes runs of nodes, long ones first."""
        for sequence in list(self._sequences()):
            width = max(1, len(sequence))
            while width:
                start = 0
                while start < len(sequence) and self.attempts > 0:
                    kept = sequence[start : start + width]
                    del sequence[start : start + width]
                    if not self._still():
                        sequence[start:start] = kept
                        start += width
                width //= 2

    def _replace(self) -> None:
        """A node becomes a constant, or one of its parts."""
        for sequence in list(self._sequences()):
            for index in range(len(sequence)):
                node = sequence[index]
                for candidate in self._candidates(node):
                    sequence[index] = candidate
                    if self._still():
                        break
                    sequence[index] = node

    @staticmethod
    def _candidates(node: Node) -> Iterator[Node]:
        if node.result and node.op != zero(node.result):
            yield Node(zero(node.result), result=node.result)
        if node.op:
            yield from node.operands
            for body in node.bodies:
                yield Node("", [*node.operands, *body])
                yield Node("", body)
        elif len(node.operands) == 1:
            yield node.operands[0]

    def _definitions(self) -> None:
        """Fields and functions that nothing names any more."""
        for module in self.program.modules:
            definitions: tuple[list[Any], ...] = (module.functions, module.fields)
            for things in definitions:
                for index in reversed(range(len(things))):
                    removed = things.pop(index)
                    if not self._still():
                        things.insert(index, removed)


def assemble(program: Program) -> list[bytes] | None:
    """The binaries, or None when a module is no longer valid."""
    try:
        binaries = [bytes(wasmtime.wat2wasm(module.text())) for module in program.modules]
        for binary in binaries:
            wasmtime.Module.validate(_validator(), binary)
    except wasmtime.WasmtimeError:
        return None
    return binaries


def _validator() -> wasmtime.Engine:
    global _ENGINE
    if _ENGINE is None:
        _ENGINE = wasmtime.Engine()
    return _ENGINE


_ENGINE: wasmtime.Engine | None = None


def as_script(program: Program, reason: str) -> str:
    """The program as a .wast script to look at and run; the calls are plain invokes, the difference is in the head."""
    lines = [f";; {reason}"]
    for number, module in enumerate(program.modules):
        lines.append(module.text())
        lines.append(f'(register "m{number}" $m{number})')
    lines += [_invoke(call) for call in program.calls]
    return "\n".join(lines) + "\n"


def _invoke(call: Invocation) -> str:
    args = []
    for value_type, raw in call.args:
        if value_type.endswith("ref"):
            args.append(f"(ref.null {value_type.removesuffix('ref')})" if raw is None else f"(ref.extern {raw})")
        else:
            args.append(f"({constant(value_type, raw)})")
    return f'(invoke $m{call.module} "{call.function}" {" ".join(args)})'
