"""The small modules do what their descriptions say, in another engine too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import wasmtime

from benchmarks import modules
from benchmarks.probes import programs_wasmtime
from benchmarks.suites import Options, one_program


def exports(data: bytes, imports: list[Any] | None = None) -> tuple[wasmtime.Store, Any]:
    """Store and exports of a module in wasmtime."""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    return store, wasmtime.Instance(store, wasmtime.Module(engine, data), imports or []).exports(store)


@pytest.mark.parametrize("make", [modules.add, modules.add_with_memory])
def test_add(make: Any) -> None:
    store, found = exports(make())
    assert found["add"](store, 2, 40) == 42
    assert found["add"](store, 2**31 - 1, 1) == -(2**31)


def test_add_with_memory_writes_to_a_page_of_its_own() -> None:
    store, found = exports(modules.add_with_memory())
    memory = found["memory"]
    assert memory.read(store, 1024, 1024 + len(modules.DATA_TEXT)) == modules.DATA_TEXT
    assert memory.read(store, modules.PAGE + 1024, modules.PAGE + 1028) == bytes(4)
    found["add"](store, 2, 40)
    assert memory.read(store, modules.PAGE + 1024, modules.PAGE + 1028) == modules.DATA_TEXT[:4]


@pytest.mark.parametrize("calls", [0, 1, 1000])
def test_host_caller_calls_as_often_as_it_is_told(calls: int) -> None:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    i32, seen = wasmtime.ValType.i32(), []

    def add(a: int, b: int) -> int:
        seen.append(a)
        return a + b

    host = wasmtime.Func(store, wasmtime.FuncType([i32, i32], [i32]), add)
    run: Any = wasmtime.Instance(store, wasmtime.Module(engine, modules.host_caller()), [host]).exports(store)["run"]
    assert run(store, calls) == calls
    assert seen == list(range(calls))


@pytest.mark.parametrize("size", [0, 1, modules.MIB - 1, modules.MIB, modules.MIB + 1, 3 * modules.MIB])
def test_cat_copies(size: int, tmp_path: Path) -> None:
    file = tmp_path / "cat.wasm"
    file.write_bytes(modules.cat())
    text = "0123456789abcdef" * (size // 16) + "x" * (size % 16)
    answer = programs_wasmtime.measure({"file": str(file), "name": "cat", "arguments": [], "stdin": text})
    assert (answer["stdout"] == text, answer["exit_code"], answer["same_again"]) == (True, 0, True)


def test_any_command_is_measured_beside_wasmtime_and_a_command_line(tmp_path: Path) -> None:
    """Ours in workers and in process, wasmtime, and a command that has nothing to do with wasm: all print the same."""
    file = tmp_path / "cat.wasm"
    file.write_bytes(modules.cat())
    suite = one_program(file, [], "some text\n", Options(("wasmtime",), {"sh": "sh -c cat {}"}, rounds=1))
    assert suite.contenders == ["ours", "ours in process", "wasmtime", "sh"]
    assert set(suite.rows["cat: cold, load to output"].values) == {"ours", "ours in process", "wasmtime"}
    assert list(suite.rows["cat: whole process"].values) == ["ours", "sh"]
    assert "exit code 0, 10 characters" in suite.about
