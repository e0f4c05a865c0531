"""``python -m tests.fuzz.planted``: plants a bug in a copy of the tree and lets the fuzzers look for it; one after the other.

A bug is a patch in bugs/: small hunks with little context. A hunk is applied where its lines are, whatever its line number
says, as long as they are there once; a test in the default suite looks that all still apply.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .build import ROOT, TARGETS, libfuzzer_found
from .fuzzers import Fuzzer, Tell, all_fuzzers

BUGS = ROOT / "tests" / "fuzz" / "bugs"
COPIED = ("native", "tests", "spectest", "sandboxhost", "workers", "benchmarks", "plugins_example")
TURN = 10.0
"""Seconds of the first turn of a fuzzer; each round is twice as long as the one before."""


class Hunk(NamedTuple):
    """Lines of a file, and what takes their place."""

    file: str
    old: str
    new: str


def hunks(patch: str) -> list[Hunk]:
    """The hunks of a unified diff."""
    found: list[Hunk] = []
    file = ""
    for line in patch.splitlines(keepends=True):
        if line.startswith("+++ b/"):
            file = line[6:].strip()
        elif line.startswith("@@"):
            found.append(Hunk(file, "", ""))
        elif found and not line.startswith("---"):
            hunk, mark, text = found[-1], line[0], line[1:]
            found[-1] = hunk._replace(old=hunk.old + text * (mark != "+"), new=hunk.new + text * (mark != "-"))
    return found


def changed(hunk: Hunk, text: str) -> str | None:
    """The file's text with the hunk applied; None when its lines are not there once. Blank space may differ."""
    pattern = r"\s+".join(re.escape(word) for word in hunk.old.split())
    places = list(re.finditer(pattern, text))
    if len(places) != 1:
        return None
    start = text.rfind("\n", 0, places[0].start()) + 1
    end = text.find("\n", places[0].end())
    return text[:start] + hunk.new + text[end + 1 :]


def plant(bug: Path, tree: Path) -> list[Path]:
    """Applies a patch; gives the files it changed. ValueError: it does not apply any more."""
    files = []
    for hunk in hunks(bug.read_text()):
        path = tree / hunk.file
        text = changed(hunk, path.read_text())
        if text is None:
            raise ValueError(f"{bug.name} does not apply to {hunk.file} any more: make it anew")
        path.write_text(text)
        files.append(path)
    return files


def copy_tree(tree: Path) -> None:
    """The sources, and what was built of them, so that one changed file is one compilation."""
    shutil.rmtree(tree, ignore_errors=True)
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "build", ".cache")
    for name in COPIED:
        shutil.copytree(ROOT / name, tree / name, ignore=unwanted)
    for part in ("fuzzer", "plain", "handmade"):
        if (ROOT / "build" / "fuzz" / part).exists():
            shutil.copytree(ROOT / "build" / "fuzz" / part, tree / "build" / "fuzz" / part)


class Found(NamedTuple):
    """Whether, how fast (building not counted) and by what."""

    seconds: float
    words: str


def look(fuzzers: Sequence[Fuzzer], seconds: float, seed: int, tell: Tell) -> Found | None:
    """Runs the fuzzers in turn, each turn longer, until one has found something."""
    began, turn = time.monotonic(), TURN
    while True:
        for fuzzer in fuzzers:
            left = seconds - (time.monotonic() - began)
            if left < 1:
                return None
            result = fuzzer.run(min(turn, left), seed, tell)
            if result.found:
                return Found(time.monotonic() - began, result.found[0])
            seed += 1
        turn *= 2


def hunt(bug: Path, tree: Path, out: Path, seconds: float, seed: int) -> Found | None:
    """Plants, builds, looks, and takes the bug out again."""
    files = plant(bug, tree)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    try:
        known = all_fuzzers(out, tree, starts=60)
        return look([known[name]() for name in ("tiers", "wasmtime", "decode", "image")], seconds, seed, lambda line: None)
    finally:
        for path in files:
            shutil.copyfile(ROOT / path.relative_to(tree), path)


def main() -> int:
    """0: all were found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.planted", description="do the fuzzers find what was planted?")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="for each bug (default 10)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this bug")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    options = parser.parse_args()
    bugs = [path for path in sorted(BUGS.glob("*.patch")) if not options.only or path.stem in options.only]
    if not libfuzzer_found():
        print(f"*** clang with libFuzzer was NOT found: its targets ({', '.join(TARGETS)}) cannot be built.")
        return 2
    if not bugs:
        print("no such bug", file=sys.stderr)
        return 2
    place = ROOT / "build" / "fuzz" / "planted"
    tree, out = place / "tree", place / "out"
    for fuzzer in all_fuzzers(place / "unused").values():
        fuzzer()  # builds the tree as it is, so that the copy has its objects
    copy_tree(tree)
    missed = []
    for number, bug in enumerate(bugs, 1):
        found = hunt(bug, tree, out, options.minutes * 60, options.seed + 1000 * number)
        said = f"found in {found.seconds:.0f} s by {found.words}" if found else f"NOT FOUND in {options.minutes:g} min"
        print(f"[{number}/{len(bugs)}] {bug.stem}: {said}", flush=True)
        if found is None:
            missed.append(bug.stem)
    print(f"{'FAILED' if missed else 'passed'}: {len(bugs) - len(missed)} of {len(bugs)} planted bugs found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
