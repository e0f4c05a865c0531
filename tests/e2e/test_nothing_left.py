"""After a host has ended, however it ended, no process, descriptor, shared memory, socket or directory of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandboxhost import Grants, Host, HostClosed, Limits, ModuleError, WorkerLost, engine
from sandboxhost.engine import CompiledModule, Engine
from sandboxhost.process import Process
from tests.chaos.leaks import belongings, left_behind

from .conftest import HELPED, MATH, PACKAGES


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is imported or opened once in a process is no leak, nor is what other processes have in /tmp."""
    tmp_path_factory.getbasetemp()  # pytest's own folder stays where it was
    with tempfile.TemporaryDirectory(prefix="left-") as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        with Host(workers=1) as host:
            host.load(MATH).call("nothing")
        yield


def test_after_a_busy_life(tmp_path: Path) -> None:
    before = belongings()
    with Host(workers=2, threads=2) as host:

        @host.function("app", "lookup")
        def lookup(key: int) -> int:
            return key

        plugin = host.load(MATH, grants=Grants(directories={"/a": tmp_path}))
        plugin.map("add", [(1, 1)] * 100)
        host.load(HELPED).submit("go", 1).result(10)
        for _ in range(20):
            host.load(MATH, grants=Grants(directories={"/a": tmp_path, "/b": tmp_path})).unload()
        for wrong in (b"", MATH[:-1], HELPED.replace(b"lookup", b"lockup")):
            with pytest.raises(ModuleError):
                host.load(wrong)
        future = plugin.submit("count", 2_000_000_000)
        while sum(worker.in_flight for worker in host.statistics().workers) == 0:
            time.sleep(0.001)
        os.kill(next(worker.pid for worker in host.statistics().workers if worker.in_flight), signal.SIGKILL)
        assert isinstance(future.exception(5), WorkerLost)
        assert plugin.call("add", 1, 1) == 2
    assert left_behind(before) == {}


def test_with_calls_in_flight_and_waiting() -> None:
    before = belongings()
    with Host(workers=2, threads=1) as host:
        plugin = host.load(MATH, limits=Limits(deadline=None))
        futures = [plugin.submit("spin") for _ in range(5)]
    assert all(future.done() for future in futures)
    assert left_behind(before) == {}


def test_a_host_that_is_dropped_without_close() -> None:
    before = belongings()
    host = Host(workers=1)
    host.load(MATH).call("nothing")
    del host
    assert left_behind(before) == {}


def test_a_host_that_is_dropped_in_a_cycle() -> None:
    before = belongings()

    def use() -> None:
        host = Host(workers=1)

        @host.function("app", "lookup")
        def lookup(key: int) -> int:
            return host.workers

        assert host.load(HELPED).call("go", 1) == 1

    use()
    assert left_behind(before) == {}


def test_a_host_that_never_did_anything() -> None:
    before = belongings()
    Host(workers=2).close()
    assert left_behind(before) == {}


def test_many_hosts_at_one_time() -> None:
    before = belongings()
    hosts = [Host(workers=1) for _ in range(4)]
    assert [host.load(MATH).call("add", n, 1) for n, host in enumerate(hosts)] == [1, 2, 3, 4]
    for host in hosts:
        host.close()
    assert left_behind(before) == {}


class Stopped(Process):
    """A compile process that does not come to its end, and would not for the minute that `compile_seconds` allows."""

    there = threading.Event()

    def __init__(self, role: str) -> None:
        super().__init__(role)
        os.kill(self.pid, signal.SIGSTOP)
        self.there.set()


def test_closing_while_a_module_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "Process", Stopped)
    before = belongings()
    host = Host(workers=1)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(host.load, MATH)
        assert Stopped.there.wait(10)
        host.close()
        assert isinstance(loading.exception(10), HostClosed)
    assert left_behind(before) == {}


class ClosedTooEarly(Engine):
    """The host is closed when the image is there, and the cache does not have it yet."""

    def _compile(self, *arguments: Any) -> CompiledModule:
        module = super()._compile(*arguments)
        self.close()
        return module


def test_an_engine_that_is_closed_keeps_nothing() -> None:
    before = belongings()
    early = ClosedTooEarly()
    module = early.compile_module(MATH, Limits())
    assert module.retain()
    module.release()
    module.release()
    assert not module.retain() and left_behind(before) == {}
    with pytest.raises(HostClosed):
        early.compile_module(MATH, Limits())


SCRIPT = """
import sys, os, signal, time
from sandboxhost import Host, Limits
data = bytes.fromhex(sys.argv[1])
host = Host(workers=2, threads=1)
plugin = host.load(data, limits=Limits(deadline=None))
futures = [plugin.submit("spin") for _ in range(3)]
while sum(w.in_flight for w in host.statistics().workers) < 2:
    time.sleep(0.001)
print(*(w.pid for w in host.statistics().workers), flush=True)
%s
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('the application failed')", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15),
    ],
)
def test_the_end_of_the_application_is_the_end_of_its_workers(ending: str, code: int, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": PACKAGES}
    before = belongings()
    command = [sys.executable, "-c", SCRIPT % ending, MATH.hex()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == code, done.stderr
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    end = time.monotonic() + 2
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.005)
    assert not any(alive(pid) for pid in pids)
    assert os.listdir(tmp_path) == [] and left_behind(before) == {}


def alive(pid: int) -> bool:
    """True for a process that runs (a zombie that its new parent has not reaped does not)."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_fork_of_the_application_leaves_the_workers_alone() -> None:
    with Host(workers=1) as host:
        plugin = host.load(MATH)
        child = os.fork()
        if child == 0:
            host.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert plugin.call("add", 1, 1) == 2 and host.statistics().workers_lost == 0
