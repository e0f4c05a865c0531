"""Running counts of calls: what the router and the in-process mode write when a call ends, and the figures read from them."""
from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import Cancelled, code_of
from .statistics import LATENCY_BOUNDS, Latency, PluginStatistics

if TYPE_CHECKING:
    from .router_state import CallState, Plugin

__all__ = ["MOST_RECENT", "Tally", "figures", "figures_of", "total"]

MOST_RECENT = 1000
"""Times that a tally keeps before it counts them."""


class Tally:
    """Counts of one plugin's calls, all its generations together. Written under the backend's lock; loads are not calls here."""

    __slots__ = ("buckets", "busy_ns", "failed", "peak", "recent", "refused", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BOUNDS) + 1)
        """Ended calls by the time from acceptance to outcome; but for `recent`."""
        self.seconds = 0.0
        """The sum of these times."""
        self.recent: list[float] = []
        """Times of calls that ended well and are not in the buckets yet: sorting many is cheaper than to find each its place.
        Whoever appends calls `fold` when there are more than MOST_RECENT."""
        self.busy_ns = 0
        """What workers spent on them."""
        self.peak = 0
        """Bytes of linear memory, the most that a call ended with."""
        self.failed: Counter[str] = Counter()
        """Ended calls that have an error, by its code (errors.code_of)."""
        self.refused: Counter[str] = Counter()
        """Calls that were not accepted."""

    def end(self, call: CallState, error: Exception | None, now: float) -> None:
        """A call has its outcome; one of many rows is as many calls, each of which took as long as the whole."""
        spec, left = call.spec, 1
        if spec.kind == "rows":
            left = spec.rows - call.done
            error = error or Cancelled("a row before it failed")
            self.failed.update(call.failed or {})
        self.took(now - call.accepted, spec.rows)
        if error is not None and left:
            self.fail(error, left)

    def fold(self) -> None:
        """Puts `recent` into the buckets."""
        recent, self.recent = sorted(self.recent), []
        self.seconds += sum(recent)
        place = 0
        while place < len(recent):
            bucket = bisect_left(LATENCY_BOUNDS, recent[place])
            end = bisect_right(recent, LATENCY_BOUNDS[bucket], place) if bucket < len(LATENCY_BOUNDS) else len(recent)
            self.buckets[bucket] += end - place
            place = end

    def took(self, elapsed: float, count: int = 1) -> None:
        """So many calls ended after so many seconds."""
        self.buckets[bisect_left(LATENCY_BOUNDS, elapsed)] += count
        self.seconds += elapsed * count

    def fail(self, error: Exception, count: int = 1) -> None:
        """So many of those that `took` their time ended with this."""
        self.failed[code_of(error)] += count

    def use(self, time_ns: int, memory: int) -> None:
        """What the worker said that a call used."""
        self.busy_ns += time_ns
        self.peak = max(self.peak, memory)

    def refuse(self, error: Exception, count: int) -> None:
        """So many calls were refused with this."""
        self.refused[code_of(error)] += count

    def outcomes(self) -> dict[str, int]:
        """Calls by outcome, "ok" first; outcomes that never occurred are left out, but "ok"."""
        self.fold()
        found = Counter(ok=sum(self.buckets) - self.failed.total())
        found.update(self.failed)
        found.update(self.refused)
        return dict(found)

    def latency(self) -> Latency:
        """The histogram."""
        self.fold()
        return Latency(tuple(self.buckets), self.seconds)

    def add(self, other: Tally) -> None:
        """Takes in the counts of another."""
        other.fold()
        self.buckets = [mine + others for mine, others in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds
        self.busy_ns += other.busy_ns
        self.peak = max(self.peak, other.peak)
        self.failed.update(other.failed)
        self.refused.update(other.refused)


def total(plugins: Iterable[Plugin], gone: Tally) -> Tally:
    """The counts of all plugins, generations of one counted once, and of those that have gone."""
    found = Tally()
    found.add(gone)
    for tally in {id(plugin.tally): plugin.tally for plugin in plugins}.values():
        found.add(tally)
    return found


def figures(plugins: Iterable[Plugin]) -> tuple[PluginStatistics, ...]:
    """One entry a plugin: of several generations the newest, with the pending calls of all."""
    families: dict[int, list[Plugin]] = {}
    for plugin in plugins:
        families.setdefault(id(plugin.tally), []).append(plugin)
    return tuple(_figures(family) for family in families.values())


def figures_of(plugin: Plugin, plugins: Iterable[Plugin]) -> PluginStatistics:
    """Of one of them, or of one that is not (any more)."""
    return _figures([other for other in plugins if other.tally is plugin.tally] or [plugin])


def _figures(family: list[Plugin]) -> PluginStatistics:
    current = max(family, key=lambda plugin: (not plugin.removed, not plugin.trial, plugin.generation))
    tally = current.tally
    tally.fold()
    home = current.shared or current.domain
    return PluginStatistics(
        name=current.name, tenant=home.tenant, domain=str(current.domain), generation=current.generation,
        persistent=current.persistent, quarantined=bool(current.quarantined),
        ended=sum(tally.buckets), outcomes=tally.outcomes(), latency=tally.latency(),
        pending=sum(plugin.pending for plugin in family), queued=sum(_queued(plugin) for plugin in family),
        draining=sum(plugin.pending for plugin in family if plugin is not current),
        pending_allowed=current.limits.pending_calls, busy_seconds=tally.busy_ns / 1e9, memory_peak=tally.peak)


def _queued(plugin: Plugin) -> int:
    return sum(call.spec.rows for call in plugin.queue)
