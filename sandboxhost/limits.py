"""Limits: what a plugin may use at most. Frozen values; a manifest may only lower them."""
from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import ManifestError

__all__ = ["Limits", "ProcessLimits", "parse_size"]

_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
Kind = Literal["size", "count", "seconds"]


def parse_size(value: object, name: str = "size") -> int:
    """Bytes from an int or a text such as "64MiB", "1.5 GiB", "10MB". Raises ManifestError naming `name`."""
    if isinstance(value, int) and not isinstance(value, bool):
        size: float = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)) and match[2].lower() in _UNITS:
        size = float(match[1]) * _UNITS[match[2].lower()]
    else:
        raise ManifestError(f"{name}: expected a size such as 1048576 or \"64MiB\", got {value!r}", key=name)
    if not 0 <= size < 2**63:
        raise ManifestError(f"{name}: {value!r} is out of range", key=name)
    return int(size)


def _limit(default: Any, kind: Kind, *, optional: bool = False) -> Any:
    return field(default=default, metadata={"kind": kind, "optional": optional})


def _checked(item: dataclasses.Field[Any], value: object) -> int | float | None:
    """The value in the field's unit. Raises ManifestError naming the field."""
    kind, name = item.metadata["kind"], item.name
    if value is None and item.metadata["optional"]:
        return None
    if kind == "size":
        return parse_size(value, name)
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind == "seconds" else int):
        unit = "seconds" if kind == "seconds" else "a whole number"
        raise ManifestError(f"{name}: expected {unit}{' or None' if item.metadata['optional'] else ''}, got {value!r}", key=name)
    if not 0 <= value < 2**63 or (isinstance(value, float) and not math.isfinite(value)):
        raise ManifestError(f"{name}: {value!r} is out of range", key=name)
    return value


class _Checked:
    """Base of the frozen dataclasses below: fields checked and sizes parsed when made."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, item.name, _checked(item, getattr(self, item.name)))

    def to_wire(self) -> dict[str, int | float | None]:
        """A plain dictionary for a message."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}  # type: ignore[arg-type]


def _from_mapping(cls: type[Any], values: Mapping[str, Any], what: str) -> dict[str, Any]:
    known = {item.name: item for item in dataclasses.fields(cls)}
    for name in values:
        if name not in known:
            raise ManifestError(f"{what}: unknown key {name!r}; known are {', '.join(known)}", key=str(name))
    return {name: _checked(known[name], value) for name, value in values.items()}


@dataclass(frozen=True)
class Limits(_Checked):
    """What one plugin may use. Sizes take bytes or text such as "64MiB"; seconds are floats; None, where allowed, means no limit.

    Raises ManifestError for a value of the wrong type or range, naming the field.
    """

    # The module: enforced by the decoder in the compile process; `load` raises LimitExceeded.
    module_bytes: int = _limit(256 * 2**20, "size")
    """Size of the .wasm. Enforced by the host before anything is compiled."""
    types: int = _limit(1_000_000, "count")
    functions: int = _limit(1_000_000, "count")
    """Functions, imports included."""
    imports: int = _limit(100_000, "count")
    exports: int = _limit(1_000_000, "count")
    globals: int = _limit(1_000_000, "count")
    tables: int = _limit(100_000, "count")
    segments: int = _limit(1_000_000, "count")
    """Data segments, and again as many element segments."""
    params: int = _limit(1_000, "count")
    """Parameters, and again as many results, of one type."""
    locals: int = _limit(50_000, "count")
    """Locals of one function, parameters included."""
    body_bytes: int = _limit(7_654_321, "size")
    """Size of one function's code."""
    nesting: int = _limit(65_536, "count")
    """Nested blocks of one function."""
    compile_seconds: float = _limit(60.0, "seconds")
    """Time for the compile process, enforced by the host with SIGKILL: `load` raises LimitExceeded."""
    compile_memory: int = _limit("4GiB", "size")
    """Data memory of the compile process, enforced by the kernel (RLIMIT_DATA): `load` raises LimitExceeded."""

    # An instance: enforced by the store in the worker.
    memory: int = _limit("256MiB", "size")
    """Bytes of all linear memories of one instance. memory.grow beyond it answers -1 to the guest; a call that then traps, and an
    instantiation that needs more, end with MemoryLimit."""
    table_elements: int = _limit(1_000_000, "count")
    """Elements of all tables of one instance. table.grow beyond it answers -1."""

    # A call: enforced in the worker; the host's clock is the backstop.
    fuel: int | None = _limit(None, "count", optional=True)
    """Wasm instructions of one call, counted in the interpreter, the same on every worker: FuelExhausted. None: nothing is counted,
    which is faster."""
    deadline: float | None = _limit(30.0, "seconds", optional=True)
    """Seconds from the moment the call is accepted, waiting included: the worker interrupts the guest, the host kills the worker a
    grace time later: DeadlineExceeded."""
    call_depth: int = _limit(20_000, "count")
    """Guest frames: StackLimit."""
    host_calls: int = _limit(1_000_000, "count")
    """Calls of the application's functions from one call, counted by the worker and by the host: LimitExceeded."""
    result_bytes: int = _limit("16MiB", "size")
    """Bytes of one call's results, counted by the worker and by the host: PayloadTooLarge."""

    # The wire.
    argument_bytes: int = _limit("16MiB", "size")
    """Bytes of one call's arguments (a command's arguments, environment and stdin included), counted by the host before anything is
    sent: PayloadTooLarge."""
    output_bytes: int = _limit("16MiB", "size")
    """Bytes of stdout and stderr together that one call may write: a captured command ends with PayloadTooLarge, what a library
    prints beyond it is dropped."""

    # The queue: enforced by the router.
    pending_calls: int = _limit(10_000, "count")
    """Calls of this plugin that are accepted and not ended: Overloaded."""
    concurrent_calls: int | None = _limit(None, "count", optional=True)
    """Calls of this plugin that workers hold at one time; the others wait. None: as many as there are worker threads."""

    def lowered_by(self, manifest: Mapping[str, Any], what: str = "[limits]") -> Limits:
        """These limits, each lowered to the manifest's value where that is lower; never raised.

        Raises ManifestError: a key that is no limit, or a value of the wrong type.
        """
        lowered: dict[str, Any] = {}
        for name, wish in _from_mapping(type(self), manifest, what).items():
            mine = getattr(self, name)
            if wish is not None and (mine is None or wish < mine):
                lowered[name] = wish
        return dataclasses.replace(self, **lowered)

    @classmethod
    def from_wire(cls, values: Mapping[str, Any]) -> Limits:
        """The opposite of `to_wire`. Raises ManifestError."""
        return cls(**_from_mapping(cls, values, "limits"))

    @property
    def memory_pages(self) -> int:
        """`memory` in wasm pages of 64 KiB."""
        return self.memory // 65_536


@dataclass(frozen=True)
class ProcessLimits(_Checked):
    """What one worker process may use, whatever plugins it runs: kernel limits that the process sets on itself at its start.

    A process that runs into one of them is lost like any other (`WorkerLost`, or the guest sees the failure).
    """

    data: int | None = _limit("8GiB", "size", optional=True)
    """RLIMIT_DATA: private writable memory. Linear memories count as far as their pages are accessible."""
    cpu_seconds: int | None = _limit(None, "count", optional=True)
    """RLIMIT_CPU: processor seconds of the whole life of the process."""
    open_files: int = _limit(1_024, "count")
    """RLIMIT_NOFILE."""
    file_bytes: int | None = _limit(None, "size", optional=True)
    """RLIMIT_FSIZE: size of any file that a plugin writes in a granted directory."""

    @classmethod
    def from_wire(cls, values: Mapping[str, Any]) -> ProcessLimits:
        """The opposite of `to_wire`. Raises ManifestError."""
        return cls(**_from_mapping(cls, values, "process limits"))
