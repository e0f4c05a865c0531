"""Prepared calls: a Python function for one export, whose call is one call into the core and no look-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import native
from .types import FunctionType, ValueType

if TYPE_CHECKING:
    from .call_engine import CallEngine
    from .module_instance import FunctionInstance

Prepared = Callable[..., Any]
"""Called with the function's arguments; gives None, the result, or a tuple of results."""

_MISSING: Any = type("_Missing", (), {"__slots__": ()})()
"""Stands for an argument that was not passed; no conversion takes it."""
_INTEGERS = (ValueType.I32, ValueType.I64)
_FLOATS = (ValueType.F32, ValueType.F64)
_init, _outcome, _release, _discard, _bar = (
    native.function(f"sbx_prepared_{name}") for name in ("init", "outcome", "release", "discard", "bar")
)


class Record:
    """One sbx_prepared: a function, an engine, and what became of the last call that gave no result."""

    __slots__ = ("__weakref__", "_engine", "pointer")

    def __init__(self, pointer: native.Pointer, engine: native.NativeCallEngine) -> None:
        self.pointer = pointer
        self._engine = engine  # the record points to it

    def __del__(self) -> None:
        self.discard()

    @classmethod
    def make(
        cls, engine: native.NativeCallEngine, function: native.Pointer, metered: bool, fresh: native.Pointer | None = None
    ) -> Record | None:
        """None: the core has no entry for the function's signature. fresh: the instance that every call begins with as new."""
        pointer = native.new("sbx_prepared *")
        if not _init(pointer, engine.pointer, function, metered):
            return None
        if fresh is not None:
            pointer.fresh = fresh
        return cls(pointer, engine)

    def entry(self, params: Iterable[bool], floating: bool) -> Any:
        """The core's function for parameters (floating ones True) and a result."""
        shape = "".join("f" if p else "i" for p in params) or "v"
        return native.function(f"sbx_prepared_{shape}_{'f' if floating else 'i'}")

    def outcome(self) -> int:
        """Of this thread's last call, when its answer asks: OK (that is the result), PREPARED_NOT_BEGUN, or a call's status; then
        the engine stays taken until `release`."""
        return int(_outcome(self.pointer))

    def release(self) -> None:
        """Leaves an engine that this thread's last call still holds."""
        _release(self.pointer)

    def discard(self) -> None:
        """The same; a call that was suspended is abandoned."""
        _discard(self.pointer)

    def bar(self, closed: bool) -> bool:
        """From now on no call begins, or calls may again; whether one is under way."""
        return bool(_bar(self.pointer, closed))


def prepare(function: FunctionInstance, engine: CallEngine) -> Prepared:
    """A prepared call of `function` on `engine`. Any call that the fast way does not suit goes through FunctionInstance.call:
    its errors are the same, and so is what it accepts."""
    record = Record.make(engine.native, function.pointer, function.metered)
    return join(function, record, function.call, lambda outcome: engine.adopt(function, record, outcome))


def join(
    function: FunctionInstance,
    record: Record | None,
    call: Callable[..., tuple[Any, ...]],
    adopt: Callable[[int], tuple[Any, ...]],
) -> Prepared:
    """The fast way through `record`, if there is one; `call` for what it does not suit, `adopt` for what it has only begun."""
    single = len(function.type.results) == 1

    def plainly(*params: Any) -> Any:
        results = call(*params)
        return results[0] if single else results or None

    if record is None:
        return plainly
    outcome_of = record.outcome

    def otherwise(result: Any, *params: Any) -> Any:
        """The core's answer asks what became of the call: nothing, an end without results, a suspension, or just this result."""
        outcome = outcome_of()
        if outcome == native.OK:
            return result
        if outcome == native.PREPARED_NOT_BEGUN:
            return plainly(*params)
        results = adopt(outcome)
        return results[0] if single else results or None

    function.store.prepared.add(record)
    return fast_way(function.type, record, otherwise, plainly)


def fast_way(type_: FunctionType, record: Record, otherwise: Prepared, plainly: Prepared) -> Prepared:
    """What callers get: `otherwise` settles an answer of the core that asks for it, `plainly` takes arguments that cannot even be
    handed over."""
    floating = [t in _FLOATS for t in type_.params]
    entry = record.entry(floating, bool(type_.results) and type_.results[0] in _FLOATS)
    made: Prepared = _maker(type_)(entry, record.pointer, otherwise, plainly, native.PREPARED_ASK, _MISSING)
    made.__doc__ = f"{type_}, prepared."
    return made


@lru_cache(maxsize=1024)
def _maker(type_: FunctionType) -> Callable[..., Prepared]:
    """Makes the fast way of a signature: what it would do in loops over the types is written out.

    `a | 0` takes what is an integer and refuses what could only be converted into one (Decimal), which cffi would truncate.
    """
    names = [f"a{i}" for i in range(len(type_.params))]
    defaults = "".join(f"{name}=missing, " for name in names)
    handed = "".join(f", {name} | 0" if t in _INTEGERS else f", {name}" for name, t in zip(names, type_.params, strict=True))
    passed = f"*[a for a in ({''.join(name + ', ' for name in names)}) if a is not missing], *rest"
    asks = "result != result" if type_.results and type_.results[0] in _FLOATS else "result == ask"
    text = f"""
def make(entry, record, otherwise, plainly, ask, missing):
    def call({defaults}*rest):
        if not rest:
            try:
                result = entry(record{handed})
            except (TypeError, OverflowError):
                pass
            else:
                if {asks}:
                    return otherwise(result, {passed})
                return {"result" if type_.results else "None"}
        return plainly({passed})
    return call
"""
    space: dict[str, Any] = {}
    exec(text, space)
    made: Callable[..., Prepared] = space["make"]
    return made
