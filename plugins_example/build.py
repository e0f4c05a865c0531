"""Builds the example plugins from their sources, each with the tool of its language.

    python plugins_example/build.py [NAME …]           builds all, or those named
    python plugins_example/build.py --check [NAME …]   builds into a temporary folder and compares with the prebuilt files

Tools: PyPI `ziglang` for C and Zig, PyPI `wasmtime` for the text format, npm (with node) for AssemblyScript. A missing tool
is an error that names it; nothing is skipped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.tools import BuildError, need_module, run_tool

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / "build" / "assemblyscript"

# The releases that made the prebuilt files; others work, but give other bytes, which --check reports.
ZIGLANG = "0.17.0"
ASSEMBLYSCRIPT = "0.28.20"

# Without a size of its own, each plugin would reserve 16 MiB for its stack.
C_FLAGS = (
    "-mcpu=mvp+sign_ext+mutable_globals+nontrapping_fptoint+bulk_memory",
    "-Oz",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wl,-z,stack-size=65536",
)
FREESTANDING = ("-target", "wasm32-freestanding", "-ffreestanding", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all")


def zig(*arguments: str) -> None:
    """Runs PyPI's zig."""
    need_module("ziglang", ZIGLANG)
    run_tool([sys.executable, "-m", "ziglang", *arguments])


def c_command(source: Path, target: Path) -> None:
    """A C program as a WASI command."""
    zig("cc", "-target", "wasm32-wasi", *C_FLAGS, "-s", "-o", str(target), str(source))


def c_library(source: Path, target: Path) -> None:
    """Freestanding C: exported functions, no C library."""
    zig("cc", *FREESTANDING, *C_FLAGS, "-o", str(target), str(source))


def zig_library(source: Path, target: Path) -> None:
    """Freestanding Zig: what the source exports."""
    exports = [line.split()[2].partition("(")[0] for line in source.read_text().splitlines() if line.startswith("export fn ")]
    names = [f"--export={name}" for name in exports]
    flags = (
        "-target",
        "wasm32-freestanding",
        "-O",
        "ReleaseSmall",
        "-fno-entry",
        "-fstrip",
        "--stack",
        "65536",
        *names,
        f"-femit-bin={target}",
    )
    zig("build-exe", str(source), *flags)


def assemblyscript(source: Path, target: Path) -> None:
    """AssemblyScript, with the compiler installed by npm into build/ at its pinned version."""
    compiler = CACHE / "node_modules" / "assemblyscript" / "bin" / "asc.js"
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise BuildError(f"{source.name} is AssemblyScript: building it needs node and npm, and {tool} was not found")
    if not compiler.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        quietly = ("--silent", "--no-audit", "--no-fund")
        run_tool(["npm", "install", *quietly, "--prefix", str(CACHE), f"assemblyscript@{ASSEMBLYSCRIPT}"])
    # The compiler takes names relative to the current folder only.
    files = (os.path.relpath(source), "-o", os.path.relpath(target))
    run_tool(["node", str(compiler), *files, "-Oz", "--runtime", "stub", "--use", "abort=", "--disable", "bulk-memory"])


def text_format(source: Path, target: Path) -> None:
    """WebAssembly's text format, through wasmtime's assembler."""
    need_module("wasmtime", "50.0.1")
    import wasmtime

    target.write_bytes(bytes(wasmtime.wat2wasm(source.read_text())))


PLUGINS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "adder": ("adder.wat", text_format),
    "files": ("files.c", c_command),
    "hello": ("hello.c", c_command),
    "hog": ("hog.c", c_library),
    "lookup": ("lookup.c", c_library),
    "primes": ("primes.zig", zig_library),
    "runaway": ("runaway.wat", text_format),
    "statistics": ("statistics.ts", assemblyscript),
    "wordcount": ("wordcount.c", c_command),
}


def prebuilt(name: str) -> Path:
    """Where the plugin's module lies."""
    return HERE / name / f"{name}.wasm"


def build(name: str, target: Path) -> None:
    """Builds one plugin. Raises BuildError."""
    source, recipe = PLUGINS[name]
    recipe(HERE / name / source, target)
    target.chmod(0o644)


def check(names: Sequence[str]) -> list[str]:
    """The plugins whose prebuilt file is missing or is not what its source gives."""
    different = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            fresh = Path(folder) / f"{name}.wasm"
            build(name, fresh)
            if not prebuilt(name).exists() or fresh.read_bytes() != prebuilt(name).read_bytes():
                different.append(name)
    return different


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if all is well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"plugins to build: {', '.join(PLUGINS)} (default: all)")
    parser.add_argument("--check", action="store_true", help="compare a fresh build with the prebuilt files; write nothing")
    options = parser.parse_args(arguments)
    names = options.names or list(PLUGINS)
    unknown = [name for name in names if name not in PLUGINS]
    if unknown:
        parser.error(f"unknown plugin {unknown[0]!r}; known are {', '.join(PLUGINS)}")
    try:
        if options.check:
            different = check(names)
            for name in different:
                print(f"{name}: {name}.wasm is not what its source gives (ziglang {ZIGLANG}, assemblyscript {ASSEMBLYSCRIPT})")
            if not different:
                print(f"{len(names)} plugins agree with their sources")
            return 1 if different else 0
        for name in names:
            build(name, prebuilt(name))
            print(f"{name}: {prebuilt(name).stat().st_size:,} bytes")
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
