"""Real workers that are killed, stopped, grow or age: what the caller is told, who is quarantined, what comes in their place."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psutil
import pytest

from sandboxhost import Host, Limits, Loss, Plugin, Quarantined, Supervision, WorkerLost, i32
from sandboxworker.native import sanitized

from .conftest import HELPED, MATH, wat
from .test_domains import wait_for, worker_of, workers
from .test_lost_worker import busy_pid, spinning

MIB = 1 << 20
HOG = wat("""(module (memory 1)
  (func (export "fill") (param $pages i32) (local $at i32)
    (drop (memory.grow (local.get $pages)))
    (local.set $at (i32.mul (local.get $pages) (i32.const 65536)))
    (loop $more (i32.store8 (local.get $at) (i32.const 1))
      (br_if $more (i32.gt_s (local.tee $at (i32.sub (local.get $at) (i32.const 4096))) (i32.const 0))))
    (loop $wait (br $wait))))""")


def lose(host: Host, plugin: Plugin, how: signal.Signals = signal.SIGSEGV) -> WorkerLost:
    """Kills the worker that has a call of the plugin; what the call ended with."""
    future = plugin.submit("spin")
    os.kill(busy_pid(host), how)
    error = future.exception(20)
    assert isinstance(error, WorkerLost)
    return error


def spare(host: Host) -> None:
    wait_for(lambda: host.statistics().spares, "no spare")


def test_a_spare_takes_the_place_of_a_lost_worker_and_another_one_its_own() -> None:
    with Host(workers=1, threads=1) as host:
        plugin = spinning(host)
        spare(host)
        children = {child.pid for child in psutil.Process().children()} - {worker_of(plugin)}
        assert len(children) == 1
        lose(host, plugin)
        assert {worker_of(plugin)} == children, "the process was there before"
        spare(host)
        statistics = host.statistics()
        assert len(statistics.replacements) == statistics.workers_lost == 1 and 0 < statistics.replacements[0] < 20
        assert statistics.losses == {"crash": 1} and len(statistics.workers) == 1


def test_one_spare_serves_every_domain(tmp_path: Any) -> None:
    with Host(workers=1) as host:
        for more in ({"tenant": "a"}, {"isolation": "plugin"}, {"grants": None, "tenant": "b"}):
            spare(host)
            (waiting,) = {child.pid for child in psutil.Process().children()} - set(workers(host))
            assert worker_of(host.load(MATH, **more)) == waiting  # type: ignore[arg-type]


def test_spares_die_without_notice_and_are_no_loss() -> None:
    with Host(workers=1) as host:
        plugin = host.load(MATH)
        for _ in range(2):
            spare(host)
            (waiting,) = {child.pid for child in psutil.Process().children()} - {worker_of(plugin)}
            os.kill(waiting, signal.SIGKILL)
            wait_for(lambda pid=waiting: not psutil.pid_exists(pid), "it is reaped")
        spare(host)
        assert host.statistics().workers_lost == 0 and plugin.call("add", 1, 2) == 3


def test_without_spares() -> None:
    with Host(workers=1, threads=1, spares=0) as host:
        plugin = spinning(host)
        lose(host, plugin)
        assert plugin.call("add", 1, 2) == 3
        assert len(psutil.Process().children()) == 1 and host.statistics().spares == 0


def test_three_losses_and_the_plugin_is_quarantined_until_it_is_loaded_anew() -> None:
    with Host(workers=1, threads=1) as host:
        plugin, other = spinning(host, name="bad"), host.load(MATH)
        for _ in range(3):
            assert lose(host, plugin).kind is Loss.CRASH
        with pytest.raises(Quarantined, match="bad is quarantined until it is loaded anew: 3 workers lost") as caught:
            plugin.call("nothing")
        assert caught.value.losses == 3 and caught.value.kind is Loss.CRASH and caught.value.function == "nothing"
        for refused in (lambda: plugin.submit("nothing"), lambda: plugin.map("add", [(1, 1)])):
            with pytest.raises(Quarantined):
                refused()
        assert other.call("add", 1, 2) == 3 and host.statistics().quarantined == 1
        plugin.unload()
        assert spinning(host).call("add", 1, 2) == 3 and host.statistics().quarantined == 0


def test_how_many_losses_is_the_applications_choice() -> None:
    with Host(workers=1, threads=1, quarantine_losses=1) as host:
        plugin = spinning(host)
        lose(host, plugin)
        with pytest.raises(Quarantined):
            plugin.call("nothing")
    with Host(workers=1, threads=1, quarantine_losses=2, quarantine_seconds=0.0) as host:
        plugin = spinning(host)
        for _ in range(3):
            lose(host, plugin)
        assert plugin.call("add", 1, 2) == 3, "none of them within no time"


def test_an_escape_attempt_is_one_too_many() -> None:
    with Host(workers=1, threads=1) as host:
        plugin = spinning(host)
        assert lose(host, plugin, signal.SIGSYS).kind is Loss.ESCAPE
        with pytest.raises(Quarantined, match="1 worker lost during its calls; the last one: escape attempt"):
            plugin.call("nothing")


def test_the_innocent_neighbour_is_not_quarantined_for_what_it_shares() -> None:
    with Host(workers=1, threads=2, quarantine_seconds=300.0) as host:
        bad, good = spinning(host, name="bad"), spinning(host, name="good")
        both = [bad.submit("spin"), good.submit("spin")]
        os.kill(busy_pid(host, 2), signal.SIGSEGV)
        assert all(isinstance(future.exception(20), WorkerLost) for future in both)
        assert {worker_of(bad), worker_of(good)} & {worker_of(host.load(MATH))} == set() and worker_of(bad) != worker_of(good)
        running = good.submit("spin")
        for _ in range(2):
            future = bad.submit("spin")
            pid = worker_of_call(host, bad)
            os.kill(pid, signal.SIGSEGV)
            assert isinstance(future.exception(20), WorkerLost)
        with pytest.raises(Quarantined):
            bad.call("nothing")
        assert not running.done() and good.call("add", 1, 2) == 3
        running.cancel()


def worker_of_call(host: Host, plugin: Plugin) -> int:
    """The worker that has a call of a plugin that runs alone."""
    words = f"plugin {plugin.number} alone"
    wait_for(lambda: any(w.domain == words and w.in_flight for w in workers(host).values()), "no call")
    return next(w.pid for w in workers(host).values() if w.domain == words and w.in_flight)


def test_suspects_that_do_nothing_return_to_the_others() -> None:
    with Host(workers=1, threads=2, quarantine_seconds=0.5) as host:
        first, second = spinning(host), spinning(host)
        both = [first.submit("spin"), second.submit("spin")]
        os.kill(busy_pid(host, 2), signal.SIGSEGV)
        assert all(isinstance(future.exception(20), WorkerLost) for future in both)
        wait_for(lambda: worker_of(first) == worker_of(second), "each still runs alone")
        wait_for(lambda: len(workers(host)) == 1, "their own workers have ended")


@pytest.mark.parametrize("busy", [True, False])
def test_a_stopped_worker_is_noticed_killed_and_replaced(busy: bool) -> None:
    with Host(workers=1, threads=1) as host:
        plugin = spinning(host)
        future = plugin.submit("spin") if busy else None
        pid = busy_pid(host) if busy else worker_of(plugin)
        os.kill(pid, signal.SIGSTOP)
        if future is not None:
            error = future.exception(20)
            assert isinstance(error, WorkerLost) and error.kind is Loss.STOPPED and "it was stopped (SIGSTOP)" in error.reason
        wait_for(lambda: host.statistics().losses == {"stopped": 1}, "nobody notices")
        assert worker_of(plugin) != pid


def test_a_worker_with_too_much_memory_is_killed_for_it() -> None:
    if sanitized():
        return  # its shadow is memory too, and not what is bounded here
    rules = Supervision(resident=200 * MIB, watch_seconds=0.05)
    with Host(workers=1, supervision=rules) as host:
        plugin = host.load(HOG, limits=Limits(memory=400 * MIB, deadline=60.0))
        with pytest.raises(WorkerLost, match="bytes of resident memory, 209715200 are allowed") as caught:
            plugin.call("fill", 5000)
        assert caught.value.kind is Loss.MEMORY and host.load(MATH).call("add", 1, 2) == 3
        future = plugin.submit("fill", 500)
        wait_for(lambda: any(30 * MIB < worker.resident < 200 * MIB for worker in workers(host).values()), "it is within bounds")
        assert not future.done()
        future.cancel()


def test_a_worker_that_kills_itself_by_exit_and_one_that_is_told_to_end() -> None:
    with Host(workers=1, threads=1, quarantine_losses=0) as host:
        plugin = spinning(host)
        assert lose(host, plugin, signal.SIGTERM).kind is Loss.KILLED
        error = lose(host, plugin, signal.SIGKILL)
        assert error.kind is Loss.KILLED and error.reason == "killed by SIGKILL"
        assert host.statistics().losses == {"killed from outside": 2}


def test_a_call_that_ignores_its_deadline_costs_the_worker() -> None:
    with Host(workers=1, threads=2, supervision=Supervision(watch_seconds=None, quarantine_losses=1)) as host:
        deaf = host.load(MATH, limits=Limits(deadline=0.3))
        other = spinning(host)
        other.call("nothing")
        pid = worker_of(deaf)
        worker = psutil.Process(pid)
        worker.suspend()
        wait_for(lambda: worker.status() == psutil.STATUS_STOPPED, "every thread sees the signal")
        with pytest.raises(TimeoutError):
            deaf.call("nothing")
        wait_for(lambda: host.statistics().losses == {"deadline": 1}, "it is killed")
        with pytest.raises(Quarantined):
            deaf.call("nothing")
        assert other.call("add", 1, 2) == 3


@pytest.mark.parametrize("rules", [{"recycle_calls": 5}, {"recycle_seconds": 0.3}], ids=["calls", "age"])
def test_workers_are_renewed_without_a_call_lost_and_without_a_moment_with_fewer(rules: dict[str, Any]) -> None:
    with Host(workers=3, threads=1, supervision=Supervision(watch_seconds=0.02, **rules)) as host:
        plugin = spinning(host)
        running = plugin.submit("spin")  # while it does, the watch looks often
        wait_for(lambda: sum(w.state == "ready" for w in workers(host).values()) >= 3, "three are ready")
        first, end = set(workers(host)), time.monotonic() + 30
        while host.statistics().workers_recycled < 2:
            assert [future.result(20) for future in [plugin.submit("add", 1, 1) for _ in range(9)]] == [2] * 9
            assert sum(worker.state == "ready" for worker in workers(host).values()) >= 3
            assert time.monotonic() < end and not running.done(), "it ends in peace, though its worker may be the oldest"
        assert host.statistics().workers_lost == 0 and not first <= set(workers(host))
        running.cancel()


def test_the_home_of_an_instance_is_not_renewed() -> None:
    with Host(workers=2, threads=1, supervision=Supervision(watch_seconds=0.02, recycle_calls=3)) as host:
        keeper, plugin = host.load(MATH, instance="persistent"), spinning(host)
        assert keeper.call("bump") == 1
        home, count = keeper.invoke("bump").usage.worker, 2
        end = time.monotonic() + 30
        while host.statistics().workers_recycled < 1:
            count += 1
            assert keeper.call("bump") == count
            for future in [plugin.submit("nothing") for _ in range(8)]:  # some for each worker
                future.result(10)
            assert time.monotonic() < end
        assert keeper.invoke("bump").usage.worker == home and host.statistics().workers_lost == 0


def test_a_crash_in_a_nested_call_is_blamed_on_both() -> None:
    with Host(workers=1, threads=1, quarantine_losses=2) as host:

        @host.function("app", "lookup")
        def lookup(key: i32) -> int:
            os.kill(next(iter(workers(host))), signal.SIGSEGV)
            time.sleep(0.05)
            return 0

        plugin = host.load(HELPED)
        for _ in range(2):
            with pytest.raises(WorkerLost):
                plugin.call("go", 1)
        with pytest.raises(Quarantined):
            plugin.call("go", 1)
