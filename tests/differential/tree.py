"""Programs as trees: instructions with their operands and bodies, which can be written as text and cut down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Node:
    """One instruction. ``operands`` are written before it (values and interleaved statements), ``bodies`` inside it.

    ``result``: the type when it leaves exactly one value and takes all its operands from its own ``operands``; else "".
    """

    op: str
    operands: list[Node] = field(default_factory=list)
    bodies: list[list[Node]] = field(default_factory=list)
    result: str = ""

    def write(self, out: list[str], indent: str) -> None:
        """Appends lines of flat text."""
        for operand in self.operands:
            operand.write(out, indent)
        if self.op:
            out.append(indent + self.op)
        for index, body in enumerate(self.bodies):
            if index:
                out.append(indent + "else")
            for node in body:
                node.write(out, indent + "  ")
        if self.bodies:
            out.append(indent + "end")

    def sequences(self) -> Iterator[list[Node]]:
        """Every list of nodes in this tree, outer ones first."""
        for sequence in (self.operands, *self.bodies):
            if sequence:
                yield sequence
                for node in sequence:
                    yield from node.sequences()


@dataclass(slots=True)
class Function:
    """``header`` holds name, exports, parameters, results and locals."""

    header: str
    body: list[Node]

    def write(self, out: list[str]) -> None:
        """Appends the function's text."""
        out.append("  " + self.header)
        for node in self.body:
            node.write(out, "    ")
        out.append("  )")


@dataclass(slots=True)
class ModuleTree:
    """``fields`` are the module's other definitions, one line each, imports first."""

    name: str
    fields: list[str]
    functions: list[Function] = field(default_factory=list)

    def text(self) -> str:
        """The module in the text format."""
        out = [f"(module ${self.name}"]
        out += [f"  {line}" for line in self.fields]
        for function in self.functions:
            function.write(out)
        return "\n".join(out) + "\n)\n"


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call from outside: export ``function`` of module number ``module``; arguments as (type, raw bits or None)."""

    module: int
    function: str
    args: tuple[tuple[str, Any], ...]


@dataclass(slots=True)
class Program:
    """Modules, each importing from those before it by name, and the calls to make in order."""

    modules: list[ModuleTree]
    calls: list[Invocation]
