"""Idle instances of fresh plugins: kept, as new, for the next call, within bounds of the process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plugin import Instance, Plugin

MAX_INSTANCES = 64
"""Each holds a reservation of address space and some kilobytes."""
MAX_BYTES = 256 << 20
"""Of the memories' initial sizes together: pages that nobody has touched since, but that count against the process's limit."""


class KeptInstances:
    """Those that serve one call after the other; between two of them they lie in their plugin's list. Thread-safe: a list's pop,
    append and remove are one step each."""

    def __init__(self, most: int = MAX_INSTANCES, most_bytes: int = MAX_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: dict[Instance, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, plugin: Plugin) -> Instance | None:
        """The one that was given last, now the caller's."""
        try:
            return plugin.idle.pop()
        except IndexError:
            found = (line.recall(plugin) for line in list(plugin.lent))
            return next((one for one in found if one is not None), None)

    def give(self, instance: Instance) -> None:
        """Back, as new, after a call; closes it when it may not be kept."""
        if instance not in self._kept and not self._keep(instance):
            instance.close()
            return
        instance.plugin.idle.append(instance)
        if instance.plugin.closed:
            self.drop(instance.plugin)

    def drop(self, plugin: Plugin | None = None) -> bool:
        """Closes the idle ones of one plugin, or all; whether there were any."""
        with self._lock:
            return sum(self._close(one) for one in list(self._kept) if plugin is None or one.plugin is plugin) > 0

    def forget(self, instance: Instance) -> None:
        """One that was taken is closed by its user."""
        with self._lock:
            self._bytes -= self._kept.pop(instance, 0)

    def _keep(self, instance: Instance) -> bool:
        """Makes room for one more at the cost of those that were kept first; False when all are in use."""
        size = instance.store.memory_bytes()
        with self._lock:
            for one in list(self._kept):
                if len(self._kept) < self._most and self._bytes + size <= self._most_bytes:
                    break
                self._close(one)
            if len(self._kept) >= self._most or self._bytes + size > self._most_bytes:
                return False
            self._kept[instance] = size
            self._bytes += size
            return True

    def _close(self, instance: Instance) -> bool:
        try:
            instance.plugin.idle.remove(instance)
        except ValueError:  # in use, or held by a line
            if not any(line.recall(instance.plugin, instance) for line in list(instance.plugin.lent)):
                return False
        self._bytes -= self._kept.pop(instance, 0)
        instance.store.close()
        return True


kept = KeptInstances()
"""The process's."""
