"""Describes the native core to cffi: generated headers, declarations, sources. `ffibuilder` is what setup.py names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

subprocess.run([sys.executable, str(HERE / "ops" / "generate.py"), str(HERE / "generated")], check=True)


def sources() -> list[str]:
    """Every C file of the core, relative to the project's root."""
    folders = (HERE / "src", HERE / "wasi", HERE / "generated")
    return [str(path.relative_to(ROOT)) for folder in folders for path in sorted(folder.glob("*.c"))]


ffibuilder = FFI()
ffibuilder.cdef((HERE / "sandbox.cdef.h").read_text())
ffibuilder.set_source(
    "sandboxworker._native",
    '#include "python_api.h"\n',
    sources=sources(),
    include_dirs=[f"native/{name}" for name in ("include", "generated", "src", "wasi")],
    py_limited_api=True,
)
