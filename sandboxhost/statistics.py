"""Immutable figures: what a call used, what a worker and a host have done so far."""
from __future__ import annotations

from dataclasses import dataclass
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
    """"starting", "ready", "stopping" or "lost"."""
    threads: int
    in_flight: int
    """Calls written to it that have no outcome yet."""
    calls: int
    """Calls it has ended."""
    plugins: int
    """Plugins that it holds."""
    level: str = ""
    """Lock-down level that it reported."""


@dataclass(frozen=True, slots=True)
class HostStatistics:
    """A snapshot of a host's counters; they only ever grow."""

    accepted: int = 0
    """Calls accepted; each has exactly one outcome or is still pending."""
    ended: int = 0
    """Calls that have had their outcome."""
    rejected: int = 0
    """Calls refused with Overloaded."""
    pending: int = 0
    """Accepted calls without an outcome."""
    workers_started: int = 0
    workers_lost: int = 0
    late_replies: int = 0
    """Replies dropped because their call had ended already."""
    protocol_errors: int = 0
    compiled_modules: int = 0
    workers: tuple[WorkerStatistics, ...] = ()
