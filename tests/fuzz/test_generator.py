"""The generator of modules in C, its mutator and the rewriting of NaNs, as a small library of their own."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime

from sandboxworker import native
from tests.differential.validity import ours, theirs

from .build import COMMON, PLAIN, ROOT, Builder

PARTS = ("bytes", "walk", "smith", "smith_body", "mutate", "canonical")
Make = Callable[..., bytes]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Compiled by the machine's compiler, with its warnings as errors."""
    out = tmp_path_factory.mktemp("smith") / "libsmith.so"
    folder = ROOT / "tests" / "fuzz" / "native"
    shim = out.with_suffix(".c")
    shim.write_text(
        '#include "fuzz.h"\n#define V __attribute__((visibility("default")))\nstatic fz_bytes made;\n'
        "V const uint8_t *m(uint64_t s, size_t *n) { made.size = 0; fz_module(s, &made); *n = made.size; return made.data; }\n"
        "V const uint8_t *c(const uint8_t *b, size_t k, size_t *n)\n"
        "{ made.size = 0; fz_canonical(b, k, &made); *n = made.size; return made.data; }\n"
        "V const uint8_t *x(uint64_t s, const uint8_t *b, size_t k, size_t *n)\n"
        "{ fz_rng r = {s}; made.size = 0; fz_mutate(&r, b, k, b, k, &made); *n = made.size; return made.data; }\n"
    )
    native_folder = ROOT / "native"
    sources = [*(folder / f"{part}.c" for part in PARTS), native_folder / "generated" / "wasm_ops.c", shim]
    includes = [f"-I{path}" for path in (folder, native_folder / "include", native_folder / "generated")]
    command = [PLAIN.compiler, *COMMON, "-O1", "-shared", *includes, *map(str, sources), "-o", str(out)]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(out))
    for name in "mcx":
        getattr(loaded, name).restype = ctypes.c_void_p
    return loaded


def made(library: ctypes.CDLL, name: str, *arguments: object) -> bytes:
    """What a function of the shim answers."""
    size = ctypes.c_size_t()
    pointer = getattr(library, name)(*arguments, ctypes.byref(size))
    return ctypes.string_at(pointer, size.value) if pointer else b""


def module(library: ctypes.CDLL, seed: int) -> bytes:
    """The generator's module of a seed."""
    return made(library, "m", ctypes.c_uint64(seed))


def test_generated_modules_are_valid_and_differ(library: ctypes.CDLL) -> None:
    modules = {module(library, seed) for seed in range(300)}
    assert len(modules) == 300
    for data in modules:
        assert (ours(data), theirs(data)) == ("", "")
        assert native.compile_bytes(data, native.CompileOptions(0))


def test_one_nan_for_all_keeps_modules_valid_and_changes_what_computes(library: ctypes.CDLL) -> None:
    changed = 0
    for seed in range(100):
        data = module(library, seed)
        rewritten = made(library, "c", data, len(data))
        assert theirs(rewritten) == ""
        changed += len(rewritten) > len(data) + 12
    assert changed > 30


def test_a_nan_is_the_one_nan(library: ctypes.CDLL) -> None:
    """Of arithmetic; what is only moved stays."""
    text = '(module (func (export "f") (param f32) (result f32) local.get 0 f32.const 0 f32.add))'
    plain = bytes(wasmtime.wat2wasm(text))
    rewritten = made(library, "c", plain, len(plain))
    engine = wasmtime.Engine()
    expected = bytes(wasmtime.wat2wasm(
        '(module (func (export "f") (param f32) (result f32) (local f32 f64) local.get 0 f32.const 0 f32.add'
        " local.tee 1 f32.const nan local.get 1 local.get 1 f32.eq select))"
    ))  # fmt: skip
    wasmtime.Module.validate(engine, rewritten)
    assert rewritten == expected


def test_mutants_differ_and_many_are_valid(library: ctypes.CDLL) -> None:
    verdicts = []
    for seed in range(300):
        data = module(library, seed % 20)
        mutant = made(library, "x", ctypes.c_uint64(seed), data, len(data))
        verdicts.append(ours(mutant) == "")
        assert verdicts[-1] == (theirs(mutant) == "") or ours(mutant).startswith("*") or theirs(mutant).startswith("*")
    assert 60 < sum(verdicts) < 300


def test_what_is_no_module_is_survived(library: ctypes.CDLL) -> None:
    whole = module(library, 3)
    for data in (b"", b"\0asm", whole[:-1], whole[: len(whole) // 2], b"\0asm\1\0\0\0" + b"\xff" * 40):
        assert made(library, "c", data, len(data)) == data
        for seed in range(20):
            made(library, "x", ctypes.c_uint64(seed), data, len(data))


def test_paths_of_a_build_are_relative() -> None:
    """Else a copy of the tree would take the original's headers."""
    builder = Builder(PLAIN, Path("/nowhere"))
    assert not any("/nowhere" in include for include in builder._includes)


@pytest.mark.parametrize("source", sorted((ROOT / "tests" / "fuzz" / "native").glob("*.c")), ids=lambda path: path.stem)
def test_the_targets_keep_up_with_the_core(source: Path) -> None:
    """Whoever changes what the fuzzers call is told here, not by the long run. Nothing is built."""
    native_folder = ROOT / "native"
    folders = (source.parent, *(native_folder / name for name in ("include", "generated", "src")))
    includes = [f"-I{path}" for path in folders]
    command = [PLAIN.compiler, *COMMON, "-fsyntax-only", *includes, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
