"""Immutable figures: what a call used, what a worker and a host have done so far."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["HostStatistics", "Usage", "WorkerStatistics"]


class Usage(NamedTuple):
    """What one call used. Reported by the worker; a figure to look at, never one to trust for security."""

    fuel: int = 0
    """Wasm instructions executed; 0 when the plugin has no fuel limit (nothing is counted then)."""
    time_ns: int = 0
    """Wall-clock nanoseconds in the worker, instantiation included."""
    memory: int = 0
    """Bytes of linear memory at the end of the call."""
    worker: int = 0
    """Process id of the worker that ran it (the host writes it in; 0 when the call never reached one)."""


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One worker process as the host sees it."""

    pid: int
    state: str
    """"starting", "ready", "draining" (it ends its calls, then it is ended) or "killed"."""
    threads: int
    in_flight: int
    """Calls written to it that have no outcome yet."""
    calls: int
    """Calls it has ended."""
    plugins: int
    """Plugins that it holds."""
    level: str = ""
    """Lock-down level that it reported."""
    tenant: str = ""
    """Whose plugins it serves."""
    domain: str = "default"
    """The trust domain that it belongs to, in words: workers with the same words may still differ in their directories."""
    resident: int = 0
    """Bytes of resident memory of its own when it was last looked at; 0: not yet."""


@dataclass(frozen=True, slots=True)
class HostStatistics:
    """A snapshot of a host's counters; numbers without another word only ever grow."""

    accepted: int = 0
    """Calls accepted; each has exactly one outcome or is still pending."""
    ended: int = 0
    """Calls that have had their outcome."""
    rejected: int = 0
    """Calls refused with Overloaded."""
    pending: int = 0
    """Accepted calls without an outcome."""
    workers_started: int = 0
    """Processes that became workers of a domain."""
    workers_lost: int = 0
    """Those that ended without the host having wanted it, boots that failed included."""
    late_replies: int = 0
    """Replies dropped because their call had ended already."""
    protocol_errors: int = 0
    compiled_modules: int = 0
    workers: tuple[WorkerStatistics, ...] = ()
    """Those there are now, of all domains, without spares."""
    spares: int = 0
    """Spares that could become a worker at once, now."""
    workers_recycled: int = 0
    losses: Mapping[str, int] = field(default_factory=dict)
    """`workers_lost` by `Loss`."""
    quarantined: int = 0
    """Loaded plugins that are quarantined, now."""
    replacements: tuple[float, ...] = ()
    """Of the latest losses (at most 256): seconds from when the host noticed the end of a ready worker to when another process
    in its place was ready."""
