"""Many calls of one export under one context: in one loop of the core where instances can be made as new there, else one by one.

A row is a call like any other: it has its own fuel, its own number of host functions, its own error; with fresh instances its own
instance. What ends the context (a cancellation, the deadline) ends all rows that have not run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sandboxhost.errors import Cancelled, DeadlineExceeded, ProtocolError, SandboxError, SignatureMismatch
from sandboxhost.statistics import Usage

from . import native
from .call_engine import CallEngine
from .context import CallContext

if TYPE_CHECKING:
    from .module_instance import FunctionInstance
    from .plugin import Instance, Job, Plugin

Done = Callable[[int, int, bytes], None]
"""Takes (first row, number of rows, their packed results)."""
Failed = Callable[[int, BaseException, Usage], None]
"""Takes a row and what it failed with."""
_END = (Cancelled, DeadlineExceeded)


class Rows(NamedTuple):
    """What to call: a job whose payload is that of all rows, one after the other; how many; and where outcomes go, in the order
    of the rows. stop: nothing runs after the first row that fails."""

    job: Job
    number: int
    stop: bool
    done: Done
    failed: Failed


class Ended(NamedTuple):
    """The usage of all rows together, and what those that have had no outcome ended with."""

    usage: Usage
    error: BaseException | None


def perform(plugin: Plugin, rows: Rows, engine: CallEngine) -> Ended:
    """Makes the calls on a thread's call engine and always returns."""
    started = time.perf_counter_ns()
    context, memory, error = rows.job.context, 0, None
    try:
        context.check()
        size, rest = divmod(len(rows.job.payload), rows.number)
        if rest or size % 8:
            raise ProtocolError(f"CallRows.payload: {len(rows.job.payload)} bytes are not {rows.number} rows")
        if plugin.rows_in_core:
            memory = _on_one_instance(plugin, rows, engine, size)
        else:
            memory = _one_by_one(plugin, rows, engine, size)
    except BaseException as exc:
        error = exc
    return Ended(Usage(context.fuel_used, time.perf_counter_ns() - started, memory), error)


def _one_by_one(plugin: Plugin, rows: Rows, engine: CallEngine, size: int) -> int:
    """Each row as a call by itself. Returns the largest memory."""
    whole, memory = rows.job.context, 0
    for row in range(rows.number):
        whole.check()
        context = CallContext(None, None, whole.cancellation, whole.fuel, plugin.limits.host_calls)
        context.deadline_ns, context.seconds, context.outer = whole.deadline_ns, whole.seconds, whole.outer
        job = rows.job._replace(payload=rows.job.payload[row * size : (row + 1) * size], context=context)
        outcome = plugin.perform(job, engine)
        whole.fuel_used += outcome.usage.fuel
        memory = max(memory, outcome.usage.memory)
        if outcome.error is None:
            rows.done(row, 1, outcome.payload)
            continue
        if isinstance(outcome.error, _END) or not isinstance(outcome.error, SandboxError):
            raise outcome.error
        rows.failed(row, outcome.error, outcome.usage)
        if rows.stop:
            break
    return memory


def _on_one_instance(plugin: Plugin, rows: Rows, engine: CallEngine, size: int) -> int:
    """All rows on one instance, which the core makes as new for each unless it is the persistent one. Returns its memory."""
    instance = plugin.take(rows.job, engine)
    error: BaseException | None = None
    memory = 0
    try:
        function = instance.function(rows.job.function)
        if size != 8 * function.plan.param_count:
            raise SignatureMismatch(
                f"expected {function.plan.param_count} params, but passed {size // 8}", function=function.name
            )
        if function.plan.has_references:
            raise ProtocolError("CallRows.function: references do not travel in rows")
        _in_core(plugin, instance, rows, engine, function)
    except BaseException as exc:
        error = exc
        raise
    finally:
        memory = instance.store.memory_bytes()
        instance.flush(rows.job)
        plugin.give_back(instance, error)
    return memory


def _in_core(plugin: Plugin, instance: Instance, rows: Rows, engine: CallEngine, function: FunctionInstance) -> None:
    context = rows.job.context
    size, payload = len(function.type.results) * 8, rows.job.payload
    results = bytearray(rows.number * size)
    with instance.serving(rows.job), engine.rows(function, context) as core:
        many, words, kept = core.many(
            function.pointer, payload, results, rows.number, None if plugin.persistent else instance.module.pointer
        )
        many.metered = function.metered
        many.fuel = fuel = native.UNLIMITED_FUEL if context.fuel is None else context.fuel
        told = used = 0
        while True:
            status = native.plain("sbx_call_many_run", many, words)
            row = many.next
            if row > told:
                rows.done(told, row - told, bytes(results[told * size : row * size]))
                told = row
            if status == native.OK:
                break
            context.host_calls = plugin.limits.host_calls
            error: BaseException | None = None
            try:
                engine.finish(status, function)
                results[row * size : (row + 1) * size] = core.buffer[:size]
                rows.done(row, 1, bytes(core.buffer[:size]))
            except _END:
                raise
            except SandboxError as exc:
                error = exc
            finally:
                used += min(fuel - core.fuel, fuel) if function.metered else 0
                context.fuel_used = used + many.used
            if error is not None:
                rows.failed(row, error, Usage(0, 0, 0))
                if rows.stop:
                    break
            many.next = told = row + 1
    context.fuel_used = used + many.used
    del kept
