"""`python -m benchmarks`: measures sandboxhost beside its peers and prints ratios first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import build, machine, report
from benchmarks.compute import measure
from benchmarks.fresh import WrongResult
from benchmarks.kernel_table import BY_NAME, KERNELS
from benchmarks.peers import PEERS
from benchmarks.prepare import NotReady, prepare
from benchmarks.suites import ABOUT, WASMTIME, Options, one_program, run_suite
from benchmarks.tools import BuildError

SUITES = ("compute", *ABOUT)
EPILOG = """\
suites: compute: kernels without imports; """ + "; ".join(f"{name}: {about}" for name, about in ABOUT.items()) + """
`python -m benchmarks program [OPTION …] FILE [ARGS …]` measures any WASI command in place of the suite's three.
`python -m benchmarks --check` prints each figure of speed that this project must show, its bar, and pass or fail;
`python -m benchmarks --check security` those of security.
"""  # fmt: skip


def names(text: str, known: Sequence[str], what: str) -> list[str]:
    """A comma-separated list of known names, each once. Raises ArgumentTypeError naming the unknown one."""
    chosen = list(dict.fromkeys(filter(None, text.split(","))))
    for name in chosen:
        if name not in known:
            raise argparse.ArgumentTypeError(f"unknown {what} {name!r}; known are {', '.join(known)}")
    return chosen


def command(text: str) -> tuple[str, str]:
    """NAME=COMMAND. Raises ArgumentTypeError."""
    name, equals, line = text.partition("=")
    if not name or not equals or not line.strip():
        raise argparse.ArgumentTypeError(f"expected NAME=COMMAND, got {text!r}")
    return name, line


def common(out: argparse.ArgumentParser, rounds: int) -> argparse.ArgumentParser:
    """The options of every form of the command."""
    out.add_argument("--peers", type=lambda text: names(text, list(PEERS), "peer"), default=["wasm3", "wasmtime"],
                     help="comma-separated, beside ours: wasm3,wasmtime (the default; wasm3 in compute only)")  # fmt: skip
    out.add_argument("--peer", metavar="NAME=COMMAND", type=command, action="append", default=[],
                     help="runs WASI programs; FILE ARGS go behind it, or where {} stands (may be repeated)")  # fmt: skip
    out.add_argument("--rounds", type=int, default=rounds, help="measurements of each contender (default: %(default)s)")
    out.add_argument("--tier", choices=["auto", "interpreter", "compiled"], default="auto", help="our executor (default: auto)")
    out.add_argument("--metered", action="store_true", help="count fuel in ours (compute, compile, call)")
    out.add_argument("--json", type=Path, metavar="FILE", help="write every figure, round by round")
    out.add_argument("--plot", type=Path, metavar="DIR", help="write bar charts (SVG)")
    return out


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; `program` has one of its own."""
    out = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=EPILOG,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    out.add_argument("suites", nargs="*", metavar="SUITE", choices=[*SUITES, []], help=f"{', '.join(SUITES)} (default: all)")
    common(out, 3)
    out.add_argument("--kernels", type=lambda text: names(text, list(BY_NAME), "kernel"), default=list(BY_NAME),
                     help="comma-separated kernels of compute; default: all of " + ",".join(BY_NAME))  # fmt: skip
    out.add_argument("--rebuild", action="store_true", help="build the kernels anew first")
    out.add_argument("--check", action="store_true", help="measure all that must be shown; exit code 1 if one falls short")
    out.add_argument("--quick", action="store_true", help="with --check: fewer rounds, and the long rows reduced, which is said")
    out.add_argument("--only", metavar="TEXT", help="with --check: only the rows whose name holds TEXT")
    out.add_argument("--readme", type=Path, metavar="FILE", help="print the README's table from a file that --check --json wrote")
    return out


def program_parser() -> argparse.ArgumentParser:
    """The grammar of `program`."""
    out = argparse.ArgumentParser(prog="python -m benchmarks program", description="Measures a WASI command.")
    common(out, 3)
    out.add_argument("--stdin", type=Path, metavar="FILE", help="its standard input (default: empty)")
    out.add_argument("file", type=Path, metavar="FILE")
    out.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    return out


def choices(options: argparse.Namespace) -> Options:
    """What the suites besides compute need to know."""
    return Options(options.peers, dict(options.peer), options.rounds, options.tier, options.metered)


def run_compute(options: argparse.Namespace, facts: dict[str, str]) -> tuple[str, dict[str, Any], str]:
    """Text, JSON and chart of `compute`."""
    peers = ["ours", *(peer for peer in options.peers if peer != "ours")]
    chosen = [BY_NAME[name] for name in options.kernels]
    figures = measure(peers, chosen, options.rounds, {"tier": options.tier, "metered": options.metered})
    return report.text(figures, facts), report.as_json(figures, facts), report.svg(figures)


def write(options: argparse.Namespace, facts: dict[str, str], results: dict[str, tuple[str, dict[str, Any], str]]) -> None:
    """Files, and the text to stdout."""
    if options.json:
        data = {"machine": facts, "suites": {name: result[1] for name, result in results.items()}}
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    if options.plot:
        options.plot.mkdir(parents=True, exist_ok=True)
        for name, result in results.items():
            (options.plot / f"{name}.svg").write_text(result[2])
    print("\n\n".join(result[0] for result in results.values()))


def run_suites(options: argparse.Namespace) -> int:
    """The suites that were named, or all."""
    if options.rebuild:
        for kernel in KERNELS:
            build.build_wasm(kernel, kernel.wasm)
    suites = options.suites or SUITES
    prepare(["ours", *(peer for peer in options.peers if peer == WASMTIME or (peer != "ours" and "compute" in suites))])
    facts = machine.describe()
    results = {}
    for name in suites:
        if name == "compute":
            results[name] = run_compute(options, facts)
        else:
            suite = run_suite(name, choices(options))
            results[name] = report.suite_text(suite, facts), suite.as_json(), report.suite_svg(suite)
    write(options, facts, results)
    return 0


def run_program(arguments: Sequence[str]) -> int:
    """`program FILE ARGS`."""
    options = at_least_one_round(program_parser(), arguments)
    if not options.file.is_file():
        program_parser().error(f"{options.file} is no file")
    prepare(["ours", *(peer for peer in options.peers if peer == WASMTIME)])
    facts = machine.describe()
    suite = one_program(options.file, options.arguments, options.stdin.read_text() if options.stdin else "", choices(options))
    write(options, facts, {"program": (report.suite_text(suite, facts), suite.as_json(), report.suite_svg(suite))})
    return 0


def at_least_one_round(grammar: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed command line; ends with usage for no rounds."""
    options = grammar.parse_args(arguments)
    if options.rounds < 1:
        grammar.error("--rounds must be at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. 0: measured, and every contender's results were right; 1: not so, or --check found a figure short."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given[:1] == ["program"]:
            return run_program(given[1:])
        options = at_least_one_round(parser(), given)
        if options.check and options.suites not in ([], ["security"]):
            parser().error("--check measures all rows, or those of security")
        if options.readme or options.check:
            from benchmarks import check

            return check.readme(options.readme) if options.readme else check.run(options)
        return run_suites(options)
    except (NotReady, BuildError, WrongResult) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
