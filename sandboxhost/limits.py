"""Limits: what a plugin may use at most. Frozen values; a manifest may only lower them."""
# ruff: noqa: RUF009 - the descriptors that stand as defaults are immutable
from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from .errors import ManifestError

__all__ = ["GroupLimits", "Limits", "ProcessLimits", "parse_size"]

_UNITS = {
    "": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(value: object, name: str = "size") -> int:
    """Bytes from an int or a text such as "64MiB", "1.5 GiB", "10MB". Raises ManifestError naming `name`."""
    size: float = -1
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)) and match[2].lower() in _UNITS:
        unit = _UNITS[match[2].lower()]
        size = int(match[1]) * unit if match[1].isdigit() else float(match[1]) * unit
    else:
        raise ManifestError(f"{name}: expected a size such as 1048576 or \"64MiB\", got {value!r}", key=name)
    if not 0 <= size < 2**63:
        raise ManifestError(f"{name}: {value!r} is out of range", key=name)
    return int(size)


def _count(value: object, name: str) -> int:
    if type(value) is not int:
        raise ManifestError(f"{name}: expected a whole number, got {value!r}", key=name)
    if not 0 <= value < 2**63:
        raise ManifestError(f"{name}: {value!r} is out of range", key=name)
    return value


def _some(value: object, name: str) -> int:
    """A count that cannot be 0."""
    count = _count(value, name)
    if count == 0:
        raise ManifestError(f"{name}: at least 1 is needed", key=name)
    return count


def _some_bytes(value: object, name: str) -> int:
    """A size that cannot be 0."""
    return _some(parse_size(value, name), name)


def _seconds(value: object, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ManifestError(f"{name}: expected seconds, got {value!r}", key=name)
    if not math.isfinite(value) or not 0 <= value < 1e9:
        raise ManifestError(f"{name}: {value!r} is out of range", key=name)
    return value


def _share(value: object, name: str) -> float:
    """Processors, of which there may be half a one."""
    share = _seconds(value, name)
    if share < 0.01:
        raise ManifestError(f"{name}: expected 0.01 processors or more, got {value!r}", key=name)
    return share


def _use(value: object, name: str) -> str:
    if value not in ("delegated", "own", "off"):
        raise ManifestError(f'{name}: expected "delegated", "own" or "off", got {value!r}', key=name)
    return str(value)


G = TypeVar("G")
S = TypeVar("S")


class _Field(Generic[G, S]):
    """Descriptor of a limit: checks what is set, so that a type checker lets a size be given as text and read as int."""

    def __init__(self, check: Any, default: Any, optional: bool = False) -> None:
        self.check, self.optional, self.name = check, optional, ""
        self.default = self.checked(default)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def checked(self, value: object) -> Any:
        """The value in the field's unit. Raises ManifestError naming the field."""
        return None if value is None and self.optional else self.check(value, self.name)

    def __get__(self, instance: object, owner: type) -> G:
        found: G = self.default if instance is None else instance.__dict__[self.name]
        return found

    def __set__(self, instance: object, value: S) -> None:
        instance.__dict__[self.name] = self.checked(value)


_Size = _Field[int, int | str]
_OptionalSize = _Field[int | None, int | str | None]
_Count = _Field[int, int]
_OptionalCount = _Field[int | None, int | None]
_Seconds = _Field[float, float]
_OptionalSeconds = _Field[float | None, float | None]


def _fields(cls: type) -> dict[str, _Field[Any, Any]]:
    return {name: value for name, value in vars(cls).items() if isinstance(value, _Field)}


def _checked_values(cls: type, values: Mapping[str, Any], what: str) -> dict[str, Any]:
    known = _fields(cls)
    for name in values:
        if name not in known:
            raise ManifestError(f"{what}: unknown key {name!r}; known are {', '.join(known)}", key=str(name))
    return {name: known[name].checked(value) for name, value in values.items()}


@dataclass(frozen=True)
class Limits:
    """What one plugin may use. Sizes take bytes or text such as "64MiB"; seconds are floats; None, where allowed, means no limit.

    Raises ManifestError for a value of the wrong type or range, naming the field.
    """

    # The module: enforced by the decoder in the compile process; `load` raises LimitExceeded.
    module_bytes: _Size = _Size(parse_size, 256 * 2**20)
    """Size of the .wasm. Enforced by the host before anything is compiled."""
    types: _Count = _Count(_some, 1_000_000)
    functions: _Count = _Count(_some, 1_000_000)
    """Functions, imports included."""
    imports: _Count = _Count(_some, 100_000)
    exports: _Count = _Count(_some, 1_000_000)
    globals: _Count = _Count(_some, 1_000_000)
    tables: _Count = _Count(_some, 100_000)
    segments: _Count = _Count(_some, 1_000_000)
    """Data segments, and again as many element segments."""
    params: _Count = _Count(_some, 1_000)
    """Parameters, and again as many results, of one type."""
    locals: _Count = _Count(_some, 50_000)
    """Locals of one function, parameters included."""
    body_bytes: _Size = _Size(_some_bytes, 7_654_321)
    """Size of one function's code."""
    nesting: _Count = _Count(_some, 65_536)
    """Nested blocks of one function."""
    compile_seconds: _Seconds = _Seconds(_seconds, 60.0)
    """Time for the compile process, enforced by the host with SIGKILL: `load` raises LimitExceeded."""
    compile_memory: _Size = _Size(parse_size, "4GiB")
    """Data memory of the compile process, enforced by the kernel (RLIMIT_DATA): `load` raises LimitExceeded."""

    # An instance: enforced by the store in the worker.
    memory: _Size = _Size(parse_size, "256MiB")
    """Bytes of all linear memories of one instance. memory.grow beyond it answers -1 to the guest; a call that then traps, and an
    instantiation that needs more, end with MemoryLimit."""
    table_elements: _Count = _Count(_count, 1_000_000)
    """Elements of all tables of one instance. table.grow beyond it answers -1."""

    # A call: enforced in the worker; the host's clock is the backstop.
    fuel: _OptionalCount = _OptionalCount(_count, None, True)
    """Wasm instructions of one call, counted in both executors, the same on every worker: FuelExhausted. None: nothing is
    counted, which is faster."""
    deadline: _OptionalSeconds = _OptionalSeconds(_seconds, 30.0, True)
    """Seconds from the moment the call is accepted, waiting included: the worker interrupts the guest, the host kills the
    worker a grace time later: DeadlineExceeded."""
    call_depth: _Count = _Count(_some, 20_000)
    """Guest frames: StackLimit. The interpreter counts them; machine code gets room for this many of the largest frames, and
    so for up to 16 times as many small ones."""
    host_calls: _Count = _Count(_count, 1_000_000)
    """Calls of the application's functions from one call, counted by the worker and by the host: LimitExceeded."""
    result_bytes: _Size = _Size(parse_size, "16MiB")
    """Bytes of one call's results, counted by the worker and by the host: PayloadTooLarge."""

    # The wire.
    argument_bytes: _Size = _Size(parse_size, "16MiB")
    """Bytes of one call's arguments (a command's arguments, environment and stdin included), counted by the host before
    anything is sent: PayloadTooLarge."""
    output_bytes: _Size = _Size(parse_size, "16MiB")
    """Bytes of stdout and stderr together that one call may write: a captured command ends with PayloadTooLarge, what a library
    prints beyond it is dropped."""

    # The queue: enforced by the router.
    pending_calls: _Count = _Count(_count, 10_000)
    """Calls of this plugin that are accepted and not ended: Overloaded."""
    concurrent_calls: _OptionalCount = _OptionalCount(_count, None, True)
    """Calls of this plugin that workers hold at one time; the others wait. None: as many as there are worker threads."""

    PAGE: ClassVar[int] = 65_536

    def lowered_by(self, manifest: Mapping[str, Any], what: str = "[limits]") -> Limits:
        """These limits, each lowered to the manifest's value where that is lower; never raised.

        Raises ManifestError: a key that is no limit, or a value of the wrong type.
        """
        lowered = dict(vars(self))
        for name, wish in _checked_values(Limits, manifest, what).items():
            if wish is not None and (lowered[name] is None or wish < lowered[name]):
                lowered[name] = wish
        return Limits(**lowered)

    def replace(self, **changes: Any) -> Limits:
        """A copy with other values."""
        return dataclasses.replace(self, **changes)

    def to_wire(self) -> dict[str, int | float | None]:
        """A plain dictionary for a message."""
        return dict(vars(self))

    @classmethod
    def from_wire(cls, values: Mapping[str, Any]) -> Limits:
        """The opposite of `to_wire`. Raises ManifestError."""
        return cls(**_checked_values(cls, values, "limits"))

    @property
    def memory_pages(self) -> int:
        """`memory` in wasm pages of 64 KiB."""
        return self.memory // self.PAGE


@dataclass(frozen=True)
class ProcessLimits:
    """What one worker process may use, whatever plugins it runs: kernel limits that the process sets on itself at its start.

    A process that runs into one of them is lost like any other (`WorkerLost`, or the guest sees the failure).
    """

    data: _OptionalSize = _OptionalSize(parse_size, "8GiB", True)
    """RLIMIT_DATA: private writable memory. Linear memories count as far as their pages are accessible."""
    cpu_seconds: _OptionalCount = _OptionalCount(_count, None, True)
    """RLIMIT_CPU: processor seconds of the whole life of the process."""
    open_files: _Count = _Count(_count, 1_024)
    """RLIMIT_NOFILE."""
    file_bytes: _OptionalSize = _OptionalSize(parse_size, None, True)
    """RLIMIT_FSIZE: size of any file that a plugin writes in a granted directory."""

    def to_wire(self) -> dict[str, int | None]:
        """A plain dictionary for a message."""
        return dict(vars(self))

    @classmethod
    def from_wire(cls, values: Mapping[str, Any]) -> ProcessLimits:
        """The opposite of `to_wire`. Raises ManifestError."""
        return cls(**_checked_values(cls, values, "process limits"))


@dataclass(frozen=True)
class GroupLimits:
    """What the control group around each worker process may use (cgroups(7)), where the host may make groups: a wall behind
    ProcessLimits, which the kernel holds up whatever the process does. Nothing fails where it may not; `sandboxhost doctor` says
    what there is. A worker that is killed for want of the group's memory is lost with `Loss.MEMORY`.
    """

    memory: _OptionalSize = _OptionalSize(_some_bytes, "8GiB", True)
    """memory.max: all of its memory, what the kernel keeps for it (files, sockets) included; no swap. None: no such group."""
    processes: _OptionalCount = _OptionalCount(_some, 512, True)
    """pids.max: its threads and those of what it may have started. A worker has four more than `Host(threads=)`."""
    processors: _OptionalSeconds = _OptionalSeconds(_share, None, True)
    """cpu.max: processor seconds a second."""
    use: _Field[str, str] = _Field(_use, "delegated")
    """"delegated": where this process's group was given to its user to divide: by systemd's Delegate=, by its owner, or as all
    that a container has. "own": this process's group also where nobody has said so, which is for who knows who else manages it.
    "off": never."""
