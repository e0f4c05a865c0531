"""The ledger: every call that was issued, every outcome it had, every time that it ran; and what of that must not be."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sandboxhost import WorkerLost
from sandboxhost.calls import CallFuture

FACTOR = 3
"""What a guest answers for number n is n * FACTOR, or says so in another way."""


@dataclass
class Entry:
    """One call."""

    number: int
    kind: str
    idempotent: bool
    recorded: bool
    """It tells the ledger that it runs."""
    issued: float
    outcomes: list[str] = field(default_factory=list)
    runs: int = 0
    callbacks: int | None = None
    """Times that its future told of its end; None: it has no future."""
    ran_certainly: bool | None = None
    """What its outcome says of whether it ran: True (a result), False (never started), None (either)."""


class Ledger:
    """Calls by number. Safe for use by several threads."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._entries: dict[int, Entry] = {}
        self._pairs: set[tuple[object, Any]] = set()
        self.problems: list[str] = []
        self.outcomes: Counter[str] = Counter()
        """By the name of the outcome's class."""
        self.calls = 0
        self.runs = 0

    def issue(self, kind: str, idempotent: bool = False, recorded: bool = True) -> int:
        """A call is about to be made; its number."""
        with self._lock:
            number = next(self._numbers)
            self._entries[number] = Entry(number, kind, idempotent, recorded, time.monotonic())
            self.calls += 1
        return number

    def ran(self, number: int) -> None:
        """The guest of this call runs."""
        with self._lock:
            self.runs += 1
            entry = self._entries.get(number)
            if entry is None:
                self.problems.append(f"call {number} ran, and was not issued or was settled before")
            else:
                entry.runs += 1

    def future(self, number: int, future: CallFuture) -> None:
        """The call has a future, which must be done once."""
        with self._lock:
            self._entries[number].callbacks = 0
        future.add_done_callback(lambda _: self._called_back(number))

    def _called_back(self, number: int) -> None:
        with self._lock:
            entry = self._entries.get(number)
            if entry is not None and entry.callbacks is not None:
                entry.callbacks += 1
            else:
                self.problems.append(f"call {number}: its future was done after it was settled")

    def pair(self, host: object, pair: Any) -> Any:
        """What a persistent instance answered, (its name, how many calls it has had): returns what is right."""
        with self._lock:
            if (host, pair) in self._pairs:
                return "anything but what another call was told"
            self._pairs.add((host, pair))
        return pair

    def result(self, number: int, got: object, expected: object) -> None:
        """The call returned."""
        if got != expected:
            self.problem(f"call {number} returned {got!r:.200}, not {expected!r:.200}")
        self._outcome(number, "result", True)

    def error(self, number: int, error: BaseException, ran: bool | None = None) -> None:
        """The call ended with an error. ran: what is known besides of whether it ran."""
        if isinstance(error, WorkerLost) and not error.maybe_ran:
            ran = False
        self._outcome(number, type(error).__name__, ran)

    def _outcome(self, number: int, name: str, ran: bool | None) -> None:
        with self._lock:
            entry = self._entries.get(number)
            if entry is None:
                self.problems.append(f"call {number} ended with {name} after it was settled")
                return
            entry.outcomes.append(name)
            entry.ran_certainly = ran
            self.outcomes[name] += 1

    def problem(self, text: str) -> None:
        """Something that must not be."""
        with self._lock:
            self.problems.append(text)

    def settle(self) -> list[str]:
        """No call is under way, and no worker: every entry is checked and forgotten. The problems since the last time."""
        with self._lock:
            entries, self._entries = self._entries, {}
            problems, self.problems = self.problems, []
            self._pairs.clear()
        for entry in entries.values():
            problems += _problems_of(entry)
        return problems


def _problems_of(entry: Entry) -> list[str]:
    title = f"call {entry.number} ({entry.kind})"
    if len(entry.outcomes) != 1:
        outcomes = "no outcome" if not entry.outcomes else f"{len(entry.outcomes)} outcomes: {', '.join(entry.outcomes)}"
        return [f"{title} had {outcomes}"]
    if entry.callbacks not in (None, 1):
        return [f"{title}: its future was done {entry.callbacks} times"]
    if not entry.recorded:
        return []
    most = 2 if entry.idempotent else 1
    if entry.runs > most:
        return [f"{title} ran {entry.runs} times, at most {most} is allowed; it ended with {entry.outcomes[0]}"]
    if entry.ran_certainly is True and entry.runs == 0:
        return [f"{title} returned a result, but never ran"]
    if entry.ran_certainly is False and entry.runs:
        return [f"{title} ended with {entry.outcomes[0]}, which says that it never ran, but it did"]
    return []
