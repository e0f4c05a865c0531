"""Long runs: ``python -m tests.differential --modules N --seed S``. Exit code 1 when anything differed."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .campaign import Campaign, write
from .compare import sandbox_subjects
from .tiers import TierCampaign

PROGRESS = 20.0
"""Seconds between two lines."""


def run_tiers(options: argparse.Namespace) -> int:
    """Interpreter against machine code until ``--modules`` are compared."""
    campaign, started, seed = TierCampaign(reduce=not options.no_reduce), time.monotonic(), options.seed
    told, known = started, 0
    while campaign.modules < options.modules and len(campaign.findings) < options.findings:
        now = time.monotonic()
        if now - started > options.seconds:
            break
        campaign.check(seed)
        seed += 1
        for finding in campaign.findings[known:]:
            print(f"seed {finding.seed}, mutant {finding.mutant}, {finding.mode}: {finding.reason}", flush=True)
            finding.write(options.out)
        known = len(campaign.findings)
        if now - told > PROGRESS:
            told = now
            rate = campaign.modules / (now - started)
            print(f"{campaign.modules} modules to seed {seed}, {rate:.0f}/s, {known} differences", flush=True)
    seconds = time.monotonic() - started
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in campaign.outcomes.most_common(30))
    print(f"{campaign.modules} modules in {seconds:.0f} s, {known} differences between the tiers; outcomes: {outcomes}")
    return 1 if known or not campaign.modules else 0


def main() -> int:
    """Runs programs from ``--seed`` on until N of them, or the time, is over."""
    subjects = sandbox_subjects()
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description="random programs, ours and wasmtime")
    parser.add_argument("--modules", type=int, default=1000, metavar="N", help="programs to run (default 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the first seed (default 0)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--subject", action="append", choices=sorted(subjects), help="only this")
    parser.add_argument("--no-reduce", action="store_true", help="do not cut failing programs down")
    parser.add_argument("--findings", type=int, default=5, metavar="N", help="stop after this many differences (default 5)")
    parser.add_argument("--out", type=Path, default=Path(".cache/differential"), help="where the scripts of differences go")
    parser.add_argument("--wasmtime", action="store_true", help="quick: generated, mutated, hand-made modules; resumes")
    parser.add_argument("--sanitized", action="store_true", help="with --wasmtime: ours built with ASan and UBSan")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="with --wasmtime: processes (default 1)")
    parser.add_argument("--tiers", action="store_true", help="interpreter against machine code; mutated modules, too")
    options = parser.parse_args()
    if options.tiers:
        return run_tiers(options)
    if options.wasmtime:
        from .wasmtime_campaign import WasmtimeCampaign

        campaign = WasmtimeCampaign(options.out, options.seed, options.jobs, options.sanitized)
        return campaign.run(options.modules, options.seconds, options.findings)
    scripts = Campaign({name: subjects[name] for name in options.subject or subjects}, reduce=not options.no_reduce)
    started = time.monotonic()
    done = 0
    for seed in range(options.seed, options.seed + options.modules):
        if time.monotonic() - started > options.seconds or len(scripts.findings) >= options.findings:
            break
        finding = scripts.check(seed)
        done += 1
        if finding is not None:
            print(f"seed {seed}, {finding.subject}: {finding.reason}", flush=True)
            write([finding], options.out)
    seconds = time.monotonic() - started
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in scripts.outcomes.most_common())
    print(f"{done} programs in {seconds:.0f} s, {len(scripts.findings)} differences; outcomes: {outcomes}")
    if done == 0:
        print("nothing was run: that is a failure")
    return 1 if scripts.findings or not done else 0


if __name__ == "__main__":
    sys.exit(main())
