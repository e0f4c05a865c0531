"""A plugin in this process: its image, grants and limits; makes instances and runs calls in them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from sandboxhost import values, wire
from sandboxhost.errors import (
    GuestExit,
    LinkError,
    MemoryLimit,
    PayloadTooLarge,
    SandboxError,
    SignatureMismatch,
    UnknownFunction,
    printable,
)
from sandboxhost.limits import Limits
from sandboxhost.options import LoadOptions, RunOptions
from sandboxhost.statistics import Usage
from sandboxhost.values import FunctionType, ValueType

from . import native
from .call_engine import CallEngine
from .context import CallContext
from .engine import Engine
from .image import Image
from .module_instance import Extern, FunctionInstance, ModuleInstance
from .recycling import kept
from .store import Store
from .wasi import STDERR, STDIN, STDOUT, Wasi, is_wasi_module

if TYPE_CHECKING:
    from .call_line import Begun, CallLine

HostCall = Callable[[int, bytes], bytes]
"""Calls the application's function number N of LoadOptions.functions with packed arguments; returns packed results."""
Output = Callable[[int, bytes], None]
"""Takes what the guest wrote to stream 1 or 2."""


class Outcome(NamedTuple):
    """What a call ended with: packed results or an exception; its usage in either case."""

    payload: bytes
    error: BaseException | None
    usage: Usage


class Shared(NamedTuple):
    """A command's part of the memory that is shared with the host."""

    stdin: native.Pointer
    length: int
    """0: RunOptions has the input."""
    room: native.Pointer
    """For stdout."""
    room_bytes: int
    told: Callable[[int], object]
    """The message that so many bytes are there."""


Answer = Callable[[Outcome], None]


class Job(NamedTuple):
    """One call to make: an export with packed arguments or, when `run` is given, a WASI command."""

    function: str
    payload: bytes
    context: CallContext
    host_call: HostCall
    output: Output
    run: RunOptions | None = None
    descriptors: tuple[int, ...] = ()
    """stdin, stdout, stderr of a command with stdio "descriptors"; they stay the caller's."""
    shared: Shared | None = None
    said: Callable[[object], None] = lambda message: None
    """Takes a message that goes out before the outcome."""


class Plugin:
    """One loaded plugin. Its descriptors are its own and closed by `close`."""

    def __init__(self, name: str, image: Image, options: LoadOptions, directories: list[int]) -> None:
        """Raises LinkError: an import that is neither WASI nor granted, or of another type; MemoryLimit: memories beyond the
        limits.
        """
        self.name = name
        self.image = image
        self.options = options
        self.limits = Limits.from_wire(options.limits)
        self.persistent = options.instance == "persistent"
        self._directories = directories
        self._numbers = {key: number for number, key in enumerate(options.functions)}
        self.uses_wasi = any(is_wasi_module(i.module) for i in image.imports)
        self.function_names = frozenset(e.name for e in image.exports if isinstance(e.type, FunctionType))
        self._instance: Instance | None = None
        self._served = 0
        """Calls that the persistent instance has had."""
        self.last_run: tuple[bytes, RunOptions] | None = None
        """Options of a command, without input, as they came and as they were read."""
        self.closed = False
        self.idle: list[Instance] = []
        """Instances that wait for a call (recycling.py)."""
        self.lent: list[CallLine] = []
        """Where an instance waits for calls that the core makes by itself."""
        trial = Instance(self, None)  # nothing is written or run
        one_entry = not (self.uses_wasi or image.start is not None or "_initialize" in self.function_names)
        self.rows_in_core = (self.persistent and not options.calls) or (trial.renewable and one_entry)
        """Many calls may be made in one go: nothing but segments has to be seen to between two of them."""
        self.calls_in_core = self.rows_in_core and not self.uses_wasi
        """A call may be made without anything here (call_line.py)."""
        trial.retire()

    def close(self) -> None:
        """Drops the instances and the directories."""
        self.closed = True
        kept.drop(self)
        for line in list(self.lent):
            line.forget(self)
        if self._instance is not None:
            self._instance.close()
            self._instance = None
        for fd in self._directories:
            os.close(fd)
        self._directories = []

    @property
    def own_instance(self) -> Instance | None:
        """Of a persistent plugin, once there is one."""
        return self._instance

    def perform(self, job: Job, engine: CallEngine, answer: Answer | None = None, begun: Begun | None = None) -> Outcome:
        """Makes one call on a thread's call engine, or goes on with one that the core has begun there, and always returns.

        answer: takes the outcome before the instance is made as new, which for a large memory takes as long as a small call.
        """
        started = time.perf_counter_ns() if begun is None else begun.started_ns
        memory = 0
        payload, error = b"", None
        instance = begun.instance if begun is not None else None
        try:
            if begun is not None:
                payload = begun.instance.go_on(job, engine, begun)
            else:
                job.context.check()
                instance = self.take(job, engine)
                payload = instance.run(job) if job.run else instance.call(job)
        except BaseException as exc:
            error = exc
        if instance is not None:
            memory = instance.store.memory_bytes()
            try:
                instance.flush(job)
            except PayloadTooLarge as exc:
                error = error or exc
        outcome = Outcome(payload, error, Usage(job.context.fuel_used, time.perf_counter_ns() - started, memory))
        try:
            if answer is not None:
                answer(outcome)
        finally:
            if instance is not None:
                self.give_back(instance, error)
        return outcome

    def give_back(self, instance: Instance, error: BaseException | None) -> None:
        """After the call, which ended with `error`."""
        if instance is not self._instance:
            if error is None or isinstance(error, SandboxError):
                instance.retire()
            else:
                instance.close()

    def take(self, job: Job, engine: CallEngine) -> Instance:
        """The persistent instance, made with its first call, or a new one."""
        if job.run is None and 0 < self.options.calls <= self._served and self._instance and not self._instance.store.calls:
            self._instance.close()
            self._instance = None
        if self._instance is not None and job.run is None:
            self._served += 1
            self._instance.store.take_memory_refusal()  # of an earlier call
            return self._instance
        made = self._fresh(job, engine)
        if self.persistent and job.run is None:
            self._instance, self._served = made, 1
        try:
            made.start(job)
        except BaseException:
            self._instance = None if self._instance is made else self._instance
            made.close()
            raise
        return made

    def _fresh(self, job: Job, engine: CallEngine) -> Instance:
        """A new instance, or an idle one that is as new."""
        found = kept.take(self)
        if found is not None:
            try:
                found.renew(job, engine)
            except BaseException:
                found.close()
                raise
            return found
        try:
            return Instance(self, job, engine)
        except MemoryLimit:
            if not kept.drop():  # what is kept for other plugins may be what is missing
                raise
        return Instance(self, job, engine)

    def imports(self, store: Store, wasi: Wasi | None, instance: Instance) -> dict[tuple[str, str], Extern]:
        """What the module imports. Raises LinkError."""
        externs: dict[tuple[str, str], Extern] = dict(wasi.imports(self.image)) if wasi else {}
        for wanted in self.image.imports:
            key = (wanted.module, wanted.name)
            if key in externs:
                continue
            number = self._numbers.get(key)
            if number is None or not isinstance(wanted.type, FunctionType):
                raise LinkError(f'unknown import: "{printable(key[0], 100)}"."{printable(key[1], 100)}" is not granted')
            name = f"{wanted.module}.{wanted.name}"
            externs[key] = store.host_function(wanted.type, instance.proxy(number), name, packed=True)
        return externs

    def configure(self, wasi: Wasi, job: Job | None) -> None:
        """Gives a WASI environment what the plugin, or this run of it, was granted."""
        options, run = self.options, job.run if job else None
        wasi.arguments(run.arguments if run else options.arguments)
        wasi.environment(run.environment if run else options.environment)
        wasi.clock(options.clock_ns)
        wasi.random(options.random_seed)
        for (guest_path, writable), fd in zip(options.directories, self._directories, strict=True):
            wasi.directory(fd, guest_path, writable)
        if run and job and run.stdio == "descriptors":
            for stream, fd in zip((STDIN, STDOUT, STDERR), job.descriptors, strict=True):
                wasi.descriptor(stream, fd)
        else:
            shared = job.shared if job else None
            if shared is not None and shared.length:
                wasi.lend_input(shared.stdin, shared.length)
            else:
                wasi.input(run.stdin if run else b"")
            if shared is not None:
                wasi.lend_output(STDOUT, self.limits.output_bytes, shared.room, shared.room_bytes)
            else:
                wasi.capture(STDOUT, self.limits.output_bytes)
            wasi.capture(STDERR, self.limits.output_bytes)


_numbers = count(1)
_core = Engine()
"""Stores need an engine; this process compiles nothing."""


class Instance:
    """One instance of a plugin in a store of its own."""

    def __init__(self, plugin: Plugin, job: Job | None, engine: CallEngine | None = None) -> None:
        """Links only. Raises LinkError, MemoryLimit."""
        self.plugin = plugin
        self._job = job
        self._functions: dict[str, FunctionInstance] = {}
        self.number = next(_numbers)
        self.names: dict[int, str] = {}
        """Of the functions that a line knows, by address."""
        self.store = Store(_core, plugin.limits)
        try:
            if engine is not None:
                self.store.use_call_engine(engine)
            self._wasi = Wasi(self.store) if plugin.uses_wasi else None
            if self._wasi and job:
                plugin.configure(self._wasi, job)
            self.module: ModuleInstance = self.store.link(plugin.image, plugin.name, plugin.imports(self.store, self._wasi, self))
            self.renewable = not plugin.persistent and native.can_be_renewed(self.module.pointer)
        except BaseException:
            self.store.close()
            raise

    def close(self) -> None:
        """Releases everything."""
        kept.forget(self)
        self.store.close()

    def retire(self) -> None:
        """No call needs it any more: makes it as new and keeps it for the next, or closes it where that is not possible. What the
        call left in memories, tables, globals and descriptors is gone when this returns."""
        self._job = None
        if self.renewable and not self.plugin.closed and not self.store.calls:
            self.store.use_call_engine(None)
            if native.renew_instance(self.module.pointer) and self._renew_wasi():
                kept.give(self)
                return
        self.close()

    def _renew_wasi(self) -> bool:
        try:
            if self._wasi is not None:
                self._wasi.renew()
        except MemoryLimit:
            return False
        return True

    def renew(self, job: Job, engine: CallEngine) -> None:
        """Takes up a call after `retire`."""
        self._job = job
        self.store.use_call_engine(engine)
        if self._wasi is not None:
            self.plugin.configure(self._wasi, job)

    def proxy(self, number: int) -> Callable[[bytes], bytes]:
        """A host function that travels to the application, on behalf of whichever call runs then."""

        def call(payload: bytes) -> bytes:
            assert self._job is not None
            return self._job.host_call(number, payload)

        return call

    def start(self, job: Job) -> None:
        """Segments, start function, and a reactor's `_initialize`."""
        self.store.initialise(self.module, context=job.context)
        if job.run is None and "_initialize" in self.plugin.function_names:
            self.function("_initialize").call(context=job.context)

    @contextmanager
    def serving(self, job: Job) -> Iterator[None]:
        """Host functions that are called meanwhile are called on behalf of this job."""
        outer, self._job = self._job, job
        try:
            yield
        finally:
            self._job = outer

    def call(self, job: Job) -> bytes:
        """Calls an export. Raises UnknownFunction, SignatureMismatch, PayloadTooLarge and whatever the call ends with."""
        with self.serving(job):
            function = self.function(job.function)
            payload = function.plan.clean(job.payload)
            results = self.store.call_engine().invoke_packed(function, payload, job.context)
        return self._checked(function, results)

    def go_on(self, job: Job, engine: CallEngine, begun: Begun) -> bytes:
        """The same for a call that the core has begun."""
        self.store.use_call_engine(engine)
        with self.serving(job):
            return self._checked(begun.function, engine.go_on(begun.function, begun.status, job.context))

    def _checked(self, function: FunctionInstance, results: bytes) -> bytes:
        if len(results) > self.plugin.limits.result_bytes:
            allowed = self.plugin.limits.result_bytes
            raise PayloadTooLarge(f"{len(results)} bytes of results, {allowed} allowed", limit="result_bytes", allowed=allowed)
        if ValueType.FUNCREF in function.type.results:
            values.unpack(function.type.results, results)  # raises for a reference that cannot leave
        return results

    def run(self, job: Job) -> bytes:
        """Runs a WASI command; its exit code as one packed i32."""
        function = self.function("_start")
        if function.type != FunctionType():
            raise SignatureMismatch(f"_start: expected () -> (), got {function.type}", function="_start")
        code = 0
        try:
            function.call(context=job.context)
        except GuestExit as exc:
            code = exc.code
        return values.pack((ValueType.I32,), (code,))

    def flush(self, job: Job) -> None:
        """Hands on what the guest wrote. Raises PayloadTooLarge when a command wrote more than is allowed; a library's rest is
        dropped.
        """
        if self._wasi is None or (job.run and job.run.stdio == "descriptors"):
            return
        allowed = left = self.plugin.limits.output_bytes
        cut_off = False
        lent = self._wasi.lent_output(STDOUT) if job.shared is not None else 0
        if job.shared is not None and lent >= wire.SHARED_BYTES:
            job.said(job.shared.told(lent))
            left -= lent
            streams: tuple[int, ...] = (STDERR,)
        else:
            streams = (STDOUT, STDERR)
        for stream in streams:
            data, truncated = self._wasi.take_output(stream)
            cut_off |= truncated or len(data) > left
            if data[:left]:
                job.output(stream, data[:left])
            left -= min(len(data), left)
        if cut_off and job.run:
            raise PayloadTooLarge(f"more than {allowed} bytes of output", limit="output_bytes", allowed=allowed)

    def function(self, name: str) -> FunctionInstance:
        """An exported function. Raises UnknownFunction."""
        found = self._functions.get(name)
        if found is None:
            if name not in self.plugin.function_names:
                raise UnknownFunction(f"{self.plugin.name} exports no function {printable(name, 200)!r}", function=name)
            export = self.module.exports[name]
            assert isinstance(export, FunctionInstance)
            found = self._functions[name] = export
        return found
