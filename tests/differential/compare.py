"""Runs one program on two engines and tells the first difference: results, traps, host calls, memory, globals, table sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import wasmtime

from spectest.embedding import Embedding, Failure, Instance
from spectest.values import Constant, is_nan
from tests.oracle import OracleEmbedding, OracleInstance

from .ops import float_bits
from .program import HOST
from .tree import Program

# The second engine cannot tell these two apart.
_SAME_TRAP = {"undefined element": "out of bounds table access"}
# Instructions after which the second engine gives up: such a program is no test.
ORACLE_FUEL = 20_000_000
MASK64 = (1 << 64) - 1

HostLog = list[tuple[str, tuple[Any, ...]]]


class Subject(Protocol):
    """An engine with what the comparison needs beyond the runner's interface."""

    name: str

    def embedding(self) -> Embedding:
        """A new store."""

    def host(self, embedding: Any, log: HostLog) -> Instance:
        """The host module, which notes its calls in ``log``."""

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


def host_results(name: str, args: Sequence[Any]) -> Any:
    """What the host functions answer: the same for both engines, values as Python's signed integers."""
    if name == "mix":
        return _signed((args[0] * 31 + args[1] * 17 + 5) & MASK64, 64)
    if name == "pair":
        return (_signed(args[0] & 0xFFFFFFFF, 32), _signed((args[0] ^ 0x5555) & MASK64, 64))
    return None


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) else value


def host_function(name: str, log: HostLog) -> Callable[..., Any]:
    """A host function that notes its arguments; a float as bits, with one pattern for all NaNs."""

    def call(*args: Any) -> Any:
        plain = tuple(("nan" if arg != arg else float_bits(arg, "f64")) if isinstance(arg, float) else arg for arg in args)
        log.append((name, plain))
        return host_results(name, args)

    return call


def _canonical(type_name: str, raw: Any) -> Any:
    """A result as it may be compared: NaNs are one value, function references are null or not."""
    if type_name in ("f32", "f64") and is_nan(raw, type_name, "any"):
        return "nan"
    if type_name == "funcref":
        return None if raw is None else "function"
    return raw


def observe(program: Program, binaries: Sequence[bytes], subject: Subject) -> Trace:
    """Runs the program on one engine. A module that does not instantiate ends the trace with its failure."""
    trace, log = Trace(), HostLog()
    embedding = subject.embedding()
    try:
        instances = _instantiate(program, binaries, subject, embedding, log, trace)
        if instances is not None:
            for invocation in program.calls:
                label = f"m{invocation.module}.{invocation.function}{_show(invocation.args)}"
                constants = [Constant("ref" if t.endswith("ref") else t, "bits", raw) for t, raw in invocation.args]
                try:
                    results = instances[invocation.module].invoke(invocation.function, constants)
                    trace.events.append((label, [_canonical(t, raw) for t, raw in results]))
                except Failure as failure:
                    trace.events.append((label, _failure(failure)))
        trace.events.append(("host calls", list(log)))
        for number, instance in enumerate(instances or ()):
            _state(program, number, instance, subject, trace)
    finally:
        embedding.close()
    return trace


def _instantiate(
    program: Program, binaries: Sequence[bytes], subject: Subject, embedding: Embedding, log: HostLog, trace: Trace
) -> list[Instance] | None:
    registered: dict[str, Instance] = {"host": subject.host(embedding, log)}
    instances: list[Instance] = []
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
    return f"{failure.kind}: {_SAME_TRAP.get(failure.message, failure.message)}"


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

    class _Embedding(OracleEmbedding):
        _engine = None  # set on first use

        def __init__(self) -> None:
            if type(self)._engine is None:
                type(self)._engine = _fuelled_engine()
            super().__init__()
            self.store.set_fuel(ORACLE_FUEL)

    def embedding(self) -> OracleEmbedding:
        """See Subject."""
        return self._Embedding()

    def host(self, embedding: OracleEmbedding, log: HostLog) -> OracleInstance:
        """See Subject."""
        exports: dict[str, Any] = {}
        for name, signature in HOST:
            params = [getattr(wasmtime.ValType, t)() for t in signature.params]
            results = [getattr(wasmtime.ValType, t)() for t in signature.results]
            exports[name] = wasmtime.Func(embedding.store, wasmtime.FuncType(params, results), host_function(name, log))
        return OracleInstance(embedding.raw, exports)

    def memory(self, instance: OracleInstance) -> bytes:
        """See Subject."""
        memory = instance.exports.get("memory")
        return b"" if memory is None else bytes(memory.read(instance.raw.store, 0, memory.data_len(instance.raw.store)))

    def table_size(self, instance: OracleInstance, name: str) -> int:
        """See Subject."""
        return int(instance.exports[name].size(instance.raw.store))


def _fuelled_engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.cranelift_opt_level = "none"
    config.parallel_compilation = False
    config.consume_fuel = True
    config.memory_reservation = 1 << 26
    config.memory_guard_size = 1 << 16
    return wasmtime.Engine(config)


def sandbox_subjects() -> Mapping[str, Subject]:
    """Our engine in its configurations, by name."""
    from .sandbox_subject import SandboxSubject

    return {
        "guarded": SandboxSubject("guarded"),
        "explicit": SandboxSubject("explicit", explicit_bounds=True),
        "metered": SandboxSubject("metered", metered=True),
    }
