"""Workers are killed and stopped at random while many threads call: every call has one right outcome, and the host recovers."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter

import pytest

from sandboxhost import DeadlineExceeded, Host, Limits, Plugin, SandboxError, Trap, WorkerLost

from .conftest import MATH

SECONDS = 4.0


def one_call(plugin: Plugin, patient: Plugin, choice: str) -> str:
    """Makes one call; the name of its outcome."""
    try:
        if choice == "add":
            assert plugin.call("add", 1, 2) == 3
        elif choice == "divide":
            plugin.call("divide", 1, 0)
        elif choice == "spin":
            plugin.call("spin")
        elif choice == "map":
            assert plugin.map("add", [(i, 1) for i in range(40)]) == list(range(1, 41))
        else:
            futures = [patient.submit("add", i, i) for i in range(8)]
            futures[3].cancel()
            errors = [future.exception(20) for future in futures]
            assert [f.result() for f, e in zip(futures, errors, strict=True) if e is None] == [
                2 * i for i, e in enumerate(errors) if e is None
            ]
    except SandboxError as exc:
        assert isinstance(exc, (Trap, DeadlineExceeded, WorkerLost)), repr(exc)
        return type(exc).__name__
    return "result"


@pytest.mark.parametrize("seed", [1, 2])
def test_random_kills(seed: int) -> None:
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    wrong: list[BaseException] = []
    end = time.monotonic() + SECONDS
    with Host(workers=2, threads=2, quarantine_losses=0) as host:
        plugin = host.load(MATH, limits=Limits(deadline=0.4))
        patient = host.load(MATH, limits=Limits(deadline=60.0), idempotent=True)

        def work(seed: int) -> None:
            mine = random.Random(seed)
            try:
                while time.monotonic() < end:
                    outcomes[one_call(plugin, patient, mine.choice(["add", "divide", "spin", "map", "submit"]))] += 1
            except BaseException as exc:
                wrong.append(exc)

        threads = [threading.Thread(target=work, args=(seed * 100 + n,)) for n in range(5)]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.05, 0.5))
            ready = [worker.pid for worker in host.statistics().workers if worker.state == "ready"]
            if ready:
                os.kill(chance.choice(ready), chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]))
        for thread in threads:
            thread.join(30)
        assert not wrong and not any(thread.is_alive() for thread in threads)
        assert patient.call("add", 2, 40) == 42, "the host recovers"
        statistics = host.statistics()
        assert statistics.pending == 0 and statistics.accepted == statistics.ended and statistics.workers_lost > 2
        assert outcomes["WorkerLost"] and outcomes["result"] and outcomes["Trap"]
