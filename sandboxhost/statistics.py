"""Immutable figures: what a call used, what a worker and a host have done so far."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["LATENCY_BOUNDS", "CompileStatistics", "HostStatistics", "Latency", "PluginStatistics", "Usage", "WorkerStatistics"]

LATENCY_BOUNDS = (*(float(f"{factor}e{power}") for power in range(-5, 2) for factor in (1, 2, 5)), 100.0)
"""Seconds: the upper ends of a latency histogram's buckets, each included; one more bucket has what took longer."""


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


class Latency(NamedTuple):
    """How long calls took, from acceptance to outcome, waiting included; the calls of a `map` as long as their chunk."""

    counts: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS) + 1)
    """Calls by bucket: see LATENCY_BOUNDS."""
    seconds: float = 0.0
    """The sum."""

    @property
    def calls(self) -> int:
        """Those that have ended."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Seconds; None without calls."""
        return self.seconds / self.calls if self.calls else None

    def quantile(self, q: float) -> float | None:
        """Seconds within which the part `q` (0 to 1) of the calls ended, interpolated within a bucket; None without calls."""
        left = q * self.calls
        lower = 0.0
        for count, upper in zip(self.counts, (*LATENCY_BOUNDS, LATENCY_BOUNDS[-1]), strict=True):
            if count and left <= count:
                return lower + (upper - lower) * max(left, 0.0) / count
            left -= count
            lower = upper
        return lower if self.calls else None

    def since(self, before: Latency) -> Latency:
        """What was added since an earlier look at the same histogram."""
        counts = tuple(max(0, now - then) for now, then in zip(self.counts, before.counts, strict=True))
        return Latency(counts, max(0.0, self.seconds - before.seconds))


@dataclass(frozen=True, slots=True)
class PluginStatistics:
    """One plugin as the host sees it, its generations (`Plugin.reload`) together."""

    name: str
    tenant: str = ""
    domain: str = "default"
    """The trust domain that its calls run in now, in words."""
    generation: int = 1
    """1 when loaded, one more with each reload."""
    persistent: bool = False
    quarantined: bool = False
    ended: int = 0
    """Calls that have had their outcome; loads are not counted."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Calls by outcome: "ok" or what kind of error it was: "trap", "exit", "host_function", "fuel", "deadline", "memory_limit",
    "stack", "payload", "limit", "cancelled", "worker_lost", "closed", …; those that were refused, and are in no other figure,
    are there too: "overloaded", "quarantined", "worker_start"."""
    latency: Latency = field(default_factory=Latency)
    pending: int = 0
    """Accepted calls without an outcome, now; also those that follow are as of now."""
    queued: int = 0
    """Of these, those that no worker has yet."""
    draining: int = 0
    """Of the pending, those of earlier generations."""
    pending_allowed: int = 0
    """`Limits.pending_calls`"""
    busy_seconds: float = 0.0
    """Sum of the time that workers spent on its calls."""
    memory_peak: int = 0
    """Bytes of linear memory: the most that a call ended with."""

    @property
    def in_flight(self) -> int:
        """Calls that workers have, now."""
        return self.pending - self.queued


@dataclass(frozen=True, slots=True)
class CompileStatistics:
    """The compile cache."""

    modules: int = 0
    """In it, now."""
    image_bytes: int = 0
    """Of these."""
    hits: int = 0
    """Modules that were asked for and there already, or being compiled."""
    compiled: int = 0
    failed: int = 0
    """Compilations that ended with an error."""
    seconds: float = 0.0
    """Sum of the time that compilations took, failed ones included."""


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
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Calls of all plugins, unloaded ones included, by outcome; see PluginStatistics.outcomes."""
    latency: Latency = field(default_factory=Latency)
    """Of all plugins, unloaded ones included."""
    plugins: tuple[PluginStatistics, ...] = ()
    """Those that are loaded, or still have calls."""
    compile: CompileStatistics = CompileStatistics()

    @property
    def queued(self) -> int:
        """Calls that no worker has yet, now."""
        return sum(plugin.queued for plugin in self.plugins)
