"""What the tests of this folder share: every executor that this machine has, in both ways of checking bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sandboxhost.limits import Limits
from sandboxworker import native
from sandboxworker.engine import Engine, Module
from sandboxworker.module_instance import ModuleInstance
from sandboxworker.store import Store
from tests.workers.driver import binary

TIERS: tuple[str, ...] = ("interpreter", "compiled") if native.HAS_COMPILED_TIER else ("interpreter",)


class Executor(NamedTuple):
    """A tier and how it checks the bounds of memories."""

    tier: str
    explicit_bounds: bool

    def __str__(self) -> str:
        return f"{self.tier}-{'explicit' if self.explicit_bounds else 'guarded'}"

    def engine(self, metered: bool = False) -> Engine:
        """An engine of its own."""
        return Engine(tier=self.tier, explicit_bounds=self.explicit_bounds, metered=metered)  # type: ignore[arg-type]

    def store(self, limits: Limits | None = None, metered: bool = False) -> Store:
        """A store of an engine of its own."""
        return Store(self.engine(metered), limits)


EXECUTORS = tuple(Executor(tier, explicit) for tier in TIERS for explicit in (False, True))


def instantiate(store: Store, source: str | bytes, name: str = "m", **imports: Any) -> ModuleInstance:
    """Compiles a module (as text or bytes) and instantiates it; imports are those of module "h"."""
    wanted = Module(binary(source) if isinstance(source, str) else source)
    store.engine.compile_module(wanted)
    return store.instantiate(wanted, name, {("h", key): extern for key, extern in imports.items()})


def exports(store: Store, source: str | bytes, name: str = "m", **imports: Any) -> Mapping[str, Any]:
    """The exports of such an instance."""
    return instantiate(store, source, name, **imports).exports
