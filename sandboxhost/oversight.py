"""A round of supervision for the driver: who is looked at, started, booted, drained, given up; and a domain's directories."""
from __future__ import annotations

import select
from collections.abc import Mapping

from .domains import Directory, Domain
from .engine import CompiledModule
from .errors import WorkerStartError
from .lines import Lines
from .router import Instruction, Kill, Router
from .supervision import Supervision
from .supervisor import Supervisor, WorkerProcess
from .watch import Look, Watch, look

__all__ = ["Oversight", "reach"]

Resources = Mapping[int, tuple[CompiledModule, list[int]]]
"""Plugin -> its image, and the descriptors of its directories."""


class Oversight:
    """Between pools.py and watch.py, which decide, and router and processes, which it concerns. Under the driver's lock."""

    def __init__(self, router: Router, supervisor: Supervisor, lines: Lines, supervision: Supervision, now: float) -> None:
        self._router, self._supervisor, self._lines = router, supervisor, lines
        self._watch = Watch(supervision, now)

    def next_time(self) -> float | None:
        """When `round` wants to be called."""
        times = (self._supervisor.next_time(), self._watch.next_time())
        return min((t for t in times if t is not None), default=None)

    def round(self, poll: select.poll, watched: dict[int, WorkerProcess], now: float) -> list[Instruction]:
        """Looks at the workers, ends those that nobody needs, starts those that are missing, and watches their descriptors."""
        router, supervisor = self._router, self._supervisor
        if not (self._watch.due(now) or supervisor.pools.due(now)):
            return []
        supervisor.pools.keep_only(router.domains())
        instructions = self._look_around(now) if self._watch.due(now) else []
        changes = supervisor.tick(now)
        for worker in changes.new:
            process = worker.process
            for fd in (process.fd, process.stderr, *((process.lifeline.fileno(),) if worker.domain is None else ())):
                poll.register(fd, select.POLLIN)
                watched[fd] = worker
        for worker in changes.booted:
            if watched.pop(worker.process.lifeline.fileno(), None) is not None:  # from now on a line, or nobody, reads it
                poll.unregister(worker.process.lifeline.fileno())
            assert worker.domain is not None
            router.worker_started(worker.routing_id, worker.process.pid, self._lines.add(worker), worker.domain)
        for item in changes.drain:
            instructions += router.drain_worker(item.id, item.why, now)
        for domain, words in supervisor.pools.failures().items():
            if domain not in router.failures:
                instructions += router.no_workers(words, now, domain)
        return instructions

    def _look_around(self, now: float) -> list[Instruction]:
        """Every ready worker's memory and state, and what follows from it."""
        looks, busy = [], False
        for worker in self._supervisor.workers.values():
            state = self._router.workers.get(worker.routing_id)
            if state is None or worker.ready_at is None:
                continue
            busy = busy or bool(state.calls)
            seen = look(worker.watched)
            if seen is not None:
                worker.resident = seen[1]
                looks.append(Look(worker.routing_id, *seen, now - worker.ready_at, state.ended, self._router.pinned(state.id)))
        kills: list[Instruction] = []
        for finding in self._watch.judge(looks, busy, now):
            if finding.kind is not None:
                kills.append(Kill(finding.id, finding.why, finding.kind))
            else:
                self._supervisor.pools.retire(finding.id, finding.why)
        return kills


def reach(router: Router, resources: Resources, domain: Domain) -> tuple[tuple[bool, ...], list[int]]:
    """The domain's directories: whether each is writable, and descriptors that plugins hold. Raises WorkerStartError: none has
    one any more."""
    found: dict[Directory, int] = {}
    if domain.directories:
        for plugin in router.plugins.values():
            found.update(zip(plugin.directories, resources[plugin.id][1], strict=True))
    try:
        return tuple(d.writable for d in domain.directories), [found[d] for d in domain.directories]
    except KeyError:
        raise WorkerStartError(f"no plugin has the directories of the domain ({domain}) any more") from None
