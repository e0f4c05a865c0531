"""Interpreter against machine code: generated and mutated modules, everything that can be observed compared. No second engine.

Part of ``python -m tests.differential --tiers``. Results and NaN payloads are compared bit for bit, traps with their whole
backtraces, fuel to the unit, memories byte for byte; a run that exhausts the call stack says nothing, because the tiers' frames
differ in size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from sandboxhost.errors import FuelExhausted, ModuleError, SandboxError, StackLimit, Trap
from sandboxhost.limits import Limits
from sandboxworker.call_engine import CallEngine
from sandboxworker.context import CallContext
from sandboxworker.engine import Engine, Module
from sandboxworker.module_instance import FunctionInstance, GlobalInstance, MemoryInstance, TableInstance
from sandboxworker.store import Store
from sandboxworker.types import FunctionType, ValueType

from .compare import HostCalls
from .program import HOST, NESTED, argument, generate
from .reduce import Reducer, as_script, assemble
from .tree import Invocation, Program
from .validity import mutate

FUEL = 200_000
"""Of one call: a mutant may loop for ever."""
LIMITS = Limits(memory="16MiB", table_elements=100_000, call_depth=2000)


class Mode(NamedTuple):
    """How both tiers are compiled for one comparison."""

    metered: bool
    explicit_bounds: bool


MODES = tuple(Mode(metered, explicit) for metered in (True, False) for explicit in (False, True))


class Exhausted(Exception):
    """A call ran out of stack: what follows may differ."""


class _Nested:
    """Gives HostCalls the guest function that it calls again; counts against the fuel of the call that is waiting."""

    def __init__(self, function: FunctionInstance) -> None:
        self._function = function

    def invoke(self, field_name: str, args: Sequence[Any]) -> list[tuple[str, Any]]:
        """See spectest.embedding.Instance."""
        from spectest.embedding import Failure

        try:
            (raw,) = self._function.call_raw(*(constant.value for constant in args))
        except StackLimit:
            raise Exhausted from None
        except SandboxError as error:
            raise Failure("trap", _words(error)) from error
        return [("i32", raw)]

    def get(self, field_name: str) -> tuple[str, Any]:
        """Never asked for."""
        raise AssertionError(field_name)


def _words(error: SandboxError) -> str:
    if isinstance(error, Trap):
        return f"trap: {error.cause}"
    return f"{type(error).__name__}: {error}"


def _frames(error: BaseException | None) -> list[tuple[int, int]]:
    return [(f.function_index, f.offset) for f in error.frames] if isinstance(error, Trap) else []


@dataclass(slots=True)
class TierRunner:
    """One tier in one mode; its engine and its stacks serve every program."""

    tier: Any
    mode: Mode
    engine: Engine = field(init=False)
    calls: CallEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = Engine(tier=self.tier, metered=self.mode.metered, explicit_bounds=self.mode.explicit_bounds, limits=LIMITS)
        self.calls = CallEngine(call_depth=LIMITS.call_depth)

    def run(self, binaries: Sequence[bytes], invocations: Sequence[Invocation]) -> list[tuple[str, Any]]:
        """All that was observed, in order. Raises Exhausted."""
        events: list[tuple[str, Any]] = []
        modules = [Module(data, f"m{number}") for number, data in enumerate(binaries)]
        store = Store(self.engine, LIMITS)
        try:
            store.use_call_engine(self.calls)
            self._run(store, modules, invocations, events)
        finally:
            store.close()
            for module in modules:
                self.engine.delete_compiled_module(module)
        return events

    def _run(self, store: Store, modules: list[Module], invocations: Sequence[Invocation], events: list[tuple[str, Any]]) -> None:
        host, instances = HostCalls(), []
        imports: dict[tuple[str, str], Any] = {}
        for name, signature in HOST:
            params, results = (tuple(ValueType[t.upper()] for t in types) for types in (signature.params, signature.results))
            imports["host", name] = store.host_function(FunctionType(params, results), host.function(name))
        for module in modules:
            context = CallContext(fuel=FUEL, host_calls=1000)
            try:
                self.engine.compile_module(module)
                instance = store.instantiate(module, imports=imports, context=context)
            except SandboxError as error:
                self._check(error)
                events.append((f"instantiate {module.name}", (_words(error), _frames(error), context.fuel_used)))
                break
            instances.append(instance)
            imports.update(((module.name, name), extern) for name, extern in instance.exports.items())
            nested = instance.exports.get(NESTED[0])
            if len(instances) == 1 and isinstance(nested, FunctionInstance) and str(nested.type) == "(i32) -> (i32)":
                host.instances.append(_Nested(nested))
        for number, call in enumerate(invocations):
            if call.module < len(instances):
                events.append(
                    (f"call {number}: m{call.module}.{call.function}", self._call(instances[call.module], call, number))
                )
        events.append(("host calls", list(host.log)))
        for number, instance in enumerate(instances):
            events += _state(number, instance.exports)

    def _call(self, instance: Any, call: Invocation, number: int) -> Any:
        function = instance.exports.get(call.function)
        if not isinstance(function, FunctionInstance):
            return "no such function"
        rng = Random(number)
        types = [t.name.lower() for t in function.type.params]
        given = [raw for _, raw in call.args] if types == [t for t, _ in call.args] else [argument(rng, t) for t in types]
        context = CallContext(fuel=FUEL, host_calls=1000)
        try:
            results = function.call_raw(*given, context=context)
        except SandboxError as error:
            self._check(error)
            return _words(error), _frames(error), context.fuel_used
        shown = [None if raw is None else "function" if t is ValueType.FUNCREF else raw
                 for t, raw in zip(function.type.results, results, strict=True)]  # fmt: skip
        return shown, [], context.fuel_used

    @staticmethod
    def _check(error: SandboxError) -> None:
        if isinstance(error, StackLimit):
            raise Exhausted from None


def _state(number: int, exports: Any) -> Iterator[tuple[str, Any]]:
    for name, extern in exports.items():
        label = f"m{number} {name}"
        if isinstance(extern, MemoryInstance):
            yield label, extern.read(0, extern.byte_size)
        elif isinstance(extern, GlobalInstance):
            raw = extern.raw
            yield label, (raw is not None) if extern.type.type is ValueType.FUNCREF else raw
        elif isinstance(extern, TableInstance):
            yield label, (extern.size, [extern.get(i) is None for i in range(min(extern.size, 64))])


def difference(first: Sequence[tuple[str, Any]], second: Sequence[tuple[str, Any]]) -> str | None:
    """The first difference in words (interpreter first), or None."""
    for (label, wanted), (_, seen) in zip(first, second, strict=False):
        if wanted != seen:
            if isinstance(wanted, bytes) and isinstance(seen, bytes):
                at = next((i for i, pair in enumerate(zip(wanted, seen, strict=False)) if pair[0] != pair[1]), 0)
                sizes, shown = f"{len(wanted)} and {len(seen)} bytes", [memory[at : at + 8].hex() for memory in (wanted, seen)]
                return f"{label}: {sizes}, at {at:#x}: {shown[0]} and {shown[1]}"
            return f"{label}: interpreter {wanted}, machine code {seen}"
    return None if len(first) == len(second) else f"{len(first)} and {len(second)} events"


@dataclass(slots=True)
class TierFinding:
    """A difference: which module, in which mode, in words."""

    seed: int
    mutant: int
    mode: Mode
    reason: str
    binaries: list[bytes]
    script: str = ""

    def write(self, directory: Path) -> None:
        """The binaries, and the reduced script of a generated program."""
        directory.mkdir(parents=True, exist_ok=True)
        stem = f"tiers_{self.seed}_{self.mutant}"
        for number, binary in enumerate(self.binaries):
            (directory / f"{stem}_m{number}.wasm").write_bytes(binary)
        (directory / f"{stem}.txt").write_text(f"{self.mode}: {self.reason}\n{self.script}")


class TierCampaign:
    """Compares program after program; `modules` counts comparisons of one module, or pair of modules, in one mode or more."""

    def __init__(self, mutants: int = 6, reduce: bool = True) -> None:
        self.mutants = mutants
        self.reduce = reduce
        self.modules = 0
        self.outcomes: Counter[str] = Counter()
        self.findings: list[TierFinding] = []
        self._runners = {(tier, mode): TierRunner(tier, mode) for tier in ("interpreter", "compiled") for mode in MODES}

    def check(self, seed: int) -> None:
        """The program of one seed, then its mutants."""
        rng = Random(seed)
        program = generate(rng)
        binaries = assemble(program)
        if binaries is None:
            raise ValueError(f"seed {seed}: the generated program is not valid")
        self._compare(seed, 0, binaries, program.calls, program)
        for mutant in range(1, self.mutants + 1):
            changed = list(binaries)
            which = rng.randrange(len(changed))
            for _ in range(8):  # most mutants are not valid; this process compiles a module faster than it makes one
                candidate = mutate(rng, binaries[which])
                if candidate != binaries[which] and self._valid(candidate):
                    changed[which] = candidate
                    self._compare(seed, mutant, changed, program.calls, None)
                    break

    def _valid(self, data: bytes) -> bool:
        engine, module = self._runners["interpreter", MODES[0]].engine, Module(data)
        try:
            engine.compile_module(module)
        except ModuleError:
            return False
        except SandboxError:
            return False
        engine.delete_compiled_module(module)
        return True

    def _compare(self, seed: int, mutant: int, binaries: list[bytes], calls: list[Invocation], program: Program | None) -> None:
        self.modules += 1
        bounds = bool((seed + mutant) & 1)
        modes = [Mode(True, bounds), Mode(False, not bounds)]
        for mode in modes:
            reason, ended = self._differs(mode, binaries, calls)
            if reason is not None:
                finding = TierFinding(seed, mutant, mode, reason, binaries)
                if program is not None and self.reduce:
                    finding.script = self._reduced(program, mode)
                self.findings.append(finding)
                return
            if not ended:
                return  # without fuel it might never end

    def _differs(self, mode: Mode, binaries: list[bytes], calls: list[Invocation]) -> tuple[str | None, bool]:
        """(the difference, whether every call ended by itself)."""
        try:
            expected = self._runners["interpreter", mode].run(binaries, calls)
        except Exhausted:
            self.outcomes["call stack exhausted"] += 1
            return None, False
        ended = True
        for label, event in expected:
            if label.startswith(("call", "instantiate")) and isinstance(event, tuple):
                words = event[0] if isinstance(event[0], str) else "results"
                self.outcomes[words if words.startswith("trap") else words.partition(":")[0]] += 1
                ended = ended and not words.startswith(FuelExhausted.__name__)
        try:
            got = self._runners["compiled", mode].run(binaries, calls)
        except Exhausted:
            return "machine code ran out of stack, the interpreter did not", False
        return difference(expected, got), ended

    def _reduced(self, program: Program, mode: Mode) -> str:
        def differs(candidate: Program) -> bool:
            binaries = assemble(candidate)
            return binaries is not None and self._differs(mode, binaries, candidate.calls)[0] is not None

        Reducer(program, differs).run()
        binaries = assemble(program) or []
        return as_script(program, f"{mode}: {self._differs(mode, binaries, program.calls)[0]}")
