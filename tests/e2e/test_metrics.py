"""Prometheus reads a host when it scrapes; OpenTelemetry gets a span for each thing asked of a plugin."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sandboxhost import Host, LinkError, Trap, UnknownFunction, i32, i64
from sandboxhost.metrics import HostCollector
from sandboxhost.statistics import LATENCY_BOUNDS, HostStatistics, PluginStatistics

from .conftest import COMMAND, HELPED, MATH

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(collector: HostCollector) -> Samples:
    """What Prometheus would read, from the text that it reads; no series comes twice."""
    registry = CollectorRegistry()
    registry.register(collector)
    found: Samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def test_a_scrape_shows_what_happened(host: Host) -> None:
    collector = HostCollector(host)
    before = scrape(collector)
    plugin = host.load(MATH, name="scraped", tenant='a "b"\n\\')
    plugin.map("add", [(1, 1)] * 7)
    with pytest.raises(Trap):
        plugin.call("divide", 1, 0)
    samples = scrape(collector)
    labels = {"plugin": "scraped", "tenant": plugin.statistics().tenant}
    assert of(samples, "sandboxhost_plugin_calls_total", outcome="ok", **labels) == 7
    assert of(samples, "sandboxhost_plugin_calls_total", outcome="trap", **labels) == 1
    assert of(samples, "sandboxhost_plugin_call_seconds_count", **labels) == 8
    assert of(samples, "sandboxhost_plugin_call_seconds_bucket", le="+Inf", **labels) == 8
    cumulative = [of(samples, "sandboxhost_plugin_call_seconds_bucket", le=str(bound), **labels) for bound in LATENCY_BOUNDS]
    assert cumulative == sorted(cumulative) and cumulative[-1] == 8
    assert of(samples, "sandboxhost_plugin_call_seconds_sum", **labels) > 0
    assert of(samples, "sandboxhost_plugin_generation", **labels) == 1
    assert of(samples, "sandboxhost_plugin_queued", **labels) == 0
    was = before.get(("sandboxhost_calls_total", (("outcome", "ok"),)), 0.0)
    assert of(samples, "sandboxhost_calls_total", outcome="ok") == was + 7
    assert of(samples, "sandboxhost_workers", state="ready") >= bool(host.workers)
    plugin.unload()
    after = scrape(collector)
    assert not [key for key in after if ("plugin", "scraped") in key[1]]
    assert of(after, "sandboxhost_calls_total", outcome="ok") == was + 7, "the sum over all plugins never falls"


def test_plugins_of_one_name_are_one_series_and_very_many_are_others() -> None:
    class Crowded:
        def statistics(self) -> HostStatistics:
            twins = [PluginStatistics("twin", "t", ended=9, outcomes={"ok": 9}, generation=g, queued=1) for g in (1, 4)]
            crowd = [PluginStatistics(f"p{n}", ended=n % 3, outcomes={"ok": n % 3, "trap": 1}) for n in range(50)]
            return HostStatistics(plugins=(*crowd, *twins))

    samples = scrape(HostCollector(Crowded(), most_plugins=5))
    assert of(samples, "sandboxhost_plugin_calls_total", plugin="twin", tenant="t", outcome="ok") == 18
    assert of(samples, "sandboxhost_plugin_queued", plugin="twin", tenant="t") == 2
    assert of(samples, "sandboxhost_plugin_generation", plugin="twin", tenant="t") == 4
    names = {dict(key[1])["plugin"] for key in samples if key[0] == "sandboxhost_plugin_queued"}
    assert len(names) == 6 and {"twin", "(others)"} < names
    traps = sum(value for (name, labels), value in samples.items()
                if name == "sandboxhost_plugin_calls_total" and ("outcome", "trap") in labels)  # fmt: skip
    assert traps == 50, "nobody is left out"


@pytest.fixture(params=[1, 0], ids=["workers", "in_process"])
def traced(request: pytest.FixtureRequest) -> Iterator[tuple[Host, InMemorySpanExporter]]:
    """A host with a tracer, and what it told."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with Host(workers=request.param, threads=1, tracer=provider.get_tracer("tests")) as host:
        yield host, exporter


def told(exporter: InMemorySpanExporter) -> list[tuple[str, Any, Any]]:
    """The spans that have ended since the last look."""
    found = [(span.name, dict(span.attributes or {}), span) for span in exporter.get_finished_spans()]
    exporter.clear()
    return found


def test_spans_of_every_kind(traced: tuple[Host, InMemorySpanExporter]) -> None:
    host, exporter = traced
    plugin = host.load(MATH, name="math", tenant="acme")
    ((name, attributes, _),) = told(exporter)
    assert name == "sandboxhost.load" and attributes == {
        "sandboxhost.plugin": "math", "sandboxhost.tenant": "acme", "sandboxhost.outcome": "ok"}
    assert plugin.call("add", 1, 2) == 3
    ((name, attributes, _),) = told(exporter)
    assert name == "sandboxhost.call" and attributes["sandboxhost.function"] == "add"
    assert attributes["sandboxhost.worker.pid"] > 0 and attributes["sandboxhost.outcome"] == "ok"
    assert plugin.map("add", [(1, 1)] * 30) == [2] * 30
    ((name, attributes, _),) = told(exporter)
    assert name == "sandboxhost.map" and attributes["sandboxhost.rows"] == 30
    assert plugin.reload(MATH).generation == 2
    ((name, attributes, _),) = told(exporter)
    assert name == "sandboxhost.reload" and attributes["sandboxhost.generation"] == 2
    assert host.load(COMMAND).run(["x"]).exit_code == 2
    assert [item[0] for item in told(exporter)] == ["sandboxhost.load", "sandboxhost.run"]


def test_errors_are_recorded(traced: tuple[Host, InMemorySpanExporter]) -> None:
    host, exporter = traced
    plugin = host.load(MATH)
    exporter.clear()
    with pytest.raises(Trap):
        plugin.call("divide", 1, 0)
    with pytest.raises(UnknownFunction):
        plugin.call("no such function")
    with pytest.raises(LinkError):
        host.load(HELPED)
    outcomes = []
    for _, attributes, span in told(exporter):
        assert isinstance(span, ReadableSpan) and span.status.status_code is StatusCode.ERROR
        assert [event.name for event in span.events] == ["exception"]
        outcomes.append(attributes["sandboxhost.outcome"])
    assert outcomes == ["trap", "unknown_function", "link"]


def test_a_future_ends_its_span_and_knows_its_parent(traced: tuple[Host, InMemorySpanExporter]) -> None:
    host, exporter = traced
    plugin = host.load(MATH)
    exporter.clear()
    with plugin._tracer.start_as_current_span("outer"):  # type: ignore[attr-defined]
        good, bad = plugin.submit("add", 1, 2), plugin.submit("divide", 1, 0)
    assert good.result(60) == 3 and isinstance(bad.exception(60), Trap)
    end = time.monotonic() + 60
    while len(exporter.get_finished_spans()) < 3 and time.monotonic() < end:
        time.sleep(0.001)  # the thread that makes a future done ends its span right after it
    by_outcome = {attributes.get("sandboxhost.outcome", "outer"): span for _, attributes, span in told(exporter)}
    assert set(by_outcome) == {"ok", "trap", "outer"}
    for outcome in ("ok", "trap"):
        assert by_outcome[outcome].parent.span_id == by_outcome["outer"].context.span_id
    assert by_outcome["trap"].status.status_code is StatusCode.ERROR


def test_functions_of_the_application_are_within_their_call(traced: tuple[Host, InMemorySpanExporter]) -> None:
    host, exporter = traced
    tracer = host._tracer
    assert tracer is not None

    @host.function("app", "lookup")
    def lookup(key: i32) -> i64:
        with tracer.start_as_current_span("inner"):
            return key

    plugin = host.load(HELPED)
    exporter.clear()
    assert plugin.call("go", 9) == 9
    inner, call = told(exporter)
    assert (inner[0], call[0]) == ("inner", "sandboxhost.call") and inner[2].parent.span_id == call[2].context.span_id


def test_without_a_tracer_a_plugin_is_the_plain_one(host: Host) -> None:
    plugin = host.load(MATH)
    assert type(plugin).__name__ == "Plugin" and "_tracer" not in vars(plugin)
