"""Figures of calls: histograms, outcomes, generations of a plugin."""

from __future__ import annotations

import pytest

from sandboxhost.errors import Cancelled, DeadlineExceeded, Overloaded, Trap
from sandboxhost.limits import Limits
from sandboxhost.router_state import CallSpec, CallState, Plugin
from sandboxhost.statistics import LATENCY_BOUNDS, Latency
from sandboxhost.tally import Tally, figures, total


def test_bounds_of_the_histogram_rise_and_are_what_they_say() -> None:
    assert list(LATENCY_BOUNDS) == sorted(set(LATENCY_BOUNDS)) and LATENCY_BOUNDS[:3] == (1e-5, 2e-5, 5e-5)
    assert LATENCY_BOUNDS[-1] == 100.0


def test_quantiles_lie_within_their_bucket() -> None:
    tally = Tally()
    for microseconds in range(1, 1001):
        tally.took(microseconds / 1e6)
    latency = tally.latency()
    assert latency.calls == 1000 and latency.mean == pytest.approx(500.5e-6)
    for q in (0.1, 0.5, 0.9, 0.99):
        assert latency.quantile(q) == pytest.approx(q * 1e-3, rel=0.05), "the values are even, so interpolation is right"
    assert latency.quantile(0.0) == 0.0 and latency.quantile(1.0) == pytest.approx(1e-3)
    tally.took(5000.0)
    assert tally.latency().quantile(1.0) == 100.0, "what is beyond the bounds is told as the last of them"
    assert Latency().quantile(0.5) is None and Latency().mean is None


def test_recent_times_are_put_into_the_same_buckets() -> None:
    one, other = Tally(), Tally()
    times = [*LATENCY_BOUNDS, *(bound * 1.001 for bound in LATENCY_BOUNDS), 0.0, 3e-4, 3e-4, 1e9]
    for time in times:
        one.took(time)
        other.recent.insert(0, time)
    assert one.latency().counts == other.latency().counts and one.seconds == pytest.approx(other.seconds)
    assert other.recent == [] and other.latency().calls == len(times)


def test_what_was_added_since_an_earlier_look() -> None:
    tally = Tally()
    tally.took(1.0, 3)
    before = tally.latency()
    tally.took(0.001, 2)
    since = tally.latency().since(before)
    assert since.calls == 2 and since.seconds == pytest.approx(0.002) and since.quantile(1.0) == 0.001
    assert before.since(tally.latency()).calls == 0


def test_outcomes_of_rows() -> None:
    """Of a call of many rows those that failed, and those behind them that were not called."""
    tally = Tally()
    call = CallState(1, CallSpec(1, "rows", rows=10, stop=True), None, 5.0, done=4, failed={"trap": 1})
    tally.end(call, None, 7.0)
    assert tally.outcomes() == {"ok": 3, "trap": 1, "cancelled": 6}
    assert tally.latency().calls == 10 and tally.latency().seconds == 20.0
    tally.end(CallState(2, CallSpec(1, "rows", rows=10), None, 5.0, done=8), DeadlineExceeded("late"), 7.0)
    assert tally.outcomes() == {"ok": 11, "trap": 1, "cancelled": 6, "deadline": 2}
    tally.end(CallState(3, CallSpec(1, "rows", rows=5), None, 5.0, done=5), None, 7.0)
    assert tally.outcomes()["ok"] == 16


def test_refused_calls_are_in_no_other_figure() -> None:
    tally = Tally()
    tally.took(1.0)
    tally.refuse(Overloaded("full"), 7)
    assert tally.outcomes() == {"ok": 1, "overloaded": 7} and tally.latency().calls == 1


def test_generations_share_their_figures() -> None:
    old = Plugin(1, "p", b"", Limits(), generation=1, removed=True, retired=True, pending=2)
    new = Plugin(2, "p", b"", Limits(), generation=2, tally=old.tally, pending=3)
    other = Plugin(3, "q", b"", Limits())
    old.tally.took(1.0)
    old.tally.fail(Trap("unreachable"))
    (first, second) = figures([old, new, other])
    assert (first.generation, first.pending, first.draining) == (2, 5, 2) and second.name == "q"
    gone = Tally()
    gone.took(1.0)
    gone.fail(Cancelled("x"))
    assert total([old, new, other], gone).outcomes() == {"ok": 0, "trap": 1, "cancelled": 1}, "shared counts are counted once"
    trial = Plugin(4, "p", b"", Limits(), generation=3, tally=old.tally, trial=True)
    assert figures([old, new, trial])[0].generation == 2
