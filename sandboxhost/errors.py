"""The exception tree, its one table of wire codes, and the strict conversion to and from the wire.

    SandboxError
    ├ ModuleError (.offset)                    the bytes are at fault
    │ ├ DecodeError                            not the binary format
    │ ├ ValidationError                        well-formed, but invalid, or needs a feature that is off
    │ ├ LinkError                              an import that is not granted, or granted with another type
    │ └ InstantiationError
    │   └ ElementOffsetOutOfBounds
    ├ CallError (.plugin .function .usage)     the call is at fault
    │ ├ Trap (.cause .frames)
    │ ├ GuestExit (.code)
    │ ├ HostFunctionError                      the application's own exception is the __cause__
    │ ├ UnknownFunction
    │ ├ SignatureMismatch                      also a TypeError
    │ └ Cancelled
    ├ LimitExceeded (.limit .allowed)          a limit is reached; also .plugin .function .usage
    │ ├ FuelExhausted
    │ ├ DeadlineExceeded                       also a TimeoutError
    │ ├ MemoryLimit
    │ ├ StackLimit
    │ ├ PayloadTooLarge
    │ └ Overloaded (.retry_after)
    ├ WorkerError                              the sandbox is at fault
    │ ├ WorkerStartError
    │ ├ WorkerLost (.maybe_ran .kind .reason .instance_lost)
    │ └ ProtocolError
    ├ Quarantined (.plugin .kind .losses)      the plugin's calls lost too many workers
    ├ ManifestError (.key)                     the manifest or the configuration is at fault; also a ValueError
    ├ HostClosed
    └ HostForked                               also a RuntimeError

On the wire an error is (code, text, detail): `to_wire` and `from_wire`.
"""
from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

from .statistics import Usage

__all__ = [
    "CallError", "Cancelled", "DeadlineExceeded", "DecodeError", "ElementOffsetOutOfBounds", "Frame", "FuelExhausted",
    "GuestExit", "HostClosed", "HostForked", "HostFunctionError", "InstantiationError", "LimitExceeded", "LinkError", "Loss",
    "ManifestError",
    "MemoryLimit", "ModuleError", "Overloaded", "PayloadTooLarge", "ProtocolError", "Quarantined", "SandboxError",
    "SignatureMismatch", "StackLimit", "Trap", "UnknownFunction", "ValidationError", "WorkerError", "WorkerLost",
    "WorkerStartError",
]

MAX_TEXT = 4096
"""Characters of an error's text that travel; the rest is cut off."""
MAX_FRAMES = 64
"""Backtrace frames that travel: the innermost ones."""


class Frame(NamedTuple):
    """One frame of a wasm backtrace, innermost first."""

    function_index: int
    name: str
    """From the module's name section or its exports; "" when unknown."""
    offset: int
    """Of the instruction, in the module's bytes."""

    def __str__(self) -> str:
        return f"{self.name or f'function {self.function_index}'} at offset {self.offset:#x}"


class SandboxError(Exception):
    """Whatever this package raises about plugins, workers and hosts."""

    fields: ClassVar[Mapping[str, Any]] = {}
    """Attributes beside the text, with their defaults; they are keyword arguments of the constructor."""

    def __init__(self, text: str = "", **attributes: Any) -> None:
        super().__init__(text)
        for name, default in self.fields.items():
            setattr(self, name, attributes.pop(name, default))
        if attributes:
            raise TypeError(f"{type(self).__name__}() has no attribute {next(iter(attributes))!r}")

    @property
    def text(self) -> str:
        """The message without additions."""
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.text, {name: getattr(self, name) for name in self.fields})


E = TypeVar("E", bound=SandboxError)


def _rebuild(cls: type[E], text: str, attributes: dict[str, Any]) -> E:
    return cls(text, **attributes)


class ModuleError(SandboxError):
    """The module's bytes are at fault. Raised by `Host.load`."""

    offset: int | None
    """Byte offset in the module, or None where there is none."""
    fields: ClassVar[Mapping[str, Any]] = {"offset": None}

    def __str__(self) -> str:
        return self.text if self.offset is None else f"{self.text} (at offset {self.offset:#x})"


class DecodeError(ModuleError):
    """The bytes are not the binary format of WebAssembly (the specification's "malformed")."""


class ValidationError(ModuleError):
    """The module is well-formed but does not validate, or uses a feature that is switched off (which the text names)."""


class LinkError(ModuleError):
    """An import is unknown (not granted) or has another type than what is granted (the specification's "unlinkable")."""


class InstantiationError(ModuleError):
    """The module could not be instantiated."""


class ElementOffsetOutOfBounds(InstantiationError):
    """An active element segment does not fit its table."""


_CALL_FIELDS: dict[str, Any] = {"plugin": "", "function": "", "usage": Usage(), "output_tail": ()}


class CallError(SandboxError):
    """One call failed; the plugin, its worker and the host are well."""

    plugin: str
    """Name of the plugin."""
    function: str
    """Name of the export that was called."""
    usage: Usage
    output_tail: tuple[str, ...]
    """The last lines that the guest wrote during the call, at most twenty, escaped; they are a note of the traceback too."""
    fields: ClassVar[Mapping[str, Any]] = _CALL_FIELDS


class Trap(CallError):
    """The guest trapped. `str()` begins with the specification's words for the cause."""

    cause: str
    """"integer divide by zero", "unreachable", … in the specification's words."""
    frames: tuple[Frame, ...]
    fields: ClassVar[Mapping[str, Any]] = _CALL_FIELDS | {"cause": "", "frames": ()}

    def __str__(self) -> str:
        return "\n  ".join([self.text, *(f"in {frame}" for frame in self.frames)])


class GuestExit(CallError):
    """A guest that was called as a library ended itself with proc_exit."""

    code: int
    fields: ClassVar[Mapping[str, Any]] = _CALL_FIELDS | {"code": 0}


class HostFunctionError(CallError):
    """A function of the application that the guest called raised: `__cause__` is that very exception."""


class UnknownFunction(CallError):
    """The plugin exports no function of that name."""


class SignatureMismatch(CallError, TypeError):
    """Wrong number, type or range of the arguments; the text names the function, the position and the type."""


class Cancelled(CallError):
    """The application cancelled the call."""


_LIMIT_FIELDS: dict[str, Any] = _CALL_FIELDS | {"limit": "", "allowed": 0}


class LimitExceeded(SandboxError):
    """A limit of `Limits` was reached."""

    limit: str
    """Name of the field of `Limits`."""
    allowed: float
    """Its value, in the field's unit."""
    plugin: str
    function: str
    usage: Usage
    output_tail: tuple[str, ...]
    """See CallError."""
    fields: ClassVar[Mapping[str, Any]] = _LIMIT_FIELDS


class FuelExhausted(LimitExceeded):
    """The call used up `Limits.fuel`."""


class DeadlineExceeded(LimitExceeded, TimeoutError):
    """The call ran, or waited, longer than `Limits.deadline`."""


class MemoryLimit(LimitExceeded):
    """The guest needed more memory or table elements than the limits allow; a trap that followed is the `__cause__`."""


class StackLimit(LimitExceeded):
    """Too deep: call depth, value stack or native stack. `str()` begins with "call stack exhausted"."""


class PayloadTooLarge(LimitExceeded):
    """Arguments, results or output larger than allowed."""


class Overloaded(LimitExceeded):
    """The plugin's queue is full: nothing was started; try again later."""

    retry_after: float
    """Seconds after which a place in the queue is likely."""
    fields: ClassVar[Mapping[str, Any]] = _LIMIT_FIELDS | {"retry_after": 0.0}


class WorkerError(SandboxError):
    """The sandbox itself is at fault, not the plugin's code or the caller."""


class WorkerStartError(WorkerError):
    """A worker or compile process could not be started; the text has what it said."""


class Loss(enum.StrEnum):
    """Why a worker process ended: what `WorkerLost.kind` says."""

    CRASH = "crash"
    """A signal that the process raised itself: SIGSEGV, SIGABRT, …"""
    ESCAPE = "escape attempt"
    """SIGSYS: a system call that no worker makes."""
    MEMORY = "out of memory"
    """Killed by the kernel's out-of-memory killer, or by the host for its memory (`Supervision.resident`)."""
    DEADLINE = "deadline"
    """Killed by the host because a call ignored its deadline, or its cancellation, beyond the grace time."""
    STOPPED = "stopped"
    """Somebody stopped the process (SIGSTOP); the host killed it."""
    PROTOCOL = "protocol violation"
    """Killed by the host for what it wrote, or for what it did not read."""
    EXIT = "exit"
    """It ended by itself, with an exit code."""
    KILLED = "killed from outside"
    """SIGKILL or SIGTERM that neither the host nor the kernel's out-of-memory killer sent."""
    HOST = "host"
    """The host ended it for reasons that are no fault of a plugin: recycled, or not ready in time."""

    @property
    def blamed(self) -> bool:
        """Whether plugins with a call on the worker are marked for it."""
        return self is not Loss.HOST


class WorkerLost(WorkerError):
    """The worker process died, or was killed, while it had the call; or it took the instance of a persistent plugin with it."""

    maybe_ran: bool
    """False: the call certainly never started. True: it may have run in part or in full."""
    kind: Loss
    """Why the process ended."""
    reason: str
    """How it ended, in words: "killed by SIGKILL", "exit code 3", …"""
    instance_lost: bool
    """True: the plugin is persistent, and what its instance held is gone; the next call begins with a new instance."""
    plugin: str
    function: str
    usage: Usage
    output_tail: tuple[str, ...]
    """See CallError."""
    fields: ClassVar[Mapping[str, Any]] = {"maybe_ran": True, "kind": Loss.CRASH, "reason": "", "instance_lost": False,
                                           "plugin": "", "function": "", "usage": Usage(), "output_tail": ()}


class Quarantined(SandboxError):
    """The plugin's calls lost so many workers that it may not run any more in this host, until it is loaded anew."""

    plugin: str
    function: str
    kind: Loss
    """Why the last of them ended."""
    losses: int
    """Workers lost within `Supervision.quarantine_seconds`."""
    fields: ClassVar[Mapping[str, Any]] = {"plugin": "", "function": "", "kind": Loss.CRASH, "losses": 0}


class ProtocolError(WorkerError):
    """A process broke the wire protocol; the text names the message and the field."""


class ManifestError(SandboxError, ValueError):
    """A manifest (or another piece of configuration) is wrong."""

    key: str
    """The offending key."""
    fields: ClassVar[Mapping[str, Any]] = {"key": ""}


class HostClosed(SandboxError):
    """The host is closed, or was closed while the call was pending."""


class HostForked(SandboxError, RuntimeError):
    """A host was used in a fork of the process that made it. Nothing has happened, there or here."""


_CODES: dict[str, type[SandboxError]] = {
    "error": SandboxError, "module": ModuleError, "decode": DecodeError, "validation": ValidationError, "link": LinkError,
    "instantiation": InstantiationError, "element_offset": ElementOffsetOutOfBounds,
    "call": CallError, "trap": Trap, "exit": GuestExit, "host_function": HostFunctionError, "unknown_function": UnknownFunction,
    "signature": SignatureMismatch, "cancelled": Cancelled,
    "limit": LimitExceeded, "fuel": FuelExhausted, "deadline": DeadlineExceeded, "memory_limit": MemoryLimit, "stack": StackLimit,
    "payload": PayloadTooLarge, "overloaded": Overloaded,
    "worker": WorkerError, "worker_start": WorkerStartError, "worker_lost": WorkerLost, "protocol": ProtocolError,
    "quarantined": Quarantined,
    "manifest": ManifestError, "closed": HostClosed, "forked": HostForked,
}
"""The one table of wire codes. Codes are for ever; a new class gets a new code."""
_CODE_OF = {cls: code for code, cls in _CODES.items()}


def code_of(exc: BaseException) -> str:
    """The code of an error's class, or of the nearest class above it that has one; "error" for what is not ours."""
    return next((_CODE_OF[cls] for cls in type(exc).__mro__ if cls in _CODE_OF), "error")


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """Untrusted text made fit for a terminal or a log: control and format characters escaped, cut to `limit` characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)


def to_wire(exc: BaseException) -> tuple[str, str, dict[str, Any]]:
    """(code, text, detail) of an exception. One that is not ours becomes a WorkerError that names its type.

    `detail` holds the attributes that differ from their defaults (not `plugin`, `function` and `usage`: the host knows them) and,
    under "because" the (code, text, detail) of a `__cause__` of ours.
    """
    if not isinstance(exc, SandboxError):
        return "worker", f"internal error: {type(exc).__name__}: {exc}"[:MAX_TEXT], {}
    cls = _CODES[code_of(exc)]
    detail: dict[str, Any] = {}
    for name, default in cls.fields.items():
        value = getattr(exc, name)
        if value != default and name in _CHECKS:
            detail[name] = [list(frame) for frame in value[:MAX_FRAMES]] if name == "frames" else value
    if isinstance(exc.__cause__, SandboxError) and exc.__cause__.__cause__ is not exc:
        cause = exc.__cause__
        code, text, inner = to_wire(cause)
        inner.pop("because", None)
        detail["because"] = [code, text, inner]
    return _CODE_OF[cls], exc.text[:MAX_TEXT], detail


def from_wire(code: str, text: str, detail: Mapping[str, Any]) -> SandboxError:
    """The exception that (code, text, detail) stand for. Every part is untrusted.

    Raises ProtocolError: unknown code, an attribute that the class does not have, or one of the wrong type.
    """
    cls = _CODES.get(code)
    if cls is None:
        raise ProtocolError(f"error.code: unknown code {printable(repr(code), 80)}")
    attributes: dict[str, Any] = {}
    cause: SandboxError | None = None
    for name, value in detail.items():
        if name == "because":
            cause = _cause_from_wire(value)
        elif name not in cls.fields or name not in _CHECKS:
            raise ProtocolError(f"error.detail: {code} has no attribute {printable(repr(name), 80)}")
        else:
            attributes[name] = _CHECKS[name](name, value)
    exc = cls(printable(text), **attributes)
    exc.__cause__ = cause
    return exc


def _cause_from_wire(value: Any) -> SandboxError:
    if not isinstance(value, (list, tuple)) or len(value) != 3 or not isinstance(value[1], str) or not isinstance(value[2], dict):
        raise ProtocolError("error.detail.because: expected [code, text, detail]")
    if "because" in value[2]:
        raise ProtocolError("error.detail.because: nested too deep")
    return from_wire(value[0], value[1], value[2])


def _check(kinds: tuple[type, ...], what: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if type(value) not in kinds:
            raise ProtocolError(f"error.detail.{name}: expected {what}, got {type(value).__name__}")
        return printable(value, 256) if type(value) is str else value
    return check


def _check_frames(name: str, value: Any) -> tuple[Frame, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > MAX_FRAMES:
        raise ProtocolError(f"error.detail.{name}: expected at most {MAX_FRAMES} frames")
    frames = []
    for item in value:
        if not isinstance(item, (list, tuple)) or tuple(map(type, item)) != (int, str, int):
            raise ProtocolError(f"error.detail.{name}: expected [function index, name, offset]")
        frames.append(Frame(item[0], printable(item[1], 256), item[2]))
    return tuple(frames)


def _check_kind(name: str, value: Any) -> Loss:
    try:
        return Loss(value)
    except ValueError:
        raise ProtocolError(f"error.detail.{name}: unknown kind {printable(repr(value), 80)}") from None


_number = _check((int, float), "a number")
_text = _check((str,), "text")
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "offset": _check((int, type(None)), "an offset"), "cause": _text, "frames": _check_frames,
    "code": _check((int,), "an integer"), "limit": _text, "allowed": _number, "retry_after": _number,
    "maybe_ran": _check((bool,), "a boolean"), "reason": _text, "key": _text, "kind": _check_kind,
    "instance_lost": _check((bool,), "a boolean"), "losses": _check((int,), "an integer"),
}
