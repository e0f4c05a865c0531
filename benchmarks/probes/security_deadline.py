"""How late a deadline fires: a busy loop, a loop of bulk operations, a blocked host function; and that no other call notices."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import modules
from benchmarks.figures import percentile
from benchmarks.peers import ours
from benchmarks.probes.common import Answer, open_host, require

DEADLINE = 0.06
CALLS = 40
"""Of each kind."""
ROW = "deadline, how late: {}"
KINDS = ("busy loop", "bulk operations", "blocked host function")
NEIGHBOUR = 3.0
"""Its deadline: it runs beside each of the calls, in the same process, in an instance of the same module, to a right result."""


def measure(task: dict[str, Any]) -> Answer:
    """Figures for each kind: 95th percentile and most, from the deadline to the caller's exception."""
    from sandboxhost import Limits

    late: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with open_host(task, 1, threads=2) as host:

        def block(milliseconds: int) -> None:
            time.sleep(milliseconds / 1000)

        host.function("host", "block")(block)
        data = modules.late()
        hasty = host.load(data, limits=Limits(deadline=DEADLINE))
        patient = host.load(data, limits=Limits(deadline=NEIGHBOUR))
        rounds = 1
        while _seconds(patient, rounds) < 2 * DEADLINE:
            rounds *= 2
        for kind, function, *arguments in (
            (KINDS[0], "spin"), (KINDS[1], "bulk"), (KINDS[2], "wait", round(DEADLINE * 3_000)),
        ):  # fmt: skip
            for _ in range(task.get("calls", CALLS)):
                neighbour = patient.submit("count", rounds)
                late[kind].append(_late(hasty, function, *arguments))
                require(neighbour.result(NEIGHBOUR), rounds, "the neighbour's result")
    figures: dict[str, tuple[float, str]] = {}
    for kind, values in late.items():
        figures[f"{ROW.format(kind)}, 95 % within"] = percentile(values, 95), "s"
        figures[f"{ROW.format(kind)}, most"] = max(values), "s"
    return {"version": ours.version(), "figures": figures}


def _seconds(plugin: Any, rounds: int) -> float:
    began = time.perf_counter()
    plugin.call("count", rounds)
    return time.perf_counter() - began


def _late(plugin: Any, function: str, *arguments: int) -> float:
    from sandboxhost import DeadlineExceeded

    began = time.perf_counter()
    try:
        plugin.submit(function, *arguments).result(30.0)
    except DeadlineExceeded:
        return time.perf_counter() - began - DEADLINE
    raise SystemExit(f"{function} came to an end")
