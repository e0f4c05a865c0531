"""The interrupt check: a guest that never ends by itself, ended by its deadline."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import modules
from benchmarks.peers import ours
from benchmarks.probes.common import Answer

DEADLINE_SECONDS = 0.1


def measure(task: dict[str, Any]) -> Answer:
    """Figure: how long after its deadline the guest ended."""
    from sandboxhost.errors import DeadlineExceeded
    from sandboxworker.context import CallContext
    from sandboxworker.engine import Engine, Module
    from sandboxworker.store import Store

    engine, module = Engine(tier=task["tier"], metered=bool(task.get("metered"))), Module(modules.endless())
    engine.compile_module(module)
    run: Any = Store(engine).instantiate(module).exports["run"]
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        run.call(context=CallContext(deadline=deadline))
    except DeadlineExceeded:
        late = time.monotonic() - deadline
    else:
        raise SystemExit("an endless loop ended by itself")
    return {"version": ours.version(), "figures": {"late": (late, "s")}}
