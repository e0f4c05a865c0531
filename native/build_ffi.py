"""Describes the native core to cffi: generated headers, declarations, sources. `ffibuilder` is what setup.py names."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

subprocess.run([sys.executable, str(HERE / "ops" / "generate.py"), str(HERE / "generated")], check=True)


def sources() -> list[str]:
    """Every C file of the core, relative to the project's root."""
    folders = (HERE / "src", HERE / "wasi", HERE / "generated")
    return [str(path.relative_to(ROOT)) for folder in folders for path in sorted(folder.glob("*.c"))]


def prepared_entries() -> str:
    """Declarations of the prepared calls by signature: SBX_PREPARED_SHAPES of prepared.h."""
    mixed = ["".join(shape) for count in range(4) for shape in product("if", repeat=count)]
    shapes = [*mixed, "iiii", "iiiii", "iiiiii"]
    results, params = {"i": "int64_t", "f": "double"}, {"i": ", int64_t", "f": ", double"}
    return "\n".join(
        f"{ctype} sbx_prepared_{shape or 'v'}_{result}(sbx_prepared *{''.join(params[letter] for letter in shape)});"
        for shape in shapes
        for result, ctype in results.items()
    )


ffibuilder = FFI()
ffibuilder.cdef((HERE / "sandbox.cdef.h").read_text() + prepared_entries())
ffibuilder.set_source(
    "sandboxworker._native",
    '#include "python_api.h"\n',
    sources=sources(),
    include_dirs=[f"native/{name}" for name in ("include", "generated", "src", "wasi")],
    py_limited_api=True,
)
