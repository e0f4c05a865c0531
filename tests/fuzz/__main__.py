"""``python -m tests.fuzz --minutes N``: every fuzzer in turn, files of what was found, a verdict as last line and exit code."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .build import TARGETS, BuildError, libfuzzer_found
from .fuzzers import Fuzzer, Result, TargetFuzzer, all_fuzzers

NO_CLANG = "*** clang with libFuzzer was NOT found, so its targets (decode, tiers, image) were NOT run."
ROUND = 600.0
"""Seconds of one turn through all fuzzers: a long run takes many, each with a new seed."""


class Progress:
    """One line now and then."""

    def __init__(self, every: float) -> None:
        self._every, self._told = every, 0.0

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now - self._told >= self._every:
            self._told = now
            print(f"  {line}", flush=True)


def run(fuzzers: Sequence[Fuzzer], seconds: float, seed: int, tell: Progress) -> list[Result]:
    """Turns until the time is over; who has found something is not run again."""
    totals = {fuzzer.name: Result(fuzzer.name) for fuzzer in fuzzers}
    began = time.monotonic()
    while (left := seconds - (time.monotonic() - began)) > 1:
        active = [fuzzer for fuzzer in fuzzers if not totals[fuzzer.name].found]
        if not active:
            break
        turn = min(left, ROUND)
        for fuzzer in active:
            part = fuzzer.run(max(1.0, turn * fuzzer.share / sum(f.share for f in active)), seed, tell)
            total = totals[fuzzer.name]
            total.done, total.seconds = total.done + part.done, total.seconds + part.seconds
            total.found += part.found
            print(part, flush=True)
            for line in part.found:
                print(f"*** {line}", flush=True)
        seed += 1_000_000
    return list(totals.values())


def main() -> int:
    """0: nothing found. 1: something was. 2: nothing could be run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="every fuzzer for a while")
    parser.add_argument("--minutes", type=float, default=5.0, metavar="N", help="in all (default 5)")
    parser.add_argument("--seconds", type=float, metavar="N", help="instead of minutes")
    parser.add_argument("--only", action="append", choices=[*TARGETS, "wasmtime", "machines"], help="only this; may be repeated")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(30), metavar="S", help="default: any")
    parser.add_argument("--starts", type=int, default=300, metavar="N", help="hand-made modules in a new corpus (default 300)")
    parser.add_argument("--out", type=Path, default=Path(".cache/fuzz"), help="where corpora and findings go")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    known = all_fuzzers(out, starts=options.starts)
    names = options.only or list(known)
    if not libfuzzer_found() and set(names) & set(TARGETS):
        print(NO_CLANG, flush=True)
        names = [name for name in names if name not in TARGETS]
    if not names:
        return 2
    try:
        fuzzers = [known[name]() for name in names]
    except BuildError as error:
        print(f"fuzz: a target does not build: {error}", file=sys.stderr)
        return 2
    seconds = options.seconds or options.minutes * 60
    print(f"{', '.join(names)}: {seconds:.0f} s from seed {options.seed}", flush=True)
    again = [line for fuzzer in fuzzers if isinstance(fuzzer, TargetFuzzer) for line in fuzzer.replay()]
    for line in again:
        print(f"*** {line}", flush=True)
    results = run(fuzzers, seconds, options.seed, Progress(10.0))
    found = sum(len(result.found) for result in results) + len(again)
    idle = [result.name for result in results if not result.done]
    if idle:
        print(f"*** nothing was run: {', '.join(idle)}")
    if found:
        print(f"keep what was found: copy its file (in {out}) to tests/fuzz/regressions, as .wasm, or .image")
    total = ", ".join(f"{result.done} {result.name}" for result in results)
    print(f"{'FAILED' if found or idle else 'passed'}: {total}; {found} found")
    return 1 if found or idle else 0


if __name__ == "__main__":
    sys.exit(main())
