"""Figures as text, JSON and SVG: ratios first, then medians with their spread, then compilation and start-up apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.compute import Figures
from benchmarks.figures import Suite, shown
from benchmarks.tables import bars, table


def text(figures: Figures, machine: Mapping[str, str]) -> str:
    """The whole report. The first contender is the base of all ratios."""
    names = list(next(iter(figures.times.values())))
    base, others = names[0], names[1:]
    parts = []
    if others:
        rows = [[kernel, *(f"{figures.ratio(kernel, peer, base):.2f}" for peer in others)] for kernel in figures.times]
        rows.append(["geometric mean", *(f"{figures.mean_ratio(peer, base):.2f}" for peer in others)])
        rows.append(["… in processor time", *(f"{figures.mean_ratio(peer, base, 'processor'):.2f}" for peer in others)])
        title = f"Run time of each peer, divided by that of {base}, on the same bytes (above 1: {base} is faster)"
        parts.append(f"{title}\n\n{table(['kernel', *others], rows)}")
    rows = [
        [kernel, *(f"{median(times[peer].run) * 1e3:.1f} ±{times[peer].spread * 50:.0f} %" for peer in names)]
        for kernel, times in figures.times.items()
    ]
    parts.append(f"Run time, median in ms, ± half the range\n\n{table(['kernel', *names], rows)}")
    rows = [
        [kernel, *(f"{median(times[peer].compile) * 1e3:.2f} + {median(times[peer].start) * 1e3:.2f}" for peer in names)]
        for kernel, times in figures.times.items()
    ]
    parts.append(f"Compilation + start-up (instance and a first small call), medians in ms\n\n{table(['kernel', *names], rows)}")
    facts = [*machine.items(), *figures.versions.items()]
    parts.append("\n".join(f"{name}: {value}" for name, value in facts))
    return "\n\n".join(parts)


def as_json(figures: Figures, machine: Mapping[str, str]) -> dict[str, Any]:
    """Everything measured, every round of it, and the ratios that follow."""
    names = list(next(iter(figures.times.values())))
    base = names[0]
    return {
        "suite": "compute", "base": base, "machine": dict(machine), "versions": figures.versions,
        "ratios": {
            peer: {
                "geometric_mean": figures.mean_ratio(peer, base),
                "geometric_mean_of_processor_time": figures.mean_ratio(peer, base, "processor"),
                "kernels": {kernel: figures.ratio(kernel, peer, base) for kernel in figures.times},
            }
            for peer in names[1:]
        },
        "seconds": {kernel: {peer: asdict(times) for peer, times in row.items()} for kernel, row in figures.times.items()},
    }  # fmt: skip


def svg(figures: Figures) -> str:
    """A bar chart of the median run times, each kernel scaled to its slowest contender."""
    groups = {kernel: {name: median(times[name].run) for name in times} for kernel, times in figures.times.items()}
    return bars(groups, lambda _, seconds: f"{seconds * 1e3:.1f} ms")


def suite_text(suite: Suite, machine: Mapping[str, str]) -> str:
    """A suite's report, with what it was measured on."""
    return suite.text() + "\n\n" + "\n".join(f"{name}: {value}" for name, value in [*machine.items(), *suite.versions.items()])


def suite_svg(suite: Suite) -> str:
    """A bar chart of a suite's medians, each row scaled to its largest."""
    groups = {row: {name: figure.median(name) for name in figure.values} for row, figure in suite.rows.items()}
    return bars(groups, lambda row, value: shown(value, suite.rows[row].unit))
