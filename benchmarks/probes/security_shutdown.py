"""The end of a host: closed with calls in flight, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import wait
from typing import Any

from benchmarks import modules
from benchmarks.peers import ours
from benchmarks.probes.common import Answer, open_host

CLOSE, GONE = "close with calls in flight and waiting", "host killed, to the end of its last process"
TIMES = 5
SCRIPT = """
import sys, time
from benchmarks.probes.security_shutdown import busy_host
host, futures = busy_host({})
import psutil
print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
time.sleep(60)
"""


def busy_host(task: dict[str, Any]) -> tuple[Any, list[Any]]:
    """A host whose threads run endless calls, with others that wait."""
    from sandboxhost import Limits

    host = open_host(task, 2, threads=2)
    plugin = host.load(modules.endless(), limits=Limits(deadline=None))
    futures = [plugin.submit("run") for _ in range(50)]
    while sum(worker.in_flight for worker in host.statistics().workers) < 4:
        time.sleep(0.001)
    return host, futures


def measure(task: dict[str, Any]) -> Answer:
    """Figures: the most of some."""
    closing, gone = 0.0, 0.0
    for _ in range(task.get("times", TIMES)):
        host, futures = busy_host(task)
        began = time.perf_counter()
        host.close()
        closing = max(closing, time.perf_counter() - began)
        if len(wait(futures, 5.0).done) != len(futures):
            raise SystemExit("a call has no outcome after close")
        gone = max(gone, _killed())
    figures = {CLOSE: (closing, "s"), GONE: (gone, "s")}
    return {"version": ours.version(), "figures": figures}


def _killed() -> float:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        began = time.perf_counter()
        process.kill()
        while any(map(_alive, pids)):
            if time.perf_counter() - began > 30.0:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                raise SystemExit("a worker outlives its host by half a minute")
            time.sleep(0.0005)
        if len(pids) < 2:
            raise SystemExit(f"the host to be killed had {len(pids)} processes")
        return time.perf_counter() - began


def _alive(pid: int) -> bool:
    """A zombie that nobody has reaped yet is not alive."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
