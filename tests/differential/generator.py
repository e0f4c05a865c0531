"""Random valid, terminating WebAssembly 2.0 programs, shaped to hurt a lowering that caches operands.

Bodies are made in two ways that mix: operand trees, and a stack machine that leaves values lying while it goes on, so that
locals are overwritten while they are on the operand stack, values cross blocks, branches keep them, and so on.

Deterministic on every engine: bits of a NaN that arithmetic made never reach an integer, a memory or the sign of copysign
(``observable``), whereas bits that were only moved (``exact``) do, so that a move which quietens a NaN shows.
Terminating: each loop has a counter of its own that guards every branch back, and each function that calls spends a budget.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from . import ops
from .tree import Function, Node

Types = tuple[str, ...]
MEMORY_MASK = 0xFFFF
TABLE_SIZE = 12
MAXIMUM_NODES = 300


@dataclass(frozen=True, slots=True)
class Signature:
    """A function type."""

    params: Types
    results: Types

    def text(self) -> str:
        """As in (func …) and block types."""
        params = f" (param {' '.join(self.params)})" if self.params else ""
        results = f" (result {' '.join(self.results)})" if self.results else ""
        return params + results


@dataclass(slots=True)
class Environment:
    """What a function body of one module may name."""

    functions: list[tuple[str, Signature]] = field(default_factory=list)
    globals: list[tuple[str, str, bool]] = field(default_factory=list)  # name, type, mutable
    types: list[Signature] = field(default_factory=list)
    data_segments: int = 0
    element_segments: int = 0
    declared: list[str] = field(default_factory=list)  # functions that ref.func may name
    table: list[str] = field(default_factory=list)  # functions in table 0 at the start, by index


@dataclass(frozen=True, slots=True)
class Label:
    """A branch target. ``guard`` is (counter local, bound) for a loop."""

    name: str
    types: Types
    guard: tuple[str, int] | None


class FunctionGenerator:
    """Generates one function body."""

    def __init__(self, rng: Random, environment: Environment, signature: Signature, leaf: bool) -> None:
        self.rng = rng
        self.env = environment
        self.signature = signature
        self.leaf = leaf
        self.nodes_left = rng.choice((30, 100, MAXIMUM_NODES))
        self.plainness = rng.choice((0.15, 0.35, 0.6))  # how often an operand is a local, a constant or a global
        self.locals: list[tuple[str, str]] = [(f"$p{i}", t) for i, t in enumerate(signature.params)]
        self.own_locals: list[tuple[str, str]] = []
        self.labels: list[Label] = []
        self._names = 0
        for value_type in (*ops.NUMBERS, *ops.REFERENCES):
            for _ in range(rng.randrange(1, 4 if value_type in ops.NUMBERS else 2)):
                self._new_local(value_type)
        # Locals that only ever hold moved bits, and one a type for the canonicalisation.
        self.exact = {t: self._new_local(t, visible=False) for t in ("f32", "f64")}
        self.pointers = [self._new_local("i32", visible=False) for _ in range(2)]  # only ever small: addresses inside the memory
        self.scratch = {t: self._new_local(t, visible=False) for t in ("f32", "f64")}

    # -- small helpers -------------------------------------------------------------------------------------------------------

    def _new_local(self, value_type: str, visible: bool = True) -> str:
        name = f"$v{len(self.own_locals)}"
        self.own_locals.append((name, value_type))
        if visible:
            self.locals.append((name, value_type))
        return name

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"${prefix}{self._names}"

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick_type(self, references: bool = True) -> str:
        if references and self.chance(0.06):
            return self.rng.choice(ops.REFERENCES)
        return self.rng.choice(ops.NUMBERS)

    def pick_types(self, most: int) -> Types:
        return tuple(self.pick_type() for _ in range(self.rng.randrange(most + 1)))

    def _locals_of(self, value_type: str) -> list[str]:
        return [name for name, t in self.locals if t == value_type]

    # -- values --------------------------------------------------------------------------------------------------------------

    def values(self, types: Types, depth: int) -> list[Node]:
        """Nodes that push exactly ``types``, with a statement between them now and then."""
        out: list[Node] = []
        index = 0
        while index < len(types):
            if len(types) - index >= 2 and depth > 0 and self.chance(0.25):
                count = self.rng.randrange(2, min(4, len(types) - index) + 1)
                out.append(self._several(types[index : index + count], depth - 1))
                index += count
            else:
                out.append(self.value(types[index], depth))
                index += 1
            if depth > 0 and self.chance(0.07):
                out.append(self.statement(depth - 1))
        return out

    def _several(self, types: Types, depth: int) -> Node:
        """One instruction that pushes several values."""
        callees = [(name, sig) for name, sig in self.env.functions if sig.results == types]
        if callees and not self.leaf and self.chance(0.6):
            name, signature = self.rng.choice(callees)
            return Node(f"call {name}", self.values(signature.params, depth))
        return self.structure(types, depth)

    def value(self, value_type: str, depth: int) -> Node:
        """A node that pushes one value."""
        self.nodes_left -= 1
        if depth <= 0 or self.nodes_left <= 0 or self.chance(self.plainness):
            return self._simple(value_type)
        node = self._reference(value_type, depth - 1) if value_type in ops.REFERENCES else self._number(value_type, depth - 1)
        node.result = value_type
        return node

    def _simple(self, value_type: str) -> Node:
        """A local, a constant or a global."""
        roll = self.rng.random()
        names = self._locals_of(value_type)
        if roll < 0.55 and names:
            return Node(f"local.get {self.rng.choice(names)}", result=value_type)
        if roll < 0.68:
            cells = [name for name, t, _ in self.env.globals if t == value_type]
            if cells:
                return Node(f"global.get {self.rng.choice(cells)}", result=value_type)
        if value_type in ops.REFERENCES:
            if value_type == "funcref" and self.env.declared and self.chance(0.6):
                return Node(f"ref.func {self.rng.choice(self.env.declared)}", result=value_type)
            return Node(f"ref.null {value_type.removesuffix('ref')}", result=value_type)
        return Node(ops.constant(value_type, ops.bits(self.rng, value_type)), result=value_type)

    def _number(self, value_type: str, depth: int) -> Node:
        roll = self.rng.random()
        if roll < 0.42:
            op, params, _ = self.rng.choice(ops.BY_RESULT[value_type])
            return Node(op, self.values(params, depth))
        if roll < 0.52:
            return self._special(value_type, depth)
        if roll < 0.60:
            return self._load(value_type, depth)
        if roll < 0.66:
            return self._tee(value_type, depth)
        return self._compound(value_type, depth)

    def _reference(self, value_type: str, depth: int) -> Node:
        if self.chance(0.35):
            table = "$t0" if value_type == "funcref" else "$t1"
            return Node(f"table.get {table}", [self._index(depth)])
        return self._tee(value_type, depth) if self.chance(0.3) else self._compound(value_type, depth)

    def _tee(self, value_type: str, depth: int) -> Node:
        names = self._locals_of(value_type)
        if not names:
            return self._simple(value_type)
        return Node(f"local.tee {self.rng.choice(names)}", self.values((value_type,), depth))

    def _compound(self, value_type: str, depth: int) -> Node:
        """Structures, calls, selections and branches that leave a value."""
        roll = self.rng.random()
        if roll < 0.25:
            annotation = f" (result {value_type})" if value_type in ops.REFERENCES or self.chance(0.3) else ""
            return Node(f"select{annotation}", [*self.values((value_type, value_type), depth), self.condition(depth)])
        if roll < 0.45 and not self.leaf:
            return self._call((value_type,), depth) or self._simple(value_type)
        if roll < 0.60:
            labels = [label for label in self.labels if label.types == (value_type,)]
            if labels:
                label = self.rng.choice(labels)
                return Node(f"br_if {label.name}", [*self.values((value_type,), depth), self._branch_condition(label, depth)])
        return self.structure((value_type,), depth)

    def _special(self, value_type: str, depth: int) -> Node:
        """Instructions that can trap or that must not see the bits of an arithmetic NaN; sizes."""
        if value_type in ("f32", "f64"):
            if self.chance(0.4):
                return self.exact_value(value_type, depth)
            return Node(f"{value_type}.copysign", [self.value(value_type, depth), self.observable(value_type, depth)])
        roll = self.rng.random()
        if roll < 0.4:
            divisor = self.values((value_type,), depth)
            if self.chance(0.3):
                divisor = [Node(f"{value_type}.const {self.rng.choice((1, 2, 3, 7, 10, 256, -1, -2, -5))}", result=value_type)]
            elif self.chance(0.8):
                divisor = [Node(f"{value_type}.or", [*divisor, Node(f"{value_type}.const 1", result=value_type)])]
            return Node(self.rng.choice(ops.DIVISIONS[value_type]), [self.value(value_type, depth), *divisor])
        if roll < 0.55:
            op, source = self.rng.choice(ops.TRUNCATIONS[value_type])
            operand = self.value(source, depth)
            if self.chance(0.85):  # small: does not trap
                operand = Node(f"{source}.convert_i32_s", [Node("i32.extend16_s", [self.value("i32", depth)])], result=source)
            return Node(op, [operand])
        if roll < 0.75:
            source = "f32" if value_type == "i32" else "f64"
            return Node(f"{value_type}.reinterpret_{source}", [self.observable(source, depth)])
        if value_type == "i64":
            return self._load(value_type, depth)
        if roll < 0.85:
            return Node("memory.size") if self.chance(0.5) else Node("memory.grow", [Node(f"i32.const {self.rng.randrange(3)}")])
        if roll < 0.93:
            return Node("ref.is_null", [self.value(self.rng.choice(ops.REFERENCES), depth)])
        table, value_type = self.rng.choice((("$t0", "funcref"), ("$t1", "externref")))
        if self.chance(0.5):
            return Node(f"table.size {table}")
        return Node(f"table.grow {table}", [self.value(value_type, depth), Node(f"i32.const {self.rng.randrange(3)}")])

    def observable(self, value_type: str, depth: int) -> Node:
        """A float whose bits may be looked at: exact ones, or any with its NaN made canonical."""
        if self.chance(0.3):
            return self.exact_value(value_type, depth)
        scratch = self.scratch[value_type]
        tee = Node(f"local.tee {scratch}", self.values((value_type,), depth))
        nan = Node(f"{value_type}.const nan")
        same = Node(f"{value_type}.eq", [Node(f"local.get {scratch}"), Node(f"local.get {scratch}")])
        return Node("select", [tee, nan, same], result=value_type)

    def exact_value(self, value_type: str, depth: int) -> Node:
        """A float made without arithmetic: its bits are the same on every engine."""
        roll = self.rng.random()
        integer = "i32" if value_type == "f32" else "i64"
        if depth <= 0 or roll < 0.2:
            return Node(ops.constant(value_type, ops.bits(self.rng, value_type)), result=value_type)
        if roll < 0.35:
            return Node(f"local.get {self.exact[value_type]}", result=value_type)
        if roll < 0.5:
            return self._load(value_type, depth)
        if roll < 0.65:
            return Node(f"{value_type}.reinterpret_{integer}", self.values((integer,), depth), result=value_type)
        if roll < 0.75:
            return Node(f"local.tee {self.exact[value_type]}", [self.exact_value(value_type, depth - 1)], result=value_type)
        if roll < 0.85:
            arms = [self.exact_value(value_type, depth - 1), self.exact_value(value_type, depth - 1)]
            return Node("select", [*arms, self.condition(depth - 1)], result=value_type)
        op = self.rng.choice(("abs", "neg", "copysign"))
        operands = [self.exact_value(value_type, depth - 1) for _ in range(2 if op == "copysign" else 1)]
        return Node(f"{value_type}.{op}", operands, result=value_type)

    def condition(self, depth: int) -> Node:
        """An i32, mostly from a comparison, so that it can be fused with what uses it."""
        if depth <= 0 or self.nodes_left <= 0:
            return self._simple("i32")
        if self.chance(0.65):
            op, params, _ = self.rng.choice(ops.COMPARISONS)
            node = Node(op, self.values(params, depth - 1), result="i32")
            return Node("i32.eqz", [node], result="i32") if self.chance(0.15) else node
        return self.value("i32", depth)

    def _index(self, depth: int) -> Node:
        """A table index, mostly inside."""
        if self.chance(0.6):
            return Node(f"i32.const {self.rng.randrange(TABLE_SIZE + (1 if self.chance(0.1) else 0))}")
        return Node("i32.and", [self.value("i32", depth), Node("i32.const 7")], result="i32")

    def _function_index(self, signature: Signature, depth: int) -> Node:
        """A table index, mostly that of a function of this type."""
        having = {name for name, its in self.env.functions if its == signature}
        indexes = [index for index, name in enumerate(self.env.table) if name in having]
        if not indexes or self.chance(0.1):
            return self._index(depth)
        constant = Node(f"i32.const {self.rng.choice(indexes)}", result="i32")
        return constant if self.chance(0.6) else Node("select", [constant, constant, self.condition(depth)], result="i32")

    # -- memory --------------------------------------------------------------------------------------------------------------

    def _address(self, depth: int) -> Node:
        roll = self.rng.random()
        if roll < 0.06:
            return self.value("i32", depth)
        if roll < 0.45:  # the shapes that real programs have: a pointer, or a sum of two, which wraps
            pointer = Node(f"local.get {self.rng.choice(self.pointers)}", result="i32")
            if self.chance(0.25):
                return pointer
            other = Node(f"i32.const {self.rng.choice((0, 1, 8, 100, 4096, -1, -8, -4096))}", result="i32")
            if self.chance(0.4):
                other = Node(f"local.get {self.rng.choice(self.pointers)}", result="i32")
            elif self.chance(0.4):
                other = self._pointer(depth)
            terms = [pointer, other] if self.chance(0.6) else [other, pointer]
            if self.chance(0.2):
                terms = [self._pointer(depth), *terms[1:]]
            return Node("i32.add", terms, result="i32")
        if roll < 0.6:
            return Node(f"i32.const {self.rng.choice((0, 4, 8, 16, 100, 1000, 65520, 65528))}", result="i32")
        mask = self.rng.choice((0xFF, 0xFFF, 0xFFF8, 0xFFE0))
        return Node("i32.and", [self.value("i32", depth), Node(f"i32.const {mask}")], result="i32")

    def _pointer(self, depth: int) -> Node:
        """Any value, masked so that it is an address in the first half of the memory."""
        mask = Node(f"i32.const {self.rng.choice((0xFF, 0x7FFF, 0x7FF8))}", result="i32")
        return Node("i32.and", [self.value("i32", depth - 1), mask], result="i32")

    def _memarg(self, op: str) -> str:
        roll = self.rng.random()
        if roll < 0.5:
            return op
        offset = self.rng.randrange(24) if roll < 0.97 else self.rng.choice((65528, 65535, 65536, 0x7FFFFFFF, 0xFFFFFFFF))
        return f"{op} offset={offset}" + (" align=1" if self.chance(0.3) else "")

    def _load(self, value_type: str, depth: int) -> Node:
        return Node(self._memarg(self.rng.choice(ops.LOADS[value_type])), [self._address(depth)], result=value_type)

    def _store(self, depth: int) -> Node:
        value_type = self.pick_type(references=False)
        value = self.observable(value_type, depth) if value_type[0] == "f" else self.value(value_type, depth)
        return Node(self._memarg(self.rng.choice(ops.STORES[value_type])), [self._address(depth), value])

    def _bulk(self, depth: int) -> Node:
        """Bulk operations, with small lengths; mostly in bounds."""
        address, other = self._address(depth), self._address(depth)
        length = Node(f"i32.const {self.rng.choice((0, 1, 3, 8, 17))}")
        start, to = (Node(f"i32.const {self.rng.randrange(5)}") for _ in range(2))
        small = Node(f"i32.const {self.rng.randrange(4)}")
        choices = [
            Node("memory.fill", [address, self.value("i32", depth), length]),
            Node("memory.copy", [address, other, length]),
            Node("table.fill $t1", [to, self.value("externref", depth), small]),
            Node("table.copy $t0 $t0", [to, start, small]),
            Node("table.set $t0", [self._index(depth), self.value("funcref", depth)]),
            Node("table.set $t1", [self._index(depth), self.value("externref", depth)]),
        ]
        if self.env.data_segments:
            segment = self.rng.randrange(self.env.data_segments)
            choices.append(Node(f"memory.init $d{segment}", [address, start, small]))
            if self.chance(0.1):
                choices.append(Node(f"data.drop $d{segment}"))
        if self.env.element_segments:
            segment = self.rng.randrange(self.env.element_segments)
            choices.append(Node(f"table.init $t0 $e{segment}", [to, start, small]))
            if self.chance(0.1):
                choices.append(Node(f"elem.drop $e{segment}"))
        return self.rng.choice(choices)

    # -- calls ---------------------------------------------------------------------------------------------------------------

    def _call(self, results: Types, depth: int) -> Node | None:
        """A call, direct or through the table, of something with these results."""
        if self.chance(0.3):
            signatures = [signature for signature in self.env.types if signature.results == results]
            if signatures:
                signature = self.rng.choice(signatures)
                index = self._function_index(signature, depth)
                return Node(f"call_indirect $t0{signature.text()}", [*self.values(signature.params, depth), index])
        callees = [(name, signature) for name, signature in self.env.functions if signature.results == results]
        if not callees:
            return None
        name, signature = self.rng.choice(callees)
        return Node(f"call {name}", self.values(signature.params, depth))

    # -- structures and branches ---------------------------------------------------------------------------------------------

    def structure(self, results: Types, depth: int) -> Node:
        """A block, loop or if that leaves ``results``, with parameters now and then."""
        params = self.pick_types(3) if self.chance(0.3) else ()
        operands = self.values(params, depth - 1)
        node = self._structure(params, results, depth)
        node.operands = [*operands, *node.operands]
        if len(results) == 1:
            node.result = results[0]
        return node

    def _structure(self, params: Types, results: Types, depth: int) -> Node:
        """The same without the parameters, which are on the stack already."""
        kind = self.rng.choice(("block", "block", "loop", "if", "if"))
        text = Signature(params, results).text()
        label_name = self._name(kind[0].upper())
        if kind == "loop":
            counter = self._new_local("i32", visible=False)
            guard = (counter, self.rng.randrange(1, 6))
            self.labels.append(Label(label_name, params, guard))
            step = Node(f"local.set {counter}", [Node("i32.add", [Node(f"local.get {counter}"), Node("i32.const 1")])])
            body = [step, *self.body(params, results, depth - 1)]
            self.labels.pop()
            return Node(f"loop {label_name}{text}", [Node(f"local.set {counter}", [Node("i32.const 0")])], [body])
        self.labels.append(Label(label_name, results, None))
        bodies = [self.body(params, results, depth - 1)]
        if kind == "if" and (params != results or self.chance(0.7)):
            bodies.append(self.body(params, results, depth - 1))
        self.labels.pop()
        return Node(f"{kind} {label_name}{text}", [self.condition(depth - 1)] if kind == "if" else [], bodies)

    def _guards(self, labels: list[Label]) -> list[Node]:
        return [
            Node("i32.lt_u", [Node(f"local.get {label.guard[0]}"), Node(f"i32.const {label.guard[1]}")], result="i32")
            for label in dict.fromkeys(labels)
            if label.guard
        ]

    def _branch_condition(self, label: Label, depth: int) -> Node:
        guards = self._guards([label])
        if not guards:
            return self.condition(depth)
        return guards[0] if self.chance(0.5) else Node("i32.and", [self.condition(depth), guards[0]], result="i32")

    def _leave(self, depth: int) -> Node:
        """A branch that is always taken where its loops' guards allow, wrapped so that it is a statement."""
        roll = self.rng.random()
        if roll < 0.15:
            leave, guards = Node("return", self.values(self.signature.results, depth)), []
        elif roll < 0.5:
            label = self.rng.choice(self.labels)
            leave, guards = Node(f"br {label.name}", self.values(label.types, depth)), self._guards([label])
        else:
            leave, guards = self._table(depth)
        condition = guards[0] if guards else self.condition(depth)
        for guard in guards[1:]:
            condition = Node("i32.and", [condition, guard], result="i32")
        return Node("if", [condition], [[leave]])

    def _table(self, depth: int) -> tuple[Node, list[Node]]:
        first = self.rng.choice(self.labels)
        same = [label for label in self.labels if label.types == first.types]
        targets = [self.rng.choice(same) for _ in range(self.rng.randrange(1, 6))]
        index = Node("i32.and", [self.value("i32", depth), Node("i32.const 7")]) if self.chance(0.7) else self.value("i32", depth)
        names = " ".join(label.name for label in targets)
        return Node(f"br_table {names}", [*self.values(first.types, depth), index]), self._guards(targets)

    # -- statements and bodies -----------------------------------------------------------------------------------------------

    def statement(self, depth: int) -> Node:
        """A node that leaves the stack as it was."""
        self.nodes_left -= 1
        roll = self.rng.random()
        if depth <= 0 or self.nodes_left <= 0 or roll < 0.30:
            name, value_type = self.rng.choice(self.locals)
            return Node(f"local.set {name}", self.values((value_type,), depth))
        if roll < 0.42:
            return self._store(depth)
        if roll < 0.48:
            cells = [(name, t) for name, t, mutable in self.env.globals if mutable]
            if cells:
                name, value_type = self.rng.choice(cells)
                return Node(f"global.set {name}", self.values((value_type,), depth))
        if roll < 0.54:
            return self._bulk(depth)
        if roll < 0.62 and not self.leaf:
            results = self.rng.choice(self.env.functions)[1].results
            call = self._call(results, depth)
            if call is not None:
                return Node("", [call, *(Node("drop") for _ in results)])
        if roll < 0.65:
            return Node(f"local.set {self.rng.choice(self.pointers)}", [self._pointer(depth)])
        if roll < 0.69:
            value_type = self.rng.choice(("f32", "f64"))
            return Node(f"local.set {self.exact[value_type]}", [self.exact_value(value_type, depth)])
        if roll < 0.76 and self.labels:
            return self._leave(depth)
        if roll < 0.80:
            return Node("drop", self.values((self.pick_type(),), depth))
        if roll < 0.82:
            return Node("nop")
        return self.structure((), depth)

    def body(self, params: Types, results: Types, depth: int) -> list[Node]:
        """A sequence that turns ``params`` on the stack into ``results``: a stack machine at random."""
        out: list[Node] = []
        stack = list(params)
        for _ in range(self.rng.randrange(1, 7)):
            if self.nodes_left <= 0:
                break
            self._step(out, stack, depth)
        if self.labels and self.chance(0.06):
            return [*out, *self._terminator(depth)]
        keep = 0
        while keep < min(len(stack), len(results)) and stack[keep] == results[keep]:
            keep += 1
        for value_type in reversed(stack[keep:]):
            names = self._locals_of(value_type)
            out.append(Node(f"local.set {self.rng.choice(names)}" if names and self.chance(0.6) else "drop"))
        return [*out, *self.values(results[keep:], depth)]

    def _step(self, out: list[Node], stack: list[str], depth: int) -> None:
        """One step of the stack machine: appends to ``out``, changes the types in ``stack``."""
        roll = self.rng.random()
        top = stack[-1] if stack else ""
        if roll < 0.35:
            out.append(self.statement(depth))
        elif roll < 0.60 or not stack:
            types = (self.pick_type(), *self.pick_types(1))
            out.extend(self.values(types, depth))
            stack.extend(types)
        elif roll < 0.66:
            stack.pop()
            names = self._locals_of(top)
            out.append(Node(f"local.set {self.rng.choice(names)}" if names and self.chance(0.7) else "drop"))
        elif roll < 0.71:
            names = self._locals_of(top)
            if names:
                out.append(Node(f"local.tee {self.rng.choice(names)}"))
        elif roll < 0.78 and top in ops.NUMBERS:
            out.append(Node(self.rng.choice(ops.UNARY_IN_PLACE[top])))
        elif roll < 0.86 and top in ops.NUMBERS:
            out.append(Node(self.rng.choice(ops.BINARY_IN_PLACE[top]), self.values((top,), depth)))
        elif roll < 0.92 and depth > 0:
            count = self.rng.randrange(1, min(3, len(stack)) + 1)
            params, results = tuple(stack[-count:]), self.pick_types(3)
            out.append(self._structure(params, results, depth))
            stack[-count:] = results
        else:
            labels = [label for label in self.labels if label.types and tuple(stack[-len(label.types) :]) == label.types]
            if labels:
                label = self.rng.choice(labels)
                out.append(Node(f"br_if {label.name}", [self._branch_condition(label, depth)]))

    def _terminator(self, depth: int) -> list[Node]:
        """An unconditional end of the body, and dead code behind it."""
        targets = [label for label in self.labels if not label.guard]
        if targets and self.chance(0.8):
            label = self.rng.choice(targets)
            leave = Node(f"br {label.name}", self.values(label.types, depth))
        elif self.chance(0.9):
            leave = Node("return", self.values(self.signature.results, depth))
        else:
            leave = Node("unreachable")
        # Behind it the stack has any type: fragments that leave it so.
        fragments = ("drop", "nop", "i32.add;drop", "select;drop", "i64.eqz;drop", "f32.neg;drop", "f64.lt;drop")
        dead = [op for _ in range(self.rng.randrange(3)) for op in self.rng.choice(fragments).split(";")]
        return [leave, *(Node(op) for op in dead)]

    def function(self, name: str) -> Function:
        """The whole function."""
        budget: list[Node] = []
        if not self.leaf:
            spent = Node("i32.lt_s", [Node("global.get $budget"), Node("i32.const 0")])
            nothing = [Node(zero(t)) for t in self.signature.results]
            budget = [
                Node("if", [spent], [[Node("return", nothing)]]),
                Node("global.set $budget", [Node("i32.sub", [Node("global.get $budget"), Node("i32.const 1")])]),
            ]
        self.labels.append(Label("$F", self.signature.results, None))
        inner = self.body((), self.signature.results, self.rng.randrange(2, 6))
        self.labels.pop()
        results = f" (result {' '.join(self.signature.results)})" if self.signature.results else ""
        params = "".join(f" (param $p{i} {t})" for i, t in enumerate(self.signature.params))
        own = "".join(f" (local {local} {t})" for local, t in self.own_locals)
        return Function(f"(func {name}{params}{results}{own}", [*budget, Node(f"block $F{results}", [], [inner])])


def zero(value_type: str) -> str:
    """The instruction that pushes a type's default value."""
    if value_type in ops.REFERENCES:
        return f"ref.null {value_type.removesuffix('ref')}"
    return f"{value_type}.const 0"
