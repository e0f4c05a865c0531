"""What the rows of `--check` are computed from: suites, measured once and only when a row asks for them."""

from __future__ import annotations

import argparse
from functools import cached_property
from typing import Any

from benchmarks import commands, report
from benchmarks.compute import Figures, measure
from benchmarks.figures import Suite
from benchmarks.fresh import Probe, ask, interleave
from benchmarks.kernel_table import KERNELS
from benchmarks.prepare import prepare
from benchmarks.probes.start_ours import FRESH, FRESH_MEMORY
from benchmarks.programs import CPYTHON, have_programs
from benchmarks.suites import CROSS, ECHO, IN_PROCESS, OURS, WASMTIME, Options, program_probes, run_suite

TIERS = ("compiled", "interpreter")
COLD, WARM = "cold, load to output", "warm, load to output"


class Measurements:
    """Runs what is asked for. `quick`: fewer rounds, and the long commands reduced."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.quick: bool = options.quick
        self.rounds: int = min(options.rounds, 1) if self.quick else max(options.rounds, 3)
        self.tier: str = options.tier

    @property
    def _options(self) -> Options:
        return Options((WASMTIME,), {}, self.rounds, self.tier)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of every contender that was measured."""
        return {}

    def details(self) -> dict[str, Any]:
        """Every figure of the suites that were measured, round by round."""
        measured = {name: value for name, value in vars(self).items() if isinstance(value, Suite)}
        out: dict[str, Any] = {name: suite.as_json() for name, suite in measured.items()}
        if "compute" in vars(self):
            out["compute"] = report.as_json(self.compute, {})
        return out

    # ---- compute

    @cached_property
    def compute(self) -> Figures:
        """Both tiers, with and without fuel, and their peers, in one run."""
        prepare(["ours", "wasm3", "wasmtime"])
        ours = {
            f"{tier}{', metered' if metered else ''}": ("ours", {"tier": tier, "metered": metered})
            for tier in TIERS
            for metered in (False, True)
        }
        figures = measure([*ours, "wasmtime", "wasm3"], KERNELS, self.rounds, {}, ours)
        self.versions.update(figures.versions)
        return figures

    def compute_ratio(self, contender: str, base: str) -> float:
        """Geometric mean over the kernels of the contender's run time by the base's, in processor time."""
        return self.compute.mean_ratio(contender, base, "processor")

    def slowest_kernel(self, contender: str, base: str) -> float:
        """The largest of these ratios."""
        return max(self.compute.ratio(kernel, contender, base, "processor") for kernel in self.compute.times)

    # ---- the suites

    def _suite(self, name: str, options: Options) -> Suite:
        prepare(["ours", *options.peers])
        suite = run_suite(name, options)
        self.versions.update(suite.versions)
        return suite

    @cached_property
    def compiling(self) -> Suite:
        """Ours alone, with the compiled tier."""
        return self._suite("compile", Options((), {}, self.rounds, "compiled"))

    def compile_speed(self, program: str) -> float:
        """MB/s of one thread's processor time."""
        return self.compiling.rows[f"{program}: speed, processor time"].median(OURS)

    @cached_property
    def cpython(self) -> Suite:
        """CPython's one line, ours in workers and wasmtime."""
        have_programs()
        prepare(["ours", WASMTIME])
        probes = program_probes("CPython", CPYTHON.path, CPYTHON.arguments, "", CPYTHON.stdout, 0, self._options)
        suite = Suite("programs", "CPython", OURS)
        interleave(suite, [probe for probe in probes if probe.contender != IN_PROCESS], self.rounds)
        return suite

    def cpython_ratio(self, state: str) -> float:
        """Ours, cold or warm, by wasmtime with nothing cached."""
        ours = self.cpython.rows[f"CPython: {COLD if state == 'cold' else WARM}"].median(OURS)
        return ours / self.cpython.rows[f"CPython: {COLD}"].median(WASMTIME)

    @cached_property
    def call(self) -> Suite:
        """In process and across processes."""
        return self._suite("call", self._options)

    def call_seconds(self) -> float:
        """Of a prepared call."""
        return self.call.rows["Python to wasm, prepared"].median(OURS)

    def call_ratio(self) -> float:
        """By wasmtime-py's."""
        return self.call.rows["Python to wasm, prepared"].ratio(OURS, WASMTIME)

    def cross_ratio(self, row: str) -> float:
        """Ours by the bare echo."""
        return self.call.rows[f"{CROSS}: {row}"].ratio(OURS, ECHO)

    def throughput(self) -> float:
        """Calls a second of plugin.map, a fresh instance each."""
        return self.call.rows[f"{CROSS}: throughput"].median(OURS)

    @cached_property
    def start(self) -> Suite:
        """Instances."""
        return self._suite("start", Options((), {}, self.rounds, self.tier))

    def fresh_seconds(self) -> float:
        """The slower of a module without memory and one with memory and data."""
        return max(self.start.rows[row].median(IN_PROCESS) for row in (FRESH, FRESH_MEMORY))

    @cached_property
    def memory(self) -> Suite:
        """Workers with CPython's module."""
        return self._suite("memory", self._options)

    def second_worker_bytes(self) -> float:
        """Proportional set size beyond an idle worker."""
        return self.memory.rows["worker with the module, one of 2, beyond idle"].median(OURS)

    # ---- commands

    def build_seconds(self) -> float:
        """By the clock."""
        seconds, self.versions["extension built by"] = commands.build_extension()
        return seconds

    def interrupts(self) -> tuple[int, int, int, str]:
        """Both tiers, with and without fuel."""
        tasks: list[dict[str, Any]] = [{"tier": tier, "metered": metered} for tier in TIERS for metered in (False, True)]
        for task in tasks:
            probe = Probe(OURS, "interrupt_ours", task, f"an endless loop, {task}")
            ask(probe.title, probe.module, probe.task, timeout=60.0)
        return 0, len(tasks), len(tasks), f"endless loops ended in {len(tasks)} configurations"

    def official_suite(self) -> tuple[int, int, int, str]:
        """See commands.official_suite."""
        return commands.official_suite(self.quick)

    def differential(self) -> tuple[int, int, int, str]:
        """See commands.differential."""
        return commands.differential(commands.QUICK_MODULES if self.quick else commands.MODULES, commands.MODULES)

    # ---- security

    @cached_property
    def security(self) -> Suite:
        """Ours alone."""
        return self._suite("security", Options((), {}, self.rounds, self.tier))

    def security_figure(self, row: str) -> float:
        """The worst round's."""
        return max(self.security.rows[row].values[OURS])

    def chaos(self) -> tuple[int, int, int, str]:
        """See commands.chaos."""
        return commands.chaos(commands.QUICK_FAULTS if self.quick else commands.FAULTS, commands.FAULTS)

    def forbidden_acts(self) -> tuple[int, int, int, str]:
        """See commands.forbidden_acts."""
        return commands.forbidden_acts()

    def wasmtime_differential(self) -> tuple[int, int, int, str]:
        """See commands.wasmtime_differential."""
        return commands.wasmtime_differential(commands.QUICK_MODULES if self.quick else commands.WASMTIME_MODULES)

    def planted_bugs(self) -> tuple[int, int, int, str]:
        """See commands.planted_bugs. With --quick only one."""
        return commands.planted_bugs(self.quick)
