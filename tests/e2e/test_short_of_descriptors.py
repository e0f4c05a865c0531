"""An application that is out of descriptors: nothing aborts, nothing is left, and what was lost is there again afterwards."""

from __future__ import annotations

import os
import signal
import time

import pytest

from sandboxhost import Host, SandboxError, WorkerStartError
from sandboxhost.process import Process
from sandboxhost.transport import Transport
from tests.chaos.faults import few_descriptors
from tests.chaos.leaks import belongings, left_behind

from .conftest import MATH


def test_a_process_starts_or_leaves_nothing() -> None:
    Process("spare").close()
    before, started = belongings(), []
    for more in range(10):
        with few_descriptors(more):
            try:
                process = Process("spare")
            except WorkerStartError as exc:
                assert "Too many open files" in str(exc)
            else:
                started.append(more)
                process.close()
    assert started and started == list(range(started[0], 10)) and started[0] > 3
    assert left_behind(before) == {}


def test_an_endpoint_is_opened_or_leaves_nothing() -> None:
    transport = Transport()
    before, opened = belongings(), []
    for more in range(6):
        worker = bytes([1, more]) * 8
        with few_descriptors(more):
            try:
                listener = transport.open_endpoint(worker)[1]
            except OSError as exc:
                assert "Too many open files" in str(exc)
            else:
                opened.append(more)
                listener.close()
                transport.close_endpoint(worker)
    assert opened and opened[0] > 0
    assert left_behind(before) == {}
    transport.close()


@pytest.mark.parametrize("more", range(0, 14, 2))
def test_a_worker_that_is_lost_meanwhile_is_replaced_when_there_are_some_again(more: int) -> None:
    """libzmq ends a process that has no descriptor for `accept`; a start that fails for want of descriptors is no reason to give
    up. Four times as many starts are tried as a broken worker gets."""
    with Host(workers=1, threads=1, spares=0) as host:
        plugin = host.load(MATH)
        assert plugin.call("add", 1, 2) == 3
        (victim,) = host.statistics().workers
        with few_descriptors(more):
            os.kill(victim.pid, signal.SIGKILL)
            time.sleep(0.4)
        end = time.monotonic() + 30
        while True:
            try:
                assert plugin.call("add", 2, 40) == 42
                return
            except SandboxError as exc:
                assert not isinstance(exc, WorkerStartError) and time.monotonic() < end, exc
