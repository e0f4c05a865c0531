"""Workers that die, hang, or cannot start: each call still has its outcome, in time, and the next one is served."""

from __future__ import annotations

import concurrent.futures
import os
import select
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandboxhost import (
    Host,
    HostClosed,
    Limits,
    Loss,
    Plugin,
    ProcessLimits,
    ProtocolError,
    Supervision,
    WorkerLost,
    WorkerStartError,
    engine,
    process,
    wire,
)
from sandboxworker.native import sanitized

from .conftest import MATH


def busy_pid(host: Host, calls: int = 1) -> int:
    """The worker that has so many calls in flight."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for worker in host.statistics().workers:
            if worker.in_flight == calls:
                return worker.pid
        time.sleep(0.001)
    raise AssertionError(f"no worker got {calls} calls: {host.statistics()}")


def spinning(host: Host, **more: Any) -> Plugin:
    return host.load(MATH, limits=Limits(deadline=20.0), **more)


@pytest.mark.parametrize(
    ("how", "kind"),
    [(signal.SIGKILL, Loss.KILLED), (signal.SIGABRT, Loss.CRASH), (signal.SIGSEGV, Loss.CRASH), (signal.SIGSYS, Loss.ESCAPE)],
)
def test_a_call_in_flight_ends_with_worker_lost_and_the_next_is_served(how: signal.Signals, kind: Loss) -> None:
    with Host(workers=1, threads=2, quarantine_losses=0) as host:
        plugin = spinning(host)
        futures = [plugin.submit("spin"), plugin.submit("spin")]
        waiting = plugin.submit("add", 1, 2)
        victim = busy_pid(host, 2)
        started = time.monotonic()
        os.kill(victim, how)
        errors = [future.exception(5) for future in futures]
        assert time.monotonic() - started < 20
        for error in errors:
            assert isinstance(error, WorkerLost) and error.maybe_ran and how.name in error.reason
            assert error.kind is kind and not error.instance_lost
            assert (error.plugin, error.function, error.usage.worker) == ("plugin", "spin", victim)
        assert waiting.result(10) == 3 and waiting.usage.worker != victim
        assert plugin.call("add", 2, 40) == 42
        assert host.statistics().workers_lost == 1 and host.statistics().pending == 0


def test_a_synchronous_caller_is_told_too() -> None:
    with Host(workers=1, threads=1) as host:
        plugin = host.load(MATH, limits=Limits(deadline=20.0), grants=None)

        @host.function("test", "kill")
        def kill() -> None:
            os.kill(host.statistics().workers[0].pid, signal.SIGKILL)

        suicide = host.load(b"\0asm\1\0\0\0\1\4\1\x60\0\0\2\x0d\1\4test\4kill\0\0\7\6\1\2go\0\0")
        with pytest.raises(WorkerLost, match="killed by SIGKILL"):
            suicide.call("go")
        assert plugin.call("add", 1, 1) == 2


def test_an_idempotent_call_is_made_again() -> None:
    with Host(workers=1, threads=1) as host:
        plugin = spinning(host, idempotent=True)
        future = plugin.submit("count", 100_000_000)
        os.kill(busy_pid(host), signal.SIGKILL)
        assert future.result(20) == 0 and host.statistics().workers_lost == 1


def test_a_persistent_instance_is_lost_with_its_worker() -> None:
    with Host(workers=1, threads=1) as host:
        plugin = host.load(MATH, instance="persistent")
        assert [plugin.call("bump"), plugin.call("bump")] == [1, 2]
        os.kill(host.statistics().workers[0].pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while host.statistics().workers_lost == 0 and time.monotonic() < deadline:
            time.sleep(0.001)
        with pytest.raises(WorkerLost, match="with the plugin's instance was lost") as caught:
            plugin.call("bump")
        assert caught.value.instance_lost and not caught.value.maybe_ran and caught.value.kind is Loss.KILLED
        assert plugin.call("bump") == 1, "said once"


def test_a_stopped_worker_is_killed_after_the_deadline() -> None:
    with Host(workers=1, threads=1, supervision=Supervision(watch_seconds=None)) as host:
        plugin = host.load(MATH, limits=Limits(deadline=1.0))
        plugin.call("nothing")
        worker = psutil.Process(host.statistics().workers[0].pid)
        worker.suspend()
        while worker.status() != psutil.STATUS_STOPPED:  # the signal is sent, but not yet seen by every thread
            time.sleep(0.001)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            plugin.call("add", 1, 1)
        assert 1.4 < time.monotonic() - started < 20, "deadline and grace"
        assert host.load(MATH).call("add", 1, 1) == 2
        assert host.statistics().workers_lost == 1


def test_close_ends_pending_calls_and_refuses_more() -> None:
    host = Host(workers=1, threads=1)
    plugin = spinning(host)
    futures = [plugin.submit("spin"), plugin.submit("add", 1, 1)]
    busy_pid(host)
    started = time.monotonic()
    host.close()
    host.close()
    assert time.monotonic() - started < 20
    assert all(isinstance(future.exception(1), HostClosed) for future in futures)
    for attempt in (lambda: plugin.call("add", 1, 1), lambda: host.load(MATH), lambda: plugin.submit("add", 1, 1)):
        with pytest.raises(HostClosed):
            attempt()


def test_workers_that_cannot_start_are_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no core here')")
    with Host(workers=2, spares=0) as host:
        plugin = host.load(MATH)
        folders = process._command()[1:]
        monkeypatch.setattr(process, "_command", lambda: (str(broken), *folders))
        for worker in host.statistics().workers:
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerStartError, match=r"workers in a row ended before they were ready; .*: exit code 1: no core"):
            while True:
                try:
                    plugin.call("nothing")
                except WorkerLost:
                    continue
        with pytest.raises(WorkerStartError, match="workers in a row"):
            plugin.call("nothing")
        assert host.statistics().workers == () and host.statistics().pending == 0
    with Host(workers=1) as host, pytest.raises(WorkerLost, match="compile process was lost: exit code 1: no core here"):
        host.load(MATH)


def test_a_compile_process_that_dies_is_an_error_of_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    with Host(workers=1) as host:
        send = process.Process.send

        def send_and_kill(self: process.Process, data: bytes, fds: Any = ()) -> None:
            if self.role == "compile":
                self.kill()
                self.reap(5)
            send(self, data, fds)

        monkeypatch.setattr(process.Process, "send", send_and_kill)
        with pytest.raises(Exception, match="lifeline of process|compile process was lost") as caught:
            host.load(MATH)
        assert type(caught.value).__name__ in ("WorkerError", "WorkerLost")
        monkeypatch.undo()
        assert host.load(MATH).call("add", 1, 1) == 2 and host.compiled_module_count() == 1


def test_a_worker_that_breaks_the_protocol_is_killed_and_no_other() -> None:
    with Host(workers=2, threads=1) as host:
        plugin = spinning(host)
        futures = [plugin.submit("spin"), plugin.submit("spin")]
        while {worker.in_flight for worker in host.statistics().workers} != {1}:
            time.sleep(0.001)
        core: Any = host._backend
        liar, other = (core._router.workers[key] for key in core._router.workers)
        with core._lock:  # as if this had come from the first worker's socket: an answer to the other one's call
            foreign = wire.Result(next(iter(other.calls)), 0, 0, 0, b"")
            later = core._carry_out(core._router.received(liar.id, [foreign], time.monotonic()))
        core._deliver(later)
        concurrent.futures.wait(futures, 5, concurrent.futures.FIRST_COMPLETED)
        (ended,), (running,) = [f for f in futures if f.done()], [f for f in futures if not f.done()]
        error = ended.exception()
        assert isinstance(error, WorkerLost) and error.usage.worker == liar.pid
        assert "broke the protocol: Result.id" in error.reason
        assert host.statistics().protocol_errors == 1
        running.cancel()


def test_a_worker_of_another_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with Host(workers=1, threads=1) as host:
        host.load(MATH).call("nothing")
        core: Any = host._backend
        with pytest.raises(ProtocolError, match="another build"):
            core._check_ready(b"x", [wire.Ready(1, 1, b"\1" * 32, "none")], 0.0)


def test_the_process_is_confined() -> None:
    """What the basic sandbox promises, read from outside."""
    limits = ProcessLimits(open_files=64, cpu_seconds=100, data="2GiB")
    with Host(workers=1, process_limits=limits) as host:
        host.load(MATH).call("nothing")
        pid = host.statistics().workers[0].pid
        proc = Path(f"/proc/{pid}")
        assert "\nNoNewPrivs:\t1\n" in (proc / "status").read_text()
        limit = {line[:26].strip(): line[26:].split()[0] for line in (proc / "limits").read_text().splitlines()[1:]}
        assert limit["Max open files"] == "64" and limit["Max cpu time"] == "100" and limit["Max core file size"] == "0"
        data = "unlimited" if sanitized() else str(2 * 2**30)  # a sanitizer's shadow is data memory too
        assert limit["Max processes"] == "0" and limit["Max data size"] == data
        assert os.getsid(pid) == pid
        if os.geteuid() == 0:  # it is not dumpable, so that only root may look at these
            files = {os.readlink(entry) for entry in (proc / "fd").iterdir()}
            assert {name for name in files if name.startswith("/")} == {"/dev/null", "/memfd:sandboxhost:image (deleted)"}
            environment = (proc / "environ").read_bytes().strip(b"\0").split(b"\0")
            assert environment == [b"LANG=C.UTF-8"] or sanitized(), "a sanitizer's library has its own variables"


class _Late(process.Process):
    """A process that is written to only when it has ended."""

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        select.select([self.fd], [], [], 10.0)
        super().send(data, fds)


def test_compile_process_that_ends_before_it_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no core here')")
    with Host(workers=1) as host:
        monkeypatch.setattr(process, "_command", lambda: (str(broken),))
        monkeypatch.setattr(engine, "Process", _Late)
        with pytest.raises(WorkerLost, match="compile process was lost: exit code 1: no core here"):
            host.load(MATH)
