"""Figures of suites: medians, spread, which way is better; what text, JSON and charts say of them."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks import report, tables
from benchmarks.figures import Suite, digits, percentile, shown


@pytest.fixture
def suite() -> Suite:
    """Two rows: seconds, where the peer takes twice as long, and a rate, where it does half as much."""
    out = Suite("call", "calls", notes=["a note"])
    for value in (1.0, 2.0, 9.0):
        out.add("trip", "ours", value, "s")
        out.add("trip", "peer", 2 * value, "s")
    out.add("rate", "peer", 50.0, "/s")
    out.add("rate", "ours", 100.0, "/s")
    out.add("alone", "other", 3.0, "B")
    out.versions = {"ours": "1", "peer": "2"}
    return out


def test_medians_spread_and_ratios(suite: Suite) -> None:
    trip = suite.rows["trip"]
    assert trip.median("ours") == 2.0
    assert trip.spread("ours") == pytest.approx(4.0)
    assert trip.ratio("ours", "peer") == 0.5
    with pytest.raises(KeyError):
        trip.median("other")


def test_more_is_better_where_the_unit_says_so(suite: Suite) -> None:
    assert suite.rows["trip"].advantage("ours", "peer") == 2.0
    assert suite.rows["rate"].advantage("ours", "peer") == 2.0


def test_the_base_comes_first_then_contenders_as_they_came(suite: Suite) -> None:
    assert suite.contenders == ["ours", "peer", "other"]
    suite.base = "nobody"
    assert suite.contenders == ["ours", "peer", "other"]


def test_the_text_has_ratios_first_and_leaves_out_what_was_not_measured(suite: Suite) -> None:
    text = report.suite_text(suite, {"processor": "a good one"})
    ratios, _, medians = text.partition("Medians")
    assert "| trip | 2.00 |       |" in ratios and "alone" not in ratios
    assert "| trip  | 2.00 s ±200 % | 4.00 s ±200 % |        |" in medians
    assert text.endswith("a note\n\nprocessor: a good one\nours: 1\npeer: 2")


def test_json_keeps_every_round_and_can_be_read_back(suite: Suite) -> None:
    data = json.loads(json.dumps(suite.as_json()))
    assert data["rows"]["trip"]["values"]["ours"] == [1.0, 2.0, 9.0]
    assert data["rows"]["rate"]["advantage"] == {"peer": 2.0}
    assert data["rows"]["alone"]["advantage"] == {}
    assert Suite.from_json(data) == suite


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.07e-7, "s", "207 ns"), (3.2e-6, "s", "3.20 µs"), (0.0123, "s", "12.3 ms"), (61.0, "s", "61.0 s"),
        (12.0 * 2**20, "B", "12.0 MiB"), (-3.0 * 2**20, "B", "-3.00 MiB"), (512.0, "B", "512 B"),
        (150_000.0, "/s", "150,000/s"), (53.92, "MB/s", "53.9 MB/s"), (1.746, "B/B", "1.75 B/B"),
    ],
)  # fmt: skip
def test_values_in_a_unit_that_suits_their_size(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_small_ratios_are_not_shown_as_nothing() -> None:
    assert [digits(value) for value in (0.004152, 0.5, 1.0, 23.45, 1234.5)] == ["0.00415", "0.50", "1.00", "23.4", "1,234"]


def test_a_chart_has_a_bar_for_each_value_scaled_within_its_row(suite: Suite) -> None:
    nodes = list(ElementTree.fromstring(report.suite_svg(suite)).iter())
    bars = [float(node.get("width", "nan")) for node in nodes if node.get("height") == str(tables.BAR - 2)]
    assert bars == [tables.WIDTH / 2, tables.WIDTH, tables.WIDTH / 2, tables.WIDTH, tables.WIDTH]
    assert "4.00 s" in [node.text for node in nodes]


@pytest.mark.parametrize(("percent", "value"), [(95, 95), (100, 100), (50, 50), (0.5, 1)])
def test_percentiles_are_nearest_ranks(percent: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == value
