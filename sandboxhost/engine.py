"""The host's Engine: compiles modules in processes of their own and caches the images in sealed shared memory."""
from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import lockdown, shm, wire, wire_types
from .errors import HostClosed, LimitExceeded, PayloadTooLarge, ProtocolError, WorkerError, WorkerLost, printable
from .limits import Limits
from .lockdown import DEFAULT_MINIMUM
from .options import LEVELS, TIERS, CompileOptions, Level, Tier
from .process import Process
from .statistics import CompileStatistics
from .values import ExternKind, ExternType, MemoryType
from .wire import Direction

__all__ = ["CompiledModule", "Engine", "Export", "Import", "ModuleDescription"]

_MODULE_LIMITS = (
    "module_bytes", "types", "functions", "imports", "exports", "globals", "tables", "segments", "params", "locals", "body_bytes",
    "nesting",
)
_MAX_ANSWER = 64 * 2**20
_IMAGE_FACTOR = 64
"""An image may be this many times the module's size, plus a page of slack; the lowering needs less than 8."""


class Import(NamedTuple):
    """One import of a module."""

    module: str
    name: str
    kind: ExternKind
    type: ExternType


class Export(NamedTuple):
    """One export of a module."""

    name: str
    kind: ExternKind
    type: ExternType


@dataclass(frozen=True)
class ModuleDescription:
    """What the compile process says about a module."""

    figures: wire.ModuleFigures
    imports: tuple[Import, ...] = ()
    exports: dict[str, Export] = field(default_factory=dict)
    memories: tuple[MemoryType, ...] = ()
    customs: tuple[wire.ModuleCustom, ...] = ()
    image_bytes: int = 0
    build_id: bytes = b""
    tier: str = ""
    """The executor that the image is for: "interpreter" or "compiled"."""
    machine_bytes: int = 0


class CompiledModule:
    """An image in sealed shared memory. Counted: the descriptor is closed with the last holder."""

    def __init__(self, sha256: bytes, fd: int, description: ModuleDescription) -> None:
        self.sha256, self.fd, self.description = sha256, fd, description
        self._holders = 1
        self._lock = threading.Lock()

    def retain(self) -> bool:
        """One holder more; False when the last one has gone."""
        with self._lock:
            self._holders += self._holders > 0
            return self._holders > 0

    def release(self) -> None:
        """One holder less."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            os.close(self.fd)
            self.fd = -1


class Engine:
    """Compile cache. Safe for use by several threads; N callers that compile the same bytes compile once."""

    def __init__(self, features: Iterable[str] | None = None, explicit_bounds: bool = False, tier: Tier = "auto",
                 minimum_level: Level = DEFAULT_MINIMUM) -> None:
        """features: names of the features that modules may use, None for all that are supported; explicit_bounds: compare every
        memory access instead of relying on guard pages; tier: the executor, "auto" for the fastest that the machine has;
        minimum_level: compile processes that lock themselves down less are given nothing (WorkerStartError)."""
        if tier not in TIERS:
            raise ValueError(f"unknown tier {tier!r}; known are {', '.join(TIERS)}")
        if minimum_level not in LEVELS:
            raise ValueError(f"unknown level {minimum_level!r}; known are {', '.join(LEVELS)}")
        self.tier, self.minimum_level = tier, minimum_level
        self.features = None if features is None else tuple(sorted(features))
        self.explicit_bounds = explicit_bounds
        self._lock = threading.Lock()
        self._cache: dict[tuple[Any, ...], Future[CompiledModule]] = {}
        self._running: set[Process] = set()
        """Compile processes."""
        self._closed = False
        self._hits = self._compiled = self._failed = 0
        self._seconds = 0.0

    def compile_module(self, data: bytes, limits: Limits) -> CompiledModule:
        """The compiled module, one holder more: the caller releases it.

        Raises DecodeError, ValidationError (with .offset), LimitExceeded, WorkerError, HostClosed. A failure caches nothing.
        """
        if len(data) > limits.module_bytes:
            text = f"the module has {len(data)} bytes, {limits.module_bytes} are allowed"
            raise LimitExceeded(text, limit="module_bytes", allowed=limits.module_bytes)
        digest = hashlib.sha256(data).digest()
        bounds = (getattr(limits, name) for name in _MODULE_LIMITS)
        key = (digest, self.features, limits.fuel is not None, self.explicit_bounds, self.tier, *bounds)
        while True:
            with self._lock:
                self._check_open()
                flight = self._cache.get(key)
                if flight is None:
                    flight = self._cache[key] = Future()
                    break
            module = flight.result()
            if module.retain():
                with self._lock:
                    self._hits += 1
                return module  # else it was deleted, and unloaded, since it was found
        started = time.monotonic()
        try:
            module = self._compile(data, digest, limits)
        except BaseException as exc:
            with self._lock:
                self._cache.pop(key, None)
                self._failed += 1
                self._seconds += time.monotonic() - started
            flight.set_exception(exc)
            raise
        with self._lock:
            self._compiled += 1
            self._seconds += time.monotonic() - started
            if not self._closed:
                module.retain()  # the cache's own
            flight.set_result(module)
        return module

    def _check_open(self) -> None:
        if self._closed:
            raise HostClosed("the host is closed")

    def compiled_module_count(self) -> int:
        """Modules in the cache."""
        with self._lock:
            return sum(flight.done() for flight in self._cache.values())

    def statistics(self) -> CompileStatistics:
        """A snapshot."""
        with self._lock:
            modules = [flight.result() for flight in self._cache.values() if flight.done() and not flight.exception()]
            return CompileStatistics(len(modules), sum(module.description.image_bytes for module in modules), self._hits,
                                     self._compiled, self._failed, self._seconds)

    def delete_compiled_module(self, data: bytes) -> None:
        """Drops every entry of these bytes; none is no error. Loaded plugins and calls in progress keep their image."""
        digest = hashlib.sha256(data).digest()
        with self._lock:
            keys = [key for key, flight in self._cache.items() if key[0] == digest and flight.done()]
            dropped = [self._cache.pop(key) for key in keys]
        for flight in dropped:
            flight.result().release()

    def close(self) -> None:
        """Drops every entry; what is being compiled is given up."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()
            flights = [flight for flight in self._cache.values() if flight.done()]
            self._cache.clear()
        for flight in flights:
            flight.result().release()

    def describe(self, data: bytes, limits: Limits, listing: Callable[[bytes], None] | None = None, function: str = ""
                 ) -> ModuleDescription:
        """Compiles without caching; with `listing`, hands it the code of the function (by name or index; "": of every function)
        piece by piece. Raises as `compile_module`, UnknownFunction."""
        with _descriptor(shm.create("listing")) as text:
            module = self._compile(data, b"", limits, (text, function) if listing else None)
            description = module.description
            module.release()
            offset = 0
            while listing and (piece := os.pread(text, 1 << 20, offset)):
                listing(piece)
                offset += len(piece)
        return description

    def _compile(self, data: bytes, digest: bytes, limits: Limits, listing: tuple[int, str] | None = None) -> CompiledModule:
        metered = limits.fuel is not None
        options = CompileOptions(self.features, metered, self.explicit_bounds, len(data), limits.to_wire(), self.tier,
                                 listing[1] if listing else None)
        image = shm.create("image")
        try:
            with _descriptor(shm.sealed_copy(data, "module")) as source:
                targets = [image, listing[0]] if listing else [image]
                answer = self._run_compiler(options, source, targets, limits.compile_seconds)
            description = _describe(answer)
            _check_image(image, description.image_bytes, len(data))
            shm.seal(image)  # after the process is reaped: nobody maps it for writing any more
        except BaseException:
            os.close(image)
            raise
        return CompiledModule(digest, image, description)

    def _run_compiler(self, options: CompileOptions, source: int, targets: list[int], seconds: float) -> list[Any]:
        """Starts a compile process, gives it the module when it is locked down, and collects its answer; the process is gone
        when this returns."""
        end = time.monotonic() + seconds
        process = Process("compile")
        with self._lock:
            self._running.add(process)
            if self._closed:
                process.kill()
        messages: list[Any] = []
        received = 0
        try:
            _send(process, wire.Compile(options.encode()), targets)
            self._check_locked(process, process.receive(wire.MAX_DATAGRAM, end - time.monotonic()))
            _send(process, wire.Descriptors("source", 0, 1), [source])
            while not messages or not isinstance(messages[-1], (wire.Compiled, wire.Failed)):
                data = process.receive(wire.MAX_DATAGRAM, end - time.monotonic())
                received += len(data)
                if not data:
                    raise _lost(process)
                if received > _MAX_ANSWER:
                    raise ProtocolError(f"the compile process answered with more than {_MAX_ANSWER} bytes")
                messages += wire.decode(data, Direction.FROM_COMPILER)
        except TimeoutError:
            raise LimitExceeded(f"compiling took longer than {seconds:g} s", limit="compile_seconds", allowed=seconds) from None
        except WorkerLost:
            with self._lock:
                self._check_open()  # then that is why
            raise
        finally:
            with self._lock:
                self._running.remove(process)
            process.close()
        return messages

    def _check_locked(self, process: Process, data: bytes) -> None:
        """Its first word. Raises WorkerStartError (it is locked down too little), ProtocolError, what a FAILED stands for."""
        messages = wire.decode(data, Direction.FROM_COMPILER)
        if not messages:
            raise _lost(process)
        if isinstance(messages[0], wire.Failed):
            raise wire.failure(messages[0])
        if not isinstance(messages[0], wire.Locked) or len(messages) != 1:
            raise ProtocolError(f"the compile process began with {type(messages[0]).__name__}")
        lockdown.check(process.pid, messages[0].level, messages[0].missing, self.minimum_level)


@contextmanager
def _descriptor(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _check_image(fd: int, said: int, module_bytes: int) -> None:
    size = os.fstat(fd).st_size
    if size != said:
        raise ProtocolError(f"Compiled.image_bytes: {said}, but the image has {size}")
    if size > _IMAGE_FACTOR * module_bytes + (1 << 20):
        text = f"the image has {size} bytes for a module of {module_bytes}"
        raise PayloadTooLarge(text, limit="module_bytes", allowed=module_bytes)


def _send(process: Process, message: wire.Message, fds: list[int]) -> None:
    try:
        process.send(wire.encode([message]), fds)
    except WorkerError:  # it has ended before
        raise _lost(process) from None


def _lost(process: Process) -> WorkerLost:
    """What to raise for a compile process that ended, or does not listen, before it has answered."""
    process.reap(1.0)
    words = ": ".join(filter(None, (process.reason or "it does not read", process.last_words())))
    return WorkerLost(f"the compile process was lost: {words}", reason=process.reason)


def _describe(messages: list[Any]) -> ModuleDescription:
    """The description in an answer. Raises the error that a FAILED stands for, or ProtocolError."""
    last = messages[-1]
    if isinstance(last, wire.Failed):
        raise wire.failure(last)
    if not isinstance(messages[0], wire.ModuleFigures):
        raise ProtocolError(f"the compile process began its answer with {type(messages[0]).__name__}")
    imports: list[Import] = []
    exports: dict[str, Export] = {}
    memories: list[MemoryType] = []
    customs: list[wire.ModuleCustom] = []
    for message in messages[1:-1]:
        if isinstance(message, wire.ModuleImport):
            imports.append(Import(message.module, message.name, ExternKind(message.kind), wire_types.type_of(message)))
        elif isinstance(message, wire.ModuleExport):
            if message.name in exports:
                raise ProtocolError(f"ModuleExport.name: {message.name!r} comes twice")
            exports[message.name] = Export(message.name, ExternKind(message.kind), wire_types.type_of(message))
        elif isinstance(message, wire.ModuleMemory):
            memories.append(MemoryType(message.minimum, None if message.maximum < 0 else int(message.maximum)))
        elif isinstance(message, wire.ModuleCustom):
            customs.append(message)
        else:
            raise ProtocolError(f"the compile process sent {type(message).__name__} in the middle of its answer")
    if last.tier not in TIERS[1:]:
        raise ProtocolError(f"Compiled.tier: {printable(last.tier, 80)!r}")
    if len(last.build_id) != 32:
        raise ProtocolError(f"Compiled.build_id: {len(last.build_id)} bytes")
    return ModuleDescription(
        messages[0], tuple(imports), exports, tuple(memories), tuple(customs), last.image_bytes, last.build_id, last.tier,
        last.machine_bytes)


