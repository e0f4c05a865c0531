"""The layers of the system, enforced by reading every import; and the form that every file keeps."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORKER = ROOT / "workers" / "sandboxworker"
HOST = ROOT / "sandboxhost"

# Pure: values and rules, no input or output, no process. The worker may import these of the host's modules, and no others.
PURE = {"errors", "grants", "limits", "options", "statistics", "values", "wire", "wire_types"}
# The one door from the host to the core: the in-process mode, which an application asks for by name.
IN_PROCESS = "inprocess.py"
# The one file that touches cffi's objects.
NATIVE = "native.py"

PYTHON_FOLDERS = ("sandboxhost", "workers", "spectest", "benchmarks", "plugins_example", "tests", "native")
MAX_LINES = 600
# Tables: one row a fact, as long as there are facts.
TABLES = {"native/ops/table.py"}


def python_files(*folders: str) -> list[Path]:
    """All Python files below the folders."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if "generated" not in path.parts)


def c_files() -> list[Path]:
    """All C files that are written by hand."""
    hand_written = [
        *(ROOT / "native").rglob("*.[ch]"),
        *(ROOT / "benchmarks").rglob("*.[ch]"),
        *(ROOT / "plugins_example").rglob("*.c"),
    ]
    return sorted(path for path in hand_written if "generated" not in path.parts)


def name_of(path: Path) -> str:
    """The path within the repository."""
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that the file imports, absolutely, wherever in the file: (dotted name, line)."""
    package = path.relative_to(WORKER.parent if path.is_relative_to(WORKER) else ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                yield f"{prefix}.{alias.name}", node.lineno


def imported_modules(path: Path, package: str) -> Iterator[tuple[str, int]]:
    """The modules of `package` that the file imports: (name within the package, "" for the package itself; line)."""
    for name, line in imports(path):
        first, *rest = name.split(".")
        if first == package:
            yield (rest[0] if rest else ""), line


def test_the_host_never_imports_the_core() -> None:
    """No untrusted byte is parsed in the application's process, but in the in-process mode."""
    outside = [path for path in python_files("sandboxhost") if path.name != IN_PROCESS]
    found = [f"{name_of(path)}:{line}" for path in outside for _, line in imported_modules(path, "sandboxworker")]
    assert not found, f"imports sandboxworker: {found}"


def test_the_worker_imports_pure_modules_of_the_host_only() -> None:
    """A worker carries none of the host's machinery."""
    found = [f"{name_of(path)}:{line}: sandboxhost.{module}" for path in python_files("workers")
             for module, line in imported_modules(path, "sandboxhost") if module not in PURE]  # fmt: skip
    assert not found, f"imports more than the pure modules: {found}"


def test_pure_modules_import_pure_modules_only() -> None:
    """What a worker imports must not pull in the rest of the host, processes or sockets."""
    machinery = {"asyncio", "multiprocessing", "psutil", "selectors", "signal", "socket", "subprocess", "zmq"}
    found = []
    for module in sorted(PURE):
        path = HOST / f"{module}.py"
        found += [f"{name_of(path)}:{line}: {name}" for name, line in imported_modules(path, "sandboxhost") if name not in PURE]
        found += [f"{name_of(path)}:{line}: {name}" for name, line in imports(path) if name.split(".")[0] in machinery]
    assert not found, f"not pure: {found}"


def test_a_worker_is_quick_to_import() -> None:
    """asyncio costs 40 ms at each start of a worker; seen from a worker's process, so that what its imports import counts too."""
    modules = [f"sandboxworker.{path.stem}" for path in sorted(WORKER.glob("*.py")) if not path.stem.startswith("__")]
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; import {', '.join(modules)}; "
        "print(*sorted(name for name in sys.modules if name.split('.')[0] in {'asyncio', 'multiprocessing', 'sandboxhost'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    allowed = {"sandboxhost", *(f"sandboxhost.{module}" for module in PURE)}
    assert modules and set(done.stdout.split()) <= allowed, f"a worker loads {set(done.stdout.split()) - allowed}"


def test_only_one_file_touches_the_native_library() -> None:
    """cffi's ffi and lib stay behind sandboxworker.native."""
    found = []
    for path in python_files("sandboxhost", "workers", "spectest", "benchmarks", "plugins_example"):
        for name, line in imports(path):
            parts = name.split(".")
            if path != WORKER / NATIVE and ("_native" in parts or parts[0] in ("cffi", "_cffi_backend")):
                found.append(f"{name_of(path)}:{line}: {name}")
    assert not found, f"reaches for the native library: {found}"


@pytest.mark.parametrize("path", python_files(*PYTHON_FOLDERS), ids=name_of)
def test_the_first_line_of_a_module_states_its_duty(path: Path) -> None:
    """A reader learns from the first line what the file is for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not tree.body and path.name == "__init__.py":
        return  # an empty package marker has no duty but that
    docstring = ast.get_docstring(tree)
    assert docstring, "no docstring"
    assert len(docstring.splitlines()[0].split()) >= 3, f"the first line says nothing: {docstring.splitlines()[0]!r}"


@pytest.mark.parametrize("path", c_files(), ids=name_of)
def test_a_c_file_begins_with_its_duty(path: Path) -> None:
    """The same for C: a comment before anything else."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert re.match(r"/\* \w", first), f"the first line is {first!r}"


@pytest.mark.parametrize("path", [*python_files(*PYTHON_FOLDERS), *c_files()], ids=name_of)
def test_no_file_is_too_long(path: Path) -> None:
    """A file beyond some 600 lines is two things."""
    if name_of(path) not in TABLES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
