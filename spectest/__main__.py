"""Command line: ``python -m spectest [PATH …] [--group NAME] [--json FILE]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .report import Report
from .runner import run_file
from .suite import SuiteMissing, scripts


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the scripts. 0: all passed; 1: something failed or nothing was found; 2: usage."""
    options = _parser().parse_args(arguments)
    try:
        paths = scripts(options.paths, options.group)
    except SuiteMissing as error:
        print(f"spectest: {error}", file=sys.stderr)
        return 1
    from .sandbox import SandboxEmbedding  # the engine is loaded only when there is something to run

    def embed() -> SandboxEmbedding:
        return SandboxEmbedding(tier=options.tier, explicit_bounds=options.explicit_bounds, metered=options.metered)

    report, started = Report(), time.monotonic()
    for path in paths:
        result = run_file(path, embed)
        report.files.append(result)
        if options.verbose:
            print(f"{result.name}: {result.passed} passed, {result.failed} failed, {result.skipped} skipped", flush=True)
    if options.json:
        Path(options.json).write_text(report.as_json())
    report.print_summary(sys.stdout, options.failures, time.monotonic() - started)
    return 0 if report.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m spectest", description="Run .wast scripts, by default those of the official WebAssembly test suite."
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="scripts, or directories of scripts; default: the suite")
    parser.add_argument("--group", action="append", default=[], metavar="NAME", help="only this group of groups.json")
    parser.add_argument("--json", metavar="FILE", help="write counts and failures as JSON")
    parser.add_argument("--tier", choices=("auto", "interpreter", "compiled"), default="auto", help="the executor")
    parser.add_argument("--explicit-bounds", action="store_true", help="compare every memory access instead of guard pages")
    parser.add_argument("--metered", action="store_true", help="compile with fuel accounting")
    parser.add_argument("--failures", type=int, default=40, metavar="N", help="failures to print (default 40)")
    parser.add_argument("-v", "--verbose", action="store_true", help="one line a script")
    return parser


if __name__ == "__main__":
    sys.exit(main())
