"""Idle instances of fresh plugins: kept, as new, for the next call, within bounds of the process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plugin import Instance, Plugin

MAX_INSTANCES = 64
"""Each holds a reservation of address space and some kilobytes."""
MAX_BYTES = 256 << 20
"""Of the memories' initial sizes together: pages that nobody has touched since, but that count against the process's limit."""


class IdleInstances:
    """Instances that wait for a call of their plugin; what is kept longest goes first when there are too many. Thread-safe."""

    def __init__(self, most: int = MAX_INSTANCES, most_bytes: int = MAX_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._idle: OrderedDict[Instance, int] = OrderedDict()
        self._by_plugin: dict[Plugin, list[Instance]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, plugin: Plugin) -> Instance | None:
        """The one that was given last, now the caller's."""
        with self._lock:
            waiting = self._by_plugin.get(plugin)
            return self._remove(waiting[-1]) if waiting else None

    def give(self, instance: Instance, size: int) -> None:
        """Keeps an instance that is as new, whose memories have `size` bytes; closes what is too much."""
        with self._lock:
            surplus = [instance]
            if size <= self._most_bytes and not instance.plugin.closed:
                self._by_plugin.setdefault(instance.plugin, []).append(instance)
                self._idle[instance] = size
                self._bytes += size
                surplus = []
                while len(self._idle) > self._most or self._bytes > self._most_bytes:
                    surplus.append(self._remove(next(iter(self._idle))))
        for one in surplus:
            one.close()

    def drop(self, plugin: Plugin | None = None) -> bool:
        """Closes those of one plugin, or all; whether there were any."""
        with self._lock:
            surplus = list(self._idle if plugin is None else self._by_plugin.get(plugin, ()))
            for instance in surplus:
                self._remove(instance)
        for instance in surplus:
            instance.close()
        return bool(surplus)

    def _remove(self, instance: Instance) -> Instance:
        self._bytes -= self._idle.pop(instance)
        waiting = self._by_plugin[instance.plugin]
        waiting.remove(instance)
        if not waiting:
            del self._by_plugin[instance.plugin]
        return instance


idle = IdleInstances()
"""The process's idle instances."""
