"""Calls that a thread waits for, which travel by a worker's line: what ends them, and that nobody else's call is in their way."""

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
    Host,
    HostClosed,
    HostFunctionError,
    Limits,
    Trap,
    UnknownFunction,
    WorkerLost,
    i32,
    i64,
)
from sandboxhost.core import Core

from .conftest import HELPED, MATH, when_busy


def lines(host: Host) -> Any:
    backend = host._backend
    assert isinstance(backend, Core)
    return backend._lines


def begun(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects the ids of the calls that go the short way."""
    backend = host._backend
    assert isinstance(backend, Core)
    found: list[int] = []
    begin = backend._router.begin

    def watched(*arguments: Any) -> Any:
        answer = begin(*arguments)
        if answer is not None:
            found.append(answer[1].id)
        return answer

    monkeypatch.setattr(backend._router, "begin", watched)
    return found


@pytest.mark.parametrize("instance", ["fresh", "persistent"])
def test_a_call_that_is_waited_for_goes_by_the_line(instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Host(workers=2, threads=2) as host:
        plugin = host.load(MATH, instance=instance)
        short = begun(host, monkeypatch)
        assert [plugin.call("add", n, 1) for n in range(300)] == list(range(1, 301))
        assert len(short) == 300
        with pytest.raises(Trap, match="divide by zero"):
            plugin.call("divide", 1, 0)
        with pytest.raises(UnknownFunction):
            host._backend.perform(plugin.spec("absent", b""), _waiter(plugin))
        assert len(short) == 302
        figures = host.statistics()
        assert figures.pending == 0 and figures.accepted == figures.ended
        assert not lines(host).led


def _waiter(plugin: Any) -> Any:
    from sandboxhost.calls import Waiter

    return Waiter(plugin.binding, "absent")


def test_many_threads_at_once() -> None:
    with Host(workers=2, threads=2) as host:
        plugins = [host.load(MATH), host.load(MATH, instance="persistent")]
        wrong: list[Any] = []

        def work(number: int) -> None:
            for n in range(200):
                got = plugins[number % 2].call("add", number, n)
                if got != number + n:
                    wrong.append((number, n, got))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong and host.statistics().pending == 0 and not lines(host).led


def test_the_deadline_ends_it(workers: Host) -> None:
    plugin = workers.load(MATH, limits=Limits(deadline=0.1))
    with pytest.raises(DeadlineExceeded):
        plugin.call("spin")
    assert plugin.call("add", 1, 2) == 3
    assert not lines(workers).led


def test_another_thread_runs_calls_meanwhile() -> None:
    host = Host(workers=1, threads=2)
    plugin = host.load(MATH, limits=Limits(deadline=100.0))
    errors: list[BaseException] = []

    def spin() -> None:
        try:
            plugin.call("spin")
        except HostClosed as exc:
            errors.append(exc)

    thread = threading.Thread(target=spin)
    try:
        thread.start()
        started = time.monotonic()
        while not lines(host).led and time.monotonic() < started + 60:
            pass
        assert [plugin.call("add", n, n) for n in range(20)] == [2 * n for n in range(20)]
        assert thread.is_alive() and not errors
    finally:
        host.close()
    thread.join()
    assert len(errors) == 1


def test_a_worker_that_is_killed_ends_it() -> None:
    with Host(workers=1) as host:
        plugin = host.load(MATH)
        plugin.call("add", 1, 2)
        pid = host.statistics().workers[0].pid
        when_busy(host, os.kill, pid, signal.SIGKILL)
        with pytest.raises(WorkerLost) as caught:
            plugin.call("spin")
        assert caught.value.maybe_ran
        assert plugin.call("add", 1, 2) == 3 and not lines(host).led


def test_close_ends_it() -> None:
    host = Host(workers=1)
    plugin = host.load(MATH)
    when_busy(host, host.close)
    with pytest.raises(HostClosed):
        plugin.call("spin")
    host.close()


def test_an_interrupt_cancels_it() -> None:
    with Host(workers=1) as host:
        plugin = host.load(MATH)
        when_busy(host, signal.pthread_kill, threading.get_ident(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            plugin.call("spin")
        end = time.monotonic() + 5
        while host.statistics().pending and time.monotonic() < end:
            time.sleep(0.01)
        figures = host.statistics()
        assert figures.pending == 0 and figures.workers_lost == 0, "the worker answered, and its answer was read"
        assert plugin.call("add", 1, 2) == 3


def test_host_functions_and_nested_calls_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with Host(workers=1, threads=1) as host:
        plugins: list[Any] = []

        @host.function("app", "lookup")
        def lookup(key: i32) -> i64:
            if key == 13:
                raise KeyError(key)
            return int(plugins[0].call("plain", key))

        plugins.append(host.load(HELPED))
        short = begun(host, monkeypatch)
        assert plugins[0].call("many", 12) == 2 * sum(range(1, 13))
        assert len(short) == 1, "nested calls run in the worker's thread that waits for them"
        with pytest.raises(HostFunctionError) as caught:
            plugins[0].call("go", 13)
        assert isinstance(caught.value.__cause__, KeyError)
        assert plugins[0].call("go", 1) == 2


def test_a_cancel_that_overtakes_its_call_ends_it() -> None:
    """CANCEL comes by ZeroMQ, the call by the line."""
    with Host(workers=1, threads=1) as host:
        plugin = host.load(MATH, limits=Limits(deadline=20.0))
        backend = host._backend
        assert isinstance(backend, Core)
        plugin.call("add", 1, 2)
        for _ in range(20):

            def cancel() -> None:
                while not backend._lines.led:
                    pass
                for call_id in list(backend._router.calls):
                    backend.cancel(call_id)

            thread = threading.Thread(target=cancel)
            thread.start()
            with pytest.raises(Cancelled):
                plugin.call("spin")
            thread.join()
        assert host.statistics().workers_lost == 0
