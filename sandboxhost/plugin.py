"""A loaded plugin: the object that an application calls."""
from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from .calls import Binding, CallFuture, FutureEvents, Waiter
from .engine import Export, ModuleDescription
from .errors import PayloadTooLarge, SignatureMismatch, UnknownFunction, printable
from .grants import Grants
from .host_functions import current_call
from .mapping import Mapping as Calls
from .mapping import plain
from .options import RunOptions
from .router import CallSpec, Finish
from .router_state import Plugin as PluginRecord
from .statistics import PluginStatistics, Usage
from .values import ExternKind, FunctionType, ValueType, pack, unpack
from .wire import SHARED_BYTES

if TYPE_CHECKING:
    from .host import Backend

__all__ = ["Completed", "Outcome", "Plugin"]

@dataclass(frozen=True)
class Outcome:
    """Results of one call and what it used."""

    values: tuple[Any, ...]
    usage: Usage

    @property
    def value(self) -> Any:
        """None, the one result, or the tuple of results."""
        return plain(self.values)


@dataclass(frozen=True)
class Completed:
    """How a command ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    usage: Usage


class Plugin:
    """A plugin that `Host.load` returned. Its methods may be called by several threads.

    Every call raises one of: Trap, GuestExit, HostFunctionError, Cancelled, LimitExceeded and its kinds, InstantiationError,
    WorkerLost, WorkerStartError, HostClosed; and, before anything is started, UnknownFunction, SignatureMismatch, Overloaded.
    """

    def __init__(self, record: PluginRecord, grants: Grants, description: ModuleDescription, backend: Backend,
                 binding: Binding, idempotent: bool, entry: str = "") -> None:
        self.entry = entry or ("_start" if "_start" in description.exports else "")
        """What its manifest names as the function to call or the command to run; else `_start` where it is exported; else ""."""
        self.name, self.limits, self.grants, self.description = record.name, record.limits, grants, description
        self.number, self.persistent = record.id, record.persistent
        self._record = record
        self._variables = grants.variables
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
        type_, item = self._perform(function, arguments)
        return plain(unpack(type_.results, item.payload, function))

    def invoke(self, function: str, *arguments: Any) -> Outcome:
        """Like `call`, with what the call used."""
        type_, item = self._perform(function, arguments)
        return Outcome(unpack(type_.results, item.payload, function), item.usage)

    def _perform(self, function: str, arguments: tuple[Any, ...]) -> tuple[FunctionType, Finish]:
        type_ = self.signature(function)
        spec = self.spec(function, pack(type_.params, arguments, function))
        return type_, self._backend.perform(spec, Waiter(self._binding, function))

    def submit(self, function: str, *arguments: Any) -> CallFuture:
        """Starts a call; a Future of what `call` returns."""
        type_ = self.signature(function)
        spec = self.spec(function, pack(type_.params, arguments, function))
        future = CallFuture()
        future.backend, future.threads = self._backend, self._binding.threads
        future.set_running_or_notify_cancel()
        events = FutureEvents(self._binding, function, future, lambda item: plain(unpack(type_.results, item.payload, function)))
        (future.call_id,) = self._backend.submit([spec], [events], background=True)
        return future

    def map(self, function: str, rows: Iterable[Any], *, return_exceptions: bool = False) -> list[Any]:
        """Calls `function` once a row (a tuple of arguments, or the one argument) and returns the results in order.

        Raises the error of the first row that fails, after the calls that were under way have been cancelled or have ended.
        return_exceptions: errors stand among the results, in their rows' places, and all rows are called.
        """
        return Calls(self, function, rows, return_exceptions).run()

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
        if arguments or environment:
            given = Grants(environment={**self.grants.environment, **(environment or {})},
                           arguments=(self.name, *(arguments or self.grants.arguments)))
            argv, pairs = given.arguments, given.variables
        else:
            argv, pairs = (self.name, *self.grants.arguments), self._variables
        options = whole = RunOptions(argv, pairs, bytes(stdin), stdio)
        if len(stdin) >= SHARED_BYTES:
            options, waiter.run = whole._replace(stdin=b""), whole
        spec = self.spec("_start", options.encode(), kind="run", beside=len(stdin) - len(options.stdin))
        spec.descriptors = bool(waiter.descriptors)
        return self._backend.perform(spec, waiter)

    def spec(self, function: str, payload: bytes, kind: str = "call", batch: bool = False, beside: int = 0) -> CallSpec:
        """The spec of a call made here and now. Raises PayloadTooLarge."""
        if len(payload) + beside > self.limits.argument_bytes:
            raise PayloadTooLarge(f"the arguments have {len(payload) + beside} bytes, {self.limits.argument_bytes} are allowed",
                                  limit="argument_bytes", allowed=self.limits.argument_bytes, plugin=self.name, function=function)
        deadline = None if self.limits.deadline is None else time.monotonic() + self.limits.deadline
        backend, parent = current_call.get()
        return CallSpec(self.number, kind, function, payload, deadline, parent if backend is self._backend else 0, batch,
                        self._idempotent)

    # ---- for mapping.py

    @property
    def in_chunks(self) -> bool:
        """True when calls of `map` made now may travel many in a message: with workers, and not from a host function."""
        return self._backend.in_chunks and current_call.get()[0] is not self._backend

    @property
    def backend(self) -> Backend:
        """Where its calls run."""
        return self._backend

    @property
    def binding(self) -> Binding:
        """What its calls have in common."""
        return self._binding

    def width(self) -> int:
        """Calls that can run at the same time."""
        return min(self._backend.width(), self.limits.concurrent_calls or 1 << 30)

    def rows_spec(self, function: str, payload: bytes, rows: int, row_bytes: int, stop: bool) -> CallSpec:
        """The spec of a call of many rows."""
        deadline = None if self.limits.deadline is None else time.monotonic() + self.limits.deadline
        return CallSpec(self.number, "rows", function, payload, deadline, 0, True, self._idempotent, rows, row_bytes, stop)

    def statistics(self) -> PluginStatistics:
        """A snapshot of its figures; also when it is unloaded."""
        return self._backend.plugin_statistics(self._record)

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


