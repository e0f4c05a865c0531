"""The end of a host: calls that can end do, the others are ended, in little time, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from sandboxhost import Host, HostClosed, Limits, WorkerLost, hardening, process, transport

from .conftest import HELPED, MATH, PACKAGES

CEILING = 20.0
"""Seconds; ten times what is promised, for a machine that has other work."""


def test_calls_that_can_end_do() -> None:
    with Host(workers=1, threads=1) as host:
        release = threading.Event()

        @host.function("app", "lookup")
        def lookup(key: int) -> int:
            release.wait(10)
            return key

        plugin = host.load(HELPED)
        futures = [plugin.submit("go", n) for n in range(3)]
        closer = threading.Thread(target=host.close, args=(10.0,))
        closer.start()
        while True:  # refused as soon as the end has begun
            try:
                futures.append(plugin.submit("plain", 1))
            except HostClosed:
                break
        release.set()
        closer.join()
        assert [future.result(0) for future in futures[:3]] == [0, 1, 2]
        assert all(future.result(0) == 2 for future in futures[3:])


def test_what_a_call_in_progress_needs_is_accepted_while_the_host_drains() -> None:
    with Host(workers=1, threads=1) as host:
        draining = threading.Event()

        @host.function("app", "lookup")
        def lookup(key: int) -> int:
            draining.wait(10)
            return math.call("add", key, 1)

        math, plugin = host.load(MATH), host.load(HELPED)
        future = plugin.submit("go", 1)
        closer = threading.Thread(target=host.close, args=(10.0,))
        closer.start()
        while True:
            try:
                math.submit("nothing")
            except HostClosed:
                break
        draining.set()
        closer.join()
        assert future.result(0) == 2


@pytest.mark.parametrize("drain", [0.0, 0.1])
def test_calls_that_do_not_end_are_ended(drain: float) -> None:
    host = Host(workers=2, threads=2)
    plugin = host.load(MATH, limits=Limits(deadline=None))
    futures = [plugin.submit("spin") for _ in range(6)]
    while sum(worker.in_flight for worker in host.statistics().workers) < 4:
        time.sleep(0.001)
    started = time.monotonic()
    host.close(drain)
    assert drain <= time.monotonic() - started < CEILING
    assert all(isinstance(future.exception(0), HostClosed) for future in futures)


def test_stopped_workers_do_not_keep_the_host() -> None:
    host = Host(workers=2, threads=1)
    plugin = host.load(MATH, limits=Limits(deadline=None))
    future = plugin.submit("spin")
    for worker in host.statistics().workers:
        os.kill(worker.pid, signal.SIGSTOP)
    started = time.monotonic()
    host.close()
    assert time.monotonic() - started < CEILING
    assert isinstance(future.exception(0), (HostClosed, WorkerLost)), "that it is stopped may have been noticed before"


DIES_EARLY = """
import os, signal, sys, time
from sandboxhost import Host
Host(workers=4)
while not any(name.startswith("sandboxhost-") for name in os.listdir(sys.argv[1])):
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_host_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": PACKAGES}
    done = subprocess.run([sys.executable, "-c", DIES_EARLY, str(tmp_path)], env=environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    (tmp_path / "sandboxhost-old").mkdir(0o700)  # whether or not it left one itself
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = {path.name for path in tmp_path.iterdir()}
    with Host(workers=1) as host:
        host.load(MATH).call("nothing")
        assert left <= {path.name for path in tmp_path.iterdir()}, "they are young: somebody may be about to use them"
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 2 * transport._STALE_SECONDS,) * 2)
    (tmp_path / "sandboxhost-mine").mkdir(0o700)
    (tmp_path / "sandboxhost-mine" / "file").touch()
    (tmp_path / "sandboxhost-public").mkdir(0o755)
    for name in ("mine", "public"):
        os.utime(tmp_path / f"sandboxhost-{name}", (0, 0))
    with Host(workers=1) as host:
        host.load(MATH).call("nothing")
    assert {path.name for path in tmp_path.iterdir()} == {"sandboxhost-mine", "sandboxhost-public"}, "what is not a host's stays"


def test_a_living_hosts_directory_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = transport.Transport()
    try:
        mine.open_endpoint(b"\1" * 16)[1].close()
        (folder,) = tmp_path.iterdir()
        os.utime(folder, (0, 0))
        transport.Transport().close()
        assert folder.exists()
    finally:
        mine.close()
    assert not list(tmp_path.iterdir())


HARDENED = """
import ctypes, resource
from sandboxhost import Host
with Host(workers=1, hardened=True) as host:
    assert host.load(bytes.fromhex("0061736d01000000")).name
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), host.statistics().workers[0].level)
"""


def test_the_hardened_mode_is_not_dumpable_and_works() -> None:
    environment = {**os.environ, "PYTHONPATH": PACKAGES}
    for wanted, text in (("0 0 0", HARDENED), ("1 ", HARDENED.replace(", hardened=True", ""))):
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode == 0 and done.stdout.startswith(wanted), (done.stdout, done.stderr)
        assert done.stdout.split()[-1] != "none"


def test_descriptors_are_found_where_proc_is_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the hardened mode an application that is not root's cannot list its own descriptors."""
    read, write = os.pipe()
    os.set_inheritable(read, True)
    try:
        wanted = process._inheritable_fds()

        def refuse(path: str) -> list[str]:
            raise PermissionError(path)

        monkeypatch.setattr(os, "listdir", refuse)
        assert process._inheritable_fds() == wanted and read in wanted and write not in wanted
    finally:
        os.close(read)
        os.close(write)
    assert callable(hardening.harden)
