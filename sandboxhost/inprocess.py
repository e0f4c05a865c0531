"""The in-process backend: the workers' own plugin code, called directly; no isolation by the operating system."""
from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sandboxworker.call_engine import CallEngine
from sandboxworker.context import CallContext, Cancellation
from sandboxworker.engine import Engine, Module, resolved_tier
from sandboxworker.image import Image
from sandboxworker.plugin import Job
from sandboxworker.plugin import Plugin as WorkerPlugin

from . import wire
from .calls import Events, Waiter
from .engine import CompiledModule, Export, Import, ModuleDescription
from .errors import HostClosed, HostFunctionError, LimitExceeded, Overloaded, SandboxError, UnknownFunction, WorkerError
from .host_functions import Threads
from .limits import Limits
from .options import LoadOptions, RunOptions, Tier
from .router import CallSpec, Finish
from .router_state import Plugin as PluginRecord
from .statistics import CompileStatistics, HostStatistics, PluginStatistics, Usage
from .tally import Tally, figures, figures_of, total

__all__ = ["InProcess"]


class _Compiled(CompiledModule):
    """A compiled module that is an image of this process: no descriptor."""

    def __init__(self, image: Image, description: ModuleDescription) -> None:
        super().__init__(b"", -1, description)
        self.image = image

    def release(self) -> None:
        """Nothing to close: the image goes with its last reference."""


class InProcess:
    """See the module's text. Calls run in the thread that makes them, background calls in threads of their own."""

    in_chunks = False

    def __init__(self, features: Iterable[str] | None, explicit_bounds: bool, tier: Tier) -> None:
        self._features = None if features is None else tuple(features)
        self._bounds = explicit_bounds
        self._tier: Tier = tier
        resolved_tier(tier)
        self._engines: dict[tuple[Any, ...], Engine] = {}
        self._plugins: dict[int, tuple[PluginRecord, WorkerPlugin, threading.RLock]] = {}
        self._local = threading.local()
        self._threads = Threads()
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._running: dict[int, Cancellation] = {}
        self._accepted = self._ended = self._rejected = 0
        self._gone = Tally()
        self._hits = self._compiled = self._failed = 0
        self._seconds = 0.0
        self._closed = False

    # ---- compiling ----

    def compile_module(self, data: bytes, limits: Limits) -> CompiledModule:
        """Compiles in this process. Raises as engine.Engine.compile_module."""
        if len(data) > limits.module_bytes:
            text = f"the module has {len(data)} bytes, {limits.module_bytes} are allowed"
            raise LimitExceeded(text, limit="module_bytes", allowed=limits.module_bytes)
        metered = limits.fuel is not None
        key = (metered, limits.replace(fuel=None, deadline=None))
        with self._lock:
            engine = self._engines.get(key)
            if engine is None:
                engine = self._engines[key] = Engine(self._features, metered, self._bounds, self._tier, limits)
        module, known, started = Module(data), engine.compiled_module_count(), time.monotonic()
        try:
            engine.compile_module(module)
        except BaseException:
            with self._lock:
                self._failed += 1
            raise
        finally:
            with self._lock:
                self._seconds += time.monotonic() - started
        with self._lock:
            if engine.compiled_module_count() == known:
                self._hits += 1
            else:
                self._compiled += 1
        image = engine.image(module)
        return _Compiled(image, _describe(image))

    def delete_compiled_module(self, data: bytes) -> None:
        """Drops the module from every engine."""
        for engine in list(self._engines.values()):
            engine.delete_compiled_module(Module(data))

    def compiled_module_count(self) -> int:
        """Modules in the caches."""
        return sum(engine.compiled_module_count() for engine in list(self._engines.values()))

    # ---- plugins and calls ----

    def add_plugin(self, plugin: PluginRecord, image: CompiledModule, directories: list[int]) -> None:
        """Links the plugin; the directories are its own from now on. Raises LinkError, MemoryLimit."""
        assert isinstance(image, _Compiled)
        if self._closed:
            raise HostClosed("the host is closed")
        worker_plugin = WorkerPlugin(plugin.name, image.image, LoadOptions.decode(plugin.options), directories)
        self._plugins[plugin.id] = plugin, worker_plugin, threading.RLock()

    def remove_plugin(self, plugin_id: int) -> None:
        """Drops the plugin after its calls in progress."""
        with self._lock:
            entry = self._plugins.get(plugin_id)
            if entry is None:
                return
            entry[0].removed = True
        self._drop_if_idle(plugin_id)

    def retire_plugin(self, plugin_id: int) -> None:
        """The same: every accepted call is in progress here."""
        self.remove_plugin(plugin_id)

    def _drop_if_idle(self, plugin_id: int) -> None:
        with self._lock:
            entry = self._plugins.get(plugin_id)
            if entry is None or not entry[0].removed or entry[0].pending:
                return
            del self._plugins[plugin_id]
            if all(other[0].tally is not entry[0].tally for other in self._plugins.values()):
                self._gone.add(entry[0].tally)
        entry[1].close()

    def submit(self, specs: list[CallSpec], sinks: Sequence[Events], background: bool = False) -> list[int]:
        """Runs the calls before it returns, unless `background`. Raises HostClosed, UnknownFunction, Overloaded."""
        with self._lock:
            if self._closed:
                raise HostClosed("the host is closed")
            record, plugin, turn = self._plugins.get(specs[0].plugin, (None, None, None))
            if record is None or plugin is None or turn is None or record.removed:
                raise UnknownFunction("the plugin is not loaded (any more)")
            if record.pending + len(specs) > record.limits.pending_calls:
                self._rejected += len(specs)
                allowed = record.limits.pending_calls
                text = f"{record.name}: {record.pending} calls are pending, {allowed} are allowed"
                error = Overloaded(text, limit="pending_calls", allowed=allowed, plugin=record.name, retry_after=0.001)
                record.tally.refuse(error, len(specs))
                raise error
            record.pending += len(specs)
            self._accepted += len(specs)
            ids = [next(self._ids) for _ in specs]
            self._running.update((call_id, Cancellation()) for call_id in ids)
        for call_id, spec, sink in zip(ids, specs, sinks, strict=True):
            if background:
                self._threads.submit(lambda i=call_id, sp=spec, si=sink: self._run(i, sp, si, record, plugin, turn))  # type: ignore[misc]
            else:
                self._run(call_id, spec, sink, record, plugin, turn)
        return ids

    def perform(self, spec: CallSpec, sink: Waiter) -> Finish:
        """One call and its outcome. Raises as `submit`, and what the call ended with."""
        (call_id,) = self.submit([spec], [sink])
        return sink.wait(call_id)

    def _run(self, call_id: int, spec: CallSpec, sink: Events, record: PluginRecord, plugin: WorkerPlugin,
             turn: threading.RLock) -> None:
        payload, error, usage = b"", None, Usage(worker=os.getpid())
        started = time.monotonic()
        if spec.kind != "load":
            if record.persistent:
                with turn:
                    payload, error, usage = self._perform(call_id, spec, sink, record, plugin)
            else:
                payload, error, usage = self._perform(call_id, spec, sink, record, plugin)
        with self._lock:
            record.pending -= 1
            self._ended += 1
            self._running.pop(call_id, None)
            if spec.kind != "load":
                record.tally.took(time.monotonic() - started)
                record.tally.use(usage.time_ns, usage.memory)
                if error is not None:
                    record.tally.fail(error)
        if error is not None:
            for name, value in (("plugin", record.name), ("function", spec.function), ("usage", usage)):
                if name in error.fields:
                    setattr(error, name, value)
        sink.finish(Finish(call_id, payload, error, usage))
        if record.removed:
            self._drop_if_idle(record.id)

    def _perform(self, call_id: int, spec: CallSpec, sink: Events, record: PluginRecord,
                 plugin: WorkerPlugin) -> tuple[bytes, SandboxError | None, Usage]:
        limits = record.limits
        engine = self._call_engine(limits.call_depth)
        context = CallContext(
            deadline=spec.deadline, cancellation=self._running[call_id], fuel=limits.fuel, host_calls=limits.host_calls)
        run = None
        if spec.kind == "run":
            run = sink.run if isinstance(sink, Waiter) and sink.run else RunOptions.decode(spec.payload)

        def host_call(index: int, data: bytes) -> bytes:
            try:
                return sink.call_host(call_id, index, data)
            except Exception as exc:
                context.check()  # what failed may be the wait of a call that has expired meanwhile
                raise HostFunctionError(f"{type(exc).__name__}: {exc}") from exc

        payload = b"" if run else spec.payload
        job = Job(spec.function, payload, context, host_call, lambda stream, piece: sink.emit(stream, piece, call_id), run,
                  sink.descriptors)
        outcome = plugin.perform(job, engine)
        usage = outcome.usage._replace(worker=os.getpid())
        error = outcome.error
        if error is not None and not isinstance(error, Exception):
            raise error
        if error is not None and not isinstance(error, SandboxError):
            error = WorkerError(f"internal error: {type(error).__name__}: {error}")
        return outcome.payload, error, usage

    def _call_engine(self, depth: int) -> CallEngine:
        """This thread's engine for that call depth; a nested call runs on top of the one that is under way."""
        engines: dict[int, CallEngine] = self._local.__dict__.setdefault("engines", {})
        if depth not in engines:
            engines[depth] = CallEngine(call_depth=depth)
        return engines[depth]

    def host_result(self, call_id: int, sequence: int, ok: bool, payload: bytes) -> None:
        """Never called: host functions return directly."""
        raise WorkerError("host functions answer directly in this process")

    def cancel(self, call_id: int) -> None:
        """Interrupts the call."""
        cancellation = self._running.get(call_id)
        if cancellation is not None:
            cancellation.cancel()

    def width(self) -> int:
        """The calling thread runs its calls itself."""
        return 1

    def statistics(self) -> HostStatistics:
        """A snapshot; there are no workers."""
        with self._lock:
            records = [entry[0] for entry in self._plugins.values()]
            calls, modules = total(records, self._gone), self.compiled_module_count()
            return HostStatistics(
                self._accepted, self._ended, self._rejected, self._accepted - self._ended, compiled_modules=modules,
                outcomes=calls.outcomes(), latency=calls.latency(), plugins=figures(records),
                compile=CompileStatistics(modules, 0, self._hits, self._compiled, self._failed, self._seconds))

    def plugin_statistics(self, plugin: PluginRecord) -> PluginStatistics:
        """A snapshot of one, whether it is loaded (any more) or not."""
        with self._lock:
            return figures_of(plugin, (entry[0] for entry in self._plugins.values()))

    def close(self, drain: float = 0.0) -> None:
        """Cancels what runs, waits for it briefly, drops the plugins."""
        self._closed = True
        for cancellation in list(self._running.values()):
            cancellation.cancel()
        end = time.monotonic() + 5.0
        while self._running and time.monotonic() < end:
            time.sleep(0.001)
        self._threads.close()
        for plugin_id in list(self._plugins):
            self.remove_plugin(plugin_id)
        self._engines.clear()


def _describe(image: Image) -> ModuleDescription:
    figures = wire.ModuleFigures(
        len(image.types), image.function_count, len(image.tables), len(image.memories), len(image.globals),
        image.element_segment_count, image.data_segment_count, image.code_section_bytes, image.start is not None)
    return ModuleDescription(
        figures, tuple(Import(i.module, i.name, i.kind, i.type) for i in image.imports),
        {e.name: Export(e.name, e.kind, e.type) for e in image.exports}, tuple(image.memories),
        tuple(wire.ModuleCustom(c.name, c.length) for c in image.custom_sections), image.size, tier=image.tier,
        machine_bytes=image.machine_bytes)
