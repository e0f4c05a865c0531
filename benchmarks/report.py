"""Figures as text, JSON and SVG: ratios first, then medians with their spread, then compilation and start-up apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from statistics import median
from typing import Any

from benchmarks.compute import Figures


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, columns aligned: the first to the left, figures to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join("-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


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


BAR, GAP, LEFT, WIDTH, RIGHT = 14, 14, 110, 520, 90
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")


def svg(figures: Figures) -> str:
    """A bar chart of the median run times, each kernel scaled to its slowest contender."""
    names = list(next(iter(figures.times.values())))
    group = BAR * len(names) + GAP
    height = group * len(figures.times) + 40
    size = f'width="{LEFT + WIDTH + RIGHT}" height="{height}"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        f'<rect {size} fill="white"/>',
    ]
    for i, name in enumerate(names):
        x = LEFT + 130 * i
        out.append(f'<rect x="{x}" y="10" width="10" height="10" fill="{COLOURS[i % len(COLOURS)]}"/>')
        out.append(f'<text x="{x + 15}" y="19">{escape(name)}</text>')
    for row, (kernel, times) in enumerate(figures.times.items()):
        top = 34 + row * group
        slowest = max(median(times[name].run) for name in names)
        out.append(f'<text x="{LEFT - 8}" y="{top + BAR * len(names) / 2 + 4:.0f}" text-anchor="end">{escape(kernel)}</text>')
        for i, name in enumerate(names):
            seconds = median(times[name].run)
            width, y = WIDTH * seconds / slowest, top + BAR * i
            out.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[i % len(COLOURS)]}"/>')
            out.append(f'<text x="{LEFT + width + 5:.1f}" y="{y + BAR - 4}">{seconds * 1e3:.1f} ms</text>')
    return "\n".join([*out, "</svg>\n"])
