"""`python -m benchmarks --check`: every figure that the project must show, its bar, and pass or fail; and the README's table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.bars import FAIL, PARTLY, ROWS, SKIPPED, Verdict
from benchmarks.measurements import Measurements
from benchmarks.prepare import say
from benchmarks.security_bars import SECURITY_ROWS
from benchmarks.tables import table

HEAD = ("figure", "ours", "bar", "stretch", "")


def run(options: argparse.Namespace) -> int:
    """Measures the rows. 0: none falls short; 1: at least one does. Raises as the measurements do."""
    known = SECURITY_ROWS if options.suites == ["security"] else ROWS
    rows = [row for row in known if not options.only or options.only in row.name]
    if not rows:
        print(f"no row's name holds {options.only!r}", file=sys.stderr)
        return 2
    facts, measurements = machine.describe(), Measurements(options)
    verdicts = []
    for row in rows:
        verdict = row.run(measurements)
        say(f"{verdict.name}: {verdict.shown}: {verdict.verdict}")
        verdicts.append(verdict)
    facts |= measurements.versions
    if options.json:
        options.json.write_text(json.dumps(as_json(verdicts, facts, measurements.details()), indent=1) + "\n")
    print(text(verdicts, facts, measurements.quick))
    return 1 if any(verdict.verdict == FAIL for verdict in verdicts) else 0


def as_json(verdicts: Sequence[Verdict], facts: dict[str, str], details: dict[str, Any]) -> dict[str, Any]:
    """What `--readme` reads, and what the rows were computed from."""
    return {"machine": facts, "rows": [verdict.as_json() for verdict in verdicts], "suites": details}


def text(verdicts: Sequence[Verdict], facts: dict[str, str], quick: bool) -> str:
    """The table, a summary, what it was measured on."""
    parts = [markdown(verdicts)]
    short = [verdict.name for verdict in verdicts if verdict.verdict == FAIL]
    partly = [verdict.name for verdict in verdicts if verdict.verdict in (PARTLY, SKIPPED)]
    parts.append(f"{len(short)} of {len(verdicts)} fall short" + (f": {'; '.join(short)}" if short else ""))
    if quick:
        parts.append(f"--quick: one round each; only partly done: {'; '.join(partly) or 'nothing'}. Nothing of that is a pass.")
    parts.append("\n".join(f"{name}: {value}" for name, value in facts.items()))
    return "\n\n".join(parts)


def markdown(verdicts: Sequence[Verdict]) -> str:
    """The table."""
    return table(HEAD, [[v.name, v.shown, v.bar, v.stretch, v.verdict] for v in verdicts])


def readme(path: Path) -> int:
    """Prints the README's table from what `--check --json` wrote; 2 when that is not what the file holds."""
    try:
        data = json.loads(path.read_text())
        verdicts = [Verdict(**row) for row in data["rows"]]
        facts = data["machine"]
        where = f"{facts['processor']}, {facts['cores']} cores, {facts['system']}, Python {facts['python']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{path} is not what `--check --json` writes: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(markdown(verdicts))
    print(f"\nMeasured at commit {facts['commit']} on {where}, by `python -m benchmarks --check`.")
    return 0
