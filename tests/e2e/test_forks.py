"""Applications that fork: the child's copy of a host refuses to work, and the parent's goes on as if nothing had happened."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from sandboxhost import Host, HostForked, Limits, Plugin

from .conftest import HELPED, MATH


def in_child(work: Callable[[], Any]) -> int:
    """Runs it in a fork of this process; the child's exit code, 0 when it raised nothing."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refused(host: Host, plugin: Plugin) -> None:
    """Everything that could reach a worker is."""
    attempts: list[Callable[[], Any]] = [
        lambda: plugin.call("add", 1, 1),
        lambda: plugin.submit("add", 1, 1),
        lambda: plugin.map("add", [(1, 1)]),
        lambda: plugin.invoke("add", 1, 1),
        lambda: host.load(MATH),
        lambda: host.load(b"\0asm\1\0\0\0"),
        host.statistics,
        host.compiled_module_count,
        lambda: host.delete_compiled_module(MATH),
        plugin.unload,
    ]
    for attempt in attempts:
        with pytest.raises(HostForked, match="make a Host in each process"):
            attempt()
    assert issubclass(HostForked, RuntimeError)
    host.close()


def alive_and_well(host: Host, plugin: Plugin) -> bool:
    return plugin.call("add", 1, 1) == 2 and plugin.submit("add", 2, 2).result(10) == 4 and not host.statistics().workers_lost


def test_every_use_is_refused_and_the_parent_is_not_disturbed() -> None:
    with Host(workers=2) as host:
        plugin = host.load(MATH)
        assert in_child(lambda: refused(host, plugin)) == 0
        assert alive_and_well(host, plugin)


def test_a_fork_while_other_threads_are_in_calls() -> None:
    with Host(workers=2, threads=1) as host:
        plugin, stop, wrong = host.load(MATH), threading.Event(), list[Any]()

        def work() -> None:
            while not stop.is_set():
                if plugin.call("add", 1, 1) != 2 or plugin.submit("add", 1, 2).result(10) != 3:
                    wrong.append("result")

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        codes = [in_child(lambda: refused(host, plugin)) for _ in range(5)]
        stop.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * 5 and not wrong and alive_and_well(host, plugin)


def test_a_fork_in_a_function_of_the_application() -> None:
    with Host(workers=1) as host:
        codes = []

        @host.function("app", "lookup")
        def lookup(key: int) -> int:
            codes.append(in_child(lambda: refused(host, plugin)))
            return key

        plugin = host.load(MATH)
        assert host.load(HELPED).call("go", 7) == 7
        assert codes == [0] and alive_and_well(host, plugin)


def test_the_childs_end_takes_nothing_of_the_parents() -> None:
    """Its collector, its exit handlers: as in a worker of a prefork server that ends in good order."""
    with Host(workers=1) as host:
        plugin = host.load(MATH)
        kept = [host]
        child = os.fork()
        if child == 0:
            del kept[:]
            gc.collect()
            sys.exit(os.EX_OK) if _leave(gc.collect) else os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert alive_and_well(host, plugin)


def _leave(collect: Callable[[], int]) -> bool:
    """Runs what the interpreter would at its end (pytest's own exit has no place in a fork)."""
    import atexit

    collect()
    atexit._run_exitfuncs()
    os._exit(0)


def test_a_prefork_server_makes_its_own_host_in_each_child() -> None:
    with Host(workers=1) as host:
        plugin = host.load(MATH)
        folders = {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("sandboxhost-")}
        processes = [multiprocessing.get_context("fork").Process(target=_serve, args=(plugin,)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
        assert alive_and_well(host, plugin)
        left = {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("sandboxhost-")}
        assert not left - folders


def _serve(inherited: Plugin) -> None:
    with pytest.raises(HostForked):
        inherited.call("add", 1, 1)
    with Host(workers=1) as host:
        assert host.load(MATH).call("add", 20, 22) == 42


def test_workers_end_with_the_parent_though_a_child_lives() -> None:
    """The child has copies of the lifelines: it must not keep workers waiting for a host that is gone."""
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        host = Host(workers=1)
        plugin = host.load(MATH, limits=Limits(deadline=None))
        plugin.submit("spin")
        if os.fork() == 0:
            os.write(write, f"{os.getpid()} ".encode())
            time.sleep(60)
            os._exit(0)
        os.write(write, f"worker {host.statistics().workers[0].pid} ".encode())
        time.sleep(0.2)
        os._exit(0)
    os.waitpid(parent, 0)
    words = os.read(read, 100).decode().split()
    while len(words) < 3:  # the child of the child may be slow
        words += os.read(read, 100).decode().split()
    os.close(read)
    os.close(write)
    worker = int(words[words.index("worker") + 1])
    (child,) = (int(word) for word in words if word.isdigit() and int(word) != worker)
    try:
        end = time.monotonic() + 10
        while _runs(worker) and time.monotonic() < end:
            time.sleep(0.01)
        assert not _runs(worker) and _runs(child)
    finally:
        os.kill(child, 9)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
