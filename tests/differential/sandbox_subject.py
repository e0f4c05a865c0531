"""Our engine as a subject of the comparison."""

from __future__ import annotations

from typing import Any

from sandboxworker.types import FunctionType, ValueType
from spectest.sandbox import SandboxEmbedding, SandboxInstance

from .compare import HostLog, host_function
from .program import HOST


class SandboxSubject:
    """See compare.Subject; the options are the Engine's."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self._options = options

    def embedding(self) -> SandboxEmbedding:
        """See Subject."""
        return SandboxEmbedding(**self._options)

    def host(self, embedding: SandboxEmbedding, log: HostLog) -> SandboxInstance:
        """See Subject."""
        exports: dict[str, Any] = {}
        for name, signature in HOST:
            params = tuple(ValueType[t.upper()] for t in signature.params)
            results = tuple(ValueType[t.upper()] for t in signature.results)
            exports[name] = embedding.store.host_function(FunctionType(params, results), host_function(name, log))
        return SandboxInstance(exports)

    def memory(self, instance: SandboxInstance) -> bytes:
        """See Subject."""
        memory = instance.exports.get("memory")
        return b"" if memory is None else bytes(memory.read(0, memory.byte_size))

    def table_size(self, instance: SandboxInstance, name: str) -> int:
        """See Subject."""
        return int(instance.exports[name].size)
