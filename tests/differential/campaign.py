"""One seed after the other: generate, run on both engines, reduce and write down what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from .compare import OracleSubject, OutOfFuel, Subject, difference, observe
from .program import generate
from .reduce import Reducer, as_script, assemble
from .tree import Program


@dataclass(slots=True)
class Finding:
    """A difference that was found. ``reason`` is that of the reduced program."""

    seed: int
    subject: str
    reason: str
    script: str


@dataclass(slots=True)
class Campaign:
    """``subjects`` are our engine's configurations; every program runs on all of them."""

    subjects: Mapping[str, Subject]
    reduce: bool = True
    oracle: OracleSubject = field(default_factory=OracleSubject)
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def check(self, seed: int) -> Finding | None:
        """Runs the program of one seed."""
        return self.check_program(generate(Random(seed)), seed)

    def check_program(self, program: Program, seed: int = -1) -> Finding | None:
        """Runs a program. Raises ValueError when the generator made an invalid one."""
        binaries = assemble(program)
        if binaries is None:
            raise ValueError(f"seed {seed}: the generated program is not valid")
        try:
            expected = observe(program, binaries, self.oracle)
        except OutOfFuel:
            self.outcomes["too long"] += 1
            return None
        for label, outcome in expected.events:
            if "(" in label or label.startswith("instantiate"):
                self.outcomes[outcome.partition(",")[0] if isinstance(outcome, str) else "results"] += 1
        fuel: dict[str, int] = {}
        for name, subject in self.subjects.items():
            reason = difference(expected, observe(program, binaries, subject))
            if hasattr(subject, "spent"):
                fuel[name] = subject.spent
            if reason is None and len(set(fuel.values())) > 1:
                self.findings.append(Finding(seed, name, f"fuel {fuel}", as_script(program, f"seed {seed}: fuel {fuel}")))
                return self.findings[-1]
            if reason is not None:
                finding = self._finding(program, seed, name, reason)
                self.findings.append(finding)
                return finding
        return None

    def _differs(self, program: Program, subject: Subject) -> str | None:
        binaries = assemble(program)
        if binaries is None:
            return None
        try:
            return difference(observe(program, binaries, self.oracle), observe(program, binaries, subject))
        except OutOfFuel:
            return None

    def _finding(self, program: Program, seed: int, name: str, reason: str) -> Finding:
        subject = self.subjects[name]
        if self.reduce:
            Reducer(program, lambda candidate: self._differs(candidate, subject) is not None).run()
            reason = self._differs(program, subject) or reason
        return Finding(seed, name, reason, as_script(program, f"seed {seed}, {name}: {reason}"))


def write(findings: Sequence[Finding], directory: Path) -> None:
    """One script a finding."""
    directory.mkdir(parents=True, exist_ok=True)
    for finding in findings:
        (directory / f"seed_{finding.seed}_{finding.subject}.wast").write_text(finding.script)
