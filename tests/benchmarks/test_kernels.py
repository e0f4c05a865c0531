"""The committed kernels: no imports, one export, and the checksums of a native build in our engine and in another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import wasmtime

from benchmarks.build import build_missing, native_checksum
from benchmarks.kernel_table import BY_NAME, FOLDER, KERNELS, Kernel
from benchmarks.peers import ours, wasmtime_py

each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


@each_kernel
def test_the_module_imports_nothing_and_exports_run(kernel: Kernel) -> None:
    module = wasmtime.Module(wasmtime.Engine(), kernel.wasm.read_bytes())
    assert not list(module.imports)
    runs = [export.type for export in module.exports if export.name == "run"]
    assert len(runs) == 1 and isinstance(runs[0], wasmtime.FuncType)
    assert [str(value) for value in (*runs[0].params, *runs[0].results)] == ["i32", "i64"]


@each_kernel
@pytest.mark.parametrize("metered", [False, True], ids=["free", "metered"])
def test_ours_computes_the_checksum(kernel: Kernel, metered: bool) -> None:
    run = ours.start(ours.compile(kernel.wasm.read_bytes(), {"metered": metered}))
    assert run(kernel.small_size) == kernel.small_checksum


@each_kernel
def test_wasmtime_computes_the_checksums(kernel: Kernel) -> None:
    run = wasmtime_py.start(wasmtime_py.compile(kernel.wasm.read_bytes(), {}))
    assert run(kernel.small_size) == kernel.small_checksum
    assert run(kernel.size) == kernel.checksum


@each_kernel
def test_a_native_build_gives_the_checksum(kernel: Kernel, tmp_path: Path) -> None:
    assert native_checksum(kernel, kernel.small_size, tmp_path) == kernel.small_checksum


def test_every_source_is_in_the_table() -> None:
    assert {path.stem for path in FOLDER.glob("*.c")} == set(BY_NAME)


def test_nothing_is_built_that_is_there() -> None:
    assert build_missing() == []


def test_the_reference_needs_a_compiler_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.tools import BuildError

    monkeypatch.setenv("CC", "no-such-compiler")
    assert shutil.which("no-such-compiler") is None
    with pytest.raises(BuildError, match="'no-such-compiler'"):
        native_checksum(KERNELS[0], 1, tmp_path)
