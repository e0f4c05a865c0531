"""Every attack that tests/hostile knows, from inside a real worker: what it costs the host, and how soon it is over."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from benchmarks.peers import ours
from benchmarks.probes.common import Answer, require

GROWTH, KILLED = "attacks of a worker: the host's memory grows by", "attacks of a worker: the offender is killed within"


def measure(task: dict[str, Any]) -> Answer:
    """Figures: the most of all attacks; each also must leave the neighbours alone and all calls ended."""
    known: Any = importlib.import_module("tests.hostile.test_attacks")
    growth, killed = 0, 0.0
    for name in task.get("attacks") or [*known.WITH_A_NEIGHBOUR, *known.ALONE]:
        with contextlib.redirect_stdout(None):
            figures = known.attack(name) if name in known.WITH_A_NEIGHBOUR else known.attack_by_line(name)
        require((figures.neighbour.wrong, figures.after.pending), ([], 0), f"{name}: neighbours' failures, pending calls")
        growth, killed = max(growth, figures.growth), max(killed, figures.killed_after)
    return {"version": ours.version(), "figures": {GROWTH: (growth, "B"), KILLED: (killed, "s")}}
