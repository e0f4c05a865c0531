"""Prometheus: a collector that reads a host's statistics when it is scraped. Optional: pip install 'sandboxhost[metrics]'."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError("sandboxhost.metrics needs prometheus_client: pip install 'sandboxhost[metrics]'") from exc

from .errors import HostForked
from .statistics import LATENCY_BOUNDS, HostStatistics, Latency, PluginStatistics

__all__ = ["HostCollector"]

_STATES = ("starting", "ready", "draining", "killed")


class Observed(Protocol):
    """A host, of either face."""

    def statistics(self) -> HostStatistics: ...


class HostCollector(Collector):
    """Figures of one host: `registry.register(HostCollector(host))`. A call costs nothing for it; a scrape costs one snapshot.

    Labels: `plugin` and `tenant` as they were loaded (plugins of the same two are added up), `outcome` from a fixed list; of
    plugins beyond `most_plugins`, those with the fewest calls are added up as plugin "(others)". Nothing that a guest chooses
    becomes a label. A plugin that is unloaded takes its series along; `sandboxhost_calls_total` by outcome keeps its calls.
    """

    def __init__(self, host: Observed, most_plugins: int = 1000) -> None:
        self._host, self._most = host, most_plugins

    def describe(self) -> Iterator[Metric]:
        """Nothing: so registering it does not read the host."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All metrics as of now; none in a fork of the process that the host belongs to."""
        try:
            statistics = self._host.statistics()
        except HostForked:
            return
        yield from _host_metrics(statistics)
        yield from _plugin_metrics(_families(statistics.plugins, self._most))


def _host_metrics(host: HostStatistics) -> Iterator[Metric]:
    outcomes = CounterMetricFamily("sandboxhost_calls", "Calls by outcome, of unloaded plugins too.", labels=["outcome"])
    for outcome, count in sorted(host.outcomes.items()):
        outcomes.add_metric([outcome], count)
    yield outcomes
    for name, words, value in (
        ("workers_started", "Processes that became workers.", host.workers_started),
        ("workers_recycled", "Workers that were renewed.", host.workers_recycled),
        ("late_replies", "Replies of workers to calls that had ended already.", host.late_replies),
        ("protocol_errors", "Workers that broke the protocol.", host.protocol_errors),
        ("compile_cache_hits", "Modules that were in the compile cache already.", host.compile.hits),
        ("compile_seconds", "Time spent on compiling.", host.compile.seconds),
    ):
        yield CounterMetricFamily(f"sandboxhost_{name}", words, value=value)
    losses = CounterMetricFamily("sandboxhost_workers_lost", "Workers that ended unwanted, by kind.", labels=["kind"])
    for kind, count in sorted(host.losses.items()):
        losses.add_metric([kind.replace(" ", "_")], count)
    yield losses
    compiled = CounterMetricFamily("sandboxhost_compilations", "Compilations by result.", labels=["result"])
    compiled.add_metric(["ok"], host.compile.compiled)
    compiled.add_metric(["error"], host.compile.failed)
    yield compiled
    for name, words, gauge in (
        ("compiled_modules", "Modules in the compile cache.", host.compile.modules),
        ("compiled_image_bytes", "Bytes of the images in the compile cache.", host.compile.image_bytes),
        ("spares", "Processes that could become a worker at once.", host.spares),
        ("worker_resident_bytes", "Resident memory of all workers.", sum(worker.resident for worker in host.workers)),
        ("plugins", "Plugins that are loaded.", len(host.plugins)),
    ):
        yield GaugeMetricFamily(f"sandboxhost_{name}", words, value=gauge)
    workers = GaugeMetricFamily("sandboxhost_workers", "Workers by state.", labels=["state"])
    for state in _STATES:
        workers.add_metric([state], sum(worker.state == state for worker in host.workers))
    yield workers


def _families(plugins: tuple[PluginStatistics, ...], most: int) -> dict[tuple[str, str], list[PluginStatistics]]:
    """Plugins by what their series are labelled with."""
    ranked = sorted(plugins, key=lambda plugin: plugin.ended, reverse=True)
    found: dict[tuple[str, str], list[PluginStatistics]] = {}
    for plugin in ranked:
        key = plugin.name, plugin.tenant
        found.setdefault(key if key in found or len(found) < most else ("(others)", ""), []).append(plugin)
    return found


def _plugin_metrics(families: dict[tuple[str, str], list[PluginStatistics]]) -> Iterator[Metric]:
    labels = ["plugin", "tenant"]
    calls = CounterMetricFamily("sandboxhost_plugin_calls", "Calls by outcome.", labels=[*labels, "outcome"])
    seconds = HistogramMetricFamily(
        "sandboxhost_plugin_call_seconds", "Time of calls from acceptance to outcome, waiting included.", labels=labels)
    busy = CounterMetricFamily("sandboxhost_plugin_busy_seconds", "Time that workers spent on calls.", labels=labels)
    gauges = {
        "queued": GaugeMetricFamily("sandboxhost_plugin_queued", "Calls that no worker has yet.", labels=labels),
        "in_flight": GaugeMetricFamily("sandboxhost_plugin_in_flight", "Calls that workers have.", labels=labels),
        "pending_allowed": GaugeMetricFamily("sandboxhost_plugin_pending_allowed", "Limit of pending calls.", labels=labels),
        "quarantined": GaugeMetricFamily("sandboxhost_plugin_quarantined", "Plugins that may not run.", labels=labels),
    }
    generation = GaugeMetricFamily("sandboxhost_plugin_generation", "Generation: one more with each reload.", labels=labels)
    memory = GaugeMetricFamily(
        "sandboxhost_plugin_memory_peak_bytes", "Linear memory: the most that a call ended with.", labels=labels)
    for key, family in families.items():
        outcomes: dict[str, int] = {}
        for plugin in family:
            for outcome, count in plugin.outcomes.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
        for outcome, count in sorted(outcomes.items()):
            calls.add_metric([*key, outcome], count)
        total = Latency(tuple(map(sum, zip(*(plugin.latency.counts for plugin in family), strict=True))),
                        sum(plugin.latency.seconds for plugin in family))
        seconds.add_metric(list(key), _buckets(total), total.seconds)
        busy.add_metric(list(key), sum(plugin.busy_seconds for plugin in family))
        for name, gauge in gauges.items():
            gauge.add_metric(list(key), sum(getattr(plugin, name) for plugin in family))
        generation.add_metric(list(key), max(plugin.generation for plugin in family))
        memory.add_metric(list(key), max(plugin.memory_peak for plugin in family))
    yield from (calls, seconds, busy, *gauges.values(), generation, memory)


def _buckets(latency: Latency) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus has them."""
    found: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip([*map(str, LATENCY_BOUNDS), "+Inf"], latency.counts, strict=True):
        below += count
        found.append((bound, below))
    return found
