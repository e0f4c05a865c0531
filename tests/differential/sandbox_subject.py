"""Our engine as a subject of the comparison: in its configurations, and stopped and resumed all the time."""

from __future__ import annotations

import threading
from random import Random
from typing import Any

from sandboxworker import native
from sandboxworker.call_engine import CallEngine
from sandboxworker.context import CallContext
from sandboxworker.module_instance import FunctionInstance
from sandboxworker.types import FunctionType, ValueType
from spectest.sandbox import SandboxEmbedding, SandboxInstance

from .compare import HostCalls
from .program import HOST


class SandboxSubject:
    """See compare.Subject; the options are the Engine's."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self._options = options

    def embedding(self) -> SandboxEmbedding:
        """See Subject."""
        return SandboxEmbedding(**self._options)

    def host(self, embedding: SandboxEmbedding, calls: HostCalls) -> SandboxInstance:
        """See Subject."""
        exports: dict[str, Any] = {}
        for name, signature in HOST:
            params = tuple(ValueType[t.upper()] for t in signature.params)
            results = tuple(ValueType[t.upper()] for t in signature.results)
            exports[name] = embedding.store.host_function(FunctionType(params, results), calls.function(name))
        return SandboxInstance(exports)

    def memory(self, instance: SandboxInstance) -> bytes:
        """See Subject."""
        memory = instance.exports.get("memory")
        return b"" if memory is None else bytes(memory.read(0, memory.byte_size))

    def table_size(self, instance: SandboxInstance, name: str) -> int:
        """See Subject."""
        return int(instance.exports[name].size)


class MeteredCallEngine(CallEngine):
    """Counts the fuel of all calls. With ``sip`` it gives each call little, and a little more whenever that is spent."""

    def __init__(self, sip: Random | None) -> None:
        super().__init__()
        self.sip = sip
        self.spent = 0
        self.refuelled = 0
        self._granted = 0

    def _run(self, function: FunctionInstance, context: CallContext | None, nested: bool) -> None:
        if nested:
            super()._run(function, context, nested)
            return
        self.native.fuel = 0
        self._granted = 0
        self._grant(self.sip.randrange(40) if self.sip else 1 << 40)
        try:
            self._finish(self.native.call(function.pointer), function)
        finally:
            self.spent += self._granted - self.native.fuel

    def _grant(self, amount: int) -> None:
        self._granted += amount
        self.native.fuel += amount

    def _finish(self, status: int, function: FunctionInstance) -> None:
        while status == native.OUT_OF_FUEL or status == native.HOST_CALL:
            if status == native.HOST_CALL:
                self._serve(function.store)
            else:
                self.refuelled += 1
                self._grant((self.sip or Random(0)).randrange(1, 60))
            status = self.native.resume()
        super()._finish(status, function)


class MeteredSubject(SandboxSubject):
    """A metered engine whose fuel is counted; with ``sips`` out of fuel all the time. ``spent`` is of the latest program."""

    def __init__(self, name: str, sips: bool, **options: Any) -> None:
        super().__init__(name, metered=True, **options)
        self._sips = sips
        self._engine: MeteredCallEngine | None = None

    def embedding(self) -> SandboxEmbedding:
        """See Subject."""
        embedding = super().embedding()
        self._engine = MeteredCallEngine(Random(1) if self._sips else None)
        embedding.store.use_call_engine(self._engine)
        return embedding

    @property
    def spent(self) -> int:
        """Fuel of the latest program."""
        assert self._engine is not None
        return self._engine.spent


class InterruptedSubject(SandboxSubject):
    """Another thread interrupts the call engine all the time; having no deadline, the calls go on."""

    class _Embedding(SandboxEmbedding):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            engine = CallEngine()
            self.store.use_call_engine(engine)
            self._over = threading.Event()

            def pester() -> None:
                while not self._over.wait(0.00002):
                    engine.interrupt()

            self._thread = threading.Thread(target=pester, daemon=True)
            self._thread.start()

        def close(self) -> None:
            """Stops the thread, too."""
            self._over.set()
            self._thread.join()
            super().close()

    def embedding(self) -> SandboxEmbedding:
        """See Subject."""
        return self._Embedding(**self._options)
