"""Who is to blame for a lost worker, and who may not run any more. Pure: the time comes in with each question."""
from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from .errors import Loss

__all__ = ["Quarantine", "Verdict"]


class Verdict(NamedTuple):
    """What a loss means for the plugins that had a call on the worker."""

    quarantined: tuple[int, ...] = ()
    suspects: tuple[int, ...] = ()
    """One of several: each has to run in workers of its own until it is cleared."""


@dataclass
class _Record:
    marks: deque[float] = field(default_factory=deque)
    """When workers were lost."""
    suspected: float | None = None
    """When it shared its last loss with others."""


class Quarantine:
    """Marks by plugin. A loss marks every plugin that had a call there; only one that was there alone is convicted by it.

    So a plugin that kills its workers while it shares them shares one loss, runs alone from then on, and is found out; its
    neighbours run alone too, lose nothing, and are cleared.
    """

    def __init__(self, losses: int | None, seconds: float) -> None:
        self.losses, self.seconds = losses, seconds
        self._records: dict[int, _Record] = {}

    def lost(self, plugins: Collection[int], kind: Loss, now: float) -> Verdict:
        """A worker was lost. plugins: those with a call on it that may have been the cause."""
        if self.losses is None or not plugins or not kind.blamed:
            return Verdict()
        for plugin in plugins:
            marks = self._records.setdefault(plugin, _Record()).marks
            while marks and now - marks[0] > self.seconds:
                marks.popleft()
            marks.append(now)
        if len(plugins) > 1:
            for plugin in plugins:
                self._records[plugin].suspected = now
            return Verdict(suspects=tuple(sorted(plugins)))
        (plugin,) = plugins
        if kind is Loss.ESCAPE or len(self._records[plugin].marks) >= self.losses:
            return Verdict(quarantined=(plugin,))
        record = self._records[plugin]
        if record.suspected is not None:
            record.suspected = now
        return Verdict()

    def marks(self, plugin: int) -> int:
        """Losses within the time, as of the last one."""
        record = self._records.get(plugin)
        return len(record.marks) if record is not None else 0

    def cleared(self, now: float) -> tuple[int, ...]:
        """Suspects that have lost nothing since for `seconds`; each is named once."""
        found = tuple(plugin for plugin, record in self._records.items()
                      if record.suspected is not None and now - record.suspected >= self.seconds)
        for plugin in found:
            del self._records[plugin]
        return found

    def suspects(self) -> bool:
        """Whether there are any."""
        return any(record.suspected is not None for record in self._records.values())

    def forget(self, plugin: int) -> None:
        """It was unloaded."""
        self._records.pop(plugin, None)
