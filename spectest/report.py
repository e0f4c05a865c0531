"""Counts and failures of a run: the summary for people and the JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TextIO


@dataclass(slots=True)
class FileReport:
    """One script. ``name`` is its file name; a failure is (line, reason)."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)

    def fail(self, line: int, reason: str) -> None:
        """Counts a failed case."""
        self.failed += 1
        self.failures.append((line, reason))

    @property
    def cases(self) -> int:
        """All cases, skipped ones included."""
        return self.passed + self.failed + self.skipped


@dataclass(slots=True)
class Report:
    """All scripts of a run."""

    files: list[FileReport] = field(default_factory=list)

    @property
    def passed(self) -> int:
        return sum(file.passed for file in self.files)

    @property
    def failed(self) -> int:
        return sum(file.failed for file in self.files)

    @property
    def skipped(self) -> int:
        return sum(file.skipped for file in self.files)

    @property
    def ok(self) -> bool:
        """Nothing failed and something passed: a run that finds nothing is a failure."""
        return self.failed == 0 and self.passed > 0

    def failures(self) -> list[dict[str, str]]:
        """Every failure with an id like ``i32.wast:37``."""
        return [{"id": f"{f.name}:{line}", "reason": reason} for f in self.files for line, reason in f.failures]

    def as_json(self) -> str:
        """The documented JSON object."""
        files = {f.name: {"passed": f.passed, "failed": f.failed, "skipped": f.skipped} for f in self.files}
        totals = {"passed": self.passed, "failed": self.failed, "skipped": self.skipped}
        return json.dumps({**totals, "files": files, "failures": self.failures()}, indent=1) + "\n"

    def print_summary(self, out: TextIO, failures_shown: int, seconds: float) -> None:
        """Failures first, the totals last."""
        failures = self.failures()
        for failure in failures[:failures_shown]:
            print(f"{failure['id']}: {failure['reason']}", file=out)
        if len(failures) > failures_shown:
            print(f"… and {len(failures) - failures_shown} more failures (--json has them all)", file=out)
        failed_files = sum(1 for file in self.files if file.failed)
        print(
            f"{len(self.files)} files, {sum(file.cases for file in self.files)} cases: {self.passed} passed, {self.failed} failed"
            f"{f' in {failed_files} files' if failed_files else ''}, {self.skipped} skipped (text only); {seconds:.1f} s",
            file=out,
        )
        if not self.passed and not self.failed:
            print("no case found: that is a failure", file=out)
