"""The fuzzers, each with one way to run for a while: libFuzzer's targets, the comparison with wasmtime, the state machines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .build import FUZZER, ROOT, TARGETS, Builder
from .corpus import dictionary, handmade

REGRESSIONS = ROOT / "tests" / "fuzz" / "regressions"
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
FAILURES = ("crash-", "leak-", "timeout-", "oom-")
Tell = Callable[[str], None]


@dataclass
class Result:
    """What came of a run. ``found``: a line for each failure, with its file. ``done``: inputs, programs or examples."""

    name: str
    done: int = 0
    seconds: float = 0.0
    found: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line."""
        rate = self.done / max(self.seconds, 0.001)
        return f"{self.name:<10} {self.done:>9} in {self.seconds:5.0f} s, {rate:6.0f}/s, {len(self.found)} found"


class Fuzzer(Protocol):
    """Something that looks for faults for as long as it is given."""

    name: str
    share: int
    """Of the time, in relation to the others."""

    def run(self, seconds: float, seed: int, tell: Tell) -> Result:
        """Looks until the time is over or something is found."""


class TargetFuzzer:
    """One libFuzzer target. Its corpus is kept in ``out`` and grows from run to run."""

    def __init__(self, name: str, share: int, out: Path, root: Path = ROOT, starts: int = 300) -> None:
        self.name, self.share = name, share
        self._out, self._starts = out, starts
        self._program = Builder(FUZZER, root).target(name)
        self._corpus = out / f"corpus_{name}"

    def _seeds(self) -> None:
        """Fills the corpus the first time: with hand-made modules, evenly chosen; the generator comes with the mutator."""
        if self._corpus.exists():
            return
        self._corpus.mkdir(parents=True)
        if self.name == "image":
            for flags in range(8):
                (self._corpus / f"start_{flags}").write_bytes(bytes([flags, 0, flags, flags & 1]) + bytes(8 * flags))
            return
        paths = handmade()
        for path in paths[:: max(1, len(paths) // self._starts)]:
            if path.stat().st_size <= 8192:
                (self._corpus / path.name).write_bytes(path.read_bytes())

    def replay(self) -> list[str]:
        """Runs the regressions; a line for each that fails again."""
        files = sorted(REGRESSIONS.glob("*.image" if self.name == "image" else "*.wasm"))
        failed = []
        for path in files:
            environment = {**os.environ, **ENVIRONMENT}
            done = subprocess.run([self._program, path], env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                failed.append(f"{self.name}: {path} fails again: {words(done.stderr)}")
        return failed

    def run(self, seconds: float, seed: int, tell: Tell) -> Result:
        """See Fuzzer."""
        self._seeds()
        tokens = self._out / "dictionary"
        tokens.write_text(dictionary())
        before = set(self._failures())
        options = [f"-max_total_time={int(seconds)}", f"-seed={seed % 2**31 or 1}", "-rss_limit_mb=2500", "-timeout=25"]
        options += ["-print_final_stats=1", "-len_control=0", "-entropic=0"]
        options += ["-max_len=100"] if self.name == "image" else ["-max_len=8192", f"-dict={tokens}"]
        command = [str(self._program), *options, f"-artifact_prefix={self._out}/{self.name}-", str(self._corpus)]
        began = time.monotonic()
        result, tail = Result(self.name), ""
        environment = {**os.environ, **ENVIRONMENT}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as process:
            assert process.stderr is not None
            for line in process.stderr:
                tail = (tail + line)[-20000:]
                if match := re.match(r"#(\d+)\s.*cov: (\d+).*exec/s: (\d+)", line):
                    result.done = int(match[1])
                    tell(f"{self.name}: {match[1]} inputs, {match[2]} places reached, {match[3]}/s")
                elif match := re.match(r"stat::number_of_executed_units:\s*(\d+)", line):
                    result.done = int(match[1])
        result.seconds = time.monotonic() - began
        new = sorted(set(self._failures()) - before)
        result.found = [f"{self.name}: {words(tail)} ({path})" for path in new]
        if process.returncode and not new:
            result.found = [f"{self.name}: ended with {process.returncode}: {words(tail)}"]
        return result

    def _failures(self) -> Iterator[Path]:
        return (path for kind in FAILURES for path in self._out.glob(f"{self.name}-{kind}*"))


def words(text: str) -> str:
    """What a sanitizer, or a target itself, said."""
    for pattern in (r"^FUZZ: .*$", r"^.*runtime error: .*$", r"^SUMMARY: .*$", r"^==\d+==\s?ERROR: .*$"):
        if match := re.search(pattern, text, re.MULTILINE):
            return match[0].strip()
    return text[-300:].strip()


class ComparisonFuzzer:
    """The quick comparison with wasmtime, from a seed of its own."""

    name = "wasmtime"

    def __init__(self, share: int, out: Path, root: Path = ROOT) -> None:
        self.share, self._out, self._root = share, out, root

    def run(self, seconds: float, seed: int, tell: Tell) -> Result:
        """See Fuzzer."""
        command = [
            sys.executable, "-m", "tests.differential.wasmtime_campaign", "--seconds", str(seconds), "--seed", str(seed),
            "--out", str(self._out), "--findings", "1",
        ]  # fmt: skip
        count = r"(\d+) of \d+ modules|^\w[\w ]*: (\d+) modules"
        return _follow(Result(self.name), command, self._root, tell, count, r"^seed \d+: .*")


class MachineFuzzer:
    """Hypothesis's state machines of the host (router, frames): the tests that hold one, with new randomness."""

    name = "machines"

    def __init__(self, share: int) -> None:
        self.share = share
        tests = sorted((ROOT / "tests").rglob("test_*.py"))
        mark = "hypothesis." + "stateful"
        self.files = [path for path in tests if mark in path.read_text() and path != Path(__file__)]

    def run(self, seconds: float, seed: int, tell: Tell) -> Result:
        """See Fuzzer. Runs them again and again; one round may end a little late."""
        total, began = Result(self.name), time.monotonic()
        while not total.found and (left := seconds - (time.monotonic() - began)) > 0:
            environment = {"HYPOTHESIS_EXAMPLES": str(max(20, min(1000, int(left * 5))))}
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}"]
            command += map(str, self.files)
            part = _follow(Result(self.name), command, ROOT, tell, r"(\d+) passed", r"^(?:FAILED|ERROR) .*", environment)
            total.done += part.done
            total.found += part.found
            seed += 1
        total.seconds = time.monotonic() - began
        return total


def _follow(
    result: Result, command: list[str], root: Path, tell: Tell, count: str, failure: str, more: dict[str, str] | None = None
) -> Result:
    """Runs a command whose lines tell how far it is, and what it found."""
    began = time.monotonic()
    paths = os.pathsep.join((str(root), str(root / "workers")))
    environment = {**os.environ, "PYTHONPATH": paths, **(more or {})}
    tail = ""
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        tail = (tail + line)[-5000:]
        if match := re.search(count, line):
            result.done = int(next(group for group in match.groups() if group))
            tell(f"{result.name}: {line.strip()}")
        if match := re.match(failure, line):
            result.found.append(f"{result.name}: {match[0]}")
    process.stdout.close()
    if process.wait() and not result.found:
        result.found.append(f"{result.name}: ended with {process.returncode}: {tail[-1500:]}")
    result.seconds = time.monotonic() - began
    return result


def all_fuzzers(out: Path, root: Path = ROOT, starts: int = 300) -> dict[str, Callable[[], Fuzzer]]:
    """By name; each is built when it is asked for."""
    shares = {"decode": 2, "tiers": 5, "image": 2}
    assert set(shares) == set(TARGETS)
    made: dict[str, Callable[[], Fuzzer]] = {
        name: lambda name=name, share=share: TargetFuzzer(name, share, out, root, starts)  # type: ignore[misc]
        for name, share in shares.items()
    }
    made["wasmtime"] = lambda: ComparisonFuzzer(4, out, root)
    made["machines"] = lambda: MachineFuzzer(1)
    return made
