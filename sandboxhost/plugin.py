"""A loaded plugin: the object that an application calls."""
from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from .calls import BatchEvents, Binding, CallFuture, FutureEvents, Waiter
from .engine import Export, ModuleDescription
from .errors import Overloaded, PayloadTooLarge, SignatureMismatch, UnknownFunction, printable
from .grants import Grants
from .host_functions import current_call
from .limits import Limits
from .options import RunOptions
from .router import CallSpec, Finish
from .statistics import Usage
from .values import ExternKind, FunctionType, ValueType, pack, unpack

if TYPE_CHECKING:
    from .host import Backend

__all__ = ["Completed", "Outcome", "Plugin"]

BATCH = 512
"""Calls that `map` hands over at a time."""


@dataclass(frozen=True)
class Outcome:
    """Results of one call and what it used."""

    values: tuple[Any, ...]
    usage: Usage

    @property
    def value(self) -> Any:
        """None, the one result, or the tuple of results."""
        return _plain(self.values)


@dataclass(frozen=True)
class Completed:
    """How a command ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    usage: Usage


def _plain(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else (values or None)


class Plugin:
    """A plugin that `Host.load` returned. Its methods may be called by several threads.

    Every call raises one of: Trap, GuestExit, HostFunctionError, Cancelled, LimitExceeded and its kinds, InstantiationError,
    WorkerLost, WorkerStartError, HostClosed; and, before anything is started, UnknownFunction, SignatureMismatch, Overloaded.
    """

    def __init__(self, number: int, name: str, limits: Limits, grants: Grants, description: ModuleDescription, backend: Backend,
                 binding: Binding, idempotent: bool, entry: str = "") -> None:
        self.entry = entry or ("_start" if "_start" in description.exports else "")
        """What its manifest names as the function to call or the command to run; else `_start` where it is exported; else ""."""
        self.name, self.limits, self.grants, self.description = name, limits, grants, description
        self.number = number
        self._backend, self._binding, self._idempotent = backend, binding, idempotent

    def __repr__(self) -> str:
        return f"<Plugin {self.name}>"

    @property
    def exports(self) -> Mapping[str, Export]:
        """What the module exports, by name."""
        return self.description.exports

    def signature(self, function: str) -> FunctionType:
        """The type of an exported function. Raises UnknownFunction."""
        export = self.description.exports.get(function)
        if export is not None and isinstance(export.type, FunctionType):
            return export.type
        shown = printable(repr(function), 200)
        what = f"no function {shown}" if export is None else f"{shown} as a {export.kind}, not as a function"
        raise UnknownFunction(f"{self.name} exports {what}", plugin=self.name, function=function)

    # ---- calls ----

    def call(self, function: str, *arguments: Any) -> Any:
        """Calls an exported function: None, its one result, or a tuple of results."""
        return self.invoke(function, *arguments).value

    def invoke(self, function: str, *arguments: Any) -> Outcome:
        """Like `call`, with what the call used."""
        type_ = self.signature(function)
        spec = self._spec(function, pack(type_.params, arguments, function))
        item = self._backend.perform(spec, Waiter(self._binding, function))
        return Outcome(unpack(type_.results, item.payload, f"results of {function}"), item.usage)

    def submit(self, function: str, *arguments: Any) -> CallFuture:
        """Starts a call; a Future of what `call` returns."""
        type_ = self.signature(function)
        spec = self._spec(function, pack(type_.params, arguments, function))
        future = CallFuture()
        future.backend, future.threads = self._backend, self._binding.threads
        future.set_running_or_notify_cancel()
        events = FutureEvents(self._binding, function, future, lambda item: _plain(unpack(type_.results, item.payload, function)))
        (future.call_id,) = self._backend.submit([spec], [events], background=True)
        return future

    def map(self, function: str, rows: Iterable[Any]) -> list[Any]:
        """Calls `function` once a row (a tuple of arguments, or the one argument) and returns the results in order.

        Raises the first error that comes, after the calls that were under way then have been cancelled and have ended.
        """
        type_ = self.signature(function)
        items: queue.SimpleQueue[tuple[BatchEvents, Any]] = queue.SimpleQueue()
        source = enumerate(rows)
        results: list[Any] = []
        running: dict[int, int] = {}
        size = max(1, min(BATCH, self.limits.pending_calls // 2))
        more = True
        try:
            while more or running:
                while more and len(running) <= size:
                    chunk = [pair for _, pair in zip(range(size), source, strict=False)]
                    more = len(chunk) == size
                    if chunk:
                        results.extend([None] * len(chunk))
                        self._submit_rows(function, type_, chunk, items, running)
                if not running:
                    break
                events, item = items.get()
                if not isinstance(item, Finish):
                    events.answer(item)
                    continue
                del running[events.position]
                error = events.ended(item)
                if error is not None:
                    raise error
                results[events.position] = _plain(unpack(type_.results, item.payload, function))
        except BaseException:
            for call_id in running.values():
                self._backend.cancel(call_id)
            while running:  # each has an outcome soon; none is under way when this returns
                events, item = items.get()
                if isinstance(item, Finish):
                    running.pop(events.position, None)
            raise
        return results

    def _submit_rows(self, function: str, type_: FunctionType, chunk: list[tuple[int, Any]], items: Any,
                     running: dict[int, int]) -> None:
        """Submits a chunk, waiting for room as long as calls of the same `map` occupy it."""
        specs = [self._spec(function, pack(type_.params, row if isinstance(row, tuple) else (row,), function), batch=True)
                 for _, row in chunk]
        events = [BatchEvents(self._binding, function, position, items) for position, _ in chunk]
        while True:
            try:
                ids = self._backend.submit(specs, events)
                break
            except Overloaded as exc:
                if not running:
                    raise
                time.sleep(exc.retry_after)
        running.update(zip((position for position, _ in chunk), ids, strict=True))

    def run(self, arguments: Sequence[str] = (), stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Completed:
        """Runs the WASI command (`_start`) to its end and returns its exit code, stdout and stderr.

        arguments: after the program's name, which is the plugin's (empty: those of the grants); environment: beside the grants'
        variables. A trap, a limit and so on raise as in `call`.
        """
        waiter = Waiter(self._binding, "_start", keep_output=True)
        item = self._run(waiter, arguments, stdin, environment, "capture")
        stdout, stderr = (b"".join(pieces) for pieces in waiter.output)
        return Completed(_exit_code(item), stdout, stderr, item.usage)

    def run_with(self, arguments: Sequence[str], stdin: int | IO[Any], stdout: int | IO[Any], stderr: int | IO[Any],
                 environment: Mapping[str, str] | None = None) -> Completed:
        """Like `run`, but the command reads and writes these descriptors of the application itself; nothing is captured."""
        descriptors = tuple(item if isinstance(item, int) else item.fileno() for item in (stdin, stdout, stderr))
        waiter = Waiter(self._binding, "_start", keep_output=True, descriptors=descriptors)
        item = self._run(waiter, arguments, b"", environment, "descriptors")
        return Completed(_exit_code(item), b"", b"", item.usage)

    def _run(self, waiter: Waiter, arguments: Sequence[str], stdin: bytes, environment: Mapping[str, str] | None,
             stdio: str) -> Finish:
        type_ = self.signature("_start")
        if type_ != FunctionType():
            raise SignatureMismatch(f"_start: expected () -> (), got {type_}", plugin=self.name, function="_start")
        argv = (self.name, *(arguments or self.grants.arguments))
        variables = Grants(environment={**self.grants.environment, **(environment or {})}, arguments=argv)
        pairs = tuple(f"{name}={value}" for name, value in variables.environment.items())
        options = RunOptions(variables.arguments, pairs, bytes(stdin), stdio)
        spec = self._spec("_start", options.encode(), kind="run")
        spec.descriptors = bool(waiter.descriptors)
        (call_id,) = self._backend.submit([spec], [waiter])
        return waiter.wait(call_id)

    def _spec(self, function: str, payload: bytes, kind: str = "call", batch: bool = False) -> CallSpec:
        if len(payload) > self.limits.argument_bytes:
            raise PayloadTooLarge(f"the arguments have {len(payload)} bytes, {self.limits.argument_bytes} are allowed",
                                  limit="argument_bytes", allowed=self.limits.argument_bytes, plugin=self.name, function=function)
        deadline = None if self.limits.deadline is None else time.monotonic() + self.limits.deadline
        backend, parent = current_call.get()
        return CallSpec(self.number, kind, function, payload, deadline, parent if backend is self._backend else 0, batch,
                        self._idempotent)

    def is_command(self) -> bool:
        """True when it exports the function `_start`, and its manifest names no other entry: `run` runs it."""
        export = self.description.exports.get("_start")
        return self.entry == "_start" and export is not None and export.kind is ExternKind.FUNC

    def unload(self) -> None:
        """Waiting calls are cancelled, calls in progress end, then workers drop the plugin. May be called again."""
        self._backend.remove_plugin(self.number)


def _exit_code(item: Finish) -> int:
    code: int = unpack((ValueType.I32,), item.payload, "exit code")[0]
    return code & 0xFFFFFFFF


