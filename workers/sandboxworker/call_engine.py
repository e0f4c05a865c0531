"""CallEngine: runs calls one at a time on its own value stack and frames, and turns what comes of them into results or
exceptions.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn

from sandboxhost.errors import (
    Cancelled,
    DeadlineExceeded,
    FuelExhausted,
    GuestExit,
    MemoryLimit,
    SignatureMismatch,
    StackLimit,
    Trap,
)

from . import host_calls, native, references
from .watchdog import watchdog

if TYPE_CHECKING:
    from .context import CallContext
    from .module_instance import FunctionInstance


class CallEngine:
    """Value stack and frames of one thread's calls, allocated once. Made for one function (`call`), or for any (`invoke`).

    Any error leaves it reusable. Not for concurrent use: a second thread gets RuntimeError. A call made by a host function
    while the guest waits for it nests on the same engine and counts against the same depth.
    """

    def __init__(
        self, function: FunctionInstance | None = None, *, stack_slots: int = 0, call_depth: int = 0, nesting: int = 0
    ) -> None:
        self.function = function
        self.native = native.NativeCallEngine(stack_slots, call_depth, nesting)
        self.call_depth = call_depth
        self.context: CallContext | None = None
        self.nested_error: BaseException | None = None
        self._lock = threading.Lock()
        self._thread = 0
        self._depth = 0  # calls in progress, nested ones included

    def call(self, *params: Any, context: CallContext | None = None) -> tuple[Any, ...]:
        """Calls the engine's function. See `invoke`."""
        if self.function is None:
            raise RuntimeError("this call engine was made without a function; use invoke")
        return self.invoke(self.function, params, context)

    def invoke(self, function: FunctionInstance, params: tuple[Any, ...], context: CallContext | None = None) -> tuple[Any, ...]:
        """Calls `function` with Python values and returns its results.

        Raises SignatureMismatch ("expected N params, but passed M"), Trap, GuestExit, HostFunctionError, Cancelled,
        FuelExhausted, DeadlineExceeded, StackLimit, MemoryLimit.
        """
        plan = function.plan
        if len(params) != plan.param_count:
            raise SignatureMismatch(f"expected {plan.param_count} params, but passed {len(params)}", function=function.name)
        self._enter(plan.slots)
        try:
            buffer = self.native.buffer
            if plan.has_references:
                data = references.pack(function.store, plan.type.params, params, function.name)
                buffer[: len(data)] = data
            else:
                try:
                    plan.pack_into(buffer, 0, *params)
                except Exception:  # an unsigned integer, or wrong types: the slow way finds out
                    data = references.pack(function.store, plan.type.params, params, function.name)
                    buffer[: len(data)] = data
            self._run(function, context)
            if plan.has_references:
                return references.unpack(function.store, plan.type.results, buffer[: 8 * len(plan.type.results)])
            return plan.unpack_from(buffer, 0)
        finally:
            self._leave()

    def invoke_packed(self, function: FunctionInstance, payload: bytes, context: CallContext | None = None) -> bytes:
        """The same with packed values (8 bytes each, sandboxhost.values). The caller sees to it that references are null or
        externref.

        Raises SignatureMismatch for a payload of the wrong length; otherwise as `invoke`.
        """
        plan = function.plan
        if len(payload) != 8 * plan.param_count:
            raise SignatureMismatch(
                f"expected {plan.param_count} params, but passed {len(payload) / 8:g}", function=function.name
            )
        self._enter(plan.slots)
        try:
            self.native.buffer[: len(payload)] = payload
            self._run(function, context)
            return bytes(self.native.buffer[: 8 * len(plan.type.results)])
        finally:
            self._leave()

    def interrupt(self) -> None:
        """Any thread: the running guest stops at its next instruction boundary; it goes on unless its context has expired."""
        self.native.interrupt()

    def _enter(self, slots: int) -> None:
        if self._lock.acquire(blocking=False):
            self._thread = threading.get_ident()
        elif self._thread != threading.get_ident():
            raise RuntimeError("this call engine is in use by another thread")
        self._depth += 1
        if slots > self.native.slots:
            self.native.reserve(slots)

    def _leave(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._thread = 0
            self._lock.release()

    def _run(self, function: FunctionInstance, context: CallContext | None) -> None:
        """Runs the function on the values in the buffer until it ends, under the context (or the one of the call it nests in)."""
        outer = self.context
        context = context or outer
        store = function.store
        if self._depth == 1:
            self.nested_error = None
            if function.metered and context is None:
                self.native.fuel = native.UNLIMITED_FUEL
        store.enter(self)
        try:
            if context is None:
                self._finish(self.native.call(function.pointer), function)
            elif context is outer:
                context.check()
                self._finish(self.native.call(function.pointer), function)
            else:
                context.outer = outer
                self._run_watched(function, context)
        except BaseException as exc:
            if self._depth > 1:
                self.nested_error = exc
            raise
        finally:
            self.context = outer
            store.leave(self)

    def _run_watched(self, function: FunctionInstance, context: CallContext) -> None:
        """The same with the watchdog and the cancellation told of it."""
        context.check()
        self.context = context
        cancellation, watch = context.cancellation, None
        if function.metered:
            outer_fuel = self.native.fuel
            granted = native.UNLIMITED_FUEL if context.fuel is None else max(context.fuel - context.fuel_used, 0)
            self.native.fuel = granted
        if cancellation is not None:
            cancellation.attach(self.native)
        try:
            if context.deadline_ns is not None:
                watch = watchdog.arm(self.native, context.deadline_ns)
            self._finish(self.native.call(function.pointer), function)
        finally:
            if watch is not None:
                watchdog.disarm(watch)
            if cancellation is not None:
                cancellation.detach(self.native)
            if function.metered:
                context.fuel_used += min(granted - self.native.fuel, granted)
                self.native.fuel = outer_fuel

    def _finish(self, status: int, function: FunctionInstance) -> None:
        """Serves suspensions until the call ends; raises what it ended with."""
        while status != native.OK:
            if status == native.HOST_CALL:
                host_calls.serve(self, function.store)
            elif status == native.INTERRUPTED:
                self.check_context()
            elif status == native.OUT_OF_FUEL:
                self.native.abandon()
                allowed = self.context.fuel if self.context is not None else None
                raise FuelExhausted("all fuel consumed", limit="fuel", allowed=allowed or 0, function=function.name)
            else:
                self._raise(status, function)
            status = self.native.resume()

    def check_context(self) -> None:
        """While suspended: abandons the activation and raises when the context has expired."""
        if self.context is None:
            return
        try:
            self.context.check()
        except (Cancelled, DeadlineExceeded):
            self.native.abandon()
            raise

    def _raise(self, status: int, function: FunctionInstance) -> NoReturn:
        """The exception of a call that has ended without results."""
        name = function.name
        if status == native.EXIT:
            code = self.native.exit_code
            raise GuestExit(f"exit code {code}", code=code, function=name)
        if status not in (native.TRAP, native.STACK_EXHAUSTED):
            self.native.fail(status)
        frames = tuple(function.store.named_frame(*item) for item in self.native.backtrace())
        if status == native.STACK_EXHAUSTED:
            limit = StackLimit("call stack exhausted", limit="call_depth", allowed=self.call_depth, function=name)
            limit.__cause__ = Trap("call stack exhausted", cause="call stack exhausted", frames=frames, function=name)
            raise limit
        cause = self.native.trap_cause()
        trap = Trap(cause, cause=cause, frames=frames, function=name)
        if function.store.take_memory_refusal():
            allowed = function.store.limits.memory
            raise MemoryLimit(
                f"memory limit of {allowed} bytes reached, then: {cause}", limit="memory", allowed=allowed, function=name
            ) from trap
        raise trap
