"""The suite `compute`: kernels without imports, the same bytes for every contender; results checked, rounds interleaved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import geometric_mean, median
from typing import Any

from benchmarks.fresh import WrongResult, ask
from benchmarks.kernel_table import Kernel
from benchmarks.prepare import say


@dataclass
class Times:
    """The seconds of one contender on one kernel, one entry a round; `run` by the clock, `processor` its processor time."""

    compile: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    run: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median of the run times."""
        return (max(self.run) - min(self.run)) / median(self.run)

    @classmethod
    def columns(cls) -> list[str]:
        """What a measurement answers, one list each."""
        return [item.name for item in fields(cls)]


@dataclass
class Figures:
    """What a run of the suite gave: times[kernel][peer], and the version that each peer reports of itself."""

    times: dict[str, dict[str, Times]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def ratio(self, kernel: str, peer: str, base: str, column: str = "run") -> float:
        """How long `peer` runs for each second of `base`: medians, run time only. Above 1, base is faster."""
        row = self.times[kernel]
        theirs, mine = (median(getattr(row[name], column)) for name in (peer, base))
        return float(theirs / mine)

    def mean_ratio(self, peer: str, base: str, column: str = "run") -> float:
        """The geometric mean of the ratios over all kernels."""
        return geometric_mean([self.ratio(kernel, peer, base, column) for kernel in self.times])


def measure_once(peer: str, kernel: Kernel, options: Mapping[str, Any]) -> dict[str, Any]:
    """One measurement in a fresh process. Raises WrongResult."""
    task = {
        "peer": peer,
        "wasm": str(kernel.wasm),
        "small_size": kernel.small_size,
        "size": kernel.size,
        "options": dict(options),
    }
    answer = ask(f"{peer} on {kernel.name}", "compute", task)
    for size, result, expected in (
        (kernel.small_size, answer["small_result"], kernel.small_checksum),
        (kernel.size, answer["result"], kernel.checksum),
    ):
        if result != expected:
            raise WrongResult(f"{peer} on {kernel.name}: run({size}) = {result}, a native build gives {expected}")
    return answer


def measure(
    peers: Sequence[str],
    kernels: Iterable[Kernel],
    rounds: int,
    options: Mapping[str, Any],
    variants: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
) -> Figures:
    """All rounds. In each, all peers run each kernel in turn; who begins changes from round to round. Raises WrongResult.

    variants: contenders that are a peer with options of their own, {name: (peer, options)}.
    """
    figures = Figures()
    chosen, known = list(kernels), variants or {}
    for kernel in chosen:
        figures.times[kernel.name] = {peer: Times() for peer in peers}
    for number in range(rounds):
        say(f"compute: round {number + 1} of {rounds}")
        first = number % len(peers)
        for kernel in chosen:
            for peer in [*peers[first:], *peers[:first]]:
                name, own_options = known.get(peer, (peer, options))
                answer = measure_once(name, kernel, own_options)
                times = figures.times[kernel.name][peer]
                for column in Times.columns():
                    getattr(times, column).append(answer[column])
                figures.versions[peer] = answer["version"]
    return figures
