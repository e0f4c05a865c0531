"""What a host counts: every call once, by its outcome, for its plugin."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from sandboxhost import (
    DecodeError,
    Host,
    HostFunctionError,
    Limits,
    Overloaded,
    SandboxError,
    Trap,
    WorkerLost,
    i32,
    i64,
)

from .conftest import HELPED, MATH

EMPTY = b"\0asm\1\0\0\0"


def test_calls_by_outcome(host: Host) -> None:
    before = host.statistics()
    plugin = host.load(MATH, name="counted", tenant="acme", limits=Limits(fuel=1_000_000, call_depth=100))
    assert plugin.statistics().ended == 0, "a load is no call"
    for _ in range(20):
        plugin.call("add", 1, 2)
    for function, arguments in (("divide", (1, 0)), ("deep", ()), ("spin", ()), ("divide", (1, 0))):
        with pytest.raises(SandboxError):
            plugin.call(function, *arguments)
    assert plugin.submit("add", 1, 1).result(20) == 2
    found = plugin.statistics()
    assert found.outcomes == {"ok": 21, "trap": 2, "stack": 1, "fuel": 1}
    assert found.ended == found.latency.calls == 25 and found.pending == found.queued == found.in_flight == 0
    assert (found.name, found.tenant, found.generation, found.persistent) == ("counted", "acme", 1, False)
    assert found.memory_peak == 65536 and 0 < found.busy_seconds <= found.latency.seconds
    assert found in host.statistics().plugins
    plugin.unload()
    assert plugin.statistics().outcomes == found.outcomes, "it can be read when the plugin is gone"
    after = host.statistics()
    assert found.name not in [entry.name for entry in after.plugins]
    for name, count in found.outcomes.items():
        assert after.outcomes[name] - before.outcomes.get(name, 0) == count, "the host's figures keep those of what was unloaded"
    assert after.latency.calls - before.latency.calls == 25


def test_rows_of_a_map_count_as_calls(host: Host) -> None:
    plugin = host.load(MATH)
    plugin.map("add", [(n, n) for n in range(1000)])
    assert plugin.statistics().outcomes == {"ok": 1000}
    plugin.map("divide", [(1, n % 2) for n in range(10)], return_exceptions=True)
    assert plugin.statistics().outcomes == {"ok": 1005, "trap": 5}
    with pytest.raises(Trap):
        plugin.map("divide", [(1, n) for n in (1, 1, 0, 1)])
    found = plugin.statistics().outcomes
    assert found["ok"] >= 1007 and found["trap"] == 6 and sum(found.values()) == plugin.statistics().ended


def test_a_full_queue_a_failing_function_and_a_lost_worker(workers: Host) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @workers.function("app", "lookup")
    def lookup(key: i32) -> i64:
        if key == 1:
            raise KeyError(key)
        entered.set()
        go_on.wait(60)
        return 0

    plugin = workers.load(HELPED, limits=Limits(pending_calls=2, concurrent_calls=1), isolation="plugin")
    with pytest.raises(HostFunctionError):
        plugin.call("go", 1)
    held = [plugin.submit("go", 2), plugin.submit("go", 3)]
    assert entered.wait(60)
    with pytest.raises(Overloaded):
        plugin.submit("go", 4)
    now = plugin.statistics()
    assert (now.pending, now.queued, now.in_flight, now.pending_allowed) == (2, 1, 1, 2)
    assert workers.statistics().queued == 1
    go_on.set()
    assert [future.result(60) for future in held] == [0, 0]
    assert plugin.statistics().outcomes == {"ok": 2, "host_function": 1, "overloaded": 1}


def test_a_lost_worker_and_a_closed_host_are_outcomes() -> None:
    with Host(workers=1, threads=1) as host:
        plugin = host.load(MATH)
        future = plugin.submit("spin")
        os.kill(next(worker.pid for worker in host.statistics().workers), signal.SIGKILL)
        with pytest.raises(WorkerLost):
            future.result(60)
        assert plugin.statistics().outcomes == {"ok": 0, "worker_lost": 1}
        left = plugin.submit("spin")
        host.close(0.0)
        assert left.exception(60) is not None
        assert plugin.statistics().outcomes == {"ok": 0, "worker_lost": 1, "closed": 1}


def test_the_compile_cache_is_counted() -> None:
    with Host(workers=1, threads=1) as host:
        host.load(MATH)
        host.load(MATH)
        host.load(EMPTY)
        with pytest.raises(DecodeError):
            host.load(b"\0asm?")
        figures = host.statistics().compile
        assert (figures.modules, figures.hits, figures.compiled, figures.failed) == (2, 1, 2, 1)
        assert figures.image_bytes > 0 and figures.seconds > 0
        host.delete_compiled_module(MATH)
        assert host.statistics().compile.modules == host.compiled_module_count() == 1
