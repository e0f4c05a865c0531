"""Tables in Markdown and bar charts in SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

BAR, GAP, LEFT, WIDTH, RIGHT = 14, 14, 110, 520, 90
LETTER = 6
"""About the width of a letter, for the room that labels need."""
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, columns aligned: the first to the left, figures to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join("-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def bars(groups: Mapping[str, Mapping[str, float]], label: Callable[[str, float], str]) -> str:
    """A bar chart: a group a row, a bar a contender that has a value there, each group scaled to its largest.

    label: the words beside a bar, from the row's name and the value.
    """
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    left = max(LEFT, LETTER * max(map(len, groups), default=0) + 16)
    height = sum(BAR * len(values) + GAP for values in groups.values()) + 40
    size = f'width="{left + WIDTH + RIGHT}" height="{height}"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        f'<rect {size} fill="white"/>',
    ]
    x = left
    for name in names:
        out.append(f'<rect x="{x}" y="10" width="10" height="10" fill="{colour[name]}"/>')
        out.append(f'<text x="{x + 15}" y="19">{escape(name)}</text>')
        x += 40 + LETTER * len(name)
    top = 34
    for row, values in groups.items():
        largest = max(values.values()) or 1.0
        out.append(f'<text x="{left - 8}" y="{top + BAR * len(values) / 2 + 4:.0f}" text-anchor="end">{escape(row)}</text>')
        for i, (name, value) in enumerate(values.items()):
            width, y = WIDTH * max(value, 0.0) / largest, top + BAR * i
            out.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{colour[name]}"/>')
            out.append(f'<text x="{left + width + 5:.1f}" y="{y + BAR - 4}">{escape(label(row, value))}</text>')
        top += BAR * len(values) + GAP
    return "\n".join([*out, "</svg>\n"])
