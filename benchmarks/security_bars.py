"""The rows of `--check security`: what a hostile plugin, worker or moment may cost, and the bar for it."""

from __future__ import annotations

from benchmarks.bars import Bar, Counted
from benchmarks.measurements import Measurements
from benchmarks.probes import security_attacks as attacks
from benchmarks.probes import security_deadline as deadline
from benchmarks.probes import security_lockdown as lockdown
from benchmarks.probes import security_loss as loss
from benchmarks.probes import security_round_trip as round_trip
from benchmarks.probes import security_shutdown as shutdown


def _most_late(kind: str) -> Bar:
    row = f"{deadline.ROW.format(kind)}, most"
    return Bar(row, lambda m: m.security_figure(row), "s", 0.020)


SECURITY_ROWS: tuple[Bar | Counted, ...] = (
    Counted("forbidden acts, from each kind of thread and process", Measurements.forbidden_acts, "≥ 40 acts, all refused"),
    Counted("random faults under load", Measurements.chaos, "10,000: 0 calls without one outcome, 0 leaks"),
    Bar(f"{loss.TO_ERROR}, p95", lambda m: m.security_figure(f"{loss.TO_ERROR}, 95 % within"), "s", 0.050),
    Bar(f"{loss.TO_READY}, p95", lambda m: m.security_figure(f"{loss.TO_READY}, 95 % within"), "s", 0.060),
    *map(_most_late, deadline.KINDS),
    Bar(shutdown.CLOSE, lambda m: m.security_figure(shutdown.CLOSE), "s", 2.0),
    Bar(shutdown.GONE, lambda m: m.security_figure(shutdown.GONE), "s", 1.0),
    Bar(lockdown.COST, lambda m: m.security_figure(lockdown.COST), "s", 0.005),
    Bar(attacks.GROWTH, lambda m: m.security_figure(attacks.GROWTH), "B", 64 * 2**20),
    Bar(attacks.KILLED, lambda m: m.security_figure(attacks.KILLED), "s", 1.0),
    Counted("differential fuzzing beside wasmtime", Measurements.wasmtime_differential, "200,000 modules, 0 differences"),
    Counted("planted bugs", Measurements.planted_bugs, "12 found, each within ten minutes"),
    Bar(round_trip.CALL, lambda m: m.security_figure(round_trip.CALL), "x", 1.05),
)  # fmt: skip
