"""Figures of a suite: rows of contenders' values, round by round; medians, spread and ratios; as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any

from benchmarks.tables import table

MORE_IS_BETTER = frozenset({"/s", "MB/s"})
"""Units of which more is better; of all others (seconds, bytes) less is."""
_SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "B": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
}


def shown(value: float, unit: str) -> str:
    """A value in a unit that suits its size: 0.0000032 s is "3.20 µs"."""
    scales = _SCALES.get(unit)
    if scales is not None:
        scale, name = next((pair for pair in scales if abs(value) >= pair[0]), scales[-1])
        return f"{digits(value / scale)} {name}"
    return f"{digits(value)}{'' if unit.startswith('/') else ' '}{unit}"


def digits(value: float) -> str:
    """Three significant digits, thousands grouped; two decimals where they are enough."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that so many percent of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


@dataclass
class Figure:
    """One row: what was measured, in which unit, by contender, one value a round."""

    unit: str
    values: dict[str, list[float]] = field(default_factory=dict)

    def median(self, contender: str) -> float:
        """Of the contender's rounds. Raises KeyError when it was not measured."""
        return float(median(self.values[contender]))

    def spread(self, contender: str) -> float:
        """(most - least) / median."""
        values = self.values[contender]
        return (max(values) - min(values)) / middle if (middle := self.median(contender)) else 0.0

    def ratio(self, contender: str, base: str) -> float:
        """The contender's median divided by the base's."""
        return self.median(contender) / self.median(base)

    def advantage(self, base: str, contender: str) -> float:
        """How many times better the base is, whatever way is up."""
        return self.ratio(base, contender) if self.unit in MORE_IS_BETTER else self.ratio(contender, base)


@dataclass
class Suite:
    """A suite's figures: rows in the order they came; the base is what ratios are against."""

    name: str
    about: str
    base: str = "ours"
    rows: dict[str, Figure] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What a reader must know to read the figures right."""

    def add(self, row: str, contender: str, value: float, unit: str) -> None:
        """One round's value."""
        self.rows.setdefault(row, Figure(unit)).values.setdefault(contender, []).append(float(value))

    @property
    def contenders(self) -> list[str]:
        """The base first, then as they came."""
        found = dict.fromkeys(name for figure in self.rows.values() for name in figure.values)
        return [self.base] * (self.base in found) + [name for name in found if name != self.base]

    def text(self) -> str:
        """Ratios first, then medians with half the range."""
        names = self.contenders
        others = [name for name in names if name != self.base]
        parts = [f"## {self.name}: {self.about}"]
        ratios = [
            [row, *(f"{figure.advantage(self.base, name):.2f}" if name in figure.values else "" for name in others)]
            for row, figure in self.rows.items()
            if self.base in figure.values and len(figure.values) > 1
        ]
        if ratios:
            parts.append(f"How many times better {self.base} is (above 1: better)\n\n{table(['', *others], ratios)}")
        medians = [[row, *(self._cell(figure, name) for name in names)] for row, figure in self.rows.items()]
        parts.append(f"Medians, ± half the range\n\n{table(['', *names], medians)}")
        return "\n\n".join([*parts, *(["\n".join(self.notes)] if self.notes else [])])

    @staticmethod
    def _cell(figure: Figure, contender: str) -> str:
        if contender not in figure.values:
            return ""
        value = shown(figure.median(contender), figure.unit)
        return f"{value} ±{figure.spread(contender) * 50:.0f} %" if len(figure.values[contender]) > 1 else value

    def as_json(self) -> dict[str, Any]:
        """Everything, every round of it."""
        return {
            "suite": self.name, "about": self.about, "base": self.base, "versions": self.versions, "notes": self.notes,
            "rows": {
                row: {
                    "unit": figure.unit, "values": figure.values,
                    "medians": {name: figure.median(name) for name in figure.values},
                    "advantage": {
                        name: figure.advantage(self.base, name)
                        for name in figure.values if name != self.base and self.base in figure.values
                    },
                }
                for row, figure in self.rows.items()
            },
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Suite:
        """The opposite of `as_json`."""
        rows = {row: Figure(item["unit"], dict(item["values"])) for row, item in data["rows"].items()}
        return cls(data["suite"], data["about"], data["base"], rows, dict(data["versions"]), list(data["notes"]))
