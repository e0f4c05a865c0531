"""`python -m tests.chaos`: random faults under load; the last line is the verdict, the exit code says it.

Every call is in a ledger and must have exactly one outcome, the right value when it is a result, and have run at most once unless
it was declared idempotent. After each round (a host's life) no process, thread, descriptor, mapping, socket or file may be left.
The schedule of faults depends on the seed alone; --list prints it. Exit codes: 0 nothing wrong, 1 something is, 2 usage.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .campaign import Campaign
from .faults import FAULTS, Fault, schedule

RATE = 20.0
SHOWN = 20
"""Problems that are printed."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    out = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    out.add_argument("--faults", type=int, default=1_000, metavar="N", help="how many (default: %(default)s)")
    out.add_argument("--seed", type=int, default=None, metavar="S", help="of the schedule (default: a new one, which is printed)")
    out.add_argument("--rate", type=float, default=RATE, metavar="R", help="faults a second at most (default: %(default)g)")
    out.add_argument("--seconds", type=float, default=None, metavar="T", help="end after so long, with what was done by then")
    out.add_argument("--only", type=names, default=(), metavar="NAMES", help="these faults alone: " + ", ".join(FAULTS))
    out.add_argument("--without", type=names, default=(), metavar="NAMES", help="all but these")
    out.add_argument("--list", action="store_true", help="print the schedule and inject nothing")
    return out


def names(text: str) -> list[str]:
    """Names of faults, separated by commas. Raises ArgumentTypeError for one that there is not."""
    found = [name.strip() for name in text.split(",")]
    for name in found:
        if name not in FAULTS:
            raise argparse.ArgumentTypeError(f"unknown fault {name!r}; known are {', '.join(FAULTS)}")
    return found


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[Fault], None]]:
    """Says how far it is: a bar of rich's where there is one and somebody looks, else a line now and then."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import Progress
        except ImportError:
            pass
        else:
            with Progress(console=Console(stderr=True)) as bar:
                task = bar.add_task("faults", total=total)
                yield lambda fault: bar.update(task, advance=1, description=f"{fault.name:<22}")
            return
    done, began, said = 0, time.monotonic(), time.monotonic()

    def step(fault: Fault) -> None:
        nonlocal done, said
        done += 1
        if time.monotonic() - said > 10 or done == total:
            said = time.monotonic()
            print(f"{done} of {total} faults in {said - began:.0f} s", file=sys.stderr, flush=True)

    yield step


def report(campaign: Campaign, seed: int, seconds: float, wanted: int) -> str:
    """What happened; the last line is the verdict."""
    ledger, done = campaign.ledger, sum(campaign.injected.values())
    lines = [table("faults", campaign.injected), table("outcomes", ledger.outcomes)]
    counts = f"{ledger.calls:,} calls, {ledger.runs:,} runs recorded, {campaign.workers_lost:,} workers lost"
    lines.append(f"{counts}, {campaign.rounds} hosts; slowest close {campaign.slowest_close:.2f} s")
    lines += [f"WRONG: {problem}" for problem in campaign.problems[:SHOWN]]
    if len(campaign.problems) > SHOWN:
        lines.append(f"… and {len(campaign.problems) - SHOWN} more")
    words = f"{done} faults of {wanted} in {seconds:.0f} s, seed {seed}"
    if campaign.problems:
        lines.append(f"FAILED: {words}: {len(campaign.problems)} problems")
    else:
        nothing = "0 without outcome, 0 with two, 0 run twice, 0 wrong values, 0 leaks"
        lines.append(f"PASSED: {words}: {ledger.calls} calls, {nothing}")
    return "\n".join(lines)


def table(title: str, counts: Counter[str]) -> str:
    """One line."""
    return f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options: Any = parser().parse_args(arguments)
    if options.faults < 1 or options.rate <= 0:
        parser().error("--faults and --rate must be more than 0")
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    only = [name for name in options.only or FAULTS if name not in options.without]
    faults = schedule(seed, options.faults, options.rate, only)
    if options.list:
        for fault in faults:
            print(f"+{fault.delay:.3f} s  {fault.name}  pick {fault.pick:.3f}  how {fault.how}")
        return 0
    print(f"seed {seed}: {options.faults} faults", file=sys.stderr, flush=True)
    campaign = Campaign(seed)
    began = time.monotonic()
    end = began + options.seconds if options.seconds is not None else float("inf")
    with progress(options.faults) as step:

        def go_on(fault: Fault) -> bool:
            step(fault)
            return time.monotonic() < end

        campaign.run(faults, go_on)
    print(report(campaign, seed, time.monotonic() - began, options.faults))
    return 1 if campaign.problems else 0


if __name__ == "__main__":
    sys.exit(main())
