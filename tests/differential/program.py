"""Random programs: one or two modules that share functions, memory, tables and globals, and calls into them."""

from __future__ import annotations

from random import Random
from typing import Any

from . import ops
from .generator import TABLE_SIZE, Environment, FunctionGenerator, Signature, zero
from .tree import Function, Invocation, ModuleTree, Node, Program

BUDGET = 60
Exports = list[tuple[str, Signature]]
# The host functions every module may call: name, type.
HOST = (
    ("mix", Signature(("i32", "i64"), ("i64",))),
    ("note", Signature(("f64", "i32"), ())),
    ("pair", Signature(("i64",), ("i32", "i64"))),
    ("again", Signature(("i32",), ("i32",))),  # calls NESTED of the first module, on top of the call that is waiting
)
NESTED = ("fn", Signature(("i32",), ("i32",)))
START = ("fs", Signature((), ()))


def generate(rng: Random) -> Program:
    """A program; the same ``rng`` state gives the same one."""
    modules: list[ModuleTree] = []
    exported: list[Exports] = []
    for number in range(2 if rng.random() < 0.35 else 1):
        tree, functions = _module(rng, number, exported)
        modules.append(tree)
        exported.append(functions)
    calls = []
    for _ in range(rng.randrange(4, 12)):
        number = rng.randrange(len(modules))
        name, signature = rng.choice(exported[number])
        calls.append(Invocation(number, f"w{name[1:]}", tuple((t, argument(rng, t)) for t in signature.params)))
    return Program(modules, calls)


def argument(rng: Random, value_type: str) -> Any:
    """Raw bits for a number, a small number or None for an externref, None for a funcref."""
    if value_type == "funcref":
        return None
    if value_type == "externref":
        return rng.choice((None, 0, 1, 7, 1000))
    return ops.bits(rng, value_type)


def _types(rng: Random, most: int) -> tuple[str, ...]:
    choice = (*ops.NUMBERS * 5, *ops.REFERENCES)
    return tuple(rng.choice(choice) for _ in range(rng.randrange(most + 1)))


def _module(rng: Random, number: int, exported: list[Exports]) -> tuple[ModuleTree, Exports]:
    tree = ModuleTree(f"m{number}", [])
    environment = Environment()
    for name, signature in HOST:
        tree.fields.append(f'(import "host" "{name}" (func ${name}{signature.text()}))')
        environment.functions.append((f"${name}", signature))
    shared = {"memory": False, "tables": False}
    if number:
        for name, signature in exported[0]:
            tree.fields.append(f'(import "m0" "{name}" (func $m0{name}{signature.text()}))')
            environment.functions.append((f"$m0{name}", signature))
        shared = {"memory": rng.random() < 0.5, "tables": rng.random() < 0.5}
    params, results = (16, 9) if rng.random() < 0.15 else (5, 3)
    own = [(f"f{i}", Signature(_types(rng, params), _types(rng, results))) for i in range(rng.randrange(2, 7))]
    own += [NESTED, START] if rng.random() < 0.25 else [NESTED]
    environment.functions += [(f"${name}", signature) for name, signature in own]
    environment.types = [signature for _, signature in environment.functions] + [Signature(("i32",), ("i32",))]
    environment.declared = [f"${name}" for name, _ in own]
    _storage(rng, tree, environment, shared, own)
    if START in own:
        tree.fields.append(f"(start ${START[0]})")
    for name, signature in own:
        leaf = rng.random() < 0.3 and name != NESTED[0]  # without a budget it must not call, and this one is called in any depth
        function = FunctionGenerator(rng, environment, signature, leaf).function(f"${name} (export \"{name}\")")
        tree.functions.append(function)
        tree.functions.append(_wrapper(name, signature))
    return tree, own


def _wrapper(name: str, signature: Signature) -> Function:
    """The export that the outside calls: it fills the budget first."""
    body = [Node("global.set $budget", [Node(f"i32.const {BUDGET}")])]
    body += [Node(f"local.get {i}") for i in range(len(signature.params))]
    return Function(f'(func (export "w{name[1:]}"){signature.text()}', [*body, Node(f"call ${name}")])


def _storage(
    rng: Random, tree: ModuleTree, environment: Environment, shared: dict[str, bool], own: Exports
) -> None:
    """Memory, tables, globals and segments."""
    fields, imports = [], []
    number = int(tree.name[1:])
    if shared["memory"]:
        imports.append('(import "m0" "memory" (memory $mem 1 3)) (export "memory" (memory $mem))')
    else:
        fields.append('(memory $mem (export "memory") 1 3)')
    for table, kind in (("t0", "funcref"), ("t1", "externref")):
        if shared["tables"]:
            imports.append(f'(import "m0" "{table}" (table ${table} {TABLE_SIZE} 20 {kind}))')
            fields.append(f'(export "{table}" (table ${table}))')
        else:
            fields.append(f'(table ${table} (export "{table}") {TABLE_SIZE} 20 {kind})')
    fields.append(f"(global $budget (mut i32) (i32.const {BUDGET}))")
    for index in range(rng.randrange(1, 7)):
        value_type = rng.choice((*ops.NUMBERS * 3, *ops.REFERENCES))
        mutable = rng.random() < 0.75
        if number and value_type in ops.NUMBERS and rng.random() < 0.5:
            imports.append(f'(import "m0" "shared_{value_type}" (global $shared_{value_type} (mut {value_type})))')
            environment.globals.append((f"$shared_{value_type}", value_type, True))
            continue
        init = zero(value_type) if value_type in ops.REFERENCES else ops.constant(value_type, ops.bits(rng, value_type))
        if value_type == "funcref" and rng.random() < 0.7:
            init = f"ref.func ${rng.choice(own)[0]}"
        shape = f"(mut {value_type})" if mutable else value_type
        fields.append(f'(global $g{index} (export "g{index}") {shape} ({init}))')
        environment.globals.append((f"$g{index}", value_type, mutable))
    for value_type in () if number else ops.NUMBERS:
        name = f"shared_{value_type}"
        fields.append(f'(global ${name} (export "{name}") (mut {value_type}) ({value_type}.const 1))')
        environment.globals.append((f"${name}", value_type, True))
    tree.fields += [*dict.fromkeys(imports), *fields]
    _segments(rng, tree, environment, own)


def _segments(rng: Random, tree: ModuleTree, environment: Environment, own: Exports) -> None:
    for offset in (0, 1000, 65520):
        text = "".join(f"\\{rng.getrandbits(8):02x}" for _ in range(16))
        tree.fields.append(f'(data (i32.const {offset}) "{text}")')
    environment.data_segments = rng.randrange(3)
    for index in range(environment.data_segments):
        text = "".join(f"\\{rng.getrandbits(8):02x}" for _ in range(rng.randrange(8)))
        tree.fields.append(f'(data $d{index} "{text}")')
    names = [name for name, _ in own] + [name for name, _ in HOST]
    environment.table = [f"${rng.choice(names)}" for _ in range(TABLE_SIZE - rng.randrange(3))]
    tree.fields.append(f"(elem (table $t0) (i32.const 0) func {' '.join(environment.table)})")
    environment.element_segments = rng.randrange(3)
    for index in range(environment.element_segments):
        items = " ".join(rng.choice(("(ref.null func)", f"(ref.func ${rng.choice(names)})")) for _ in range(rng.randrange(6)))
        tree.fields.append(f"(elem $e{index} funcref {items})")
    tree.fields.append(f"(elem declare func {' '.join(environment.declared)})")
