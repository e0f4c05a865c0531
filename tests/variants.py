"""`python -m tests.variants [NAME …]`: builds the core in other ways and runs its tests and the official suite on each build.

    sanitize   AddressSanitizer and UndefinedBehaviorSanitizer
    hostile    an allocator that always moves, tiny stacks, every assertion
    portable   the dispatch loop that needs nothing of the compiler
    clang      built by clang, where clang is found
    aarch64    compiled for aarch64, which needs the portable dispatch; nothing is run

Each build is installed into a folder of its own under build/variants; the tree's own extension stays as it is. What is run is
every test in which the core's code runs in a way that could depend on its build; what only looks at host and processes around
it (router, pools, supervision, transport, chaos) is not repeated.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "variants"

_WHOLE = ("classes", "differential", "examples", "fuzz", "lockdown", "native", "spectest", "tiers", "wasi", "wast", "workers")
_END_TO_END = ("bad_input", "calls", "command_line", "grants", "host_functions", "large", "lines", "map")
TESTS = (*(f"tests/{name}" for name in _WHOLE), *(f"tests/e2e/test_{name}.py" for name in _END_TO_END))


@dataclass(frozen=True)
class Variant:
    """One way to build the core. `tests` are pytest's arguments."""

    name: str
    build: Mapping[str, str]
    """Environment of the build."""
    tests: Sequence[str] = TESTS
    run: Mapping[str, str] = field(default_factory=dict)
    """Environment of the tests."""


def sanitizer_environment() -> dict[str, str]:
    """What a Python that was not built with AddressSanitizer needs to load a library that was."""
    compiler = os.environ.get("CC", "gcc")
    library = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not os.path.isabs(library):
        raise SystemExit(f"sanitize: {compiler} has no libasan.so; the sanitizer build needs gcc with its run-time library")
    return {
        "SANDBOXHOST_SANITIZE": "1",  # lets the worker processes have these variables too
        "LD_PRELOAD": library,
        "PYTHONMALLOC": "malloc",
        # Python keeps what it never frees; the handlers of SIGSEGV are ours, because a guest's fault is a trap.
        "ASAN_OPTIONS": "detect_leaks=0:handle_segv=0:handle_sigbus=0:allow_user_segv_handler=1:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }


def variants() -> dict[str, Variant]:
    """All that are run; `clang` only where it is found, which is said."""
    known = [
        Variant("sanitize", {"SBX_BUILD": "sanitize"}, run=sanitizer_environment()),
        Variant("hostile", {"SBX_BUILD": "hostile"}),
        Variant("portable", {"SBX_BUILD": "portable"}),
    ]
    if shutil.which("clang"):
        # The audit is of the default compiler's code: clang calls the C library to round, and saves registers where gcc does not.
        audit = "tests/native/test_dispatch_audit.py::test_hot_handlers_neither_call_nor_push"
        known.append(Variant("clang", {"CC": "clang"}, (*TESTS, "--deselect", audit)))
    else:
        print("*** clang was NOT found, so the build with clang was NOT checked.", file=sys.stderr)
    return {variant.name: variant for variant in known}


def run(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Runs a command in the tree; True if it ended well."""
    print(f"$ {' '.join(command)}", flush=True)
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode == 0


def install(variant: Variant) -> Path:
    """A virtual environment that holds this build, and borrows every other package from the running one. Gives its Python."""
    place = FOLDER / variant.name
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    # What a .pth file adds comes after this build's own packages; the .pth files therein (editable installs) are not read.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    build = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(packages)]
    if not run(build, variant.build):
        raise SystemExit(f"tests.variants: the build {variant.name} failed")
    # What is tested must be what was built here, not the tree's own extension.
    where = f"import sandboxworker._native as n; raise SystemExit(not n.__file__.startswith({str(packages)!r}))"
    if not run([str(python), "-P", "-c", where], variant.run):
        raise SystemExit(f"tests.variants: the build {variant.name} is not what its Python imports")
    return python


def check(variant: Variant) -> bool:
    """Builds the variant and runs everything on it; True if all passed."""
    began = time.monotonic()
    print(f"=== {variant.name}", flush=True)
    python = install(variant)
    tests = run([str(python), "-m", "pytest", "-q", "-o", "pythonpath=.", "-p", "no:cacheprovider", *variant.tests], variant.run)
    suite = run([str(python), "-m", "tests.official"], variant.run)
    words = "passed" if tests and suite else "FAILED"
    print(f"=== {variant.name}: {words} in {time.monotonic() - began:.0f} s", flush=True)
    return tests and suite


def check_aarch64() -> bool:
    """Compiles every file of the core for another machine, with PyPI's ziglang as the cross compiler."""
    began = time.monotonic()
    print("=== aarch64", flush=True)
    native, place = ROOT / "native", FOLDER / "aarch64"
    place.mkdir(parents=True, exist_ok=True)
    if not run([sys.executable, str(native / "ops" / "generate.py"), str(native / "generated")], {}):
        return False
    folders = [native / name for name in ("src", "wasi", "generated")]
    sources = [source for folder in folders for source in sorted(folder.glob("*.c"))]
    includes = [f"-I{folder}" for folder in (native / "include", *folders)]
    flags = ["-std=gnu11", "-O1", "-fno-strict-aliasing", "-fwrapv", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", *includes]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu", *flags, "-c", "-o"]
    failed = [
        source.name
        for source in sources
        if subprocess.run([*command, str(place / f"{source.stem}.o"), str(source)], cwd=ROOT, check=False).returncode != 0
    ]
    words = f"FAILED: {', '.join(failed)}" if failed else f"compiled {len(sources)} files"
    print(f"=== aarch64: {words} in {time.monotonic() - began:.0f} s", flush=True)
    return bool(sources) and not failed


def main(names: Sequence[str]) -> int:
    """Checks the named variants, or all."""
    known: dict[str, Callable[[], bool]] = {name: partial(check, variant) for name, variant in variants().items()}
    known["aarch64"] = check_aarch64
    for name in names:
        if name not in known:
            print(f"tests.variants: unknown variant {name!r}; known here are {', '.join(known)}", file=sys.stderr)
            return 2
    failed = [name for name in names or known if not known[name]()]
    if failed:
        print(f"tests.variants: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
