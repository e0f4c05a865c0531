"""The compute kernels: what each one is, how much work it does in a measurement, and the checksum that this work must give.

Every kernel exports `run(n: i32) -> i64` and imports nothing. The checksums come from a native build of the same source
(`python -m benchmarks.build --check` makes it and compares), so no engine is trusted to say what is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "kernels"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: `size` and `checksum` for measurements, the small ones for tests; checksums are unsigned 64-bit numbers."""

    name: str
    about: str
    size: int
    checksum: int
    small_size: int
    small_checksum: int

    @property
    def source(self) -> Path:
        """The C source."""
        return FOLDER / f"{self.name}.c"

    @property
    def wasm(self) -> Path:
        """The prebuilt module, the same bytes for every contender."""
        return FOLDER / f"{self.name}.wasm"


KERNELS: tuple[Kernel, ...] = (
    Kernel("fib", "recursive calls", 34, 5702887, 15, 610),
    Kernel("sha256", "SHA-256: rotations, adds, logic in i32", 6000, 2792324283858472141, 5, 14071455676052434994),
    Kernel("matmul", "64 x 64 products of f64", 250, 17369654024870742102, 2, 11865618414689372634),
    Kernel("coremix", "CoreMark-like: list, matrix, state machine, CRC", 2500, 54365, 3, 22476),
    Kernel("nbody", "five bodies: f64, divisions, square roots", 500000, 13818671741466630013, 100, 13818671598985491325),
    Kernel("mandelbrot", "f64 loop with a data-dependent exit", 1200, 16107240737643673267, 30, 13576468891474244816),
    Kernel("sieve", "bytes with a stride", 100, 10404297282773708713, 1, 12662878922263384451),
    Kernel("quicksort", "unpredictable compares, recursion", 100, 1565863462775171050, 1, 12176347601751618843),
    Kernel("bytecode", "an interpreter's loop: br_table", 25000, 2344161, 100, 3142),
    Kernel("dispatch", "call_indirect, unpredictable", 7000, 14853023272749368606, 3, 6296497400802744689),
    Kernel("strings", "copy, fill, search and compare bytes", 1000, 8545904343703842153, 2, 15997243017945761905),
    Kernel("json", "parse a document into a tree", 400, 14556213382948735168, 1, 14836654379384931644),
)

BY_NAME = {kernel.name: kernel for kernel in KERNELS}
