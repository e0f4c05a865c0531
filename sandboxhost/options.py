"""Option records: what the host tells a worker or compile process in LOAD, RUN, BOOT and COMPILE; checked when read."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import msgpack

from .errors import ProtocolError, printable
from .wire import unpack_map

__all__ = ["LAYERS", "LEVELS", "TIERS", "CompileOptions", "Level", "LoadOptions", "RunOptions", "Tier", "WorkerOptions"]

Tier = Literal["auto", "interpreter", "compiled"]
"""The executor: machine code or the interpreter; "auto" is the faster one that the machine and the build have."""
TIERS: tuple[str, ...] = get_args(Tier)
Level = Literal["none", "seccomp-only", "no-userns", "full"]
"""How far a process locked itself down: "seccomp-only": the filter of system calls on every thread; "no-userns": Landlock
besides; "full": namespaces of its own besides."""
LEVELS: tuple[Level, ...] = get_args(Level)
"""From the weakest to the strongest."""
LAYERS: Mapping[str, str] = {
    "namespaces": "no view of the machine's network, IPC, host name, mounts, control groups",
    "root": "an empty root directory",
    "user": "a user id of its own, where root starts it and no directory is granted",
    "capabilities": "none, or what root opens granted files with",
    "privileges": "no program, set-user-ID or not, could raise it again",
    "exec-gain": "memory never becomes executable",
    "landlock": "no file but beneath granted directories; no TCP port, signal or abstract socket outside",
    "seccomp": "some ninety system calls; any other ends the process",
}
"""What a process puts on, in this order; a session of its own, closed descriptors and the kernel's limits are always there."""

R = TypeVar("R", bound="LoadOptions | RunOptions | WorkerOptions | CompileOptions")
Check = Callable[[Any], bool]


def _encode(record: Any) -> bytes:
    return bytes(msgpack.packb(record._asdict()))


def _decode(cls: type[R], data: bytes) -> R:
    values = unpack_map(data, cls.__name__, max_len=1_000_000)
    for name in (*values, *cls._fields):
        if name not in values or name not in cls._fields:
            raise ProtocolError(f"{cls.__name__}.{printable(name, 80)}: {'missing' if name in cls._fields else 'unknown'} field")
    for name, check in _CHECKS[cls].items():
        if not check(values[name]):
            raise ProtocolError(f"{cls.__name__}.{name}: unexpected {type(values[name]).__name__}")
    return cls(**values)


class LoadOptions(NamedTuple):
    """Options of LOAD."""

    instance: str
    """"fresh" or "persistent"."""
    calls: int
    """With "persistent": calls that one instance serves before the next begins with a new one; 0: no end."""
    functions: tuple[tuple[str, str], ...]
    """The application's functions that the plugin imports and may call, as (module, name); HOST_CALL names them by index."""
    directories: tuple[tuple[str, bool], ...]
    """(guest path, writable), in the order of their descriptors."""
    environment: tuple[str, ...]
    """"NAME=value"."""
    arguments: tuple[str, ...]
    """The whole argv, for guests called as a library."""
    clock_ns: int | None
    """Grants.clock_ns"""
    random_seed: int | None
    """Grants.random_seed"""
    limits: Mapping[str, Any]
    """Limits.to_wire()"""
    image_bytes: int

    def encode(self) -> bytes:
        """Bytes for Load.options."""
        return _encode(self)

    @classmethod
    def decode(cls, data: bytes) -> LoadOptions:
        """The opposite. Raises ProtocolError naming the field."""
        return _decode(cls, data)


class RunOptions(NamedTuple):
    """Options of RUN."""

    arguments: tuple[str, ...]
    """The whole argv."""
    environment: tuple[str, ...]
    """"NAME=value"; the worker uses these instead of LoadOptions.environment."""
    stdin: bytes
    """With stdio "capture"."""
    stdio: str
    """"capture": stdout and stderr come as OUTPUT; "descriptors": DESCRIPTORS("run", call id) brought the three."""

    def encode(self) -> bytes:
        """Bytes for Run.options."""
        return _encode(self)

    @classmethod
    def decode(cls, data: bytes) -> RunOptions:
        """The opposite. Raises ProtocolError naming the field."""
        return _decode(cls, data)


class WorkerOptions(NamedTuple):
    """Options of BOOT."""

    endpoint: str
    """Where the worker's DEALER socket is, and the host has connected to."""
    routing_id: bytes
    """16 bytes: the host's name for the worker."""
    threads: int
    limits: Mapping[str, Any]
    """ProcessLimits.to_wire()"""
    directories: tuple[bool, ...] | None = None
    """For each directory that the worker may ever use, in the order of the descriptors that come with BOOT: whether it is
    writable. (): no file system call works at all. None: directories come later with LOAD; any could."""

    def encode(self) -> bytes:
        """Bytes for Boot.options."""
        return _encode(self)

    @classmethod
    def decode(cls, data: bytes) -> WorkerOptions:
        """The opposite. Raises ProtocolError naming the field."""
        return _decode(cls, data)


class CompileOptions(NamedTuple):
    """Options of COMPILE."""

    features: tuple[str, ...] | None
    """Names to allow; None: all that are supported."""
    metered: bool
    explicit_bounds: bool
    source_bytes: int
    """Length of the module."""
    limits: Mapping[str, Any]
    """Limits.to_wire()"""
    tier: str
    """One of TIERS."""
    listing: str | None
    """Write the code of this function (name or index; "": of every function) to the second descriptor."""

    def encode(self) -> bytes:
        """Bytes for Compile.options."""
        return _encode(self)

    @classmethod
    def decode(cls, data: bytes) -> CompileOptions:
        """The opposite. Raises ProtocolError naming the field."""
        return _decode(cls, data)


def _texts(value: Any) -> bool:
    return type(value) is tuple and all(type(item) is str for item in value)


def _pairs(second: type) -> Check:
    return lambda value: type(value) is tuple and all(type(i) is tuple and tuple(map(type, i)) == (str, second) for i in value)


def _is(*kinds: type) -> Check:
    return lambda value: type(value) in kinds


_number_or_none = _is(int, type(None))
_CHECKS: dict[type[Any], dict[str, Check]] = {
    LoadOptions: {
        "instance": lambda v: v in ("fresh", "persistent"), "calls": lambda v: type(v) is int and v >= 0,
        "functions": _pairs(str), "directories": _pairs(bool),
        "environment": _texts, "arguments": _texts, "clock_ns": _number_or_none, "random_seed": _number_or_none,
        "limits": _is(dict), "image_bytes": _is(int)},
    RunOptions: {
        "arguments": _texts, "environment": _texts, "stdin": _is(bytes), "stdio": lambda v: v in ("capture", "descriptors")},
    WorkerOptions: {
        "endpoint": _is(str), "routing_id": lambda v: type(v) is bytes and len(v) == 16, "threads": _is(int),
        "limits": _is(dict), "directories": lambda v: v is None or (type(v) is tuple and all(type(i) is bool for i in v))},
    CompileOptions: {
        "features": lambda v: v is None or _texts(v), "metered": _is(bool), "explicit_bounds": _is(bool),
        "source_bytes": _is(int), "limits": _is(dict), "tier": lambda v: type(v) is str and v in TIERS,
        "listing": _is(str, type(None))},
}
