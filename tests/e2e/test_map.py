"""`map`: many calls in few messages, each still a call with its own outcome."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from sandboxhost import (
    Cancelled,
    DeadlineExceeded,
    FuelExhausted,
    GuestExit,
    Host,
    HostFunctionError,
    Limits,
    Overloaded,
    PayloadTooLarge,
    SignatureMismatch,
    Trap,
    WorkerLost,
    i32,
    i64,
)

from .conftest import COMMAND, HELPED, MATH, wat, when_busy

STARTED = wat("""(module (global $g (mut i32) (i32.const 0)) (start $begin)
  (func $begin (global.set $g (i32.const 40)))
  (func (export "bump") (param i32) (result i32)
    (global.set $g (i32.add (global.get $g) (local.get 0))) (global.get $g)))""")
WRITING = wat("""(module (memory (export "memory") 1 4)
  (data (i32.const 8) "\\07")
  (func (export "next") (param i32) (result i32)
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (drop (memory.grow (i32.const 1)))
    (i32.add (i32.mul (memory.size) (i32.const 1000)) (i32.load (i32.const 8)))))""")


@pytest.mark.parametrize("instance", ["fresh", "persistent"])
def test_results_come_in_order(host: Host, instance: Any) -> None:
    plugin = host.load(MATH, instance=instance)
    rows = [(n, -2 * n) for n in range(5000)]
    assert plugin.map("add", rows) == [-n for n in range(5000)]
    assert plugin.map("wide", range(100)) == [3 * n for n in range(100)]
    assert plugin.map("half", [(1.0, n) for n in range(40)]) == [(0.5, n / 2) for n in range(40)]
    assert plugin.map("nothing", [()] * 50) == [None] * 50
    assert plugin.map("same", [None, 3, 2**64 - 2]) == [None, 3, 2**64 - 2]
    assert plugin.map("add", []) == [] and plugin.map("add", iter([(1, 2)])) == [3]
    assert plugin.map("add", [(2**32 - 1, 2), (-1, 2)]) == [1, 1]
    figures = host.statistics()
    assert figures.pending == 0 and figures.accepted == figures.ended


def test_every_row_has_an_instance_of_its_own(host: Host) -> None:
    assert set(host.load(WRITING).map("next", range(700))) == {2008}
    assert set(host.load(STARTED).map("bump", [2] * 300)) == {42}
    kept = host.load(STARTED, instance="persistent")
    assert kept.map("bump", [1] * 300) == list(range(41, 341))


def test_the_error_is_that_of_the_first_row_that_fails(host: Host) -> None:
    plugin = host.load(MATH)
    rows = [(n, 0 if n in (301, 900, 17 * 17) else 1) for n in range(2000)]
    with pytest.raises(Trap, match="divide by zero") as caught:
        plugin.map("divide", rows)
    assert caught.value.plugin == plugin.name and caught.value.function == "divide" and caught.value.frames
    figures = host.statistics()
    assert figures.pending == 0 and figures.accepted == figures.ended
    assert plugin.map("divide", [(8, 2)]) == [4]


@pytest.mark.parametrize("instance", ["fresh", "persistent"])
def test_errors_in_their_rows_places(host: Host, instance: Any) -> None:
    plugin = host.load(MATH, instance=instance)
    found = plugin.map("divide", [(n, n % 10) for n in range(1000)], return_exceptions=True)
    for n, value in enumerate(found):
        if n % 10:
            assert value == n // (n % 10)
        else:
            assert isinstance(value, Trap) and value.cause == "integer divide by zero"


def test_nothing_runs_behind_the_row_that_failed(workers: Host) -> None:
    """In the same chunk, with an instance that would remember it."""
    plugin = workers.load(
        wat("""(module (global $n (mut i32) (i32.const 0))
          (func (export "step") (param i32) (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (if (i32.eq (local.get 0) (i32.const 5)) (then unreachable)))
          (func (export "count") (result i32) (global.get $n)))"""),
        instance="persistent",
    )
    with pytest.raises(Trap):
        plugin.map("step", range(16))
    assert plugin.call("count") == 6


def test_fuel_is_of_each_row(host: Host) -> None:
    plugin = host.load(MATH, limits=Limits(fuel=1000))
    found = plugin.map("count", [10] * 100 + [10**6] + [10] * 100, return_exceptions=True)
    assert found[:100] == found[101:] == [0] * 100 and isinstance(found[100], FuelExhausted)
    assert plugin.invoke("add", 1, 2).usage.fuel > 0


def test_the_deadline_ends_what_has_not_run(host: Host) -> None:
    plugin = host.load(MATH, limits=Limits(deadline=0.2))
    found = plugin.map("count", [5, 5, 2**31 - 1, 5], return_exceptions=True)
    assert found[:2] == [0, 0] and all(isinstance(value, DeadlineExceeded) for value in found[2:3])
    assert plugin.call("add", 1, 2) == 3


def test_host_functions_are_called_and_their_errors_are_the_rows(host: Host) -> None:
    def lookup(key: i32) -> i64:
        if key % 7 == 0:
            raise KeyError(key)
        return key * 2

    host.function("app")(lookup)
    plugin = host.load(HELPED)
    found = plugin.map("go", range(1, 60), return_exceptions=True)
    for key, value in zip(range(1, 60), found, strict=True):
        if key % 7:
            assert value == 2 * key
        else:
            assert isinstance(value, HostFunctionError) and isinstance(value.__cause__, KeyError)
    with pytest.raises(HostFunctionError):
        plugin.map("go", range(1, 60))


def test_host_functions_may_map() -> None:
    with Host(workers=1, threads=1) as host:
        plugins: list[Any] = []

        @host.function("app", "lookup")
        def lookup(key: i32) -> i64:
            return sum(plugins[0].map("plain", range(key)))

        plugins.append(host.load(HELPED))
        assert plugins[0].map("go", [3, 4]) == [6, 12]


def test_limits_on_host_functions_are_of_each_row(host: Host) -> None:
    @host.function("app", "lookup")
    def lookup(key: i32) -> i64:
        return 1

    plugin = host.load(HELPED, limits=Limits(host_calls=5))
    found = plugin.map("many", [5, 5, 6, 5], return_exceptions=True)
    assert [found[0], found[1], found[3]] == [5, 5, 5] and getattr(found[2], "limit", "") == "host_calls"


def test_exit_and_output_of_a_library(host: Host) -> None:
    plugin = host.load(COMMAND)
    found = plugin.map("leave", [0, 3, 9], return_exceptions=True)
    assert [value.code for value in found if isinstance(value, GuestExit)] == [0, 3, 9]
    assert plugin.map("print", [()] * 30) == [None] * 30


def test_what_is_refused_before_anything_runs(host: Host) -> None:
    plugin = host.load(MATH, limits=Limits(argument_bytes=8))
    with pytest.raises(PayloadTooLarge):
        plugin.map("add", [(1, 2)])
    plugin = host.load(MATH)
    for rows, words in (([(1, 2), (3,)], "passed 1"), ([(1, "x")], "argument 2"), ([1], "passed 1"), ([(1, 2**40)], "range")):
        with pytest.raises(SignatureMismatch, match=words):
            plugin.map("add", rows)
    assert host.statistics().pending == 0


def test_pending_calls_are_rows(workers: Host) -> None:
    plugin = workers.load(MATH, limits=Limits(pending_calls=10))
    assert plugin.map("add", [(n, 1) for n in range(300)]) == list(range(1, 301))
    futures = [plugin.submit("spin") for _ in range(10)]
    with pytest.raises(Overloaded):
        plugin.map("add", [(1, 2)] * 12)
    for future in futures:
        future.cancel()
        with pytest.raises(Cancelled):
            future.result(20)


def test_a_lost_worker_ends_the_rows_that_had_no_outcome() -> None:
    with Host(workers=1, threads=1) as host:
        plugin = host.load(MATH, instance="persistent")
        plugin.call("add", 1, 2)
        pid = host.statistics().workers[0].pid
        when_busy(host, os.kill, pid, signal.SIGKILL, ended=17)
        found = plugin.map("count", [5] * 16 + [2_000_000_000] * 16, return_exceptions=True)
        assert found[:16] == [0] * 16 and {type(value) for value in found} == {int, WorkerLost}
        figures = host.statistics()
        assert figures.pending == 0 and figures.accepted == figures.ended


def test_an_idempotent_plugin_goes_on_in_another_worker() -> None:
    with Host(workers=1, threads=1) as host:
        plugin = host.load(MATH, idempotent=True)
        plugin.call("add", 1, 2)
        pid = host.statistics().workers[0].pid
        when_busy(host, os.kill, pid, signal.SIGKILL)
        assert plugin.map("count", [500_000_000] * 16) == [0] * 16
        assert host.statistics().workers_lost == 1


def test_an_interrupt_ends_all() -> None:
    with Host(workers=2) as host:
        plugin = host.load(MATH)
        when_busy(host, signal.pthread_kill, threading.get_ident(), signal.SIGINT)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            plugin.map("spin", [()] * 100)
        assert time.monotonic() - started < 20 and host.statistics().pending == 0
