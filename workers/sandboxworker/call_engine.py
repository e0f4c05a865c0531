"""CallEngine: runs calls one at a time on its own value stack and frames, and turns what comes of them into results or
exceptions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
from .native import NativeCallEngine
from .watchdog import watchdog

if TYPE_CHECKING:
    from .context import CallContext
    from .module_instance import FunctionInstance
    from .prepared import Record
    from .store import Store


ADOPTION_SECONDS = 1.0


class CallEngine:
    """Value stack and frames of one thread's calls, allocated once. Made for one function (`call`), or for any (`invoke`).

    Any error leaves it reusable. Not for concurrent use: a second thread gets RuntimeError. A call made by a host function while
    the guest waits for it nests on the same engine and counts against the same depth.
    """

    def __init__(
        self, function: FunctionInstance | None = None, *, stack_slots: int = 0, call_depth: int = 0, nesting: int = 0
    ) -> None:
        self.function = function
        self.native = native.NativeCallEngine(stack_slots, call_depth, nesting)
        self.call_depth = call_depth
        self.context: CallContext | None = None
        self.nested_error: BaseException | None = None
        self.host_thread = 0
        """The thread that runs a host function for this engine's guest, and may nest calls; 0: none."""
        self._lock = threading.Lock()

    def call(self, *params: Any, context: CallContext | None = None) -> tuple[Any, ...]:
        """Calls the engine's function. See `invoke`."""
        if self.function is None:
            raise RuntimeError("this call engine was made without a function; use invoke")
        return self.invoke(self.function, params, context)

    def invoke(self, function: FunctionInstance, params: tuple[Any, ...], context: CallContext | None = None) -> tuple[Any, ...]:
        """Calls `function` with Python values and returns its results.

        Raises SignatureMismatch ("expected N params, but passed M"), Trap, GuestExit, HostFunctionError, Cancelled,
        FuelExhausted, DeadlineExceeded, StackLimit, MemoryLimit; RuntimeError: the store is closed, or engine or store are in
        use by another thread.
        """
        plan, store = function.plan, function.store
        if len(params) != plan.param_count:
            raise SignatureMismatch(f"expected {plan.param_count} params, but passed {len(params)}", function=function.name)
        nested = not self._lock.acquire(False)
        if nested or store.closed:
            self._check_entry(nested, store)
        store.calls += 1
        try:
            engine = self.native
            if plan.slots > engine.slots:
                engine.reserve(plan.slots)
            if plan.has_references:
                self._write(references.pack(store, plan.type.params, params, function.name))
            else:
                try:
                    plan.pack_into(engine.buffer, 0, *params)
                except Exception:  # an unsigned integer, or wrong types: the slow way finds out
                    self._write(references.pack(store, plan.type.params, params, function.name))
            if nested or context is not None or function.metered:
                self._run(function, context, nested)
            elif status := engine.call(function.pointer):  # the prepared path: one call into the core
                self._finish(status, function)
            if plan.has_references:
                return references.unpack(store, plan.type.results, engine.buffer[: 8 * len(plan.type.results)])
            return plan.unpack_from(engine.buffer, 0)
        finally:
            store.calls -= 1
            if not nested:
                self._lock.release()

    def adopt(self, function: FunctionInstance, record: Record | None, status: int) -> tuple[Any, ...]:
        """Goes on with a prepared call that this thread began and that has ended, or was suspended, with `status`."""
        plan, store = function.plan, function.store
        assert record is not None
        # Whoever has the lock finds the engine taken, and lets go; unless it is this very thread, in a conversion of an argument.
        if not self._lock.acquire(timeout=ADOPTION_SECONDS):
            record.discard()
            raise RuntimeError("this call engine is in use by another call")
        record.release()
        store.calls += 1
        try:
            self._finish(status, function)
            return plan.unpack_from(self.native.buffer, 0)
        finally:
            store.calls -= 1
            self._lock.release()

    def invoke_packed(self, function: FunctionInstance, payload: bytes, context: CallContext | None = None) -> bytes:
        """The same with packed values (8 bytes each, as CallPlan.clean returns them).

        Raises SignatureMismatch for a payload of the wrong length; otherwise as `invoke`.
        """
        plan, store = function.plan, function.store
        if len(payload) != 8 * plan.param_count:
            raise SignatureMismatch(
                f"expected {plan.param_count} params, but passed {len(payload) / 8:g}", function=function.name
            )
        nested = not self._lock.acquire(False)
        if nested or store.closed:
            self._check_entry(nested, store)
        store.calls += 1
        try:
            if plan.slots > self.native.slots:
                self.native.reserve(plan.slots)
            self._write(payload)
            self._run(function, context, nested)
            return bytes(self.native.buffer[: 8 * len(plan.type.results)])
        finally:
            store.calls -= 1
            if not nested:
                self._lock.release()

    def go_on(self, function: FunctionInstance, status: int, context: CallContext) -> bytes:
        """Goes on with a call under `context`, with its fuel, that the core began on this engine and that came to `status`. Its
        results, packed; raises as `invoke`."""
        store = function.store
        if not self._lock.acquire(False):
            raise RuntimeError("this call engine is in use by another call")
        store.calls += 1
        try:
            self._run_watched(function, context, status)
            return bytes(self.native.buffer[: 8 * len(function.type.results)])
        finally:
            store.calls -= 1
            self._lock.release()

    @contextmanager
    def rows(self, function: FunctionInstance, context: CallContext) -> Iterator[NativeCallEngine]:
        """Holds the engine for many calls of one function under one context (rows.py). Raises as `invoke` before any; not for
        calls that nest."""
        store = function.store
        if not self._lock.acquire(False):
            raise RuntimeError("this call engine is in use by another call")
        watch = None
        try:
            store.check_open()
            store.calls += 1
            try:
                context.check()
                self.context = context
                if function.plan.slots > self.native.slots:
                    self.native.reserve(function.plan.slots)
                if context.cancellation is not None:
                    context.cancellation.attach(self.native)
                if context.deadline_ns is not None:
                    watch = watchdog.arm(self.native, context.deadline_ns)
                yield self.native
            finally:
                if watch is not None:
                    watchdog.disarm(watch)
                if self.context is not None and context.cancellation is not None:
                    context.cancellation.detach(self.native)
                self.context = None
                store.calls -= 1
        finally:
            self._lock.release()

    def finish(self, status: int, function: FunctionInstance) -> None:
        """Within `rows`: goes on with a call that was suspended until it ends. Raises what it ended with."""
        self._finish(status, function)

    def interrupt(self) -> None:
        """Any thread: the running guest stops at its next instruction boundary; it goes on unless its context has expired."""
        self.native.interrupt()

    def _check_entry(self, nested: bool, store: Store) -> None:
        """The engine was taken by another call, or the store is closed: only a call that nests may go on."""
        if nested and self.host_thread != threading.get_ident():
            raise RuntimeError("this call engine is in use by another thread")
        if store.closed:
            if not nested:
                self._lock.release()
            store.check_open()

    def _write(self, payload: bytes) -> None:
        self.native.buffer[: len(payload)] = payload

    def _run(self, function: FunctionInstance, context: CallContext | None, nested: bool) -> None:
        """Runs the function on the values in the buffer until it ends, under the context (or the one of the call it nests in)."""
        if nested:
            self._run_nested(function, context)
        elif context is None:
            if function.metered:
                self.native.fuel = native.UNLIMITED_FUEL
            status = self.native.call(function.pointer)
            if status != native.OK:
                self._finish(status, function)
        else:
            self._run_watched(function, context)

    def _run_nested(self, function: FunctionInstance, context: CallContext | None) -> None:
        """The same on top of a suspended call, whose state is kept and whose context stays in force."""
        outer, thread = self.context, self.host_thread
        self.host_thread = 0
        try:
            if outer is not None:
                outer.check()
            if context is None or context is outer:
                self._finish(self.native.call(function.pointer), function)
            else:
                context.outer = outer
                self._run_watched(function, context)
        except BaseException as exc:
            self.nested_error = exc
            raise
        finally:
            self.context, self.host_thread = outer, thread

    def _run_watched(self, function: FunctionInstance, context: CallContext, status: int | None = None) -> None:
        """The same with the watchdog and the cancellation told of it. status: it has begun already, and come to that."""
        if status is None:
            context.check()
        self.context = context
        cancellation, watch = context.cancellation, None
        if function.metered:
            outer_fuel = self.native.fuel
            granted = native.UNLIMITED_FUEL if context.fuel is None else max(context.fuel - context.fuel_used, 0)
            if status is None:
                self.native.fuel = granted
        if cancellation is not None:
            cancellation.attach(self.native)
        try:
            if context.deadline_ns is not None:
                watch = watchdog.arm(self.native, context.deadline_ns)
            self._finish(self.native.call(function.pointer) if status is None else status, function)
        finally:
            if watch is not None:
                watchdog.disarm(watch)
            if cancellation is not None:
                cancellation.detach(self.native)
            if function.metered:
                context.fuel_used += min(granted - self.native.fuel, granted)
                self.native.fuel = outer_fuel
            self.context = None

    def _finish(self, status: int, function: FunctionInstance) -> None:
        """Serves suspensions until the call ends; raises what it ended with."""
        while status != native.OK:
            if status == native.HOST_CALL:
                self._serve(function.store)
            elif status == native.INTERRUPTED:
                self.check_context()
            elif status == native.OUT_OF_FUEL:
                self.native.abandon()
                allowed = self.context.fuel if self.context is not None else None
                raise FuelExhausted("all fuel consumed", limit="fuel", allowed=allowed or 0, function=function.name)
            else:
                self._raise(status, function)
            status = self.native.resume()

    def _serve(self, store: Store) -> None:
        """Answers a call of a host function, which may nest calls on this engine meanwhile."""
        self.host_thread = threading.get_ident()
        store.running.append(self)
        try:
            host_calls.serve(self, store)
        finally:
            store.running.pop()
            self.host_thread = 0
        self.check_context()  # the interrupt may have come while the host function ran, and have ended a nested call there

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


class SpareEngines:
    """Call engines that closed stores have left, for the next ones: making one maps and protects its stacks. Thread-safe."""

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._spare: list[CallEngine] = []

    def __len__(self) -> int:
        return len(self._spare)

    def take(self, call_depth: int) -> CallEngine:
        """One with this call depth, now the caller's."""
        for engine in reversed(self._spare):
            if engine.call_depth == call_depth:
                try:
                    self._spare.remove(engine)
                except ValueError:  # another thread was faster
                    continue
                return engine
        return CallEngine(call_depth=call_depth)

    def give(self, engine: CallEngine) -> None:
        """One that nobody else holds, and on which nothing runs or is suspended."""
        engine.nested_error = None
        if len(self._spare) < self._most and not engine.native.suspended:
            self._spare.append(engine)


spare_engines = SpareEngines()
"""The process's."""
