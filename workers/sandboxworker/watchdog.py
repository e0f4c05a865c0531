"""The watchdog: one thread per process that interrupts call engines at their deadlines."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from . import native

NEVER = 2**63 - 1
"""No deadline, in nanoseconds of the monotonic clock."""


class Line(Protocol):
    """Where the core runs calls by itself (call_line.py)."""

    def expire(self, now_ns: int) -> int: ...


class Watch:
    """One armed deadline; `fired` says that the engine was interrupted because of it."""

    __slots__ = ("deadline_ns", "engine", "fired")

    def __init__(self, engine: native.NativeCallEngine, deadline_ns: int) -> None:
        self.engine = engine
        self.deadline_ns = deadline_ns
        self.fired = False


class Watchdog:
    """Interrupts engines when `time.monotonic_ns()` reaches their deadline; nothing wakes up for a call that ends in time.

    The thread starts with the first deadline (or `start`) and sleeps until the earliest one it knew when it fell asleep: a
    deadline that is disarmed is looked at once more at the most, and only an earlier one wakes it.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._armed: set[Watch] = set()
        self._lines: list[Line] = []
        self.watched = native.new("int64_t *")
        """When the thread looks at all deadlines by itself, for the core: a call with an earlier one is not for a line."""
        self._set_wake(NEVER)
        self._thread: threading.Thread | None = None
        self._stopped = False

    def watch(self, line: Line) -> None:
        """Calls that run there are interrupted at their deadlines, too."""
        with self._condition:
            self._lines.append(line)

    def _set_wake(self, when_ns: int) -> None:
        self._wake_ns = self.watched[0] = when_ns

    def start(self) -> None:
        """Starts the thread now rather than with the first deadline."""
        with self._condition:
            self._ensure_thread()

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # not alive: this is the child of a fork
            self._thread = threading.Thread(target=self._run, name="sandbox-watchdog", daemon=True)
            self._thread.start()

    def arm(self, engine: native.NativeCallEngine, deadline_ns: int) -> Watch:
        """Interrupts the engine at the deadline unless disarmed before."""
        watch = Watch(engine, deadline_ns)
        with self._condition:
            self._armed.add(watch)
            if deadline_ns < self._wake_ns:
                self._ensure_thread()
                self._condition.notify()
        return watch

    def disarm(self, watch: Watch) -> None:
        """After this returns no interrupt comes any more; one that came and was not delivered is taken back."""
        with self._condition:
            self._armed.discard(watch)
        if watch.fired:
            watch.engine.clear_interrupt()

    def stop(self) -> None:
        """Ends the thread; armed deadlines are dropped."""
        with self._condition:
            self._stopped = True
            self._armed.clear()
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._condition:
            while not self._stopped:
                now = time.monotonic_ns()
                for watch in [w for w in self._armed if w.deadline_ns <= now]:
                    self._armed.discard(watch)
                    watch.fired = True
                    watch.engine.interrupt()
                self._set_wake(NEVER)  # a call that begins on a line from here on has its deadline later than what follows
                times = [watch.deadline_ns for watch in self._armed]
                self._set_wake(min((*times, *(line.expire(now) for line in self._lines)), default=NEVER))
                self._condition.wait(None if self._wake_ns == NEVER else max(self._wake_ns - now, 0) / 1e9)


watchdog = Watchdog()
"""The process's watchdog."""
