"""Probes run in fresh processes, interleaved; what they answer is checked, and errors name the contender."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import suites
from benchmarks.figures import Suite
from benchmarks.fresh import Probe, WrongResult, ask, check, interleave
from benchmarks.probes import call_ours, cross_ours, memory_ours, start_ours
from benchmarks.suites import CROSS, ECHO, OURS, POOL, WASMTIME, Options, command_line

SHORT = {"seconds": 0.01, "calls": 600, "tier": "auto"}


def measured(*probes: Probe, rounds: int = 1) -> Suite:
    """A suite of these probes."""
    return interleave(Suite("test", "a test"), probes, rounds)


def test_calls_in_this_process_beside_wasmtime() -> None:
    suite = measured(Probe(OURS, "call_ours", SHORT), Probe(WASMTIME, "call_wasmtime", SHORT), rounds=2)
    for row in (call_ours.PREPARED, call_ours.UNPREPARED, call_ours.HOST_FUNCTION):
        assert {name: len(values) for name, values in suite.rows[row].values.items()} == {OURS: 2, WASMTIME: 2}
        assert all(value > 0 for values in suite.rows[row].values.values() for value in values)


def test_calls_across_processes_beside_echo_and_pool() -> None:
    modules = {OURS: "cross_ours", ECHO: "cross_echo", POOL: "cross_pool"}
    suite = measured(*(Probe(name, module, SHORT, CROSS) for name, module in modules.items()))
    for row in (cross_ours.ROUND_TRIP, cross_ours.LARGE):
        assert set(suite.rows[f"{CROSS}: {row}"].values) == set(modules)
    assert set(suite.rows[f"{CROSS}: {cross_ours.THROUGHPUT}"].values) == {OURS, POOL}


@pytest.mark.parametrize("where", ["host in process", "workers"])
def test_start_through_a_host(where: str) -> None:
    suite = measured(Probe(OURS, "start_ours", {**SHORT, "where": where}))
    assert set(suite.rows) == {
        start_ours.FIRST_RESULT, start_ours.CACHED, start_ours.FRESH, start_ours.FRESH_MEMORY, start_ours.OPEN,
    }  # fmt: skip


@pytest.mark.parametrize("metered", [False, True], ids=["free", "metered"])
def test_an_endless_loop_is_interrupted(metered: bool) -> None:
    suite = measured(Probe(OURS, "interrupt_ours", {**SHORT, "metered": metered}))
    assert suite.rows["late"].median(OURS) > 0


def test_the_proportional_set_size_of_a_process() -> None:
    import os

    assert 2**20 < memory_ours.pss(os.getpid()) < 2**40


def test_rounds_rotate_and_slow_contenders_may_have_fewer() -> None:
    probes = [Probe("a", "interrupt_ours", SHORT), Probe("b", "interrupt_ours", SHORT, most_rounds=1)]
    suite = measured(*probes, rounds=2)
    assert {name: len(values) for name, values in suite.rows["late"].values.items()} == {"a": 2, "b": 1}


def test_a_wrong_result_names_contender_and_thing() -> None:
    probe = Probe("peer", "x", {}, "CPython", results={"stdout": "42\n"})
    check(probe, {"stdout": "42\n", "figures": {}})
    with pytest.raises(WrongResult, match=r"^peer on CPython: stdout = '43\\n', expected '42\\n'$"):
        check(probe, {"stdout": "43\n"})
    with pytest.raises(WrongResult, match=r"^peer on CPython: stdout = None"):
        check(probe, {})


def test_a_process_that_fails_says_what_it_said() -> None:
    with pytest.raises(WrongResult, match=r"(?s)^ours: its process ended with 1\n.*no_such_module"):
        ask("ours", "no_such_module", {})
    with pytest.raises(WrongResult, match=r"^ours: no result within 0 s$"):
        ask("ours", "interrupt_ours", SHORT, timeout=0.05)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("wasmtime run", ["wasmtime", "run", "f.wasm", "-c", "1 2"]),
        ("x --dir='a b' {} --last", ["x", "--dir=a b", "f.wasm", "-c", "1 2", "--last"]),
    ],
)
def test_command_lines_of_peers(line: str, expected: list[str]) -> None:
    assert command_line(line, "f.wasm", ["-c", "1 2"]) == expected


def test_every_suite_names_probes_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each suite's probes, without running them: the modules are there, and ours is in each."""
    seen: list[Probe] = []

    def collect(suite: Suite, probes: list[Probe], rounds: int) -> Suite:
        seen.extend(probes)
        assert any(probe.contender.startswith("ours") for probe in probes)
        return suite

    monkeypatch.setattr(suites, "interleave", collect)
    monkeypatch.setattr(suites, "have_programs", lambda: None)
    for name in suites.ABOUT:
        suites.run_suite(name, Options(commands={"sh": "sh -c cat {}"}))
    import importlib

    for probe in seen:
        module: Any = importlib.import_module(f"benchmarks.probes.{probe.module}")
        assert callable(module.measure)
