"""The rows of `--check`: every figure that the project must show, its bar and its stretch, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.figures import digits, shown
from benchmarks.measurements import Measurements

PASS, FAIL, PARTLY, SKIPPED = "pass", "FAIL", "partly", "skipped"


@dataclass(frozen=True)
class Verdict:
    """One row, measured. `value` in the unit of the bar; None where the outcome is no number."""

    name: str
    shown: str
    bar: str
    stretch: str
    verdict: str
    value: float | None = None

    def as_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class Bar:
    """A figure with a bar. `measure` gives it; unit "x" is a ratio, "s", "B", "/s" and "MB/s" are what they are."""

    name: str
    measure: Callable[[Measurements], float]
    unit: str
    bar: float
    stretch: float | None = None
    more: bool = False
    """More is better."""

    def run(self, measurements: Measurements) -> Verdict:
        """Measures and compares."""
        value = self.measure(measurements)
        met, stretched = self._reaches(value, self.bar), self.stretch is not None and self._reaches(value, self.stretch)
        verdict = f"{PASS}, stretch" if met and stretched else PASS if met else FAIL
        return Verdict(self.name, self._words(value), self._limit(self.bar), self._limit(self.stretch), verdict, value)

    def _reaches(self, value: float, limit: float) -> bool:
        return value >= limit if self.more else value <= limit

    def _words(self, value: float) -> str:
        return f"{digits(value)} ×" if self.unit == "x" else shown(value, self.unit)

    def _limit(self, value: float | None) -> str:
        return "" if value is None else f"{'≥' if self.more else '≤'} {self._words(value)}"


@dataclass(frozen=True)
class Counted:
    """A figure that is a count of failures over much work: none may be. `measure` gives (failures, done, wanted, words)."""

    name: str
    measure: Callable[[Measurements], tuple[int, int, int, str]]
    bar: str

    def run(self, measurements: Measurements) -> Verdict:
        """Runs the commands. Less work than wanted is no pass; --quick asks for less, and says so."""
        failures, done, wanted, words = self.measure(measurements)
        if failures or (done < wanted and not measurements.quick):
            return Verdict(self.name, words, self.bar, "", FAIL, failures)
        return Verdict(self.name, words, self.bar, "", PASS if done >= wanted else PARTLY if done else SKIPPED, failures)


ROWS: tuple[Bar | Counted, ...] = (
    Bar("compiled tier against wasmtime, geometric mean", lambda m: m.compute_ratio("compiled", "wasmtime"), "x", 1.15, 0.95),
    Bar("compiled tier against wasmtime, slowest kernel", lambda m: m.slowest_kernel("compiled", "wasmtime"), "x", 1.5, 1.2),
    Bar("decode + validate + compile, CPython", lambda m: m.compile_speed("CPython"), "MB/s", 50, 90, more=True),
    Bar("decode + validate + compile, Ruby", lambda m: m.compile_speed("Ruby"), "MB/s", 50, 90, more=True),
    Bar("decode + validate + compile, clang", lambda m: m.compile_speed("clang"), "MB/s", 50, 90, more=True),
    Bar("CPython, load to output, nothing cached, against wasmtime", lambda m: m.cpython_ratio("cold"), "x", 0.35, 0.25),
    Bar("CPython, load to output, image in the cache", lambda m: m.cpython_ratio("warm"), "x", 0.2),
    Bar("interpreter against wasm3, geometric mean", lambda m: m.compute_ratio("interpreter", "wasm3"), "x", 0.75, 0.60),
    Bar("building the extension from source, gcc, all cores", Measurements.build_seconds, "s", 60, 30),
    Bar("Python to wasm, add(i32, i32), in process", Measurements.call_seconds, "s", 0.35e-6, 0.2e-6),
    Bar("Python to wasm, add(i32, i32), against wasmtime-py", Measurements.call_ratio, "x", 1 / 50),
    Bar("fresh instance + call of a small module, in process", Measurements.fresh_seconds, "s", 15e-6, 5e-6),
    Bar("cross-process round trip, against a bare pyzmq echo", lambda m: m.cross_ratio("round trip"), "x", 1.4, 1.15),
    Bar("cross-process throughput, plugin.map", Measurements.throughput, "/s", 150_000, 500_000, more=True),
    Bar("1 MiB in, 1 MiB out, against the bare echo of 1 MiB", lambda m: m.cross_ratio("1 MiB in, 1 MiB out"), "x", 0.5, 0.2),
    Bar("fuel metering, compiled tier", lambda m: m.compute_ratio("compiled, metered", "compiled"), "x", 1.15, 1.08),
    Bar("fuel metering, interpreter", lambda m: m.compute_ratio("interpreter, metered", "interpreter"), "x", 1.15, 1.08),
    Counted("interrupt check", Measurements.interrupts, "always on"),
    Bar("second worker with the same 20 MB module, beyond idle", Measurements.second_worker_bytes, "B", 12 * 2**20, 6 * 2**20),
    Counted("official suite, core group, every configuration", Measurements.official_suite, "0 failed in each"),
    Counted("differential run between the tiers", Measurements.differential, "100,000 modules, 0 differences"),
)  # fmt: skip
