"""The application's functions that guests may call: registration by annotations, matching with imports, running."""
from __future__ import annotations

import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from .errors import LinkError
from .values import FunctionType, ValueType, pack, unpack

__all__ = ["HostFunction", "Threads", "current_call"]

_ANY_INT = frozenset({ValueType.I32, ValueType.I64})
_ANY_FLOAT = frozenset({ValueType.F32, ValueType.F64})

current_call: contextvars.ContextVar[tuple[object, int]] = contextvars.ContextVar("sandboxhost_current_call", default=(None, 0))
"""(host core, call id) on behalf of which the application's code runs just now: calls made from it nest."""


def _kinds(annotation: Any, where: str) -> frozenset[ValueType]:
    """The wasm types that an annotation stands for."""
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, ValueType):
                return frozenset({extra})
        annotation = get_args(annotation)[0]
    known = {int: _ANY_INT, float: _ANY_FLOAT, bool: frozenset({ValueType.I32})}
    if annotation not in known:
        raise TypeError(f"{where}: annotate with i32, i64, f32, f64, int, float, bool or externref, not {annotation!r}")
    return known[annotation]


@dataclass(frozen=True)
class HostFunction:
    """One function of the application, under the name by which guests import it."""

    module: str
    name: str
    function: Callable[..., Any]
    params: tuple[frozenset[ValueType], ...]
    """For each parameter the types that it takes: one for i32, i64, f32, f64; both integers for int, both floats for float."""
    results: tuple[frozenset[ValueType], ...]
    booleans: tuple[bool, ...]
    """Parameters annotated bool get True or False."""

    @classmethod
    def of(cls, module: str, name: str, function: Callable[..., Any]) -> HostFunction:
        """Reads the annotations. Raises TypeError that names what is missing."""
        title = f"host function {module}.{name}"
        hints = get_type_hints(function, include_extras=True)
        params: list[frozenset[ValueType]] = []
        booleans: list[bool] = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                raise TypeError(f"{title}: parameter {parameter.name!r} cannot be passed by position")
            if parameter.name not in hints:
                raise TypeError(f"{title}: parameter {parameter.name!r} has no annotation")
            params.append(_kinds(hints[parameter.name], f"{title}: parameter {parameter.name!r}"))
            booleans.append(hints[parameter.name] is bool)
        if "return" not in hints:
            raise TypeError(f"{title}: the result has no annotation (None for no result)")
        result = hints["return"]
        if result is None or result is type(None):
            kinds: tuple[Any, ...] = ()
        elif get_origin(result) is tuple:
            kinds = get_args(result)
        else:
            kinds = (result,)
        return cls(module, name, function, tuple(params), tuple(_kinds(k, f"{title}: result") for k in kinds), tuple(booleans))

    def check(self, wanted: FunctionType) -> None:
        """Raises LinkError when a module imports it with another type."""
        fits = len(wanted.params) == len(self.params) and len(wanted.results) == len(self.results) and all(
            have in may for have, may in zip((*wanted.params, *wanted.results), (*self.params, *self.results), strict=True))
        if not fits:
            raise LinkError(f"incompatible import type: \"{self.module}\".\"{self.name}\": the module imports {wanted}, "
                            f"the application's function is {self}")

    def __str__(self) -> str:
        def words(kinds: tuple[frozenset[ValueType], ...]) -> str:
            return ", ".join("|".join(sorted(map(str, k))) for k in kinds)
        return f"({words(self.params)}) -> ({words(self.results)})"

    def run(self, wanted: FunctionType, payload: bytes) -> bytes:
        """Calls it with packed arguments; packed results. Raises what the function raises, SignatureMismatch, ProtocolError."""
        values = unpack(wanted.params, payload, f"arguments of {self.module}.{self.name}")
        arguments = [bool(v) if is_bool else v for v, is_bool in zip(values, self.booleans, strict=True)]
        result = self.function(*arguments)
        if not wanted.results:
            results: tuple[Any, ...] = () if result is None else (result,)
        elif len(wanted.results) == 1:
            results = (result,)
        else:
            results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        return pack(wanted.results, results, f"host function {self.module}.{self.name}", "result")


class Threads:
    """Daemon threads for host functions of calls that nobody waits for in person; one more whenever all are busy.

    (A ThreadPoolExecutor would be joined at the interpreter's exit before the host can be closed, and would limit the nesting.)
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._idle = 0
        self._closed = False

    def submit(self, work: Callable[[], None]) -> None:
        """Runs `work` soon."""
        with self._lock:
            self._work.append(work)
            if self._idle >= len(self._work):
                self._lock.notify()
                return
        threading.Thread(target=self._run, name="sandboxhost-function", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
                while not self._work:
                    if self._closed or (not self._lock.wait(5.0) and not self._work):
                        self._idle -= 1
                        return
                self._idle -= 1
                work = self._work.popleft()
            work()

    def close(self) -> None:
        """Idle threads end; busy ones end when nothing is left to do."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
