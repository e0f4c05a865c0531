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


def run(command: Sequence[str], cwd: Path = ROOT, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command of the tree, with this Python's packages."""
    say(f"$ {' '.join(command)}")
    return subprocess.run(command, cwd=cwd, env={**environment(), **(extra or {})}, capture_output=True, text=True, check=False)


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
        passed, wrong = spectest(words, [sys.executable])
        failed, cases = failed + wrong, cases + passed + wrong
        problems += [" ".join(words)] if wrong else []
    if not quick:
        passed, wrong = portable()
        failed, cases = failed + wrong, cases + passed + wrong
        problems += ["portable dispatch"] if wrong else []
    done = len(chosen) + (not quick)
    words_of = f"{failed} of {cases:,} cases failed in {done} of {wanted} configurations"
    return failed, done, wanted, words_of + (f" ({'; '.join(problems)})" if problems else "")


def spectest(options: Sequence[str], python: Sequence[str], module: str = "spectest") -> tuple[int, int]:
    """(passed, failed) of one run of the core group; a run that finds nothing is a failure."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        done = run([*python, "-m", module, "--group", "core", "--json", str(report), *options])
        if not report.exists():
            say(done.stderr.strip()[-2000:])
            return 0, 1
        counts = json.loads(report.read_text())
    return counts["passed"], counts["failed"] or int(done.returncode != 0)


def portable() -> tuple[int, int]:
    """(passed, failed) of the interpreter with portable dispatch, built into a folder of its own."""
    done = run([sys.executable, "-c", "from tests.variants import install, variants; print(install(variants()['portable']))"])
    python = done.stdout.strip().splitlines()[-1:] if done.returncode == 0 else []
    if not python:
        say(done.stderr.strip()[-2000:])
        return 0, 1
    return portable_run(python[0])


def portable_run(python: str) -> tuple[int, int]:
    """The suite in the Python of that build; its own extension comes before the tree's."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [python, "-m", "spectest", "--group", "core", "--tier", "interpreter", "--json", str(report)]
        say(f"$ {' '.join(command)}")
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
        if not report.exists():
            say(done.stderr.strip()[-2000:])
            return 0, 1
        counts = json.loads(report.read_text())
    return counts["passed"], counts["failed"] or int(done.returncode != 0)


def differential(modules: int, wanted: int) -> tuple[int, int, int, str]:
    """(differences, modules run, modules wanted, words)."""
    done = run([sys.executable, "-m", "tests.differential", "--modules", str(modules), "--no-reduce"])
    found = re.search(r"^(\d+) programs in \d+ s, (\d+) differences", done.stdout, re.MULTILINE)
    if found is None:
        say(done.stderr.strip()[-2000:])
        return 1, 0, wanted, "the run failed"
    count, differences = int(found[1]), int(found[2])
    return differences, count, wanted, f"{count:,} modules, {differences} differences"
