"""The calls that the core answers by itself on the lifeline (native/include/line.h): which ones, in which instances, and what it
hands over in the middle.

A thread's line holds one instance a plugin, as new, for the functions that were called before. Whoever else needs that instance
recalls it, unless a call runs in it just then.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from sandboxhost import wire

from . import native
from .recycling import kept
from .types import ValueType
from .watchdog import NEVER, watchdog

if TYPE_CHECKING:
    from .call_engine import CallEngine
    from .module_instance import FunctionInstance
    from .plugin import Instance, Plugin

MAX_PLUGINS = 16
"""What one line holds an instance of."""
SPIN_NS = 40_000
"""How long a thread looks for the next call before it sleeps: about what waking up costs on a machine with idle processors."""
_NUMBERS = (ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64)
_FIGURES = ("id", "fuel", "time_ns", "memory")
"""In the order of native/src/line.c."""
_take, _leave = native.function("sbx_line_gate_take"), native.function("sbx_line_gate_leave")
_serve = native.function("sbx_line_serve")
READ, WOKEN, BEGUN, CARE, GONE = (native.number(f"SBX_LINE_{name}") for name in ("READ", "WOKEN", "BEGUN", "CARE", "GONE"))
"""Of sbx_line_event."""
_SLOTS, _BYTES = native.number("SBX_LINE_SLOTS"), native.number("SBX_LINE_BYTES")


class Gate:
    """Held by whoever reads the lifeline, here or in the core."""

    def __init__(self) -> None:
        self.pointer = native.new("sbx_line_gate *")
        native.plain("sbx_line_gate_init", self.pointer)

    def __enter__(self) -> None:
        _take(self.pointer)

    def __exit__(self, *_: object) -> None:
        _leave(self.pointer)


class Begun(NamedTuple):
    """A call that the core took and has not simply answered."""

    plugin: Plugin
    instance: Instance
    function: FunctionInstance
    status: int
    """As NativeCallEngine.call."""
    started_ns: int
    deadline_ns: int | None


class CallLine:
    """One thread's. `serve`, `lend` and what they lead to are the thread's; the rest is anybody's."""

    def __init__(self, gate: Gate, fd: int) -> None:
        self._gate = gate
        self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._record = record = native.new("sbx_line *")
        native.plain("sbx_line_init", record, gate.pointer, fd, self._waker, watchdog.watched)
        record.spin_ns = SPIN_NS if len(os.sched_getaffinity(0)) > 1 else 0
        _write(record.call, wire.cut(wire.Call(0, 0, 0, "", wire.Signed(0), wire.Signed(0), b""), "id")[0])
        before, *between, _, _ = wire.cut(wire.Result(0, 0, 0, 0, b""), *_FIGURES, "payload")
        assert not any(between) and wire.Result._fields[-1] == "payload"
        _write(record.answer, before)
        for position, name in enumerate(n for n in wire.Result._fields if n in _FIGURES):
            record.order[position] = _FIGURES.index(name)
        self._lock = threading.Lock()
        self._held: dict[Plugin, Instance] = {}
        watchdog.watch(self)

    # ---- the thread

    def serve(self) -> int:
        """Answers calls until there is something else to do: READ and so on. Without the interpreter lock."""
        return _serve(self._record)  # type: ignore[no-any-return]

    def taken(self) -> tuple[bytes, Begun]:
        """After BEGUN: the message, and what became of the call. The instance is the caller's."""
        record = self._record
        instance = self._current()
        name = instance.names[native.address(record.entries[record.current].function)]
        deadline = None if record.deadline_ns == NEVER else record.deadline_ns
        return native.bytes_read(record.message, record.length), Begun(
            instance.plugin, instance, instance.function(name), record.status, record.started_ns, deadline
        )

    def settle(self) -> bool:
        """After BEGUN, when others can find the call elsewhere: whether it was cancelled meanwhile."""
        return bool(native.plain("sbx_line_settle", self._record))

    def take_care(self) -> Plugin:
        """After CARE: looks to the instance; its plugin, which nothing runs in here any more."""
        instance, renewed = self._current(), self._record.status == native.OK
        self.settle()
        if not instance.plugin.persistent:
            if renewed:
                kept.give(instance)
            else:
                instance.close()
        return instance.plugin

    def _current(self) -> Instance:
        """The instance of the call that runs; no longer held, unless it is a persistent one."""
        number = self._record.entries[self._record.current].owner
        with self._lock:
            plugin, instance = next((p, i) for p, i in self._held.items() if i.number == number)
            if not plugin.persistent:
                self._let_go(plugin)
        return instance

    def lend(self, plugin: Plugin, message: wire.Call, engine: CallEngine, known: bool) -> None:
        """A call has been made on this thread: the next one like it need not come here. known: this one was in the core."""
        if not plugin.calls_in_core or plugin.closed:
            return
        instance = plugin.own_instance if plugin.persistent else kept.take(plugin)
        if instance is None:
            return
        function = instance.function(message.function)
        with self._lock:
            other = self._held.pop(plugin, None)
            self._held[plugin] = instance  # the last one now
            if other is None:
                plugin.lent.append(self)
            elif other is not instance:
                native.plain("sbx_line_retract", self._record, other.number)
            native.plain("sbx_line_restore", self._record, instance.number)
            if not known:
                self._add(instance, function, message, engine)
        if other is not None and other is not instance:
            kept.give(other)
        while len(self._held) > MAX_PLUGINS:
            oldest = next(iter(self._held))
            if oldest.persistent:
                self.drop(oldest)
                self.forget(oldest)
            elif (spare := self.recall(oldest)) is not None:
                kept.give(spare)

    def _add(self, instance: Instance, function: FunctionInstance, message: wire.Call, engine: CallEngine) -> None:
        params, results = function.type
        if not all(t in _NUMBERS for t in (*params, *results)) or message.parent or message.time_left_ns == 0:
            return
        if 8 * len(results) > instance.plugin.limits.result_bytes or max(len(params), len(results)) > _SLOTS:
            return
        _, middle, tail, _ = wire.cut(message, "id", "time_left_ns", "payload")
        if max(len(middle), len(tail)) > _BYTES or len(message.payload) != 8 * len(params):
            return
        entry = native.new("sbx_line_entry *")
        _write(entry.middle, middle)
        _write(entry.tail, tail)
        _write(entry.result, wire.cut(wire.Result(0, 0, 0, 0, bytes(8 * len(results))), "memory", "payload")[1])
        entry.owner = instance.number
        entry.engine, entry.error = engine.native.pointer, engine.native.error
        entry.function, entry.instance = function.pointer, instance.module.pointer
        entry.fuel = native.UNLIMITED_FUEL if message.fuel == wire.UNLIMITED else message.fuel
        entry.fresh, entry.metered, entry.active = not instance.plugin.persistent, function.metered, True
        instance.names[function.address] = message.function
        native.plain("sbx_line_add", self._record, entry)

    # ---- anybody

    def wake(self) -> None:
        """Makes `serve` return, after the call that runs."""
        native.plain("sbx_line_wake", self._record)

    def cancel(self, call_id: int) -> bool:
        """Whether this call runs here; then it is interrupted. If not, and it comes later, `serve` does not take it."""
        return bool(native.plain("sbx_line_cancel", self._record, call_id))

    def expire(self, now_ns: int) -> int:
        """For the watchdog: interrupts a call whose deadline has come, else tells the deadline (NEVER: none)."""
        return int(native.plain("sbx_line_expire", self._record, now_ns))

    def recall(self, plugin: Plugin, only: Instance | None = None) -> Instance | None:
        """The instance of a fresh plugin that is held here, now the caller's; None if there is none, or a call runs in it."""
        with self._lock:
            instance = self._held.get(plugin)
            if instance is None or plugin.persistent or (only is not None and instance is not only):
                return None
            if not native.plain("sbx_line_retract", self._record, instance.number):
                return None
            self._let_go(plugin)
        return instance

    def drop(self, plugin: Plugin) -> bool:
        """No call of it begins here any more. False: one runs, and `serve` returns CARE after it."""
        with self._lock:
            instance = self._held.get(plugin)
            return instance is None or bool(native.plain("sbx_line_retract", self._record, instance.number))

    def forget(self, plugin: Plugin) -> None:
        """After `drop`: a persistent plugin is closed."""
        with self._lock:
            if plugin in self._held:
                self._let_go(plugin)

    def _let_go(self, plugin: Plugin) -> None:
        del self._held[plugin]
        plugin.lent.remove(self)


def _write(field: native.Pointer, data: bytes) -> None:
    """Fills an sbx_line_bytes."""
    native.slots_write(field.bytes, data)
    field.length = len(data)
