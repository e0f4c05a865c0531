"""Watchdog: interrupts at the deadline, never before, never a call that has ended; cheap when nothing expires."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from sandboxworker.watchdog import Watchdog


class Recorder:
    """Stands where a native call engine does, and notes when it is interrupted."""

    def __init__(self) -> None:
        self.interrupted = threading.Event()
        self.at = 0
        self.cleared = 0

    def interrupt(self) -> None:
        self.at = time.monotonic_ns()
        self.interrupted.set()

    def clear_interrupt(self) -> None:
        self.cleared += 1


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    made = Watchdog()
    yield made
    made.stop()


def arm(watchdog: Watchdog, seconds: float) -> tuple[Recorder, int]:
    engine, deadline = Recorder(), time.monotonic_ns() + int(seconds * 1e9)
    watchdog.arm(engine, deadline)  # type: ignore[arg-type]
    return engine, deadline


def test_it_interrupts_at_the_deadline_and_not_before(watchdog: Watchdog) -> None:
    engine, deadline = arm(watchdog, 0.05)
    assert engine.interrupted.wait(5)
    assert engine.at >= deadline


def test_an_earlier_deadline_comes_first(watchdog: Watchdog) -> None:
    late, _ = arm(watchdog, 60)
    early, deadline = arm(watchdog, 0.03)
    assert early.interrupted.wait(5) and early.at >= deadline
    assert not late.interrupted.is_set()


def test_many_deadlines_are_all_met_in_order(watchdog: Watchdog) -> None:
    armed = [arm(watchdog, 0.001 * (n * 37 % 50)) for n in range(50)]
    for engine, deadline in armed:
        assert engine.interrupted.wait(5) and engine.at >= deadline


def test_disarmed_in_time_is_never_interrupted(watchdog: Watchdog) -> None:
    engine = Recorder()
    watch = watchdog.arm(engine, time.monotonic_ns() + 20_000_000)  # type: ignore[arg-type]
    watchdog.disarm(watch)
    other, _ = arm(watchdog, 0.04)
    assert other.interrupted.wait(5)
    assert not engine.interrupted.is_set() and engine.cleared == 0


def test_disarmed_too_late_is_taken_back(watchdog: Watchdog) -> None:
    engine = Recorder()
    watch = watchdog.arm(engine, time.monotonic_ns())  # type: ignore[arg-type]
    assert engine.interrupted.wait(5)
    watchdog.disarm(watch)
    watchdog.disarm(watch)
    assert watch.fired and engine.cleared >= 1


def test_stop_ends_the_thread(watchdog: Watchdog) -> None:
    engine, _ = arm(watchdog, 60)
    before = threading.active_count()
    watchdog.stop()
    assert threading.active_count() == before - 1 and not engine.interrupted.is_set()
