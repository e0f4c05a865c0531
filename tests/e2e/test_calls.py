"""Calls and their outcomes, in workers and in process: the same in both."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from sandboxhost import (
    Cancelled,
    DeadlineExceeded,
    FuelExhausted,
    GuestExit,
    Host,
    Limits,
    MemoryLimit,
    Overloaded,
    PayloadTooLarge,
    SignatureMismatch,
    StackLimit,
    Trap,
    UnknownFunction,
)

from .conftest import COMMAND, MATH, wat


def test_values_by_the_exports_own_signature(host: Host) -> None:
    plugin = host.load(MATH)
    assert plugin.call("add", 2, 40) == 42
    assert plugin.call("add", 2**32 - 1, 1) == 0 and plugin.call("add", 2**31 - 1, 1) == -(2**31)
    assert plugin.call("wide", -(10**15)) == -3 * 10**15
    assert plugin.call("half", 5.0, 5.0) == (2.5, 2.5)
    assert plugin.call("same", None) is None and plugin.call("same", 0) == 0 and plugin.call("same", 2**64 - 2) == 2**64 - 2
    assert plugin.call("nothing") is None
    assert host.call(plugin, "add", 1, 1) == 2


def test_usage_is_reported(host: Host) -> None:
    outcome = host.load(MATH, limits=Limits(fuel=10_000)).invoke("count", 100)
    assert outcome.values == (0,) and outcome.value == 0
    assert 300 <= outcome.usage.fuel <= 1000 and outcome.usage.memory == 65536
    assert outcome.usage.time_ns > 0 and outcome.usage.worker > 0
    again = host.load(MATH, limits=Limits(fuel=10_000)).invoke("count", 100)
    assert again.usage.fuel == outcome.usage.fuel


def test_map_keeps_the_order_and_stops_at_the_first_error(host: Host) -> None:
    plugin = host.load(MATH)
    assert plugin.map("add", ((i, i) for i in range(3000))) == [2 * i for i in range(3000)]
    assert plugin.map("wide", range(5)) == [0, 3, 6, 9, 12] and plugin.map("add", []) == []
    with pytest.raises(Trap, match="integer divide by zero"):
        plugin.map("divide", [(1, 1), (1, 0), (1, 1)])
    with pytest.raises(SignatureMismatch, match="divide: argument 2"):
        plugin.map("divide", [(1, "x")])
    assert host.statistics().pending == 0


def test_submit_gives_futures(host: Host) -> None:
    plugin = host.load(MATH)
    futures = [plugin.submit("add", i, 1) for i in range(50)]
    assert [f.result(10) for f in futures] == list(range(1, 51))
    assert isinstance(plugin.submit("divide", 1, 0).exception(10), Trap)
    seen: list[Any] = []
    done = threading.Event()
    future = plugin.submit("add", 1, 2)

    def again(ended: Any) -> None:
        seen.append(plugin.call("add", ended.result(), 1))
        done.set()

    future.add_done_callback(again)
    assert done.wait(10) and seen == [4], "a callback may call again"


def test_fresh_instances_forget_and_a_persistent_one_remembers(host: Host) -> None:
    fresh, persistent = host.load(MATH), host.load(MATH, instance="persistent")
    assert [fresh.call("bump") for _ in range(3)] == [1, 1, 1]
    assert [persistent.call("bump") for _ in range(3)] == [1, 2, 3]
    assert sorted(f.result(10) for f in [persistent.submit("bump") for _ in range(20)]) == list(range(4, 24))


def test_traps_have_a_cause_and_a_backtrace(host: Host) -> None:
    with pytest.raises(Trap) as caught:
        host.load(MATH, name="math").call("divide", 1, 0)
    trap = caught.value
    assert trap.cause == "integer divide by zero" and str(trap).startswith("integer divide by zero\n  in divide at offset 0x")
    assert (trap.plugin, trap.function) == ("math", "divide") and trap.usage.time_ns > 0
    assert trap.frames[0].name == "divide"
    with pytest.raises(Trap, match="out of bounds memory access"):
        host.load(MATH).call("touch", -1)


def test_limits_of_a_call(host: Host) -> None:
    with pytest.raises(FuelExhausted) as fuel:
        host.load(MATH, limits=Limits(fuel=1000)).call("spin")
    assert fuel.value.limit == "fuel"
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as deadline:
        host.load(MATH, limits=Limits(deadline=0.2)).call("spin")
    assert deadline.value.limit == "deadline" and 0.2 <= time.monotonic() - started < 20
    with pytest.raises(StackLimit, match="^call stack exhausted"):
        host.load(MATH, limits=Limits(call_depth=100)).call("deep")
    plugin = host.load(MATH, limits=Limits(memory="1MiB"))
    assert plugin.call("grow", 15) == 1 and plugin.call("grow", 16) == -1
    assert plugin.call("add", 1, 1) == 2, "every error leaves the plugin usable"


def test_one_deadline_does_not_touch_another_call(workers: Host) -> None:
    patient, hasty = workers.load(MATH, limits=Limits(deadline=20.0)), workers.load(MATH, limits=Limits(deadline=0.1))
    slow = [patient.submit("count", 50_000_000) for _ in range(3)]
    with pytest.raises(DeadlineExceeded):
        hasty.call("spin")
    assert [f.result(20) for f in slow] == [0, 0, 0]
    assert workers.statistics().workers_lost == 0


def test_of_overlapping_deadlines_each_ends_its_own_call() -> None:
    """Plugins of one module in one worker, all of which run at the same time: they meet in the application's function first."""
    together = threading.Barrier(4, timeout=30)
    loops = wat("""(module
      (import "app" "meet" (func $meet))
      (func (export "spin") (call $meet) (loop $again (br $again)))
      (func (export "once") (result i32) (call $meet) (i32.const 7)))""")
    ends: queue.SimpleQueue[tuple[float, float]] = queue.SimpleQueue()
    with Host(workers=1, threads=4, spares=0) as host:
        host.function("app", "meet")(_meeting(together))
        seconds = (2.6, 2.0, 2.3)
        plugins = [host.load(loops, limits=Limits(deadline=limit)) for limit in seconds]
        patient = host.load(loops, limits=Limits(deadline=None))
        (worker,) = host.statistics().workers
        began = time.monotonic()
        futures = [plugin.submit("spin") for plugin in plugins]
        for limit, future in zip(seconds, futures, strict=True):
            future.add_done_callback(lambda _, limit=limit: ends.put((limit, time.monotonic() - began)))
        assert patient.submit("once").result(30) == 7, "which has met the others"
        errors = [future.exception(60) for future in futures]
        ended = dict(ends.get(timeout=60) for _ in futures)  # callbacks may come after who waits is told
        assert host.compiled_module_count() == 1
        assert host.statistics().workers_lost == 0 and host.statistics().workers[0].pid == worker.pid
    for limit, error in zip(seconds, errors, strict=True):
        assert isinstance(error, DeadlineExceeded) and ended[limit] >= limit, "not by another one's deadline"


def _meeting(together: threading.Barrier) -> Callable[[], None]:
    def meet() -> None:
        together.wait()

    return meet


def test_a_memory_that_does_not_fit_is_refused_when_loaded(host: Host) -> None:
    with pytest.raises(MemoryLimit, match="2 pages"):
        host.load(wat("(module (memory 2))"), limits=Limits(memory=65536))


def test_what_is_wrong_with_a_call_is_said_before_it_starts(host: Host) -> None:
    plugin = host.load(MATH, name="math", limits=Limits(argument_bytes=8))
    accepted = host.statistics().accepted
    with pytest.raises(UnknownFunction, match="math exports no function 'subtract'") as unknown:
        plugin.call("subtract", 1)
    assert unknown.value.function == "subtract"
    with pytest.raises(UnknownFunction, match="math exports 'memory' as a memory"):
        plugin.call("memory")
    with pytest.raises(SignatureMismatch, match="add: expected 2 params, but passed 1"):
        plugin.call("add", 1)
    with pytest.raises(SignatureMismatch, match="add: argument 2: expected i32, got float"):
        plugin.call("add", 1, 2.5)
    with pytest.raises(SignatureMismatch, match="add: argument 1: 4294967296 is out of range for i32"):
        plugin.submit("add", 2**32, 0)
    with pytest.raises(PayloadTooLarge, match="16 bytes, 8 are allowed"):
        plugin.call("add", 1, 1)
    assert host.statistics().accepted == accepted


def test_results_that_are_too_large(host: Host) -> None:
    with pytest.raises(PayloadTooLarge):
        host.load(MATH, limits=Limits(result_bytes=7)).call("add", 1, 1)


def test_a_full_queue_is_refused_with_a_time_to_retry(workers: Host) -> None:
    plugin = workers.load(MATH, limits=Limits(pending_calls=4, deadline=1.0))
    futures = [plugin.submit("spin") for _ in range(4)]
    with pytest.raises(Overloaded) as caught:
        plugin.call("add", 1, 1)
    assert caught.value.retry_after > 0 and caught.value.allowed == 4
    assert all(isinstance(f.exception(10), DeadlineExceeded) for f in futures)
    assert plugin.call("add", 1, 1) == 2


def test_cancel_a_running_and_a_waiting_call(workers: Host) -> None:
    plugin = workers.load(MATH, limits=Limits(deadline=20.0, concurrent_calls=1))
    running, waiting = plugin.submit("spin"), plugin.submit("add", 1, 1)
    assert waiting.cancel() and isinstance(waiting.exception(5), Cancelled)
    assert running.cancel() and isinstance(running.exception(5), Cancelled)
    assert not running.cancel() and plugin.call("add", 1, 1) == 2


def test_unload_ends_what_waits_and_lets_finish_what_runs(workers: Host) -> None:
    plugin = workers.load(MATH, limits=Limits(concurrent_calls=1, deadline=20.0))
    running, waiting = plugin.submit("count", 30_000_000), plugin.submit("add", 1, 1)
    workers.unload(plugin)
    plugin.unload()
    assert isinstance(waiting.exception(10), Cancelled) and running.result(10) == 0
    with pytest.raises(UnknownFunction, match="not loaded"):
        plugin.call("add", 1, 1)


def test_calls_run_in_parallel_outside_the_interpreter_lock(workers: Host) -> None:
    plugin = workers.load(MATH)
    futures = [plugin.submit("count", 20_000_000) for _ in range(4)]
    assert [f.result(20) for f in futures] == [0] * 4
    assert len({f.usage.worker for f in futures}) == 2


def test_many_threads_share_a_host(host: Host) -> None:
    plugin = host.load(MATH)
    wrong: list[Any] = []

    def work(number: int) -> None:
        wrong.extend((number, i) for i in range(100) if plugin.call("add", number, i) != number + i)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong and not any(t.is_alive() for t in threads)


def test_a_command_gets_arguments_and_stdin_and_gives_output_and_a_code(host: Host) -> None:
    plugin = host.load(COMMAND, name="cat")
    done = plugin.run(["a", "bc"], stdin=b"from stdin")
    assert done.stdout == b"cat\0a\0bc\0from stdin" and done.stderr == b"oops\n" and done.exit_code == 3
    assert host.run(plugin).exit_code == 1
    with pytest.raises(PayloadTooLarge):
        host.load(COMMAND, limits=Limits(output_bytes=10)).run(["x" * 100])
    with pytest.raises(PayloadTooLarge):
        host.load(COMMAND, limits=Limits(argument_bytes=100)).run(stdin=bytes(100))
    with pytest.raises(UnknownFunction, match="exports no function '_start'"):
        host.load(MATH).run()


def test_a_library_that_exits_and_prints(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    plugin = host.load(COMMAND, name="lib")
    with pytest.raises(GuestExit) as caught:
        plugin.call("leave", 7)
    assert caught.value.code == 7
    caplog.set_level(logging.INFO, "sandboxhost")
    plugin.call("print")
    assert ("sandboxhost.plugin.lib", logging.INFO, "print: oops") in caplog.record_tuples


def test_one_compile_whatever_the_number_of_callers(host: Host) -> None:
    data = wat('(module (func (export "f") (result i32) (i32.const 7)))')
    before = host.compiled_module_count()
    plugins: list[Any] = []
    threads = [threading.Thread(target=lambda: plugins.append(host.load(data))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [p.call("f") for p in plugins] == [7] * 6 and host.compiled_module_count() == before + 1
    future = plugins[0].submit("f")
    host.delete_compiled_module(data)
    host.delete_compiled_module(data)
    assert host.compiled_module_count() == before and future.result(10) == 7 and plugins[1].call("f") == 7
