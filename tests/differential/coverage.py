"""``python -m tests.differential.coverage [N]``: which of the interpreter's operations the programs of N seeds contain.

To be run after the lowering has learnt a new operation: one that is never generated is never compared.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from random import Random

import wasmtime

from sandboxworker.engine import Engine, Module

from .program import generate

HEADER = Path(__file__).resolve().parents[2] / "native" / "generated" / "ir_ops.h"
# Not lowered from any instruction: the frame around a call from outside, and what an interrupt puts in the table's place.
_OURS = {"exit", "entry", "cross_return", "interrupted"}


def operations() -> set[str]:
    """All names, from the header that the build generated."""
    enum = HEADER.read_text().partition("typedef enum sbx_ir_op {")[2].partition("}")[0]
    return {name for name in re.findall(r"SBX_IR_(\w+)", enum) if not name.isupper()} - _OURS


def generated(seeds: int) -> Counter[str]:
    """How often each operation stands in the images of so many programs, in all configurations."""
    seen: Counter[str] = Counter()
    modes = ((False, False), (True, False), (False, True))
    engines = [Engine(tier="interpreter", explicit_bounds=explicit, metered=metered) for explicit, metered in modes]
    for seed in range(seeds):
        for tree in generate(Random(seed)).modules:
            module = Module(bytes(wasmtime.wat2wasm(tree.text())))
            for engine in engines:
                engine.compile_module(module)
                image = engine.image(module)
                for index, function in enumerate(image.functions):
                    if not function.imported:
                        seen.update(line.split()[1] for line in image.disassemble(index).splitlines() if line)
                engine.delete_compiled_module(module)
    return seen


def main() -> int:
    """Prints what is missing; 1 when more than a tenth is."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    every, seen = operations(), generated(seeds)
    # Each operation with a result exists twice, the second also writing a slot: the disassembler may name them alike.
    missing = sorted(name for name in every if name not in seen and name.removesuffix("_d") not in seen)
    print(f"{len(every) - len(missing)} of {len(every)} operations in {seeds} programs; missing: {' '.join(missing)}")
    return 1 if len(missing) > len(every) / 10 else 0


if __name__ == "__main__":
    sys.exit(main())
