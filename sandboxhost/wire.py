"""The wire: message classes, one frame of many messages, and a decoder that trusts nothing.

A frame is a run of msgpack arrays `[kind, field, …]`, one a message, nothing around them: so that no array needs to be longer
than the longest message, and a frame of nested headers allocates next to nothing. Payloads and option records are opaque bytes
inside.

Host to worker (ZeroMQ):   LOAD UNLOAD CALL CALL_ROWS RUN HOST_RESULT CANCEL STOP
Host to process (lifeline): BOOT or COMPILE first, then DESCRIPTORS with file descriptors attached (SCM_RIGHTS)
Spare to host (lifeline):   WARM
Worker to host (ZeroMQ):   READY LOADED RESULT ROW_RESULTS ROW_FAILED FAILED HOST_CALL OUTPUT OUTPUT_SHARED RESULT_SHARED BYE
By the lifeline as well:    a CALL that a thread waits for, and what is said about it (lines.py)
Compile process to host (lifeline): LOCKED MODULE IMPORT EXPORT CUSTOM … COMPILED, or FAILED

Order: the DESCRIPTORS of a LOAD or RUN are sent before it, so they are there when it is read. Ids of calls are the host's;
a worker may only answer ids that it was given. OUTPUT of a call precedes its RESULT or FAILED.
"""
from __future__ import annotations

import enum
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar, get_type_hints

import msgpack

from .errors import MAX_TEXT, ProtocolError, SandboxError, from_wire, printable, to_wire
from .statistics import Usage

MAX_FRAME = 64 * 2**20
"""Bytes of one frame to a worker."""
MAX_FRAME_TO_HOST = 4 * 2**20
"""Bytes of one frame to the host: what is larger travels in pieces (OUTPUT, ROW_RESULTS)."""
MAX_PIECE = 256 * 2**10
"""Bytes of such a piece; and of a frame whose messages the host decodes without a look at each header first."""
MAX_MESSAGES = 4096
"""Messages of a larger frame to the host."""
MAX_TEXT_BYTES = 64 * 2**10
"""Bytes of one text field, export names included."""
SHARED_BYTES = 16 * 2**10
"""From this size on a command's stdin and stdout travel in the exchange (exchange.py), where there is one."""
MAX_DATAGRAM = 64 * 2**10
"""Bytes of one lifeline datagram."""
MAX_DETAIL = 32 * 2**10
"""Bytes of an error's detail."""
UNLIMITED = -1
"""In fuel and time_left_ns: no limit."""
STDOUT, STDERR = 1, 2
_MAX_FIELDS = 16
_END = b"\xc0"
"""nil, fed behind a frame: it comes out alone unless the frame was cut off."""


class Direction(enum.Enum):
    """Who reads: each direction has its own kinds."""

    TO_WORKER = "host to worker"
    TO_HOST = "worker to host"
    FROM_COMPILER = "compile process to host"


class Signed(int):
    """Annotation of integer fields that may be UNLIMITED (-1)."""


# ---- host to worker ----

class Load(NamedTuple):
    """Take over a plugin: its image is the first, its directories the further descriptors of DESCRIPTORS("load", plugin). Answer:
    LOADED(id), or FAILED(id) with LinkError. Nothing of the guest runs."""

    id: int
    plugin: int
    name: str
    options: bytes
    """options.LoadOptions"""


class Unload(NamedTuple):
    """Drop a plugin; its calls in progress end as usual. No answer."""

    plugin: int


class Call(NamedTuple):
    """Call an export. Answer: RESULT or FAILED."""

    id: int
    plugin: int
    parent: int
    """0, or the id of the suspended call whose host function makes this one: run it on that call's thread, on top of it."""
    function: str
    fuel: Signed
    time_left_ns: Signed
    payload: bytes


class Run(NamedTuple):
    """Run a WASI command (`_start`). Answer: RESULT whose payload is the exit code as one packed i32, or FAILED."""

    id: int
    plugin: int
    parent: int
    fuel: Signed
    time_left_ns: Signed
    options: bytes
    """options.RunOptions"""
    offset: Signed = Signed(UNLIMITED)
    """Where the call's part of the exchange begins (exchange.py; DESCRIPTORS("exchange", 0) brought it); -1: it has none."""
    length: int = 0
    """Bytes of stdin there; 0: RunOptions has it."""
    output: int = 0
    """Where the room for stdout begins."""
    room: int = 0


class CallRows(NamedTuple):
    """Call an export once a row. Answer: ROW_RESULTS and ROW_FAILED, each row in one of them, in order; then RESULT without a
    payload, or FAILED, which is the outcome of all rows that had none. No references."""

    id: int
    plugin: int
    function: str
    rows: int
    stop: bool
    """Nothing runs after the first row that fails: RESULT follows its ROW_FAILED."""
    fuel: Signed
    """Of each row."""
    time_left_ns: Signed
    """Of all."""
    payload: bytes
    """The packed arguments of all rows."""


class HostResult(NamedTuple):
    """Answer to HOST_CALL: packed results or, when not ok, the error's text as UTF-8: it ends as HostFunctionError."""

    id: int
    sequence: int
    ok: bool
    payload: bytes


class Cancel(NamedTuple):
    """End a call as soon as possible; it still gets its one answer."""

    id: int


class Stop(NamedTuple):
    """End the process: no call is in progress, or they do not matter any more."""


# ---- host to process, on the lifeline ----

class Boot(NamedTuple):
    """First datagram to a worker; descriptors attached: a listening socket, to which the host has connected, and the
    directories of WorkerOptions."""

    options: bytes
    """options.WorkerOptions"""


class Compile(NamedTuple):
    """First datagram to a compile process; descriptors attached: image (empty), with a listing one more. Answer: LOCKED; after
    that the module's bytes (sealed) come with DESCRIPTORS, and the answer proper is MODULE … COMPILED, or FAILED."""

    options: bytes
    """options.CompileOptions"""


class Descriptors(NamedTuple):
    """Descriptors travel with this datagram. role "load": image, then directories in the order of LoadOptions; role "run": stdin,
    stdout, stderr of the call; role "exchange", id 0: the exchange; role "source", id 0: a module to be compiled."""

    role: str
    id: int
    """The plugin (role "load") or the call (role "run")."""
    number: int


# ---- worker to host ----

class Warm(NamedTuple):
    """A spare, on its lifeline: it has imported everything and waits for BOOT."""


class Ready(NamedTuple):
    """First message of a worker: it can take calls."""

    pid: int
    threads: int
    build_id: bytes
    level: str
    """Lock-down reached: one of options.LEVELS; `missing` says in words what is not there."""
    missing: str = ""


class Loaded(NamedTuple):
    """Answer to LOAD."""

    id: int
    plugin: int


class Result(NamedTuple):
    """A call's results."""

    id: int
    fuel: int
    time_ns: int
    memory: int
    payload: bytes


class Failed(NamedTuple):
    """A call, a load or a compilation ended with an error."""

    id: int
    code: str
    text: str
    detail: bytes
    fuel: int
    time_ns: int
    memory: int


class RowResults(NamedTuple):
    """Packed results of `rows` rows, the first of which is row `first` (from 0) of a CALL_ROWS."""

    id: int
    first: int
    rows: int
    payload: bytes


class RowFailed(NamedTuple):
    """A row of a CALL_ROWS ended with an error."""

    id: int
    row: int
    code: str
    text: str
    detail: bytes


class HostCall(NamedTuple):
    """The guest calls a function of the application; the call waits for HOST_RESULT with the same id and sequence."""

    id: int
    sequence: int
    function: int
    """Index into LoadOptions.functions."""
    payload: bytes


class Output(NamedTuple):
    """What the guest wrote to stdout (1) or stderr (2)."""

    id: int
    stream: int
    data: bytes


class OutputShared(NamedTuple):
    """What the guest wrote to stdout: so many bytes in the room that RUN gave it."""

    id: int
    length: int


class ResultShared(NamedTuple):
    """OUTPUT_SHARED of a command with so much output (`length`), and then its RESULT."""

    id: int
    fuel: int
    time_ns: int
    memory: int
    payload: bytes
    length: int


class Bye(NamedTuple):
    """The worker ends by its own decision."""

    reason: str


# ---- compile process to host ----

class Locked(NamedTuple):
    """The first message: the process has locked itself down and waits for the module, DESCRIPTORS("source", 0)."""

    level: str
    missing: str


class ModuleFigures(NamedTuple):
    """First message of an answer; counts include imports."""

    types: int
    functions: int
    tables: int
    memories: int
    globals: int
    element_segments: int
    data_segments: int
    code_bytes: int
    has_start: bool


class ModuleImport(NamedTuple):
    """One import, in the module's order."""

    module: str
    name: str
    kind: int
    """ExternKind"""
    params: bytes
    """Function: a byte of ValueType a parameter; table: the element type; global: its type."""
    results: bytes
    minimum: int
    maximum: Signed
    mutable: bool


class ModuleExport(NamedTuple):
    """One export."""

    name: str
    kind: int
    params: bytes
    results: bytes
    minimum: int
    maximum: Signed
    mutable: bool


class ModuleMemory(NamedTuple):
    """One memory of the index space."""

    minimum: int
    maximum: Signed


class ModuleCustom(NamedTuple):
    """One custom section."""

    name: str
    length: int


class Compiled(NamedTuple):
    """Last message of an answer."""

    image_bytes: int
    build_id: bytes
    tier: str
    """Which executor the image is for: "interpreter" or "compiled"."""
    machine_bytes: int


Message = (
    Load | Unload | Call | Run | CallRows | HostResult | Cancel | Stop | Boot | Compile | Descriptors | Warm | Ready | Loaded
    | Result | Failed | RowResults | RowFailed | HostCall | Output | OutputShared | ResultShared | Bye | Locked | ModuleFigures
    | ModuleImport | ModuleExport | ModuleMemory | ModuleCustom | Compiled
)

M = TypeVar("M", Run, ResultShared)
_KINDS: dict[Direction, dict[int, type[Any]]] = {
    Direction.TO_WORKER: {1: Load, 2: Unload, 3: Call, 4: Run, 5: HostResult, 6: Cancel, 7: Stop, 8: Boot, 9: Compile,
                          10: Descriptors, 11: CallRows},
    Direction.TO_HOST: {16: Ready, 17: Loaded, 18: Result, 19: Failed, 20: HostCall, 21: Output, 22: Bye,
                        23: RowResults, 24: RowFailed, 25: OutputShared, 26: Warm, 27: ResultShared},
    Direction.FROM_COMPILER: {19: Failed, 32: ModuleFigures, 33: ModuleImport, 34: ModuleExport, 35: ModuleMemory,
                              36: ModuleCustom, 37: Compiled, 38: Locked},
}
_NUMBER = {cls: number for kinds in _KINDS.values() for number, cls in kinds.items()}
_EXACT = {int: int, Signed: int, str: str, bytes: bytes, bool: bool}


class _Shape(NamedTuple):
    cls: type[Any]
    types: tuple[type, ...]
    """Exact types of kind and fields."""
    minimum: tuple[tuple[int, int], ...]
    """(position, least value) of the integers."""
    names: tuple[str, ...]


def _shape(cls: type[Any]) -> _Shape:
    hints = get_type_hints(cls)
    names = cls._fields
    minimum = tuple((i + 1, -1 if hints[name] is Signed else 0) for i, name in enumerate(names) if issubclass(hints[name], int)
                    and hints[name] is not bool)
    return _Shape(cls, (int, *(_EXACT[hints[name]] for name in names)), minimum, names)


_SHAPES = {direction: {number: _shape(cls) for number, cls in kinds.items()} for direction, kinds in _KINDS.items()}


class _Packers(threading.local):
    def __init__(self) -> None:
        self.packer = msgpack.Packer(autoreset=False, buf_size=4096)


_packers = _Packers()


def encode(messages: Iterable[Message], most: int = MAX_FRAME) -> bytes:
    """One frame. Raises ProtocolError: a field out of range, or the frame larger than `most` bytes."""
    packer = _packers.packer
    try:
        for message in messages:
            packer.pack((_NUMBER[type(message)], *message))
        frame: bytes = packer.bytes()
    except (OverflowError, ValueError, TypeError) as exc:
        raise ProtocolError(f"cannot encode {type(message).__name__}: {exc}") from None
    finally:
        packer.reset()
    if len(frame) > most:
        raise ProtocolError(f"frame: {len(frame)} bytes are more than {most}")
    return frame


def cut(message: Message, *fields: str) -> tuple[bytes, ...]:
    """A message's encoding without the values of these fields, in pieces: before the first of them, between them, after the
    last. Of a field of bytes only the bytes are missing, not the header that says how many they are."""
    values = [msgpack.packb(value) for value in message]
    whole = encode((message,))
    pieces = [whole[: len(whole) - sum(map(len, values))]]
    for name, value, packed in zip(message._fields, message, values, strict=True):
        if name in fields:
            pieces[-1] += packed[: len(packed) - len(value)] if isinstance(value, bytes) else b""
            pieces.append(b"")
        else:
            pieces[-1] += packed
    return tuple(pieces)


def pieces(message: Any) -> Iterable[Any]:
    """The message to the host, or several of at most MAX_PIECE bytes each that say the same."""
    if isinstance(message, Output) and len(message.data) > MAX_PIECE:
        return [message._replace(data=message.data[at:at + MAX_PIECE]) for at in range(0, len(message.data), MAX_PIECE)]
    if isinstance(message, RowResults) and len(message.payload) > MAX_PIECE:
        size = len(message.payload) // message.rows
        rows = max(1, MAX_PIECE // size)
        return [
            RowResults(message.id, message.first + at, min(rows, message.rows - at),
                       message.payload[at * size:(at + rows) * size])
            for at in range(0, message.rows, rows)]
    return (message,)


def decode(frame: bytes, direction: Direction) -> list[Any]:
    """The messages of one frame. Raises ProtocolError, which names the message and the field; nothing is returned then.

    What it touches is bounded by the frame: up to MAX_PIECE from a process that may be hostile, messages are unpacked whole (the
    worst, nested arrays, take some 11 times their bytes, and are dropped one by one); beyond that, no field may be an array, and
    there are at most MAX_MESSAGES.
    """
    most = MAX_FRAME if direction is Direction.TO_WORKER else MAX_FRAME_TO_HOST
    if len(frame) > most:
        raise ProtocolError(f"frame: {len(frame)} bytes are more than {most}")
    size = len(frame) + 1
    careful = len(frame) > MAX_PIECE and direction is not Direction.TO_WORKER
    unpacker = msgpack.Unpacker(
        use_list=False, raw=False, strict_map_key=True, read_size=size, max_buffer_size=size,
        max_array_len=0 if careful else _MAX_FIELDS, max_map_len=0, max_ext_len=0, max_str_len=MAX_TEXT_BYTES, max_bin_len=most)
    shapes = _SHAPES[direction]
    messages: list[Any] = []
    try:
        unpacker.feed(frame)
        unpacker.feed(_END)
        for item in _carefully(unpacker, size) if careful else unpacker:
            if item is None and unpacker.tell() == size:
                return messages
            shape = shapes.get(item[0]) if type(item) is tuple and item and type(item[0]) is int else None
            if shape is None:
                raise ProtocolError(f"{direction.value}: message {len(messages)}: unknown kind {_kind_of(item)}")
            if tuple(map(type, item)) != shape.types:
                raise _wrong_types(shape, item)
            for position, least in shape.minimum:
                if not least <= item[position] < 2**63:
                    raise ProtocolError(f"{shape.cls.__name__}.{shape.names[position - 1]}: {item[position]} is out of range")
            messages.append(shape.cls._make(item[1:]))
    except (ValueError, msgpack.UnpackException) as exc:
        raise ProtocolError(f"{direction.value}: message {len(messages)}: not msgpack within bounds: {_words(exc)}") from None
    raise ProtocolError(f"{direction.value}: message {len(messages)}: the frame is cut off")


def _carefully(unpacker: Any, size: int) -> Iterator[Any]:
    """What iterating gives, but each array's header is read before its fields are. Raises ProtocolError too."""
    for _ in range(MAX_MESSAGES):
        if unpacker.tell() == size - 1:
            yield unpacker.unpack()
            return
        fields = unpacker.read_array_header()
        if fields > _MAX_FIELDS:
            raise ProtocolError(f"a message of {fields} fields")
        yield tuple([unpacker.unpack() for _ in range(fields)])
    raise ProtocolError(f"more than {MAX_MESSAGES} messages in a frame of {size - 1} bytes")


_ONE: dict[str, Any] = {
    "use_list": False, "raw": False, "strict_map_key": True, "max_array_len": _MAX_FIELDS, "max_map_len": 0, "max_ext_len": 0,
    "max_str_len": MAX_TEXT_BYTES}


def decode_result(frame: bytes) -> Result | ResultShared | None:
    """The one RESULT or RESULT_SHARED that is all of a frame, checked as `decode` checks it; None when it is anything else:
    `decode` finds out."""
    if frame[:2] != _RESULT_HEAD:
        return _only(ResultShared, Direction.TO_HOST, frame)
    try:
        _, call_id, fuel, time_ns, memory, payload = item = msgpack.unpackb(frame, **_ONE)
    except (ValueError, msgpack.UnpackException):
        return None
    if (type(call_id) is type(fuel) is type(time_ns) is type(memory) is int and type(payload) is bytes and call_id >= 0 <= fuel
            and time_ns >= 0 <= memory and call_id | fuel | time_ns | memory < 2**63):
        return Result._make(item[1:])
    return None


_RESULT_HEAD = bytes([0x96, 18])  # an array of 6, kind


def decode_run(frame: bytes) -> Run | None:
    """The same for RUN."""
    return _only(Run, Direction.TO_WORKER, frame)


def _only(cls: type[M], direction: Direction, frame: bytes) -> M | None:
    """The one message of this class that is all of a frame; None: anything else."""
    shape = _SHAPES[direction][_NUMBER[cls]]
    if frame[:2] != bytes((0x90 + len(shape.types), _NUMBER[cls])) or len(frame) > MAX_PIECE:
        return None
    try:
        item = msgpack.unpackb(frame, **_ONE)
    except (ValueError, msgpack.UnpackException):
        return None
    if tuple(map(type, item)) != shape.types or any(not least <= item[at] < 2**63 for at, least in shape.minimum):
        return None
    return shape.cls._make(item[1:])  # type: ignore[no-any-return]


def _kind_of(item: object) -> str:
    return printable(repr(item[0] if isinstance(item, tuple) and item else item), 80)


def _words(exc: BaseException) -> str:
    return printable(str(exc) or type(exc).__name__, 200)


def _wrong_types(shape: _Shape, item: tuple[Any, ...]) -> ProtocolError:
    name = shape.cls.__name__
    if len(item) != len(shape.types):
        return ProtocolError(f"{name}: expected {len(shape.names)} fields, got {len(item) - 1}")
    position = next(i for i, (value, kind) in enumerate(zip(item, shape.types, strict=True)) if type(value) is not kind)
    expected, got = shape.types[position].__name__, type(item[position]).__name__
    return ProtocolError(f"{name}.{shape.names[position - 1]}: expected {expected}, got {got}")


# ---- errors inside FAILED ----

_NO_USAGE = Usage()


def failed(id: int, exc: BaseException, usage: Usage = _NO_USAGE) -> Failed:
    """The FAILED message for an exception."""
    code, text, detail = to_wire(exc)
    blob = msgpack.packb(detail)
    if len(blob) > MAX_DETAIL:
        detail.pop("frames", None)
        detail.pop("because", None)
        blob = msgpack.packb(detail)
    return Failed(id, code, text[:MAX_TEXT], blob, usage.fuel, usage.time_ns, usage.memory)


def failure(message: Failed | RowFailed) -> SandboxError:
    """The exception in a FAILED or ROW_FAILED message. Raises ProtocolError."""
    name = type(message).__name__
    if len(message.detail) > MAX_DETAIL:
        raise ProtocolError(f"{name}.detail: {len(message.detail)} bytes are more than {MAX_DETAIL}")
    return from_wire(message.code, message.text, unpack_map(message.detail, f"{name}.detail", max_len=64))


def unpack_map(data: bytes, what: str, max_len: int) -> dict[str, Any]:
    """A msgpack map with text keys and arrays of at most `max_len`. Raises ProtocolError that begins with `what`."""
    try:
        value = msgpack.unpackb(
            data, raw=False, strict_map_key=True, use_list=False, max_array_len=max_len, max_map_len=64, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as exc:
        raise ProtocolError(f"{what}: not msgpack within bounds: {_words(exc)}") from None
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise ProtocolError(f"{what}: expected a map with text keys")
    return value
