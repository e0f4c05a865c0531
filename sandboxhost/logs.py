"""Logging: one logger tree, and what guests and workers print, made harmless, cut into lines, and not too much of it."""
from __future__ import annotations

import logging
import threading
import time
from collections import deque

from .errors import SandboxError, printable

__all__ = ["GuestLines", "LineBudget", "attach", "last_lines", "logger"]

logger = logging.getLogger("sandboxhost")
"""sandboxhost: life of host and workers; sandboxhost.plugin.NAME: what guests print. Records of the latter have the attributes
plugin, tenant, function, call (its number) and stream ("stdout", "stderr")."""
logger.addHandler(logging.NullHandler())

LINES_PER_SECOND = 500.0
"""Records that the guests of one plugin may cause, in the long run."""
MOST_LINES = 2000.0
"""The same at once."""
TAIL_LINES, TAIL_BYTES = 20, 4096
"""What is remembered of a call's output for its error."""
_MAX_LINE = 1000
_STREAMS = {1: "stdout", 2: "stderr"}


class LineBudget:
    """How many records one plugin may still cause: a bucket that fills steadily. Shared by its calls."""

    def __init__(self, rate: float = LINES_PER_SECOND, most: float = MOST_LINES) -> None:
        self._rate, self._most, self._left = rate, most, most
        self._dropped = 0
        self._filled: float | None = None
        self._lock = threading.Lock()

    def take(self, now: float) -> int | None:
        """One record may be made: the number of lines that were left out before it. None: this one is left out too."""
        with self._lock:
            if self._filled is not None:
                self._left = min(self._most, self._left + (now - self._filled) * self._rate)
            self._filled = now
            if self._left < 1.0:
                self._dropped += 1
                return None
            self._left -= 1.0
            dropped, self._dropped = self._dropped, 0
            return dropped


class GuestLines:
    """Turns what one call writes into log records, one a line: escape sequences shown, not obeyed; long lines cut."""

    def __init__(self, plugin: str, function: str, tenant: str = "", call: int = 0, budget: LineBudget | None = None) -> None:
        self._log = logger.getChild("plugin").getChild(plugin.replace(".", "_"))
        self._function = _one_line(function)
        self._about = {"plugin": plugin, "tenant": tenant, "function": self._function, "call": call}
        self._budget = budget or LineBudget()
        self._rest = {1: b"", 2: b""}
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)

    def write(self, stream: int, data: bytes) -> None:
        """More of one stream."""
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        for line in lines:
            self._line(stream, line)
        while len(rest) > _MAX_LINE:
            self._line(stream, rest[:_MAX_LINE])
            rest = rest[_MAX_LINE:]
        self._rest[stream] = rest

    def close(self) -> None:
        """The call has ended: what is left is a line too."""
        for stream, rest in self._rest.items():
            if rest:
                self._line(stream, rest)
        self._rest = {1: b"", 2: b""}

    def tail(self) -> tuple[str, ...]:
        """The last lines of both streams, in the order in which they came, made harmless."""
        return last_lines([*self._tail, *filter(None, self._rest.values())])

    def _line(self, stream: int, line: bytes) -> None:
        self._tail.append(line[: _MAX_LINE + 1])
        level = logging.INFO if stream == 1 else logging.WARNING
        if not self._log.isEnabledFor(level):
            return
        dropped = self._budget.take(time.monotonic())
        if dropped is None:
            return
        about = {**self._about, "stream": _STREAMS[stream]}
        if dropped:
            self._log.warning("%s: (%d lines of this plugin were left out)", self._function, dropped, extra=about)
        text = _one_line(line[: 4 * _MAX_LINE].decode("utf-8", "replace"))
        self._log.log(level, "%s: %s", self._function, text, extra=about)


def last_lines(lines: list[bytes]) -> tuple[str, ...]:
    """The last of them that are not too much together, made harmless, each cut as in the log."""
    found: list[str] = []
    left = TAIL_BYTES
    for line in reversed(lines[-TAIL_LINES:]):
        text = _one_line(line.decode("utf-8", "replace"))
        left -= len(text)
        if left < 0:
            break
        found.append(text)
    return tuple(reversed(found))


def attach(error: SandboxError, lines: tuple[str, ...]) -> None:
    """The guest's last lines go with an error that has room for them, and into its traceback, as a note."""
    if lines and "output_tail" in error.fields and not getattr(error, "output_tail", ()):
        error.output_tail = lines  # type: ignore[attr-defined]
        error.add_note("\n  | ".join(["the guest's last output:", *lines]))


def _one_line(text: str) -> str:
    return printable(text, _MAX_LINE).replace("\n", "\\n")
