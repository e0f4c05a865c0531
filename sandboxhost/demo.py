"""`sandboxhost demo`: example plugins on several workers, limits that hold, a worker that is killed and replaced."""
from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import LimitExceeded, SandboxError, WorkerLost
from .grants import Grants
from .host import Host
from .limits import Limits
from .lockdown import DEFAULT_MINIMUM
from .options import Level
from .plugin import Plugin
from .values import i32, i64

__all__ = ["demo"]


class _Screen:
    """Prints; in colour on a terminal that does not ask for none."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._started = time.monotonic()

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def title(self, text: str) -> None:
        """A chapter."""
        print(f"\n{self._paint('1;36', text)}")

    def line(self, what: str, result: str, note: str = "") -> None:
        """What was asked, what came of it, by whom."""
        print(f"  {what:<34} {self._paint('32', result):<{43 if self._colour else 34}} {self._paint('2', note)}", flush=True)

    def end(self) -> None:
        """The last line."""
        print(f"\n{self._paint('1;36', f'Done in {time.monotonic() - self._started:.1f} s.')}")


def examples_folder() -> Path:
    """Where the example plugins lie: in the package, or in the checkout around it. Raises FileNotFoundError."""
    here = Path(__file__).resolve().parent
    for folder in (here / "plugins_example", here.parent / "plugins_example"):
        if (folder / "hello" / "hello.wasm").is_file():
            return folder
    raise FileNotFoundError("the example plugins (plugins_example/) are neither in the package nor in the folder around it")


def demo(workers: int = 3, minimum_level: Level = DEFAULT_MINIMUM) -> int:
    """Shows the product; 0 when everything ended as it should. Raises WorkerStartError: workers reach less than that level."""
    screen = _Screen()
    folder = examples_folder()
    with Host(workers=workers, threads=1, minimum_level=minimum_level) as host:

        @host.function("app", "lookup")
        def lookup(key: i32) -> i64:
            return key * key

        def load(name: str, **limits: Any) -> Plugin:
            return host.load(folder / name, limits=Limits(**limits), grants=Grants(environment={"LANG": "C"}))

        load("hello").run([])  # where workers cannot be had this says why
        _wait_for_workers(host)
        screen.title(f"{workers} worker processes: {', '.join(str(worker.pid) for worker in host.statistics().workers)}")
        _tour(screen, host, load)
        _limits(screen, load)
        _lost_worker(screen, host, load)
        screen.title("Closing the host")
        pids = [worker.pid for worker in host.statistics().workers]
    left = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    screen.line(f"{len(pids)} worker processes", "all gone" if not left else f"left behind: {left}")
    screen.end()
    return 1 if left else 0


def _tour(screen: _Screen, host: Host, load: Callable[..., Plugin]) -> None:
    screen.title("Untrusted plugins, each call in a fresh instance in a worker process")
    hello = load("hello")
    done = hello.run(["from", "the", "demo"])
    screen.line("hello from the demo", done.stdout.decode("utf-8", "replace").splitlines()[0], _by(done.usage))
    primes, statistics, sums = load("primes", fuel=50_000_000), load("statistics"), load("lookup")
    calls = [
        (primes, "count_primes", (38_000,)), (primes, "nth_prime", (4_000,)), (statistics, "binomial", (40, 20)),
        (primes, "count_primes", (30_000,)), (statistics, "sample_median", (1_000,)), (sums, "sum", (1, 100)),
    ]
    futures = [plugin.submit(function, *arguments) for plugin, function, arguments in calls]
    for (plugin, function, arguments), future in zip(calls, futures, strict=True):
        value = future.result()
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        screen.line(f"{plugin.name}.{function}({', '.join(map(str, arguments))})", shown, _by(future.usage))
    rows = list(range(1, 2_001))
    started = time.monotonic()
    total = sum(primes.map("count_primes", rows))
    seconds = time.monotonic() - started
    workers = ", ".join(str(worker.pid) for worker in host.statistics().workers)
    screen.line(f"primes.map over {len(rows)} rows", f"sum {total}", f"{len(rows) / seconds:,.0f} calls/s on workers {workers}")
    screen.line("modules compiled", str(host.compiled_module_count()), "once each, shared by all workers in sealed memory")


def _limits(screen: _Screen, load: Callable[..., Plugin]) -> None:
    screen.title("Limits hold")
    for title, plugin, function, arguments in (
        ("an endless loop", load("runaway", deadline=0.3), "spin", ()),
        ("the same, with a fuel limit", load("runaway", fuel=1_000_000), "spin", ()),
        ("endless recursion", load("runaway", call_depth=500), "recurse", (0,)),
        ("a memory hog", load("hog", memory="32MiB"), "devour", ()),
    ):
        started = time.monotonic()
        try:
            plugin.call(function, *arguments)
        except LimitExceeded as exc:
            screen.line(title, type(exc).__name__, f"after {time.monotonic() - started:.3f} s: {exc}")
        else:
            raise SandboxError(f"{title} was not stopped")


def _lost_worker(screen: _Screen, host: Host, load: Callable[..., Plugin]) -> None:
    screen.title("A worker is killed")
    primes = load("primes")
    spin = (examples_folder() / "runaway" / "runaway.wasm").read_bytes()  # without the manifest, whose deadline is short
    runaway = host.load(spin, name="runaway", limits=Limits(deadline=20.0))
    future = runaway.submit("spin")
    victim = _busy_worker(host)
    started = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    try:
        future.result()
    except (WorkerLost, LimitExceeded) as exc:
        screen.line(f"kill -9 {victim} during a call", type(exc).__name__, f"after {time.monotonic() - started:.3f} s: {exc}")
    value = primes.invoke("count_primes", 1_000)
    later = time.monotonic() - started
    screen.line("the next call", f"{value.value} primes below 1000", f"{_by(value.usage)}, {later:.3f} s later")
    _wait_for_workers(host)
    pids = ", ".join(str(worker.pid) for worker in host.statistics().workers)
    screen.line("workers now", pids, f"replaced after {time.monotonic() - started:.3f} s")


def _wait_for_workers(host: Host) -> None:
    """Until all of them are ready. (Calls do not need it: they wait in the queue.)"""
    while sum(worker.state == "ready" for worker in host.statistics().workers) < host.workers:
        time.sleep(0.005)


def _busy_worker(host: Host) -> int:
    """The process that has a call in flight."""
    while True:
        for worker in host.statistics().workers:
            if worker.in_flight:
                return worker.pid
        time.sleep(0.001)


def _by(usage: Any) -> str:
    fuel = f", {usage.fuel:,} instructions" if usage.fuel else ""
    return f"worker {usage.worker}, {usage.time_ns / 1e6:.1f} ms{fuel}"
