"""What the router speaks and keeps: the instructions that it gives, and its records of calls, plugins and workers."""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .domains import DEFAULT, Directory, Domain
from .errors import Loss, SandboxError
from .limits import Limits
from .statistics import Usage
from .tally import Tally

# ---- instructions ----

class Send(NamedTuple):
    """Write these messages to the worker, in this order, as one frame."""

    worker: bytes
    messages: tuple[Any, ...]


class SendDescriptors(NamedTuple):
    """Send the descriptors that belong to a LOAD (role "load", a plugin) or RUN (role "run", a call) over the lifeline."""

    worker: bytes
    role: str
    id: int


class Finish(NamedTuple):
    """The outcome of a call: a payload, or an error."""

    call: int
    payload: bytes
    error: SandboxError | None
    usage: Usage


class InvokeHost(NamedTuple):
    """Run a function of the application and answer with `host_result`."""

    call: int
    sequence: int
    function: int
    payload: bytes


class Emit(NamedTuple):
    """The guest wrote to stdout or stderr."""

    call: int
    stream: int
    data: bytes


class Part(NamedTuple):
    """Rows of a "rows" call have their outcome: packed results, or an error of the one row."""

    call: int
    first: int
    rows: int
    payload: bytes
    error: SandboxError | None


class Kill(NamedTuple):
    """SIGKILL the worker; `worker_lost` follows when it is dead."""

    worker: bytes
    reason: str
    kind: Loss = Loss.PROTOCOL


class Grow(NamedTuple):
    """Calls of this domain find no room: start a worker, if there may be one more."""

    domain: Domain


class Note(NamedTuple):
    """Log this as a warning."""

    text: str


Instruction = Send | SendDescriptors | Finish | InvokeHost | Emit | Part | Kill | Grow | Note


@dataclass(slots=True)
class CallSpec:
    """What is asked for. kind: "call" (payload), "run" (options), "load" (nothing) or "rows": so many calls in one go, which
    count as such (payload: the arguments of all)."""

    plugin: int
    kind: str = "call"
    function: str = ""
    payload: bytes = b""
    deadline: float | None = None
    """Absolute, on the driver's clock."""
    parent: int = 0
    """The call whose host function makes this one."""
    batch: bool = False
    idempotent: bool = False
    rows: int = 1
    row_bytes: int = 0
    """Of the packed results of one row."""
    stop: bool = False
    """Nothing runs after the first row that fails."""
    descriptors: bool = False
    """A command that brings descriptors of its own: they are sent before it."""

    @property
    def threadless(self) -> bool:
        """True for what needs no free thread: loads, and calls that run on top of the call that waits for them."""
        return self.kind == "load" or self.parent != 0


@dataclass(slots=True)
class CallState:
    id: int
    spec: CallSpec
    worker: WorkerState | None = None
    """Where it was written; None while queued."""
    accepted: float = 0.0
    """When."""
    maker: int = 0
    """The call whose host function made it, wherever that runs."""
    host_calls: int = 0
    asked: int = 0
    """Sequence of the function of the application that it waits for."""
    output: int = 0
    outputs: int = 0
    """Bytes and messages of OUTPUT."""
    cancelled: bool = False
    retried: bool = False
    base: int = 0
    """Rows that had their outcome before it was sent (again)."""
    done: int = 0
    """Rows that have had their outcome."""
    failed: dict[str, int] | None = None
    """Those of them that were an error, by its code."""


@dataclass(slots=True)
class Plugin:
    """A loaded plugin as the router sees it."""

    id: int
    name: str
    options: bytes
    """LoadOptions, ready to send."""
    limits: Limits
    persistent: bool = False
    domain: Domain = DEFAULT
    """Only workers of this domain get its calls."""
    directories: tuple[Directory, ...] = ()
    """Those of its grants, in their order."""
    queue: deque[CallState] = field(default_factory=deque)
    pending: int = 0
    """Accepted calls without outcome."""
    in_flight: int = 0
    home: WorkerState | None = None
    """Where the instance of a persistent plugin lives."""
    alive: bool = False
    """There may be such an instance: a call was written to its home."""
    mourned: str = ""
    """How its instance was lost, while nobody has been told."""
    shared: Domain | None = None
    """The domain to return to from workers of its own, when it is suspected of having killed workers that it shared."""
    quarantined: str = ""
    """Why it may not run any more."""
    last_loss: Loss = Loss.CRASH
    removed: bool = False
    retired: bool = False
    """Removed, but the calls that it has go on as if it were not: another generation has taken its place."""
    trial: bool = False
    """It is to take the place of an earlier generation, but has not yet."""
    generation: int = 1
    tally: Tally = field(default_factory=Tally)
    """Of all its generations."""

    @property
    def concurrency(self) -> int | None:
        return 1 if self.persistent else self.limits.concurrent_calls


IGNORED = ("it ignored a deadline or a cancellation", Loss.DEADLINE)


@dataclass(slots=True)
class Abandoned:
    """What a worker may still say about a call that has ended here."""

    plugin: int
    load: bool
    """It was one."""
    messages: int
    """So many before its answer."""


@dataclass(slots=True)
class WorkerState:
    id: bytes
    state: str = "starting"
    pid: int = 0
    threads: int = 0
    level: str = ""
    line: bool = False
    """It has a line (lines.py) beside its ZeroMQ connection."""
    domain: Domain = DEFAULT
    warm: bool = False
    """It said WARM by its line."""
    calls: dict[int, CallState] = field(default_factory=dict)
    """In flight."""
    threadless: int = 0
    """Of these, those that need no thread of their own."""
    abandoned: dict[int, Abandoned] = field(default_factory=dict)
    """Calls that ended here but that the worker may still answer, once each."""
    culprits: set[int] = field(default_factory=set)
    """Plugins whose calls are why it is to be killed."""
    plugins: dict[int, bool] = field(default_factory=dict)
    """Plugins it holds: True once LOADED came."""
    loads: dict[int, int] = field(default_factory=dict)
    """LOAD id -> plugin, of loads that no call waits for."""
    ended: int = 0
    kill_at: float | None = None
    """While draining: when it is killed though it has calls; None: not before they have ended."""
    kill_for: tuple[str, Loss] = IGNORED

    @property
    def busy(self) -> int:
        return len(self.calls) - self.threadless


class Counters(NamedTuple):
    """What a router has counted."""

    accepted: int
    ended: int
    rejected: int
    late_replies: int
    protocol_errors: int
