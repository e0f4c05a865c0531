"""Figures that other commands of this tree give: a build from source, the official suite, the differential run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from benchmarks.prepare import ROOT, NotReady, environment, say

SOURCES = ("native", "workers", "sandboxhost", "plugins_example", "setup.py", "pyproject.toml", "README.md", "LICENSE")
NOT_SOURCES = shutil.ignore_patterns("generated", "__pycache__", "*.so", "*.o", "_native.c", "*.egg-info")
MODULES, QUICK_MODULES = 100_000, 500
"""Modules of the differential run."""
WASMTIME_MODULES, ACTS, BUGS = 200_000, 40, 12
"""Of the comparison with wasmtime; forbidden acts; planted bugs."""
FAULTS, QUICK_FAULTS = 10_000, 200
"""Of the chaos run."""


def run(
    command: Sequence[str], cwd: Path = ROOT, extra: Mapping[str, str] | None = None, tree: bool = True
) -> subprocess.CompletedProcess[str]:
    """A command of the tree, with this Python's packages; `tree`: with the tree's own extension, too."""
    say(f"$ {' '.join(command)}")
    variables = environment() if tree else {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env={**variables, **(extra or {})}, capture_output=True, text=True, check=False)


def build_extension() -> tuple[float, str]:
    """Seconds of a build from source in an empty folder, and the compiler that made it. Raises NotReady."""
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        tree.mkdir()
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=NOT_SOURCES)
            else:
                shutil.copy2(source, tree / name)
        compiler = os.environ.get("CC", "gcc")
        began = time.perf_counter()
        done = run([sys.executable, "setup.py", "--quiet", "build", "--build-lib", f"{place}/out"], tree, {"CC": compiler})
        seconds = time.perf_counter() - began
        if done.returncode != 0 or not list(Path(place, "out").rglob("_native*.so")):
            raise NotReady(f"the extension could not be built:\n{done.stderr.strip()[-4000:]}")
    version = run([*compiler.split(), "--version"]).stdout.partition("\n")[0]
    return seconds, version


def official_suite(quick: bool) -> tuple[int, int, int, str]:
    """(failed cases, configurations run, configurations wanted, words). quick: one configuration a tier."""
    configurations = [
        (tier, *options) for tier, *options in product(("compiled", "interpreter"), ("", "--explicit-bounds"), ("", "--metered"))
    ]
    wanted = len(configurations) + 1  # and portable dispatch
    chosen = [item for item in configurations if not (item[1] or item[2])] if quick else configurations
    failed, cases, problems = 0, 0, []
    for tier, *options in chosen:
        words = ["--tier", tier, *filter(None, options)]
        passed, wrong = spectest(words)
        failed, cases = failed + wrong, cases + passed + wrong
        problems += [" ".join(words)] if wrong else []
    if not quick:
        passed, wrong = portable()
        failed, cases = failed + wrong, cases + passed + wrong
        problems += ["portable dispatch"] if wrong else []
    done = len(chosen) + (not quick)
    words_of = f"{failed} of {cases:,} cases failed in {done} of {wanted} configurations"
    return failed, done, wanted, words_of + (f" ({'; '.join(problems)})" if problems else "")


def spectest(options: Sequence[str], python: str = sys.executable, tree: bool = True) -> tuple[int, int]:
    """(passed, failed) of one run of the core group; a run that finds nothing is a failure."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        done = run([python, "-m", "spectest", "--group", "core", "--json", str(report), *options], tree=tree)
        if not report.exists():
            say(done.stderr.strip()[-2000:])
            return 0, 1
        counts = json.loads(report.read_text())
    return counts["passed"], counts["failed"] or int(done.returncode != 0)


def portable() -> tuple[int, int]:
    """(passed, failed) of the interpreter with portable dispatch, built into a folder of its own."""
    program = "from tests.variants import install, variants; print(install(variants()['portable']))"
    done = run([sys.executable, "-c", program], tree=False)
    if done.returncode != 0:
        say(done.stderr.strip()[-2000:])
        return 0, 1
    return spectest(["--tier", "interpreter"], done.stdout.strip().splitlines()[-1], tree=False)


def differential(modules: int, wanted: int) -> tuple[int, int, int, str]:
    """(differences, modules run, modules wanted, words)."""
    done = run([sys.executable, "-m", "tests.differential", "--modules", str(modules), "--no-reduce"])
    found = re.search(r"^(\d+) programs in \d+ s, (\d+) differences", done.stdout, re.MULTILINE)
    if found is None:
        say(done.stderr.strip()[-2000:])
        return 1, 0, wanted, "the run failed"
    count, differences = int(found[1]), int(found[2])
    return differences, count, wanted, f"{count:,} modules, {differences} differences"


def chaos(faults: int, wanted: int) -> tuple[int, int, int, str]:
    """(problems, faults injected, faults wanted, words)."""
    done = run([sys.executable, "-m", "tests.chaos", "--faults", str(faults), "--seed", "1"])
    last = (done.stdout.strip().splitlines() or ["the run ended without a verdict"])[-1]
    found = re.match(r"(PASSED|FAILED): (\d+) faults of \d+ in \d+ s, seed 1: (\d+) (calls|problems)", last)
    if found is None or (done.returncode == 0) != (found[1] == "PASSED"):
        say((done.stdout + done.stderr).strip()[-2000:])
        return 1, 0, wanted, f"the run ended with {done.returncode}"
    count, number = int(found[2]), int(found[3])
    return number if found[1] == "FAILED" else 0, count, wanted, f"{count:,} faults, {last.partition('seed 1: ')[2]}"


def forbidden_acts(*only: str) -> tuple[int, int, int, str]:
    """(tests failed, acts tried, acts wanted, words): each test also fails when its layer is off. only: arguments for pytest."""
    count = run([sys.executable, "-c", "from tests.lockdown.acts import ACTS; print(len(ACTS))"]).stdout.strip()
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(only or ("tests/lockdown",))])
    last = (done.stdout.strip().splitlines() or ["the run ended without a verdict"])[-1]
    found = re.search(r"(\d+) passed", last)
    if found is None or done.returncode != 0 or not count.isdecimal():
        say(done.stdout.strip()[-2000:])
        return 1, 0, ACTS, last
    return 0, int(count), ACTS, f"{count} acts refused, {found[1]} tests passed"


def wasmtime_differential(modules: int) -> tuple[int, int, int, str]:
    """(differences, modules run, modules wanted, words), in a folder of its own, from the first seed."""
    with tempfile.TemporaryDirectory() as place:
        done = run([sys.executable, "-m", "tests.differential", "--wasmtime", "--modules", str(modules), "--out", place])
    found = re.search(r": (\d+) modules on wasmtime and both tiers, (\d+) differences", done.stdout)
    if found is None:
        say((done.stdout + done.stderr).strip()[-2000:])
        return 1, 0, WASMTIME_MODULES, "the run failed"
    count, differences = int(found[1]), int(found[2])
    return differences or int(done.returncode != 0), count, WASMTIME_MODULES, f"{count:,} modules, {differences} differences"


def planted_bugs(quick: bool, *more: str) -> tuple[int, int, int, str]:
    """(bugs missed, bugs found, bugs wanted, words). quick: one bug; more: further arguments of the command."""
    known = sorted(path.stem for path in (ROOT / "tests" / "fuzz" / "bugs").glob("*.patch"))
    done = run([sys.executable, "-m", "tests.fuzz.planted", *(["--only", known[0]] if quick else []), *more])
    found = re.search(r"(\d+) of (\d+) planted bugs found", done.stdout)
    if found is None:
        say((done.stdout + done.stderr).strip()[-2000:])
        absent = "clang with libFuzzer was NOT found" in done.stdout
        return int(not absent), 0, BUGS, "clang with libFuzzer was not found" if absent else "the run failed"
    count, planted = int(found[1]), int(found[2])
    return planted - count, count, BUGS, f"{count} of {planted} found"
