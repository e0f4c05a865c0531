"""Host functions: answers a suspended guest's call of one, and tells them who called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from sandboxhost.errors import HostFunctionError, LimitExceeded

from . import native, references
from .guest_memory import GuestMemory
from .types import FunctionType, call_plan

if TYPE_CHECKING:
    from .call_engine import CallEngine
    from .context import CallContext
    from .module_instance import ModuleInstance
    from .store import Store


class HostFunction(NamedTuple):
    """A function of the embedder. packed: it takes and returns packed values; with_caller: its first argument is the Caller."""

    type: FunctionType
    function: Callable[..., Any]
    name: str
    packed: bool
    with_caller: bool


class Caller(NamedTuple):
    """Who called a host function."""

    engine: CallEngine
    instance: ModuleInstance | None
    context: CallContext | None

    @property
    def memory(self) -> GuestMemory:
        """Memory 0 of the calling instance. Raises LookupError when it has none."""
        if self.instance is None or not self.instance.memories:
            raise LookupError("the caller has no memory")
        return GuestMemory(self.instance.memories[0])


def serve(engine: CallEngine, store: Store) -> None:
    """Calls the host function that the engine's innermost activation waits for and writes its results; the engine can then be
    resumed.

    Raises what ends the call, after unwinding the activation: HostFunctionError with the function's own exception as
    __cause__, LimitExceeded when the call may call no more host functions, or, unchanged, what a guest call that the function
    made ended with.
    """
    pending = engine.native.pending()
    host = store.host_functions[pending.number]
    context = engine.context
    try:
        if context is not None and context.host_calls is not None:
            context.host_calls -= 1
            if context.host_calls < 0:
                raise LimitExceeded("the call has called more host functions than it may", limit="host_calls")
        data = native.slots_read(pending.values, len(host.type.params))
        leading = (Caller(engine, _caller(store, pending, context), context),) if host.with_caller else ()
        if host.packed:
            results = call_plan(FunctionType(host.type.results)).clean(host.function(*leading, data))
        else:
            answer = host.function(*leading, *references.unpack(store, host.type.params, data))
            results = references.pack(store, host.type.results, _as_tuple(answer, len(host.type.results)), host.name, "result")
    except BaseException as exc:
        engine.native.abandon()
        if exc is engine.nested_error or not isinstance(exc, Exception) or isinstance(exc, HostFunctionError | LimitExceeded):
            raise
        if context is not None:
            context.check()  # what failed may be the wait of a call that has expired meanwhile
        raise HostFunctionError(f"host function {host.name} raised {type(exc).__name__}: {exc}") from exc
    native.slots_write(pending.values, results)


def _caller(store: Store, pending: native.PendingCall, context: CallContext | None) -> ModuleInstance | None:
    return store.instance_at(pending.caller) or (context.instance if context else None)


def _as_tuple(answer: Any, count: int) -> tuple[Any, ...]:
    if isinstance(answer, tuple):
        return answer
    return () if answer is None and count != 1 else (answer,)
