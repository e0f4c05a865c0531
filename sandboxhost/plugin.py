"""A loaded plugin: the object that an application calls."""
from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from .calls import Binding, CallFuture, FutureEvents, Waiter
from .engine import Export, ModuleDescription
from .errors import HostClosed, SignatureMismatch, UnknownFunction
from .generations import Generation, Recipe, Reloaded, reload
from .grants import Grants
from .host_functions import current_call
from .limits import Limits
from .mapping import Mapping as Calls
from .mapping import plain
from .options import RunOptions
from .router import CallSpec, Finish
from .statistics import PluginStatistics, Usage
from .values import ExternKind, FunctionType, ValueType, pack, unpack
from .wire import SHARED_BYTES

if TYPE_CHECKING:
    from .host import Backend, Host

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

    def __init__(self, live: Generation, recipe: Recipe, host: Callable[[], Host | None]) -> None:
        self.live = live
        """The generation that new calls go to. Whoever needs several parts of it takes them from one."""
        self.recipe, self._host, self._backend = recipe, host, live.backend
        self._reloading, self._switching = threading.Lock(), threading.Lock()
        self._unloaded = False

    def __repr__(self) -> str:
        return f"<Plugin {self.name}>"

    @property
    def name(self) -> str:
        """As it was loaded."""
        return self.live.name

    @property
    def number(self) -> int:
        """Its number in the backend, another one for each generation."""
        return self.live.number

    @property
    def generation(self) -> int:
        """1 when loaded, one more with each `reload`."""
        return self.live.record.generation

    @property
    def limits(self) -> Limits:
        """What it may use."""
        return self.live.limits

    @property
    def grants(self) -> Grants:
        """What it may reach."""
        return self.live.grants

    @property
    def description(self) -> ModuleDescription:
        """What its module is made of."""
        return self.live.description

    @property
    def entry(self) -> str:
        """What its manifest names as the function to call or the command to run; else `_start` where it is exported; else ""."""
        return self.live.entry

    @property
    def persistent(self) -> bool:
        """True when its calls run in one instance."""
        return self.live.record.persistent

    @property
    def exports(self) -> Mapping[str, Export]:
        """What the module exports, by name."""
        return self.description.exports

    def signature(self, function: str) -> FunctionType:
        """The type of an exported function. Raises UnknownFunction."""
        return self.live.signature(function)

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
        while True:
            live = self.live
            type_ = live.signature(function)
            spec = live.spec(function, pack(type_.params, arguments, function))
            try:
                return type_, live.backend.perform(spec, Waiter(live.binding, function))
            except UnknownFunction:  # nothing was started
                if self.live is live:
                    raise

    def submit(self, function: str, *arguments: Any) -> CallFuture:
        """Starts a call; a Future of what `call` returns."""
        while True:
            live = self.live
            type_ = live.signature(function)
            spec = live.spec(function, pack(type_.params, arguments, function))
            future = CallFuture()
            future.backend, future.threads = live.backend, live.binding.threads
            future.set_running_or_notify_cancel()
            events = FutureEvents(live.binding, function, future, _results(type_, function))
            try:
                (future.call_id,) = live.backend.submit([spec], [events], background=True)
                return future
            except UnknownFunction:
                if self.live is live:
                    raise

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
        waiter, item = self._run((), arguments, stdin, environment, "capture")
        stdout, stderr = (b"".join(pieces) for pieces in waiter.output)
        return Completed(_exit_code(item), stdout, stderr, item.usage)

    def run_with(self, arguments: Sequence[str], stdin: int | IO[Any], stdout: int | IO[Any], stderr: int | IO[Any],
                 environment: Mapping[str, str] | None = None) -> Completed:
        """Like `run`, but the command reads and writes these descriptors of the application itself; nothing is captured."""
        descriptors = tuple(item if isinstance(item, int) else item.fileno() for item in (stdin, stdout, stderr))
        _, item = self._run(descriptors, arguments, b"", environment, "descriptors")
        return Completed(_exit_code(item), b"", b"", item.usage)

    def _run(self, descriptors: tuple[int, ...], arguments: Sequence[str], stdin: bytes, environment: Mapping[str, str] | None,
             stdio: str) -> tuple[Waiter, Finish]:
        while True:
            live = self.live
            waiter = Waiter(live.binding, "_start", keep_output=True, descriptors=descriptors)
            spec = self.run_spec(live, waiter, arguments, stdin, environment, stdio)
            try:
                return waiter, live.backend.perform(spec, waiter)
            except UnknownFunction:
                if self.live is live:
                    raise

    def run_spec(self, live: Generation, waiter: Waiter, arguments: Sequence[str], stdin: bytes,
                 environment: Mapping[str, str] | None, stdio: str) -> CallSpec:
        """The spec of a command, made here and now; large input is left with the waiter."""
        type_ = live.signature("_start")
        if type_ != FunctionType():
            raise SignatureMismatch(f"_start: expected () -> (), got {type_}", plugin=self.name, function="_start")
        if arguments or environment:
            given = Grants(environment={**live.grants.environment, **(environment or {})},
                           arguments=(live.name, *(arguments or live.grants.arguments)))
            options = RunOptions(given.arguments, given.variables, b"", stdio)
        else:
            options = live.options if stdio == live.options.stdio else live.options._replace(stdio=stdio)
        beside = 0
        if len(stdin) >= SHARED_BYTES:
            waiter.run, beside = options._replace(stdin=bytes(stdin)), len(stdin)
        elif stdin:
            options = options._replace(stdin=bytes(stdin))
        payload = live.options_bytes if options is live.options else options.encode()
        spec = live.spec("_start", payload, kind="run", beside=beside)
        spec.descriptors = bool(waiter.descriptors)
        return spec

    def spec(self, function: str, payload: bytes, kind: str = "call", batch: bool = False, beside: int = 0) -> CallSpec:
        """See Generation.spec."""
        return self.live.spec(function, payload, kind, batch, beside)

    # ---- reload ----

    def reload(self, source: str | os.PathLike[str] | bytes, *, allow_changes: bool = False,
               trial: Callable[[Plugin], Any] | None = None) -> Reloaded:
        """Puts another module in the plugin's place, without a call being lost; returns what is different.

        The new module is compiled, linked and loaded in a worker beside the old one, by the same limits, grants, tenant and so
        on (a path brings its own manifest, if it has one; else the one there was stays). `trial` may then make calls with it, as
        a plugin of its own: what it raises is raised here. From then on new calls go to the new generation; calls that were
        accepted before end on the old one, which is dropped with the last of them. A persistent plugin begins with a new
        instance; a quarantined one is taken on trust again.

        Raises as `Host.load`, SignatureMismatch: an exported function is gone or has another type, which is only taken with
        `allow_changes`. Whatever it raises, the plugin goes on as it was.
        """
        host = self._host()
        if host is None or host.closed:
            raise HostClosed("the host is closed")
        with self._reloading:
            return reload(host, self, source, allow_changes, trial)

    def sibling(self, live: Generation) -> Plugin:
        """A plugin for the other generation alone: what `trial` gets."""
        return type(self)(live, self.recipe, self._host)

    def switch(self, before: Generation, after: Generation) -> bool:
        """New calls go to the other generation; False when the plugin was unloaded meanwhile."""
        with self._switching:
            if self._unloaded or before.record.removed or after.record.removed:
                return False
            after.record.trial = False
            self.live = after
            return True

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
        return self.live.binding

    def width(self) -> int:
        """Calls that can run at the same time."""
        return min(self._backend.width(), self.limits.concurrent_calls or 1 << 30)

    def statistics(self) -> PluginStatistics:
        """A snapshot of its figures; also when it is unloaded."""
        return self._backend.plugin_statistics(self.live.record)

    def is_command(self) -> bool:
        """True when it exports the function `_start`, and its manifest names no other entry: `run` runs it."""
        export = self.description.exports.get("_start")
        return self.entry == "_start" and export is not None and export.kind is ExternKind.FUNC

    def unload(self) -> None:
        """Waiting calls are cancelled, calls in progress end, then workers drop the plugin. May be called again."""
        with self._switching:
            self._unloaded = True
            live = self.live
        self._backend.remove_plugin(live.number)


def _results(type_: FunctionType, function: str) -> Callable[[Finish], Any]:
    return lambda item: plain(unpack(type_.results, item.payload, function))


def _exit_code(item: Finish) -> int:
    code: int = unpack((ValueType.I32,), item.payload, "exit code")[0]
    return code & 0xFFFFFFFF


