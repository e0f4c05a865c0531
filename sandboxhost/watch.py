"""Watching workers from outside: memory, stopped processes, and which are due for renewal. `judge` decides, `look` reads."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .errors import Loss
from .supervision import Supervision

__all__ = ["Look", "Watch", "look"]

IDLE_SECONDS = 1.0
"""How often workers are looked at while none has a call; never more often than `Supervision.watch_seconds`."""


class Look(NamedTuple):
    """One worker now."""

    id: bytes
    stopped: bool
    resident: int
    """Bytes of its own: RSS - shared."""
    age: float
    """Seconds since READY."""
    calls: int
    """That it has ended."""
    pinned: bool
    """It holds the instance of a persistent plugin."""


class Finding(NamedTuple):
    """What is to become of a worker: kill it (with the kind), or renew it (None)."""

    id: bytes
    why: str
    kind: Loss | None


class Watch:
    """When to look, and what follows from it. Pure."""

    def __init__(self, supervision: Supervision, now: float) -> None:
        self._rules = supervision
        self._first: dict[bytes, int] = {}
        self._next = now

    def due(self, now: float) -> bool:
        """Whether it is time for `judge`."""
        return self._rules.watch_seconds is not None and now >= self._next

    def next_time(self) -> float | None:
        """When it is; None: never."""
        return self._next if self._rules.watch_seconds is not None else None

    def judge(self, looks: Iterable[Look], busy: bool, now: float) -> list[Finding]:
        """What follows. busy: some worker has a call, look again sooner."""
        rules = self._rules
        seconds = rules.watch_seconds or IDLE_SECONDS
        self._next = now + (seconds if busy else max(seconds, IDLE_SECONDS))
        findings = []
        first: dict[bytes, int] = {}
        for seen in looks:
            first[seen.id] = self._first.get(seen.id, seen.resident)
            if seen.stopped:
                findings.append(Finding(seen.id, "it was stopped (SIGSTOP)", Loss.STOPPED))
            elif rules.resident is not None and seen.resident > int(rules.resident):
                words = f"{seen.resident} bytes of resident memory, {rules.resident} are allowed"
                findings.append(Finding(seen.id, words, Loss.MEMORY))
            elif not seen.pinned and (why := self._stale(seen, seen.resident - first[seen.id])):
                findings.append(Finding(seen.id, why, None))
        self._first = first
        return findings

    def _stale(self, seen: Look, growth: int) -> str:
        rules = self._rules
        if rules.recycle_seconds is not None and seen.age >= rules.recycle_seconds:
            return f"recycled after {rules.recycle_seconds:g} s"
        if rules.recycle_calls is not None and seen.calls >= rules.recycle_calls:
            return f"recycled after {rules.recycle_calls} calls"
        if rules.recycle_growth is not None and growth >= int(rules.recycle_growth):
            return f"recycled after it had grown by {growth} bytes"
        return ""


def look(find: Callable[[], Any]) -> tuple[bool, int] | None:
    """(stopped, resident bytes of its own) of the psutil.Process that `find` returns; None when it has ended, or the system does
    not tell."""
    import psutil

    try:
        process = find()
        with process.oneshot():
            memory = process.memory_info()
            return process.status() == psutil.STATUS_STOPPED, max(0, memory.rss - getattr(memory, "shared", 0))
    except (psutil.Error, OSError):  # the latter: the application is out of descriptors
        return None
