"""The router's justice: who is refused, who is blamed for a lost worker, and who runs alone for a time. Part of router.Router."""
from __future__ import annotations

from typing import Any

from . import wire
from .domains import Domain
from .errors import Loss, Quarantined, SandboxError, WorkerLost, WorkerStartError
from .quarantine import Quarantine
from .router_state import CallState, Instruction, Note, Plugin, WorkerState
from .statistics import Usage

__all__ = ["DomainSide"]


class DomainSide:
    """What domains and quarantine (quarantine.py) ask of the router."""

    plugins: dict[int, Plugin]
    workers: dict[bytes, WorkerState]
    failures: dict[Domain, str]
    _quarantine: Quarantine
    _out: list[Instruction]

    def _finish(self, call: CallState, payload: bytes = b"", error: SandboxError | None = None,
                usage: Usage | None = None) -> None:
        raise NotImplementedError

    def _send(self, worker: WorkerState, message: Any) -> None:
        raise NotImplementedError

    def domains(self) -> set[Domain]:
        """Those that are needed: plugins belong to them, or their workers have calls."""
        found = {plugin.domain for plugin in self.plugins.values()} | {w.domain for w in self.workers.values() if w.calls}
        return found | {plugin.shared for plugin in self.plugins.values() if plugin.shared is not None}

    def _admit(self, plugin: Plugin, function: str) -> None:
        """Raises what the plugin's calls are refused with now, if any."""
        if plugin.quarantined:
            raise self._quarantined(plugin, function)
        if plugin.mourned:
            raise self._mourn(plugin, function)
        if plugin.domain in self.failures:
            raise WorkerStartError(self.failures[plugin.domain])

    def _mourn(self, plugin: Plugin, function: str) -> WorkerLost:
        """What tells, once, that a persistent plugin's instance is gone."""
        reason, plugin.mourned = plugin.mourned, ""
        return WorkerLost(f"the worker with the plugin's instance was lost: {reason}; the next call begins with a new one",
                          maybe_ran=False, kind=plugin.last_loss, reason=reason, instance_lost=True, plugin=plugin.name,
                          function=function)

    def _quarantined(self, plugin: Plugin, function: str = "") -> Quarantined:
        return Quarantined(plugin.quarantined, plugin=plugin.name, function=function, kind=plugin.last_loss,
                           losses=self._quarantine.marks(plugin.id))

    def _blame(self, worker: WorkerState, kind: Loss, reason: str, now: float) -> None:
        """Marks the plugins that may have been why the worker was lost: those that had a call on it, or still may have."""
        running = {call.spec.plugin for call in worker.calls.values()} | {left.plugin for left in worker.abandoned.values()}
        plugins = (worker.culprits if kind is Loss.DEADLINE else running) & self.plugins.keys()
        for plugin_id in plugins:
            self.plugins[plugin_id].last_loss = kind
        verdict = self._quarantine.lost(plugins, kind, now)
        for plugin_id in verdict.quarantined:
            plugin = self.plugins[plugin_id]
            count = self._quarantine.marks(plugin_id)
            plugin.quarantined = (f"{plugin.name} is quarantined until it is loaded anew: {count} worker{'s' * (count > 1)} lost "
                                  f"during its calls; the last one: {kind.value}: {reason}")
            self._out.append(Note(plugin.quarantined))
            for call in list(plugin.queue):
                self._finish(call, error=self._quarantined(plugin, call.spec.function))
            self._move(plugin, plugin.shared or plugin.domain, None)
        for plugin_id in verdict.suspects:
            plugin = self.plugins[plugin_id]
            if not plugin.domain.plugin:
                self._out.append(Note(f"{plugin.name} runs in workers of its own for {self._quarantine.seconds:g} s: "
                                      f"it had a call on a worker that was lost ({kind.value}), as others had"))
                self._move(plugin, plugin.domain.alone(plugin_id), plugin.domain)

    def _acquit(self, now: float) -> None:
        """Suspects that have lost no worker for long enough return to the workers that they share with others."""
        for plugin_id in self._quarantine.cleared(now):
            plugin = self.plugins.get(plugin_id)
            if plugin is not None and plugin.shared is not None and not plugin.alive:
                self._move(plugin, plugin.shared, None)

    def _move(self, plugin: Plugin, domain: Domain, shared: Domain | None) -> None:
        """From now on its calls go to workers of that domain; those on others end there."""
        plugin.shared = shared
        if domain == plugin.domain:
            return
        plugin.domain, plugin.home = domain, None
        for worker in self.workers.values():
            if worker.domain != domain and worker.plugins.pop(plugin.id, None) is not None:
                self._send(worker, wire.Unload(plugin.id))
