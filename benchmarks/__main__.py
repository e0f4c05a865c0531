"""`python -m benchmarks compute`: measures sandboxhost beside its peers and prints ratios first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import build, machine, report
from benchmarks.compute import WrongResult, measure
from benchmarks.kernel_table import BY_NAME, KERNELS
from benchmarks.peers import PEERS
from benchmarks.prepare import NotReady, prepare

SUITES = ("compute",)


def names(text: str, known: Sequence[str], what: str) -> list[str]:
    """A comma-separated list of known names, each once. Raises ArgumentTypeError naming the unknown one."""
    chosen = list(dict.fromkeys(filter(None, text.split(","))))
    for name in chosen:
        if name not in known:
            raise argparse.ArgumentTypeError(f"unknown {what} {name!r}; known are {', '.join(known)}")
    return chosen


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    out = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    out.add_argument("suites", nargs="*", metavar="SUITE", choices=[*SUITES, []], help="compute (the default)")
    out.add_argument("--peers", type=lambda text: names(text, list(PEERS), "peer"), default=["wasm3", "wasmtime"],
                     help="comma-separated: wasm3,wasmtime (the default); ours is always the first")  # fmt: skip
    out.add_argument("--kernels", type=lambda text: names(text, list(BY_NAME), "kernel"), default=list(BY_NAME),
                     help="comma-separated names; default: all of " + ",".join(BY_NAME))  # fmt: skip
    out.add_argument("--rounds", type=int, default=5, help="measurements of each contender on each kernel (default: 5)")
    out.add_argument("--tier", choices=["auto", "interpreter", "compiled"], default="auto", help="our executor (default: auto)")
    out.add_argument("--metered", action="store_true", help="count fuel in ours")
    out.add_argument("--json", type=Path, metavar="FILE", help="write every figure, round by round")
    out.add_argument("--plot", type=Path, metavar="DIR", help="write a bar chart (SVG)")
    out.add_argument("--rebuild", action="store_true", help="build the kernels anew first")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when every contender computed what a native build computes."""
    options = parser().parse_args(arguments)
    if options.rounds < 1:
        parser().error("--rounds must be at least 1")
    peers = ["ours", *(peer for peer in options.peers if peer != "ours")]
    try:
        if options.rebuild:
            for kernel in KERNELS:
                build.build_wasm(kernel, kernel.wasm)
        prepare(peers)
        facts = machine.describe()
        chosen = [BY_NAME[name] for name in options.kernels]
        figures = measure(peers, chosen, options.rounds, {"tier": options.tier, "metered": options.metered})
    except (NotReady, build.BuildError, WrongResult) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(report.as_json(figures, facts), indent=1) + "\n")
    if options.plot:
        options.plot.mkdir(parents=True, exist_ok=True)
        (options.plot / "compute.svg").write_text(report.svg(figures))
    print(report.text(figures, facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
