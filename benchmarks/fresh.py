"""Contenders in fresh processes: a task in JSON on stdin, the answer in JSON on stdout; rounds interleaved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figures import Suite
from benchmarks.prepare import ROOT, environment, say

TIMEOUT_SECONDS = 300.0


class WrongResult(Exception):
    """A contender failed or computed something else; the text says who, where and what."""


@dataclass(frozen=True)
class Probe:
    """One contender's part of a suite: `module` has a `measure(task)` that answers {version, figures: {row: [value, unit]}}."""

    contender: str
    module: str
    task: Mapping[str, Any]
    about: str = ""
    """What is measured, where a contender is measured on several things."""
    most_rounds: int = 1_000
    """For what takes long and varies little."""
    results: dict[str, Any] = field(default_factory=dict)
    """What the answers must hold under these names, beside the figures."""

    @property
    def title(self) -> str:
        """For errors."""
        return f"{self.contender} on {self.about}" if self.about else self.contender


def ask(title: str, module: str, task: Mapping[str, Any], timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """One measurement in a fresh process. Raises WrongResult naming `title`."""
    command = [sys.executable, "-m", "benchmarks.probes", module]
    try:
        done = subprocess.run(
            command, input=json.dumps(task), env=environment(), cwd=ROOT, capture_output=True, text=True, check=False,
            timeout=timeout,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise WrongResult(f"{title}: no result within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise WrongResult(f"{title}: its process ended with {done.returncode}\n{done.stderr.strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def check(probe: Probe, answer: Mapping[str, Any]) -> None:
    """Raises WrongResult when the answer does not hold the results that it must."""
    for name, expected in probe.results.items():
        if answer.get(name) != expected:
            got, wanted = (f"{text!r:.200}" for text in (answer.get(name), expected))
            raise WrongResult(f"{probe.title}: {name} = {got}, expected {wanted}")


def interleave(suite: Suite, probes: Sequence[Probe], rounds: int) -> Suite:
    """Runs every probe once a round, another one first in each round, and puts what they answer into the suite."""
    for number in range(rounds):
        say(f"{suite.name}: round {number + 1} of {rounds}")
        first = number % len(probes)
        for probe in [*probes[first:], *probes[:first]]:
            if number >= probe.most_rounds:
                continue
            answer = ask(probe.title, probe.module, probe.task)
            check(probe, answer)
            suite.versions.setdefault(probe.contender, answer["version"])
            for row, (value, unit) in answer["figures"].items():
                suite.add(f"{probe.about}: {row}" if probe.about else row, probe.contender, value, unit)
    return suite
