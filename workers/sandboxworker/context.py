"""Call contexts: the module instance a call runs in, its deadline, its cancellation, its fuel."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from sandboxhost.errors import Cancelled, DeadlineExceeded

if TYPE_CHECKING:
    from . import native
    from .module_instance import ModuleInstance


class Cancellation:
    """A switch that any thread may throw once; the calls that carry it end with Cancelled."""

    __slots__ = ("_engines", "_lock", "cancelled")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: list[native.NativeCallEngine] = []
        self.cancelled = False

    def cancel(self) -> None:
        """Interrupts the calls that run under it now and refuses those that come later."""
        with self._lock:
            self.cancelled = True
            for engine in self._engines:
                engine.interrupt()

    def attach(self, engine: native.NativeCallEngine) -> None:
        """A call begins: `cancel` interrupts this engine from now on."""
        with self._lock:
            self._engines.append(engine)
            if self.cancelled:
                engine.interrupt()

    def detach(self, engine: native.NativeCallEngine) -> None:
        """The call has ended; an interrupt that was not delivered is taken back."""
        with self._lock:
            self._engines.remove(engine)
        if self.cancelled:
            engine.clear_interrupt()


class CallContext:
    """What a call may carry. An expired context refuses the call before it starts.

    instance: the module instance the call runs in (host functions see it as their caller when the guest is not the caller);
    deadline: of time.monotonic(), seconds; cancellation: shared with whoever may cancel; fuel: wasm instructions for this
    call, for modules compiled metered, None = unlimited; host_calls: host functions that the call may still call, None = any
    number.
    """

    __slots__ = ("cancellation", "deadline_ns", "fuel", "fuel_used", "host_calls", "instance", "outer", "seconds")

    def __init__(
        self,
        instance: ModuleInstance | None = None,
        deadline: float | None = None,
        cancellation: Cancellation | None = None,
        fuel: int | None = None,
        host_calls: int | None = None,
    ) -> None:
        self.instance = instance
        self.deadline_ns = None if deadline is None else int(deadline * 1e9)
        self.cancellation = cancellation
        self.fuel = fuel
        self.fuel_used = 0
        """Wasm instructions that calls under this context have executed; counted in metered modules only."""
        self.outer: CallContext | None = None
        """The context of the call that this one nests in."""
        self.host_calls = host_calls
        self.seconds = 0.0 if deadline is None else max(0.0, deadline - time.monotonic())

    @classmethod
    def within(cls, seconds: float, cancellation: Cancellation | None = None, fuel: int | None = None) -> CallContext:
        """A context whose deadline lies `seconds` ahead."""
        return cls(deadline=time.monotonic() + seconds, cancellation=cancellation, fuel=fuel)

    def check(self) -> None:
        """Raises Cancelled or DeadlineExceeded when the context, or one that it nests in, has expired."""
        if self.cancellation is not None and self.cancellation.cancelled:
            raise Cancelled("the call was cancelled")
        if self.deadline_ns is not None and time.monotonic_ns() >= self.deadline_ns:
            raise DeadlineExceeded(f"the deadline of {self.seconds:.3g} s has passed", limit="deadline", allowed=self.seconds)
        if self.outer is not None:
            self.outer.check()

    def remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        return None if self.deadline_ns is None else max(0, self.deadline_ns - time.monotonic_ns()) / 1e9
