"""Builds the compute kernels: to WebAssembly with PyPI's `ziglang`, and natively with the C compiler for the reference checksums.

python -m benchmarks.build             builds what is missing
python -m benchmarks.build --rebuild   builds all of it anew
python -m benchmarks.build --check     native builds must give the checksums of the table, and a rebuild the committed bytes
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.kernel_table import FOLDER, KERNELS, Kernel
from benchmarks.tools import BuildError, need_module, run_tool

ZIG_VERSION = "0.17.0"
"""The release of `ziglang` that made the committed files; another one makes other bytes, hence the pin in the `bench` extra."""

# What every peer runs: the features of 2.0 that the oldest of them has. No vectors, no tail calls.
FEATURES = "mvp+sign_ext+mutable_globals+nontrapping_fptoint+bulk_memory"
WASM_FLAGS = (
    "-target", "wasm32-freestanding", f"-mcpu={FEATURES}", "-O2", "-ffreestanding", "-nostdlib", "-ffp-contract=off",
    "-Wall", "-Wextra", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=65536",
)  # fmt: skip
NATIVE_FLAGS = ("-O2", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-DKERNEL_MAIN")


def build_wasm(kernel: Kernel, target: Path) -> None:
    """Compiles one kernel to WebAssembly with `python -m ziglang`."""
    need_module("ziglang", ZIG_VERSION)
    run_tool([sys.executable, "-m", "ziglang", "cc", *WASM_FLAGS, "-o", str(target), str(kernel.source)])
    target.chmod(0o644)


def build_missing(kernels: Iterable[Kernel] = KERNELS) -> list[str]:
    """Builds the modules that are not there; gives their names."""
    missing = [kernel for kernel in kernels if not kernel.wasm.exists()]
    for kernel in missing:
        build_wasm(kernel, kernel.wasm)
    return [kernel.name for kernel in missing]


def native_checksum(kernel: Kernel, size: int, folder: Path) -> int:
    """`run(size)` of a native build of the kernel's source, unsigned."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(shlex.split(compiler)[0]) is None:
        raise BuildError(f"{kernel.name}'s reference checksum needs a C compiler; {compiler!r} (CC, else cc) was not found")
    program = folder / kernel.name
    if not program.exists():
        run_tool([*shlex.split(compiler), *NATIVE_FLAGS, "-o", str(program), str(kernel.source)])
    return int(run_tool([str(program), str(size)]))


def check(kernels: Iterable[Kernel] = KERNELS) -> list[str]:
    """What does not agree: checksums with a native build, committed bytes with a rebuild (where the pinned ziglang is there)."""
    problems = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kernel in kernels:
            for size, expected in ((kernel.size, kernel.checksum), (kernel.small_size, kernel.small_checksum)):
                got = native_checksum(kernel, size, folder)
                if got != expected:
                    problems.append(f"{kernel.name}: natively run({size}) = {got}, the table says {expected}")
            rebuilt = folder / f"{kernel.name}.wasm"
            build_wasm(kernel, rebuilt)
            if not kernel.wasm.exists():
                problems.append(f"{kernel.name}: {kernel.wasm.name} is missing")
            elif rebuilt.read_bytes() != kernel.wasm.read_bytes():
                problems.append(f"{kernel.name}: {kernel.wasm.name} is not what its source gives (ziglang {ZIG_VERSION} made it)")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.build", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rebuild", action="store_true", help="build every kernel anew")
    parser.add_argument("--check", action="store_true", help="compare with native builds and with a rebuild; write nothing")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            problems = check()
            print("\n".join(problems) or f"{len(KERNELS)} kernels agree with their native builds and their sources")
            return 1 if problems else 0
        if options.rebuild:
            for kernel in KERNELS:
                build_wasm(kernel, kernel.wasm)
            print(f"built {len(KERNELS)} kernels in {FOLDER}")
        else:
            print(f"built: {', '.join(build_missing()) or 'nothing, all are there'}")
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
