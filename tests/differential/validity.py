"""Which binaries are valid: mutated modules put before our decoder and validator and before the second engine's.

``python -m tests.differential.validity --modules N --seed S`` for long runs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from random import Random

import wasmtime

from sandboxhost.errors import LimitExceeded, ModuleError
from sandboxworker import native
from tests import builder
from tests.oracle import engine

from .program import generate
from .reduce import assemble

# Values that mean something somewhere: opcodes, types, LEB128 edges.
_BYTES = bytes.fromhex("000102030405070b0f10111a1b1c202140416f707f80d0fcff")


def ours(data: bytes) -> str:
    """"" when valid, else why not. What is refused as a feature, or beyond a limit, begins with ``*``."""
    try:
        native.compile_bytes(data, native.CompileOptions(0))
    except LimitExceeded as error:
        return f"* {error}"
    except ModuleError as error:
        text = str(error)
        return f"* {text}" if " is not supported" in text else text
    return ""


def theirs(data: bytes) -> str:
    """The same of the second engine."""
    try:
        wasmtime.Module.validate(engine(), data)
    except wasmtime.WasmtimeError as error:
        text = " ".join(str(error).split())
        beyond = "limit" in text or "too large" in text or "out of bounds: too many" in text or "not enabled" in text
        return f"* {text}" if beyond else text
    return ""


def mutate(rng: Random, data: bytes) -> bytes:
    """A few changes of single bytes or short runs, behind the header."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        position = rng.randrange(8, len(out))
        kind = rng.randrange(6)
        if kind <= 2:
            out[position] = rng.choice(_BYTES) if kind else rng.getrandbits(8)
        elif kind == 3:
            del out[position : position + rng.choice((1, 1, 2, 5))]
        elif kind == 4:
            out[position:position] = bytes(rng.choice(_BYTES) for _ in range(rng.choice((1, 1, 2))))
        else:
            source = rng.randrange(8, len(out))
            length = rng.randrange(1, 8)
            out[position : position + length] = out[source : source + length]
        if len(out) <= 8:
            break
    return bytes(out)


def seeds(rng: Random) -> bytes:
    """A valid module to start from, small ones mostly."""
    if rng.random() < 0.3:
        return builder.assemble(builder.everything())
    binaries = assemble(generate(rng)) or []
    return rng.choice(binaries)


def disagreement(data: bytes) -> str | None:
    """In words, or None; what one of them refuses as a feature or a limit says nothing."""
    mine, other = ours(data), theirs(data)
    if mine.startswith("*") or other.startswith("*") or bool(mine) == bool(other):
        return None
    return f"ours: {mine or 'valid'}; the second engine: {other or 'valid'}"


def campaign(first_seed: int, modules: int, mutants: int = 40) -> tuple[Counter[str], list[tuple[int, bytes, str]]]:
    """(how many of which verdict, disagreements as (seed, bytes, words))."""
    verdicts: Counter[str] = Counter()
    found = []
    for seed in range(first_seed, first_seed + modules):
        rng = Random(seed)
        base = seeds(rng)
        for _ in range(mutants):
            data = mutate(rng, base)
            verdict = ours(data)
            verdicts["not supported" if verdict.startswith("*") else "refused" if verdict else "valid"] += 1
            words = disagreement(data)
            if words is not None:
                found.append((seed, data, words))
    return verdicts, found


def main() -> int:
    """Prints disagreements; exit code 1 when there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.validity")
    parser.add_argument("--modules", type=int, default=500, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    options = parser.parse_args()
    verdicts, found = campaign(options.seed, options.modules)
    for seed, data, words in found[:20]:
        print(f"seed {seed}: {words}\n  {data.hex() if len(data) < 400 else f'{len(data)} bytes'}")
    print(f"{sum(verdicts.values())} mutants, {len(found)} disagreements; {dict(verdicts)}")
    return 1 if found or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
