"""Generations of a plugin: what `Plugin.reload` replaces in one step, and how it does so or leaves everything as it was."""
from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .calls import Binding
from .engine import ModuleDescription
from .errors import PayloadTooLarge, SignatureMismatch, UnknownFunction, printable
from .grants import Grants
from .host_functions import current_call
from .limits import Limits
from .manifest import Manifest
from .options import RunOptions
from .router import CallSpec
from .router_state import Plugin as PluginRecord
from .values import FunctionType

if TYPE_CHECKING:
    from .host import Backend, Host
    from .plugin import Plugin

__all__ = ["Generation", "Recipe", "Reloaded", "reload"]


@dataclass(frozen=True)
class Recipe:
    """What `Host.load` was told: every generation is made after it."""

    limits: Limits
    grants: Grants
    name: str
    instance: str | int | None
    idempotent: bool
    manifest: Manifest | None
    tenant: str
    isolation: str


class Reloaded(NamedTuple):
    """What `Plugin.reload` did. Names of exported functions, sorted."""

    generation: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Those that have another type now."""


class Generation:
    """One loaded module of a plugin, with all that its calls need. Immutable: who holds one has parts that fit each other."""

    def __init__(self, record: PluginRecord, grants: Grants, description: ModuleDescription, backend: Backend,
                 binding: Binding, idempotent: bool, manifest: Manifest | None) -> None:
        self.record, self.grants, self.description, self.backend, self.binding = record, grants, description, backend, binding
        self.manifest = manifest
        self.entry = (manifest.entry if manifest else "") or ("_start" if "_start" in description.exports else "")
        self.name, self.number, self.limits = record.name, record.id, record.limits
        self.options = RunOptions((self.name, *grants.arguments), grants.variables, b"", "capture")
        """Of a command without arguments and input of its own."""
        self.options_bytes = self.options.encode()
        self._idempotent = idempotent

    def signature(self, function: str) -> FunctionType:
        """The type of an exported function. Raises UnknownFunction."""
        export = self.description.exports.get(function)
        if export is not None and isinstance(export.type, FunctionType):
            return export.type
        shown = printable(repr(function), 200)
        what = f"no function {shown}" if export is None else f"{shown} as a {export.kind}, not as a function"
        raise UnknownFunction(f"{self.name} exports {what}", plugin=self.name, function=function)

    def spec(self, function: str, payload: bytes, kind: str = "call", batch: bool = False, beside: int = 0) -> CallSpec:
        """The spec of a call made here and now. Raises PayloadTooLarge."""
        if len(payload) + beside > self.limits.argument_bytes:
            raise PayloadTooLarge(f"the arguments have {len(payload) + beside} bytes, {self.limits.argument_bytes} are allowed",
                                  limit="argument_bytes", allowed=self.limits.argument_bytes, plugin=self.name, function=function)
        backend, parent = current_call.get()
        return CallSpec(self.number, kind, function, payload, self._deadline(), parent if backend is self.backend else 0, batch,
                        self._idempotent)

    def _deadline(self) -> float | None:
        """Of a call that is made now."""
        return None if self.limits.deadline is None else time.monotonic() + self.limits.deadline

    def rows_spec(self, function: str, payload: bytes, rows: int, row_bytes: int, stop: bool) -> CallSpec:
        """The spec of a call of many rows."""
        return CallSpec(self.number, "rows", function, payload, self._deadline(), 0, True, self._idempotent, rows, row_bytes,
                        stop)


def reload(host: Host, plugin: Plugin, source: str | os.PathLike[str] | bytes, allow_changes: bool,
           trial: Callable[[Plugin], Any] | None) -> Reloaded:
    """See Plugin.reload; one at a time a plugin, which the caller sees to."""
    before = plugin.live
    if before.record.removed:
        raise UnknownFunction(f"{before.name} is not loaded (any more)", plugin=before.name)
    after = host.bring_up(source, plugin.recipe, before)
    try:
        difference = _compare(before, after)
        if (difference.removed or difference.changed) and not allow_changes:
            raise SignatureMismatch(_complaint(before, after, difference), plugin=before.name)
        if trial is not None:
            trial(plugin.sibling(after))
        if not plugin.switch(before, after):
            raise UnknownFunction(f"{before.name} was unloaded while it was reloaded", plugin=before.name)
    except BaseException:
        after.backend.remove_plugin(after.number)
        raise
    after.backend.retire_plugin(before.number)
    return difference


def _functions(generation: Generation) -> dict[str, FunctionType]:
    return {name: export.type for name, export in generation.description.exports.items() if isinstance(export.type, FunctionType)}


def _compare(before: Generation, after: Generation) -> Reloaded:
    old, new = _functions(before), _functions(after)
    return Reloaded(
        after.record.generation, tuple(sorted(new.keys() - old.keys())), tuple(sorted(old.keys() - new.keys())),
        tuple(sorted(name for name in old.keys() & new.keys() if old[name] != new[name])))


def _complaint(before: Generation, after: Generation, difference: Reloaded) -> str:
    """The words for what callers of the old generation would miss; of very many the first ones."""
    old, new = _functions(before), _functions(after)
    parts = [f"{printable(name, 80)!r} is gone" for name in difference.removed]
    parts += [f"{printable(name, 80)!r} was {old[name]} and is {new[name]}" for name in difference.changed]
    more = f"; {len(parts) - 10} more" if len(parts) > 10 else ""
    return (f"{before.name} stays as it is (generation {before.record.generation}): {'; '.join(parts[:10])}{more}; "
            "reload(…, allow_changes=True) takes such a module")
