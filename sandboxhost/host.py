"""Host: what an application opens to run plugins. Synchronous face; `workers=0` runs everything in this process."""
from __future__ import annotations

import atexit
import itertools
import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

from .calls import Binding, Events, Waiter
from .domains import Directory, domain_of
from .engine import CompiledModule, Engine, ModuleDescription
from .errors import HostClosed, LimitExceeded, LinkError, printable
from .generations import Generation, Recipe
from .grants import Grants
from .hardening import harden
from .host_functions import HostFunction, Threads
from .limits import GroupLimits, Limits, ProcessLimits
from .lockdown import DEFAULT_MINIMUM
from .logs import LineBudget
from .manifest import Manifest, find_manifest
from .options import Level, LoadOptions, Tier
from .plugin import Completed, Outcome, Plugin
from .router import CallSpec, Finish
from .router_state import Plugin as PluginRecord
from .statistics import HostStatistics, PluginStatistics
from .supervision import Supervision
from .values import ExternKind, FunctionType

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from .status import StatusSocket

__all__ = ["Host"]

DRAIN_SECONDS = 0.25
"""What calls get to end when the host is closed."""
WASI_MODULES = frozenset({"wasi_snapshot_preview1", "wasi_unstable"})
Function = TypeVar("Function", bound=Callable[..., Any])


class Backend(Protocol):
    """Where calls run: workers (core.Core), or this process (inprocess.InProcess)."""

    in_chunks: bool
    """It takes calls of many rows."""

    def compile_module(self, data: bytes, limits: Limits) -> CompiledModule: ...
    def delete_compiled_module(self, data: bytes) -> None: ...
    def compiled_module_count(self) -> int: ...
    def add_plugin(self, plugin: PluginRecord, image: CompiledModule, directories: list[int]) -> None: ...
    def remove_plugin(self, plugin_id: int) -> None: ...
    def retire_plugin(self, plugin_id: int) -> None: ...
    def submit(self, specs: list[CallSpec], sinks: Sequence[Events], background: bool = False) -> list[int]: ...
    def perform(self, spec: CallSpec, sink: Waiter) -> Finish: ...
    def host_result(self, call_id: int, sequence: int, ok: bool, payload: bytes) -> None: ...
    def cancel(self, call_id: int) -> None: ...
    def width(self) -> int: ...
    def statistics(self) -> HostStatistics: ...
    def plugin_statistics(self, plugin: PluginRecord) -> PluginStatistics: ...
    def close(self, drain: float = 0.0) -> None: ...


class Host:
    """Runs plugins in worker processes. A context manager; `close` (or the interpreter's exit) ends every process.

    workers: processes, None for one a processor, 0 to run plugins in this process (no isolation by the operating system);
    threads: calls that one worker runs at a time; process_limits: kernel limits of each worker; group_limits: those of the
    control group around each, where there can be one; features: names of the WebAssembly features that modules may use, None for
    all supported ones; explicit_bounds: compare every memory access instead of relying on guard pages; tier: the executor,
    "interpreter", "compiled" (machine code; WorkerError where this machine or build has none) or "auto". May be used by several
    threads.

    minimum_level: what every process must have locked itself down to before anything of a plugin is sent to it, verified from
    outside: "seccomp-only", "no-userns", "full", or "none" for a machine that has nothing (else WorkerStartError, which names
    what is missing; `sandboxhost doctor` shows it).

    supervision: how workers are watched, replaced and renewed; spares, quarantine_losses and quarantine_seconds are short for
    fields of it (quarantine_losses=0: nothing is ever quarantined). `workers` are there from the start for plugins without tenant
    and directories; every other trust domain (`load`) starts its first worker with its first plugin, further ones, up to
    `workers`, when its calls find no free thread, and ends them with its last plugin.

    hardened: for good, and for the whole process that makes the host: no core dumps, and no process of its user may trace it or
    read its memory (hardening.py). A child that the application forks cannot use the host: HostForked.

    tracer: an OpenTelemetry tracer: every load, call, submit, map, run and reload is a span (tracing.py). status: a path to
    make a Unix socket at, for this user only, that tells the host's figures: `sandboxhost top PATH` (status.py). Raises OSError.
    """

    def __init__(self, workers: int | None = None, *, threads: int = 2, process_limits: ProcessLimits | None = None,
                 features: Iterable[str] | None = None, explicit_bounds: bool = False, tier: Tier = "auto",
                 spares: int | None = None, quarantine_losses: int | None = None, quarantine_seconds: float | None = None,
                 supervision: Supervision | None = None, hardened: bool = False,
                 minimum_level: Level = DEFAULT_MINIMUM,
                 group_limits: GroupLimits | None = None, tracer: Tracer | None = None,
                 status: str | os.PathLike[str] | None = None) -> None:
        workers = (os.cpu_count() or 1) if workers is None else workers
        if not 0 <= workers <= 1024 or not 1 <= threads <= 256:
            raise ValueError(f"workers must be 0 to 1024 and threads 1 to 256, got {workers} and {threads}")
        if hardened:
            harden()
        self._backend: Backend
        if workers:
            from .core import Core

            short = {"spares": spares, "quarantine_losses": quarantine_losses, "quarantine_seconds": quarantine_seconds}
            rules = (supervision or Supervision()).replace(
                **{name: None if name == "quarantine_losses" and value == 0 else value
                   for name, value in short.items() if value is not None})
            engine = Engine(features, explicit_bounds, tier, minimum_level)
            self._backend = Core(workers, threads, process_limits or ProcessLimits(), engine, rules, group_limits)
        else:
            from .inprocess import InProcess

            self._backend = InProcess(features, explicit_bounds, tier)
        self.workers = workers
        self._tracer = tracer
        self._functions: dict[tuple[str, str], HostFunction] = {}
        self._threads = Threads()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._closed = False
        self._closer = _Closer(self._backend, self._threads)
        weakref.finalize(self, self._closer.soon).atexit = False
        if status is not None:
            from .status import StatusSocket

            try:
                self._closer.status = StatusSocket(status, self._backend.statistics)
            except BaseException:
                self.close(0.0)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close(DRAIN_SECONDS if kind is None else 0.0)

    @property
    def closed(self) -> bool:
        """True from when `close` was called."""
        return self._closed

    def close(self, drain: float = DRAIN_SECONDS) -> None:
        """Ends everything: processes, descriptors, files. May be called again.

        drain: seconds that calls in progress and waiting ones get to end by themselves; nothing new is accepted meanwhile. What
        has not ended then ends with HostClosed. Workers that do not end either are killed a second later.
        """
        self._closed = True
        self._closer(drain)

    # ---- the application's functions ----

    def function(self, module: str, name: str | None = None) -> Callable[[Function], Function]:
        """Decorator: plugins may import this function as `module`.`name` (default: its own name).

        Parameters and result need annotations: i32, i64, f32, f64, externref, int, float, bool; as result also None or a tuple.
        It runs in the application, in the calling thread or in one of the host's. Raises TypeError.
        """
        def register(function: Function) -> Function:
            title = name or function.__name__
            if module in WASI_MODULES:
                raise TypeError(f"{module}.{title}: the module name belongs to WASI")
            self._functions[module, title] = HostFunction.of(module, title, function)
            return function
        return register

    # ---- plugins ----

    def load(self, source: str | os.PathLike[str] | bytes, *, limits: Limits | None = None, grants: Grants | None = None,
             name: str = "", instance: Literal["fresh", "persistent"] | int | None = None, idempotent: bool = False,
             manifest: Manifest | None = None, tenant: str = "", isolation: Literal["shared", "plugin"] = "shared") -> Plugin:
        """Loads a plugin: bytes, or the path of a module, a manifest, or a folder with a manifest.

        limits, grants: what it may use and reach; a manifest (given, or found beside the module) only ever lowers them.
        instance: "fresh": each call runs in a new instance; "persistent": all calls run in one, in order, lost with its worker
        (the call that was in flight, else the next one, says so: `WorkerLost.instance_lost`); a number: the same, but after so
        many calls the next one begins with a new instance.
        tenant: on whose behalf. Plugins of different tenants, or with different directories, never share a process; those with
        isolation="plugin" (also where only the manifest says so) share theirs with no other plugin. Without workers neither
        means anything.
        idempotent: calls may be repeated when their worker is lost.
        Raises DecodeError, ValidationError (with .offset), LinkError, LimitExceeded, ManifestError, WorkerError, OSError,
        HostClosed.
        """
        if self._closed:
            raise HostClosed("the host is closed")
        if isolation not in ("shared", "plugin"):
            raise ValueError(f"isolation must be \"shared\" or \"plugin\", got {isolation!r}")
        recipe = Recipe(limits or Limits(), grants or Grants(), name, instance, idempotent, manifest, tenant, isolation)
        if self._tracer is None:
            return Plugin(self.bring_up(source, recipe), recipe, weakref.ref(self))
        from .tracing import TracedPlugin, load_span

        with load_span(self._tracer, recipe) as span:
            live = self.bring_up(source, recipe)
            span.set_attribute("sandboxhost.plugin", live.name)
            return TracedPlugin(self._tracer, live, recipe, weakref.ref(self))

    def bring_up(self, source: str | os.PathLike[str] | bytes, recipe: Recipe, before: Generation | None = None) -> Generation:
        """A generation of a plugin, loaded by a worker: the first, or one that may follow `before`. Raises as `load`."""
        if self._closed:
            raise HostClosed("the host is closed")
        limits, grants, instance = recipe.limits, recipe.grants, recipe.instance
        name, manifest = recipe.name, recipe.manifest or (before.manifest if before else None)
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(source)
        else:
            path, found = find_manifest(source)
            manifest = recipe.manifest or found or manifest
            data = _read(path, limits.module_bytes)
            name = name or (manifest.name if manifest else path.stem)
        if manifest is not None:
            limits, grants = manifest.lower(limits), manifest.narrow(grants)
        name = printable(name or (manifest.name if manifest else "plugin"), 200)
        kept = instance if instance is not None else (manifest.instance if manifest else "fresh")
        if kept not in ("fresh", "persistent") and not (type(kept) is int and 0 < kept < 2**31):
            raise ValueError(f"instance must be \"fresh\", \"persistent\" or a number of calls, got {kept!r}")
        if before is not None:
            name = before.name
        alone = recipe.isolation == "plugin" or (manifest is not None and manifest.isolation == "plugin")
        persistent = kept != "fresh"
        compiled = self._backend.compile_module(data, limits)
        directories: list[int] = []
        try:
            functions = self._link(compiled.description, grants)
            directories = _open_directories(grants)
            options = _load_options(name, limits, grants, kept, list(functions), compiled)
            number, reach = next(self._numbers), _identify(grants, directories)
            domain = domain_of(printable(recipe.tenant, 200), reach, number if alone else 0)
            record = PluginRecord(number, name, options.encode(), limits, persistent, domain, reach)
            if before is not None:
                record.trial, record.generation, record.tally = True, before.record.generation + 1, before.record.tally
            self._backend.add_plugin(record, compiled, directories)
        except BaseException:
            for fd in directories:
                os.close(fd)
            compiled.release()
            raise
        binding = Binding(name, self._backend, tuple(functions.values()), self._threads, domain.tenant,
                          before.binding.budget if before else LineBudget())
        generation = Generation(record, grants, compiled.description, self._backend, binding, recipe.idempotent, manifest)
        try:
            waiter = Waiter(binding, "")
            (call_id,) = self._backend.submit([CallSpec(record.id, "load")], [waiter])
            waiter.wait(call_id)
        except BaseException:
            self._backend.remove_plugin(record.id)
            raise
        return generation

    def _link(self, description: ModuleDescription, grants: Grants) -> dict[tuple[str, str], tuple[HostFunction, FunctionType]]:
        """The application's functions that the module imports. Raises LinkError for what is not granted or has another type."""
        found: dict[tuple[str, str], tuple[HostFunction, FunctionType]] = {}
        for wanted in description.imports:
            if wanted.module in WASI_MODULES and wanted.kind is ExternKind.FUNC:
                continue  # its names and types are the worker's to check
            key = wanted.module, wanted.name
            shown = f"\"{printable(wanted.module, 100)}\".\"{printable(wanted.name, 100)}\""
            function = self._functions.get(key)
            if not isinstance(wanted.type, FunctionType):
                raise LinkError(f"unknown import: {shown}: a {wanted.kind} cannot be granted")
            if function is None:
                raise LinkError(f"unknown import: {shown}: the application has no function of that name")
            if grants.functions is not None and key not in grants.functions:
                raise LinkError(f"unknown import: {shown}: the function is not granted to this plugin")
            function.check(wanted.type)
            if found.setdefault(key, (function, wanted.type))[1] != wanted.type:
                raise LinkError(f"incompatible import type: {shown} is imported with two types")
        return found

    def unload(self, plugin: Plugin) -> None:
        """Waiting calls are cancelled, calls in progress end, then workers drop the plugin."""
        plugin.unload()

    def call(self, plugin: Plugin, function: str, *arguments: Any) -> Any:
        """`plugin.call`"""
        return plugin.call(function, *arguments)

    def invoke(self, plugin: Plugin, function: str, *arguments: Any) -> Outcome:
        """`plugin.invoke`"""
        return plugin.invoke(function, *arguments)

    def submit(self, plugin: Plugin, function: str, *arguments: Any) -> Any:
        """`plugin.submit`"""
        return plugin.submit(function, *arguments)

    def map(self, plugin: Plugin, function: str, rows: Iterable[Any], *, return_exceptions: bool = False) -> list[Any]:
        """`plugin.map`"""
        return plugin.map(function, rows, return_exceptions=return_exceptions)

    def run(self, plugin: Plugin, arguments: Sequence[str] = (), stdin: bytes = b"") -> Completed:
        """`plugin.run`"""
        return plugin.run(arguments, stdin)

    # ---- figures ----

    def compiled_module_count(self) -> int:
        """Modules in the compile cache."""
        return self._backend.compiled_module_count()

    def delete_compiled_module(self, data: bytes) -> None:
        """Drops a module from the compile cache; loaded plugins keep their image. Missing is no error."""
        self._backend.delete_compiled_module(data)

    def statistics(self) -> HostStatistics:
        """A snapshot: counters, outcomes, latencies; each worker, each plugin, the compile cache."""
        return self._backend.statistics()


class _Closer:
    """Closes a host's parts: when the application says so, when the host is collected, or at the interpreter's exit."""

    def __init__(self, backend: Backend, threads: Threads) -> None:
        self._backend, self._threads = backend, threads
        self.status: StatusSocket | None = None
        self._owner = os.getpid()
        atexit.register(self)

    def __call__(self, drain: float = 0.0) -> None:
        """Closes now; in a fork of the application there is nothing to close."""
        atexit.unregister(self)
        if os.getpid() == self._owner:
            if self.status is not None:
                self.status.close()
            self._backend.close(drain)
            self._threads.close()

    def soon(self) -> None:
        """Closes in a thread: the collector may run in any thread, in the middle of whatever that holds locked."""
        if os.getpid() == self._owner:
            threading.Thread(target=self, name="sandboxhost-close").start()


def _read(path: Path, allowed: int) -> bytes:
    """The file's bytes; a larger file than allowed is not read. Raises OSError, LimitExceeded."""
    with open(path, "rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and (size := os.fstat(file.fileno()).st_size) > allowed:
            raise LimitExceeded(f"{path}: {size} bytes, {allowed} are allowed", limit="module_bytes", allowed=allowed)
        return file.read(allowed + 1)


def _open_directories(grants: Grants) -> list[int]:
    """One descriptor a directory, in order. Raises OSError that names the directory."""
    opened: list[int] = []
    try:
        for directory in grants.directory_list():
            fd = os.open(directory.host, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.append(fd)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    return opened


def _identify(grants: Grants, opened: list[int]) -> tuple[Directory, ...]:
    """What the opened directories are, in their order."""
    found = [os.fstat(fd) for fd in opened]
    return tuple(Directory(s.st_dev, s.st_ino, d.writable) for s, d in zip(found, grants.directory_list(), strict=True))


def _load_options(name: str, limits: Limits, grants: Grants, kept: str | int, functions: list[tuple[str, str]],
                  compiled: CompiledModule) -> LoadOptions:
    return LoadOptions(
        instance="fresh" if kept == "fresh" else "persistent", calls=kept if isinstance(kept, int) else 0,
        functions=tuple(functions),
        directories=tuple((d.guest, d.writable) for d in grants.directory_list()),
        environment=grants.variables, arguments=(name, *grants.arguments),
        clock_ns=grants.clock_ns, random_seed=grants.random_seed, limits=limits.to_wire(),
        image_bytes=compiled.description.image_bytes)
