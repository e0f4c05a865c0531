"""Module after module on wasmtime and on both tiers of ours: generated, mutated, hand-made. The quick comparison of the two.

``python -m tests.differential --wasmtime`` is its command; run by itself, this file is one worker of it, which reads seeds
from its standard input and answers on its standard output.
"""

from __future__ import annotations

import json
import mmap
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import wasmtime

from tests.oracle import engine

from .observer import Event, Flags, Library, Observation, Outcome, Tag
from .second_engine import FUEL, SAME_TRAP, SecondEngine

OURS = 100 * FUEL
"""Fuel of ours for what ended on the second engine: far more, because bulk operations are charged differently."""
SHORT = 20_000
"""Fuel of ours where nothing is compared."""
BEYOND = ("limit", "too large", "out of bounds: too many", "not enabled", "multiple memories")
PLACE = 1 << 20
"""Bytes of the file that tells which module a worker was at when it died."""
TRIES = 6
_TRAPS = (Tag.INSTANTIATED, Tag.STARTED, Tag.CALLED)


class Finding(NamedTuple):
    """A difference, or something broken; the module, and the words."""

    seed: int
    words: str
    data: bytes


def beyond(words: str) -> bool:
    """Whether a refusal of the second engine is about a limit or a feature, and says nothing of validity."""
    return any(reason in words for reason in BEYOND)


class Comparison:
    """Compares single modules, and makes those of a seed. ``begin`` is told each module before it is looked at."""

    def __init__(self, library: Library, handmade: Sequence[Path], begin: Callable[[int, bytes], None]) -> None:
        self._begin = begin
        self.library = library
        self.second = SecondEngine(library)
        self.handmade = handmade
        self.counts: Counter[str] = Counter()
        self._undefined = library.traps["undefined element"], library.traps[SAME_TRAP["undefined element"]]

    def check(self, seed: int) -> Finding | None:
        """The module of a seed. Counts under "modules" what was run on both engines."""
        rng = Random(seed)
        roll = seed % 10
        if roll < 5:
            return self._compare(seed, self.library.module(seed), rng, "generated")
        base = self.library.module(rng.getrandbits(48))
        kind = "mutated"
        if roll == 9 and self.handmade:
            base, kind = rng.choice(self.handmade).read_bytes(), "hand-made"
            if rng.random() < 0.2:
                return self._compare(seed, base, rng, kind)
        donor = rng.choice(self.handmade).read_bytes() if self.handmade and rng.random() < 0.2 else self.library.module(seed)
        for _ in range(TRIES):
            data = self.library.mutant(rng.getrandbits(60), base, donor)
            refused = self._refused(seed, data)
            if refused is None:
                return self._compare(seed, data, rng, kind)
            self.counts["refused by both"] += 1
            if refused:
                return Finding(seed, refused, data)
        return None

    def _refused(self, seed: int, data: bytes) -> str | None:
        """None: valid for ours. "": refused by both, or as a limit or feature. Else the disagreement."""
        self._begin(seed, data)
        seen = self.library.observe(data, Flags.INTERPRETER | Flags.METERED, 0)
        if seen.outcome is not Outcome.REFUSED:
            return None
        if seen.status in ("unsupported", "module_limit"):
            return ""
        try:
            wasmtime.Module.validate(engine(metered=True), data)
            wasmtime.Module(engine(metered=True), data).close()  # the validator lets compact imports of a later version pass
        except wasmtime.WasmtimeError:
            return ""
        return f"ours refuses a valid module: {seen.words}"

    def _compare(self, seed: int, data: bytes, rng: Random, kind: str) -> Finding | None:
        data = self.library.canonical(data)
        self._begin(seed, data)
        expected = self.second.observe(data)
        flags = [tier | rng.choice((Flags(0), Flags.METERED, Flags.METERED | Flags.SIPS)) | rng.choice((Flags(0), Flags.EXPLICIT))
                 for tier in (Flags.INTERPRETER, Flags.COMPILED)]  # fmt: skip
        if expected.outcome in (Outcome.TOO_LONG, Outcome.NO_STACK):
            flags = [flag | Flags.METERED for flag in flags]
        for flag in flags:
            words = self._difference(data, expected, flag)
            if words:
                return Finding(seed, f"{kind}, {flag.name or 'INTERPRETER'}: {words}", data)
        if expected.outcome is not Outcome.REFUSED:
            self.counts["modules"] += 1
            self.counts[kind] += 1
        self.counts[f"outcome {expected.outcome.name.lower().replace('_', ' ')}"] += 1
        for event in expected.events:
            if event.tag == Tag.CALLED:
                self.counts["calls"] += 1
                self.counts["traps"] += event.value != 0
        return None

    def _difference(self, data: bytes, expected: Observation, flags: Flags) -> str | None:
        ended = expected.outcome is Outcome.SEEN
        seen = self.library.observe(data, flags, OURS if ended else SHORT)
        if seen.outcome is Outcome.BROKEN:
            return seen.words
        if expected.outcome is Outcome.REFUSED or seen.outcome is Outcome.REFUSED:
            if seen.status in ("unsupported", "module_limit") or beyond(expected.words) or expected.outcome is seen.outcome:
                return None
            return f"ours {seen.outcome.name} {seen.words}; wasmtime {expected.outcome.name} {expected.words}"
        if not ended or seen.outcome is Outcome.NO_STACK:
            return None
        if seen.outcome is Outcome.TOO_LONG:  # a bulk operation that is refused is paid for, too
            unmetered = flags & ~(Flags.METERED | Flags.SIPS)
            return self._difference(data, expected, unmetered) if flags & Flags.METERED else "never ends"
        return difference(self.library, expected.events, self._shown(seen.events))

    def _shown(self, events: Sequence[Event]) -> list[Event]:
        """Our events as the second engine can tell them: without fuel, the start function as part of the instantiation."""
        undefined, bounds = self._undefined
        shown = [event._replace(value=bounds) if event.tag in _TRAPS and event.value == undefined else event
                 for event in events if event.tag not in (Tag.FUEL, Tag.FRAMES)]  # fmt: skip
        if len(shown) > 1 and shown[1].tag == Tag.STARTED:
            shown[0:2] = [Event(Tag.INSTANTIATED, 0, shown[1].value)]
        return shown


def difference(library: Library, expected: Sequence[Event], seen: Sequence[Event]) -> str | None:
    """The first difference in words."""
    words = {number: text for text, number in library.traps.items()}

    def show(event: Event) -> str:
        value = words.get(event.value, str(event.value)) if event.tag in _TRAPS else hex(event.value)
        return f"{Tag(event.tag).name.lower()} {event.index}: {value}"

    for one, other in zip(expected, seen, strict=False):
        if one != other:
            return f"wasmtime {show(one)}; ours {show(other)}"
    return None if len(expected) == len(seen) else f"wasmtime {len(expected)} events, ours {len(seen)}"


def main(arguments: Sequence[str]) -> int:
    """``modules LIBRARY PLACE MODULES``: reads "FIRST COUNT" lines. PLACE: a file that holds the seed and the module at work."""
    library, place, folder = arguments
    with open(place, "r+b") as file:
        current = mmap.mmap(file.fileno(), PLACE)

    def begin(seed: int, data: bytes) -> None:
        current[: 16 + len(data)] = struct.pack("<qq", seed, len(data)) + data

    comparison = Comparison(Library(Path(library)), sorted(Path(folder).glob("*.wasm")), begin)
    for line in sys.stdin:
        first, count = map(int, line.split())
        for seed in range(first, first + count):
            finding = comparison.check(seed)
            if finding is not None:
                print(json.dumps({"seed": finding.seed, "words": finding.words, "data": finding.data.hex()}), flush=True)
        print(json.dumps({"done": first, "counts": comparison.counts}), flush=True)
        comparison.counts.clear()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
