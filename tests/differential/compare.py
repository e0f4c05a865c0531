"""Runs one program on two engines and tells the first difference: results, traps, host calls, memory, globals, table sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import wasmtime

from spectest.embedding import Embedding, Failure, Instance
from spectest.values import Constant, is_nan
from tests.oracle import OracleEmbedding, OracleInstance, engine

from .ops import float_bits
from .program import HOST, NESTED
from .tree import Program

# The second engine cannot tell these two apart.
_SAME_TRAP = {"undefined element": "out of bounds table access"}
# The second engine's backtraces hold no more.
_FRAMES = 20
# Instructions after which the second engine gives up: such a program is no test.
ORACLE_FUEL = 20_000_000
MASK64 = (1 << 64) - 1



class Subject(Protocol):
    """An engine with what the comparison needs beyond the runner's interface."""

    name: str

    def embedding(self) -> Embedding:
        """A new store."""

    def host(self, embedding: Any, calls: HostCalls) -> Instance:
        """The host module."""

    def memory(self, instance: Any) -> bytes:
        """All bytes of the export ``memory``."""

    def table_size(self, instance: Any, name: str) -> int:
        """Elements of an exported table."""


class OutOfFuel(Exception):
    """The second engine ran too long: the program says nothing."""


@dataclass(slots=True)
class Trace:
    """All that can be observed of a run, in order, each with a label."""

    events: list[tuple[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class HostCalls:
    """What the host functions do, the same for both engines: they note their arguments, and one calls the guest again."""

    instances: list[Instance] = field(default_factory=list)
    log: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def function(self, name: str) -> Callable[..., Any]:
        """A host function over Python's signed integers and floats."""

        def call(*args: Any) -> Any:
            self.log.append((name, tuple(_plain(arg) for arg in args)))
            return self._results(name, args)

        return call

    def _results(self, name: str, args: Sequence[Any]) -> Any:
        if name == "mix":
            return _signed((args[0] * 31 + args[1] * 17 + 5) & MASK64, 64)
        if name == "pair":
            return (_signed(args[0] & 0xFFFFFFFF, 32), _signed((args[0] ^ 0x5555) & MASK64, 64))
        if name == "again":
            return self._again(args[0])
        return None

    def _again(self, argument: int) -> int:
        if not self.instances:  # a start function: nothing to call yet
            return 0
        try:
            constant = Constant("i32", "bits", argument & 0xFFFFFFFF)
            ((_, raw),) = self.instances[0].invoke(NESTED[0], [constant])
        except Failure as failure:
            failure.frames = ()  # the second engine shows those of the waiting call, too
            self.log.append(("again failed", (_failure(failure),)))
            return -1
        return _signed(raw, 32)


def _plain(arg: Any) -> Any:
    """A float as its bits, with one pattern for all NaNs."""
    if not isinstance(arg, float):
        return arg
    return "nan" if arg != arg else float_bits(arg, "f64")


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) else value


def _canonical(type_name: str, raw: Any) -> Any:
    """A result as it may be compared: NaNs are one value, function references are null or not."""
    if type_name in ("f32", "f64") and is_nan(raw, type_name, "any"):
        return "nan"
    if type_name == "funcref":
        return None if raw is None else "function"
    return raw


def observe(program: Program, binaries: Sequence[bytes], subject: Subject) -> Trace:
    """Runs the program on one engine. A module that does not instantiate ends the trace with its failure."""
    trace, calls = Trace(), HostCalls()
    embedding = subject.embedding()
    try:
        instances = _instantiate(program, binaries, subject, embedding, calls, trace)
        if instances is not None:
            for invocation in program.calls:
                label = f"m{invocation.module}.{invocation.function}{_show(invocation.args)}"
                constants = [Constant("ref" if t.endswith("ref") else t, "bits", raw) for t, raw in invocation.args]
                try:
                    results = instances[invocation.module].invoke(invocation.function, constants)
                    trace.events.append((label, [_canonical(t, raw) for t, raw in results]))
                except Failure as failure:
                    trace.events.append((label, _failure(failure)))
        trace.events.append(("host calls", list(calls.log)))
        for number, instance in enumerate(instances or ()):
            _state(program, number, instance, subject, trace)
    finally:
        embedding.close()
    return trace


def _instantiate(
    program: Program, binaries: Sequence[bytes], subject: Subject, embedding: Embedding, calls: HostCalls, trace: Trace
) -> list[Instance] | None:
    registered: dict[str, Instance] = {"host": subject.host(embedding, calls)}
    instances = calls.instances
    for tree, binary in zip(program.modules, binaries, strict=True):
        try:
            instance = embedding.instantiate(embedding.compile(binary), registered)
        except Failure as failure:
            trace.events.append((f"instantiate {tree.name}", _failure(failure)))
            return None
        registered[tree.name] = instance
        instances.append(instance)
    return instances


def _failure(failure: Failure) -> str:
    if "all fuel consumed" in failure.message:
        raise OutOfFuel
    if failure.kind == "unlinkable":
        return failure.kind  # the words are the official suite's business
    frames = [f", {index} at {offset:#x}" for index, offset in failure.frames[:_FRAMES]]
    if frames and failure.message == "out of bounds memory access":
        # The second engine folds loads into what uses them, and then names that instruction.
        frames[0] = f", {failure.frames[0][0]}"
    return f"{failure.kind}: {_SAME_TRAP.get(failure.message, failure.message)}{''.join(frames)}"


def _state(program: Program, number: int, instance: Any, subject: Subject, trace: Trace) -> None:
    """Memory, globals and tables after the last call."""
    memory = subject.memory(instance)
    trace.events.append((f"m{number} memory", (len(memory), hashlib.sha256(memory).hexdigest())))
    for line in program.modules[number].fields:
        name = line.split('"')[1] if "(export" in line else ""
        if line.startswith("(global $"):
            if name:
                trace.events.append((f"m{number} global {name}", _canonical(*instance.get(name))))
        elif line.startswith("(table $"):
            trace.events.append((f"m{number} table {name}", subject.table_size(instance, name)))


def _show(args: Sequence[tuple[str, Any]]) -> str:
    return "(" + ", ".join(f"{t} {'null' if raw is None else hex(raw)}" for t, raw in args) + ")"


def difference(expected: Trace, got: Trace) -> str | None:
    """The first difference in words, or None."""
    for (label, wanted), (_, seen) in zip(expected.events, got.events, strict=False):
        if wanted != seen:
            return f"{label}: expected {wanted}, got {seen}"
    if len(expected.events) != len(got.events):
        return f"{len(expected.events)} events expected, {len(got.events)} seen"
    return None


class OracleSubject:
    """The second engine, with fuel so that whatever a reducer makes of a program ends."""

    name = "wasmtime"

    def embedding(self) -> OracleEmbedding:
        """See Subject."""
        embedding = OracleEmbedding(engine(metered=True))
        embedding.store.set_fuel(ORACLE_FUEL)
        return embedding

    def host(self, embedding: OracleEmbedding, calls: HostCalls) -> OracleInstance:
        """See Subject."""
        exports: dict[str, Any] = {}
        for name, signature in HOST:
            params = [getattr(wasmtime.ValType, t)() for t in signature.params]
            results = [getattr(wasmtime.ValType, t)() for t in signature.results]
            exports[name] = wasmtime.Func(embedding.store, wasmtime.FuncType(params, results), calls.function(name))
        return OracleInstance(embedding.raw, exports)

    def memory(self, instance: OracleInstance) -> bytes:
        """See Subject."""
        memory = instance.exports.get("memory")
        return b"" if memory is None else bytes(memory.read(instance.raw.store, 0, memory.data_len(instance.raw.store)))

    def table_size(self, instance: OracleInstance, name: str) -> int:
        """See Subject."""
        return int(instance.exports[name].size(instance.raw.store))


def sandbox_subjects() -> Mapping[str, Subject]:
    """Our engine in its configurations, on each executor of this build. Those with ``spent`` must all spend the same fuel."""
    from sandboxhost.errors import WorkerError

    from .sandbox_subject import InterruptedSubject, MeteredSubject, SandboxSubject

    subjects: dict[str, Subject] = {}
    for tier, prefix in (("interpreter", ""), ("compiled", "compiled-")):
        try:
            SandboxSubject("", tier=tier).embedding().close()
        except WorkerError:  # this build has no such executor
            continue
        made = (
            SandboxSubject(f"{prefix}guarded", tier=tier),
            SandboxSubject(f"{prefix}explicit", tier=tier, explicit_bounds=True),
            MeteredSubject(f"{prefix}metered", sips=False, tier=tier),
            MeteredSubject(f"{prefix}refuelled", sips=True, tier=tier, explicit_bounds=True),
            InterruptedSubject(f"{prefix}interrupted", tier=tier),
        )
        subjects |= {subject.name: subject for subject in made}
    return subjects
