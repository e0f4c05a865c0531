"""FreshInstances: calls in this process, each in an instance that nobody has used before, at the cost of a call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sandboxhost.errors import LinkError, SignatureMismatch, UnknownFunction

from . import native
from .call_engine import CallEngine
from .module_instance import Extern, FunctionInstance
from .prepared import Prepared, Record, join
from .store import Store
from .types import FunctionType, ValueType

if TYPE_CHECKING:
    from sandboxhost.limits import Limits

    from .context import CallContext
    from .engine import Engine, Module

HostFunctions = Mapping[tuple[str, str], Callable[..., Any]]
"""(module, name) of an import -> the function; as Store.host_function."""


class FreshInstances:
    """A compiled module, linked once. Every call finds memories, tables and globals as the module defines them: what a call
    writes is gone when it has ended, however it ended.

    imports: functions only, without funcref in their types: no reference to a function of an instance may outlive it. The start
    function and a reactor's `_initialize` run before each call. One call at a time: a second thread, or a host function that
    calls back, gets RuntimeError.
    """

    def __init__(
        self, engine: Engine, module: Module, imports: HostFunctions | None = None, limits: Limits | None = None
    ) -> None:
        """Raises InstantiationError (not compiled), LinkError, MemoryLimit."""
        self._engine = engine
        self._image = engine.image(module)
        self._name = module.name
        self._functions: HostFunctions = imports or {}
        self._limits = limits
        self._lock = threading.Lock()
        self._calls: CallEngine | None = None
        self._link()
        exports = (e.name for e in self._image.exports if e.name == "_initialize" and isinstance(e.type, FunctionType))
        self._initialize = next(exports, None)

    def _link(self) -> None:
        self._store = Store(self._engine, self._limits)
        if self._calls is not None:
            self._store.use_call_engine(self._calls)
        self._calls = self._store.own_call_engine()
        try:
            self._instance = self._store.link(self._image, self._name, self._externs(self._store))
            if not native.can_be_renewed(self._instance.pointer):
                raise LinkError("an instance of this module cannot be made as new")
        except BaseException:
            self._store.close()
            raise

    def _externs(self, store: Store) -> dict[tuple[str, str], Extern]:
        out: dict[tuple[str, str], Extern] = {}
        for wanted in self._image.imports:
            key = (wanted.module, wanted.name)
            function = self._functions.get(key)
            if function is None:
                raise LinkError(f'unknown import: "{wanted.module}"."{wanted.name}"')
            if not isinstance(wanted.type, FunctionType) or ValueType.FUNCREF in (*wanted.type.params, *wanted.type.results):
                raise LinkError(f'incompatible import type: "{wanted.module}"."{wanted.name}" cannot be given to fresh instances')
            out[key] = store.host_function(wanted.type, function, f"{wanted.module}.{wanted.name}")
        return out

    def close(self) -> None:
        """Releases everything. Raises RuntimeError while a call runs."""
        with self._turn(close=True):
            pass

    def __enter__(self) -> FreshInstances:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, name: str, *params: Any, context: CallContext | None = None) -> tuple[Any, ...]:
        """Calls an export in a fresh instance. Raises UnknownFunction, and whatever FunctionInstance.call does."""
        function = self._function(name)
        with self._turn():
            native.initialise(self._instance.pointer)
            if self._image.start is not None:
                self._instance.function(self._image.start).call(context=context)
            if self._initialize is not None:
                self._function(self._initialize).call(context=context)
            return function.call(*params, context=context)

    def prepare(self, name: str) -> Prepared:
        """A Python function for an export; each call of it is one call into the core, which makes the instance as new. It gives
        None, the result, or a tuple of several. Raises as `call`."""
        function = self._function(name)
        record = None
        if self._image.start is None and self._initialize is None:
            assert self._calls is not None
            record = Record.make(
                self._calls.native, function.pointer, function.metered, self._instance.pointer
            )

        def call(*params: Any) -> tuple[Any, ...]:
            return self.call(name, *params)

        def adopt(outcome: int) -> tuple[Any, ...]:
            assert self._calls is not None
            with self._turn(record):
                return self._calls.adopt(function, record, outcome)

        return join(function, record, call, adopt)

    def _function(self, name: str) -> FunctionInstance:
        try:
            found = self._instance.exports[name]
        except KeyError:
            raise UnknownFunction(f"the module exports no function {name!r}", function=name) from None
        if not isinstance(found, FunctionInstance):
            raise UnknownFunction(f"the export {name!r} is no function", function=name)
        if ValueType.FUNCREF in (*found.type.params, *found.type.results):
            raise SignatureMismatch("a funcref cannot leave or enter a fresh instance", function=name)
        return found

    @contextmanager
    def _turn(self, mine: Record | None = None, close: bool = False) -> Iterator[None]:
        """Alone with the instance, which is made as new at the end. `mine`: the prepared call that this thread is in already."""
        if not self._lock.acquire(timeout=-1 if mine is not None else 0):
            raise RuntimeError("the instance is in use by a call")
        try:
            records = list(self._store.prepared)
            if any(record.bar(True) and record is not mine for record in records):
                self._open(records)
                raise RuntimeError("the instance is in use by a call")
            try:
                yield
            finally:
                if close:
                    self._store.close()
                elif native.renew_instance(self._instance.pointer):
                    self._open(records)
                else:  # the prepared calls stay barred, and go through `call`
                    self._store.close()
                    self._link()
        finally:
            self._lock.release()

    @staticmethod
    def _open(records: list[Record]) -> None:
        for record in records:
            record.bar(False)
