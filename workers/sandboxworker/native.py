"""The only user of ffi and lib: typed functions over the core's objects, ownership, and status codes turned into exceptions.

Other modules get pointers (type `Pointer`) that they pass back; of what they point to they read and write plain fields only.
Images, stores and call engines own their memory and release it when they are collected or closed; instances, functions,
tables, memories and globals live as long as their store, so whoever holds one also holds the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from mmap import mmap
from typing import Any, NamedTuple, NoReturn

from sandboxhost.errors import (
    DecodeError,
    ElementOffsetOutOfBounds,
    Frame,
    InstantiationError,
    LimitExceeded,
    LinkError,
    MemoryLimit,
    SandboxError,
    StackLimit,
    Trap,
    ValidationError,
    WorkerError,
)

from ._native import ffi, lib

Pointer = Any
"""A C pointer, with the fields of native/sandbox.cdef.h as attributes."""

OK, TRAP, EXIT, STACK_EXHAUSTED = lib.SBX_OK, lib.SBX_TRAP, lib.SBX_EXIT, lib.SBX_STACK_EXHAUSTED
HOST_CALL, INTERRUPTED, OUT_OF_FUEL = lib.SBX_HOST_CALL, lib.SBX_INTERRUPTED, lib.SBX_OUT_OF_FUEL
PAGE_SIZE: int = lib.SBX_PAGE_SIZE
FUNCTION_WASM: int = lib.SBX_FUNCTION_WASM
PREPARED_ASK: int = lib.SBX_PREPARED_ASK
PREPARED_NOT_BEGUN: int = lib.SBX_PREPARED_NOT_BEGUN
VALUE_SLOTS = 256
"""Slots of a call engine's value buffer at first; a signature with more parameters or results enlarges it."""
UNLIMITED_FUEL = 2**63 - 1

_NO_OFFSET: int = lib.SBX_NO_OFFSET
_FEATURES: dict[str, int] = {ffi.string(lib.sbx_feature_name(i)).decode(): 1 << i for i in range(lib.SBX_FEATURE_COUNT)}
_NO_FEATURE = 1 << 31  # mask 0 means "all that are supported"; this bit makes "none" expressible
_CODE_OF_STATUS: list[type[SandboxError]] = [SandboxError] * lib.SBX_STATUS_COUNT
for _status, _class in (
    (lib.SBX_MALFORMED, DecodeError), (lib.SBX_INVALID, ValidationError), (lib.SBX_UNSUPPORTED, ValidationError),
    (lib.SBX_MODULE_LIMIT, LimitExceeded), (lib.SBX_LINK, LinkError), (lib.SBX_INSTANTIATE, InstantiationError),
    (lib.SBX_ELEMENT_OFFSET, ElementOffsetOutOfBounds), (lib.SBX_MEMORY_LIMIT, MemoryLimit), (lib.SBX_NO_MEMORY, MemoryLimit),
    (lib.SBX_BAD_IMAGE, WorkerError), (lib.SBX_TRAP, Trap), (lib.SBX_STACK_EXHAUSTED, StackLimit),
):  # fmt: skip
    _CODE_OF_STATUS[_status] = _class


# ---- errors

def _raise(status: int, error: Pointer) -> NoReturn:
    """Raises the exception of a failed call into the core."""
    text: str = ffi.string(error.message).decode("utf-8", "replace") or ffi.string(lib.sbx_status_text(status)).decode()
    offset, cls = error.offset, _CODE_OF_STATUS[status]
    if cls is Trap:
        cause = trap_message(error.trap)
        raise Trap(text or cause, cause=cause)
    if cls is LimitExceeded:
        _raise_module_limit(text if offset == _NO_OFFSET else f"{text} (at offset {offset:#x})", text)
    if cls is MemoryLimit:
        raise MemoryLimit(text, limit="memory")
    if cls is SandboxError:  # BUSY, USAGE: a mistake on this side
        raise RuntimeError(text)
    if "offset" in cls.fields:
        raise cls(text, offset=None if offset == _NO_OFFSET else offset)
    raise cls(text)


def _raise_module_limit(text: str, words: str) -> NoReturn:
    """The core says "NAME: N exceeds the limit of M" where a field of Limits decides, else the image's format does."""
    name, _, rest = words.partition(": ")
    allowed = rest.rpartition(" exceeds the limit of ")[2]
    known = name in MODULE_LIMITS and allowed.isdecimal()
    limit = "params" if name == "results" else name
    raise LimitExceeded(text, limit=limit if known else "module", allowed=int(allowed) if known else 0)


def _check(status: int, error: Pointer) -> None:
    if status != OK:
        _raise(status, error)


def _new_error() -> Pointer:
    error = ffi.new("sbx_error *")
    error.offset = _NO_OFFSET
    return error


def _not_null(pointer: Pointer, what: str) -> Pointer:
    if pointer == ffi.NULL:
        raise MemoryLimit(f"the machine refused the memory for a {what}", limit="memory")
    return pointer


def checked(function: str, *arguments: Any) -> None:
    """Calls a function of the core whose last parameter is the error record; raises the exception of a failure."""
    error = _new_error()
    _check(getattr(lib, function)(*arguments, error), error)


def plain(function: str, *arguments: Any) -> Any:
    """Calls a function of the core that cannot fail."""
    return getattr(lib, function)(*arguments)


def new(ctype: str) -> Pointer:
    """A zeroed C object, which lives as long as what is returned."""
    return ffi.new(ctype)


def function(name: str) -> Any:
    """A function of the core, for who calls it often."""
    return getattr(lib, name)


def number(name: str) -> int:
    """A constant of the core."""
    return int(getattr(lib, name))


def trap_message(trap: int) -> str:
    """The specification's words for a trap cause."""
    return str(ffi.string(lib.sbx_trap_message(trap)).decode())


def _text(name: Pointer) -> str:
    """Names are valid UTF-8 (the decoder checked), but this side never relies on it."""
    return bytes(ffi.buffer(name.bytes, name.length)).decode("utf-8", "surrogateescape") if name.length else ""


# ---- compiling


def build_id() -> bytes:
    """32 bytes that name this build of the core; images of another build are refused."""
    return bytes(ffi.buffer(lib.sbx_build_id(), 32))


def supported_features() -> frozenset[str]:
    """Names of the features that this build runs."""
    return frozenset(name for name, bit in _FEATURES.items() if bit & lib.SBX_FEATURES_SUPPORTED)


def feature_mask(names: Iterable[str] | None) -> int:
    """The mask of a set of feature names, None: all supported ones. Raises ValueError for one that is not supported."""
    if names is None:
        return int(lib.SBX_FEATURES_SUPPORTED)
    mask = 0
    for name in names:
        if name not in _FEATURES or not _FEATURES[name] & lib.SBX_FEATURES_SUPPORTED:
            raise ValueError(f"unknown or unsupported feature {name!r}; supported are {', '.join(sorted(supported_features()))}")
        mask |= _FEATURES[name]
    return mask or _NO_FEATURE


HAS_COMPILED_TIER = bool(lib.sbx_compiled_tier())
"""Whether this build compiles to machine code of this machine."""


def feature_names(mask: int) -> frozenset[str]:
    """The opposite of feature_mask."""
    return frozenset(name for name, bit in _FEATURES.items() if bit & mask)


class CompileOptions(NamedTuple):
    """What decides an image beside the module's bytes; part of the compile cache's key."""

    features: int
    metered: bool = False
    explicit_bounds: bool = False
    module_limits: tuple[tuple[str, int], ...] = ()
    """(field of sbx_module_limits, value) pairs; fields left out have the core's default."""
    compiled: bool = False
    """Machine code in place of interpreter code."""


MODULE_LIMITS: tuple[str, ...] = tuple(name for name, _ in ffi.typeof("sbx_module_limits").fields)


def compile_bytes(data: bytes | mmap, options: CompileOptions) -> Pointer:
    """bytes in, image out, as the core's memory. Raises DecodeError, ValidationError (both with .offset), LimitExceeded."""
    record = ffi.new("sbx_compile_options *")
    record.features, record.metered, record.compiled = options.features, options.metered, options.compiled
    record.explicit_bounds, record.keep_debug_names = options.explicit_bounds, True
    for name, value in options.module_limits:
        setattr(record.limits, name, value)
    image, size, error = ffi.new("uint8_t **"), ffi.new("uint64_t *"), _new_error()
    _check(lib.sbx_compile(ffi.from_buffer(data), len(data), record, image, size, error), error)
    return ffi.buffer(ffi.gc(image[0], lib.sbx_free, size[0]), size[0])


def image_from_bytes(image: Pointer, runs: bool = True) -> Pointer:
    """A private copy of an image, checked; unless it `runs`, nothing of it becomes executable. Raises WorkerError."""
    out = ffi.new("sbx_image **")
    checked("sbx_image_from_bytes" if runs else "sbx_image_describe", ffi.from_buffer(image), len(image), out)
    return ffi.gc(out[0], lib.sbx_image_release)


def image_from_fd(fd: int, allow_unsealed: bool = False) -> Pointer:
    """Maps an image after checking seals, size, build id, records. Raises WorkerError. The descriptor stays the caller's."""
    out = ffi.new("sbx_image **")
    checked("sbx_image_open", fd, allow_unsealed, out)
    return ffi.gc(out[0], lib.sbx_image_release)


# ---- reading an image


_RECORDS = {
    "imports": (lib.SBX_IMAGE_IMPORTS, "const sbx_image_import *", "import_count"),
    "exports": (lib.SBX_IMAGE_EXPORTS, "const sbx_image_export *", "export_count"),
    "functions": (lib.SBX_IMAGE_FUNCTIONS, "const sbx_image_function *", "function_count"),
    "tables": (lib.SBX_IMAGE_TABLES, "const sbx_tabletype *", "table_count"),
    "memories": (lib.SBX_IMAGE_MEMORIES, "const sbx_memorytype *", "memory_count"),
    "globals": (lib.SBX_IMAGE_GLOBALS, "const sbx_image_global *", "global_count"),
    "customs": (lib.SBX_IMAGE_CUSTOMS, "const sbx_image_custom *", "custom_count"),
}


class RawLimits(NamedTuple):
    """The limits of a table or memory type; maximum None when there is none."""

    minimum: int
    maximum: int | None


def limits_of(record: Pointer) -> RawLimits:
    """The limits in a C type record."""
    return RawLimits(record.min, record.max if record.has_max else None)


def image_records(image: Pointer, section: str) -> Sequence[Any]:
    """The records of one of _RECORDS, as native/include/image.h has them. They live as long as the image."""
    number, ctype, count = _RECORDS[section]
    first = ffi.cast(ctype, image.base + image.header.sections[number].offset)
    return _Records(first, getattr(image.header, count))


class _Records(Sequence[Any]):
    def __init__(self, first: Pointer, count: int) -> None:
        self._first = first
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(f"record {index} of {self._count}")
        return self._first[index]


def image_types(image: Pointer) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(parameters, results) of every function type, as value type codes."""
    return [_signature(lib.sbx_image_functype(image, i)) for i in range(image.header.type_count)]


def _signature(record: Pointer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    codes = ffi.unpack(record.types, record.params + record.results) if record.params + record.results else []
    return tuple(codes[: record.params]), tuple(codes[record.params :])


def disassemble(image: Pointer, function: int) -> str:
    """Listing of one function's interpreter or machine code; the index counts the imports too."""
    text, length, error = ffi.new("char **"), ffi.new("size_t *"), ffi.new("sbx_error *")
    _check(lib.sbx_disassemble(image, function, text, length, error), error)
    try:
        return bytes(ffi.buffer(text[0], length[0])).decode("ascii")
    finally:
        lib.sbx_free(text[0])


def machine_section(image: Pointer) -> tuple[int, int]:
    """(offset in the image, bytes) of its machine code; no bytes in an image of the interpreter."""
    section = image.header.sections[lib.SBX_IMAGE_MACHINE]
    return int(section.offset), int(section.bytes)


def image_name(image: Pointer, name: Pointer) -> str:
    """A name in a record."""
    return _text(lib.sbx_image_name_of(image, name))


# ---- stores and what they own


def new_store(memory_pages: int, table_elements: int, instances: int, owned: list[Any]) -> Pointer:
    """A store within the limits. `owned` is emptied after its release: what its functions need to outlive it."""
    limits = ffi.new(
        "sbx_store_limits *", {"memory_pages": memory_pages, "table_elements": table_elements, "instances": instances}
    )
    return ffi.gc(_not_null(lib.sbx_store_new(limits), "store"), lib.sbx_store_free)


def free_store(store: Pointer) -> None:
    """Releases a store and everything in it now. The caller has made sure that no call runs in it."""
    ffi.release(store)


def new_instance(store: Pointer, image: Pointer, externs: Sequence[tuple[int, Pointer]]) -> Pointer:
    """Matches one (kind, pointer) per import, in order, and allocates the instance. Raises LinkError, MemoryLimit."""
    array = ffi.new("sbx_extern[]", max(len(externs), 1))
    for i, (kind, pointer) in enumerate(externs):
        array[i].kind = kind
        array[i].object = ffi.cast("void *", pointer)
    out = ffi.new("sbx_instance **")
    checked("sbx_instance_new", store, image, array, len(externs), out)
    return out[0]


def initialise(instance: Pointer) -> None:
    """Active element segments, then active data segments. Raises ElementOffsetOutOfBounds, Trap; earlier writes stay."""
    error = _new_error()
    status = lib.sbx_fresh_begin(instance, error)
    if status == TRAP and error.trap == lib.SBX_TRAP_TABLE_BOUNDS:
        raise ElementOffsetOutOfBounds(trap_message(error.trap))
    _check(status, error)


def can_be_renewed(instance: Pointer) -> bool:
    """Whether `renew_instance` undoes all that a guest of this instance can do."""
    return bool(lib.sbx_fresh_possible(instance))


def renew_instance(instance: Pointer) -> bool:
    """Makes the instance what it was when linked. False (refused, or a call is there): it must not be used again."""
    return lib.sbx_fresh_end(instance) == OK  # type: ignore[no-any-return]


def instance_function(instance: Pointer, index: int) -> Pointer:
    """The function at a valid index of the instance's function index space."""
    return _not_null(lib.sbx_instance_function(instance, index), "function")


def instance_export(instance: Pointer, name: str) -> tuple[int, Pointer] | None:
    """(kind, pointer) of an export, or None."""
    encoded, out = name.encode("utf-8", "surrogateescape"), ffi.new("sbx_extern *")
    if not lib.sbx_instance_export(instance, encoded, len(encoded), out):
        return None
    return out.kind, ffi.cast(_EXTERN_CTYPES[out.kind], out.object)


_EXTERN_CTYPES = {
    lib.SBX_EXTERN_FUNC: "sbx_function *", lib.SBX_EXTERN_TABLE: "sbx_table *", lib.SBX_EXTERN_MEMORY: "sbx_memory *",
    lib.SBX_EXTERN_GLOBAL: "sbx_extern_global *",
}  # fmt: skip


def instance_memories(instance: Pointer) -> list[Pointer]:
    """The memory index space."""
    return [instance.memories[i] for i in range(instance.memory_count)]


def instance_tables(instance: Pointer) -> list[Pointer]:
    """The table index space."""
    return [instance.tables[i] for i in range(instance.table_count)]


def address(pointer: Pointer) -> int:
    """A pointer as a number: its identity, and a reference's bits."""
    return int(ffi.cast("uintptr_t", pointer))


# ---- functions


def host_function(store: Pointer, params: Sequence[int], results: Sequence[int], number: int) -> Pointer:
    """A function whose calls suspend the call engine (HOST_CALL), to be answered by whoever knows `number`."""
    types = ffi.new("sbx_valtype[]", [*params, *results, 0])
    signature = ffi.new("sbx_functype *", (len(params), len(results), types))
    return _not_null(lib.sbx_store_embedder_function(store, signature, number), "host function")


def function_signature(function: Pointer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(parameters, results) as value type codes."""
    return _signature(function.type)


def function_origin(function: Pointer) -> tuple[Pointer, int, bool]:
    """(owning instance or null, index or number, whether it is an embedder's host function)."""
    return function.instance, function.index, function.kind == lib.SBX_FUNCTION_EMBEDDER


def function_from_address(bits: int) -> Pointer:
    """The function of a non-null funcref that the core handed out."""
    return ffi.cast("sbx_function *", bits)


# ---- memories, tables, globals


def new_memory(store: Pointer, minimum: int, maximum: int | None, guarded: bool) -> Pointer:
    """A memory of `minimum` pages. Raises MemoryLimit."""
    limits = {"min": minimum, "max": maximum or 0, "has_max": maximum is not None}
    out = ffi.new("sbx_memory **")
    checked("sbx_memory_new", store, ffi.new("sbx_memorytype *", [limits]), guarded, out)
    return out[0]


def memory_limits(memory: Pointer) -> RawLimits:
    """Of the memory's type now: its size in pages is the minimum."""
    return RawLimits(memory.size // PAGE_SIZE, memory.max_pages if memory.has_max else None)


def memory_read(memory: Pointer, offset: int, length: int) -> bytes:
    """A copy; the caller has checked the range."""
    return bytes(ffi.buffer(memory.base + offset, length)) if length else b""


def memory_write(memory: Pointer, offset: int, data: bytes) -> None:
    """Copies `data` in; the caller has checked the range."""
    if data:
        ffi.memmove(memory.base + offset, data, len(data))


def new_table(store: Pointer, element: int, minimum: int, maximum: int | None, initial: int) -> Pointer:
    """A table of `minimum` elements, each `initial`. Raises MemoryLimit."""
    limits = {"min": minimum, "max": maximum or 0, "has_max": maximum is not None}
    out = ffi.new("sbx_table **")
    checked("sbx_table_new", store, ffi.new("sbx_tabletype *", [element, limits]), initial, out)
    return out[0]


def table_limits(table: Pointer) -> RawLimits:
    """Of the table's type now: its size is the minimum."""
    return RawLimits(table.size, table.max if table.has_max else None)


def new_global(store: Pointer, value_type: int, mutable: bool, bits: int) -> Pointer:
    """A global variable."""
    value = ffi.new("sbx_value *")
    value.u64 = bits
    record = ffi.new("sbx_globaltype *", (value_type, mutable))
    return _not_null(lib.sbx_global_new(store, record[0], value[0]), "global")


# ---- calling


class PendingCall(NamedTuple):
    """The host function that a suspended call waits for."""

    number: int
    caller: Pointer
    values: Pointer  # arguments in, results out


class NativeCallEngine:
    """Owns one sbx_call_engine, its error record and its value buffer (`buffer`: parameters in, results out, 8 bytes a slot)."""

    __slots__ = ("__weakref__", "_values", "buffer", "error", "pointer", "slots")

    def __init__(self, stack_slots: int = 0, call_depth: int = 0, nesting: int = 0) -> None:
        options = ffi.new("sbx_call_engine_options *", (stack_slots, call_depth, nesting))
        self.pointer = ffi.gc(_not_null(lib.sbx_call_engine_new(options), "call engine"), lib.sbx_call_engine_free)
        self.error = _new_error()
        self.reserve(VALUE_SLOTS)

    def reserve(self, slots: int) -> None:
        """Makes the value buffer hold `slots` values; what it holds now is lost."""
        self.slots = slots
        self._values = ffi.new("uint64_t[]", slots)
        self.buffer = ffi.buffer(self._values)

    def call(self, function: Pointer) -> int:
        """Calls with the values in `buffer`; the status says what came of it. Runs without the interpreter lock."""
        return lib.sbx_call_engine_call(self.pointer, function, self._values, self.slots, self.error)  # type: ignore[no-any-return]

    def many(self, function: Pointer, arguments: Any, results: Any, rows: int, fresh: Pointer | None) -> tuple[Any, ...]:
        """The arguments of sbx_call_many_run, and what they point to. The buffer is reserved for the function."""
        kept = ffi.from_buffer("uint8_t[]", arguments), ffi.from_buffer("uint8_t[]", results)
        fields = (self.pointer, function, fresh or ffi.NULL, *kept, self._values, self.slots, rows)
        return ffi.new("sbx_call_many *", fields), self.error, kept

    def resume(self) -> int:
        """Continues the innermost suspended activation."""
        return lib.sbx_call_engine_resume(self.pointer, self._values, self.slots, self.error)  # type: ignore[no-any-return]

    def abandon(self) -> None:
        """Unwinds the innermost suspended activation."""
        lib.sbx_call_engine_abandon(self.pointer)

    def pending(self) -> PendingCall:
        """What the innermost suspended activation waits for."""
        record = lib.sbx_call_engine_pending(self.pointer)
        return PendingCall(record.function.index, record.caller, record.values)

    def interrupt(self) -> None:
        """Any thread: stops the running guest with INTERRUPTED."""
        lib.sbx_call_engine_interrupt(self.pointer)

    def clear_interrupt(self) -> None:
        """Takes back an interrupt that was not delivered."""
        lib.sbx_call_engine_clear_interrupt(self.pointer)

    @property
    def suspended(self) -> bool:
        """Whether an activation lies there that nobody has resumed or abandoned."""
        return bool(lib.sbx_call_engine_suspended(self.pointer))

    @property
    def fuel(self) -> int:
        """Fuel left; only calls in metered modules spend it."""
        return int(lib.sbx_call_engine_fuel(self.pointer))

    @fuel.setter
    def fuel(self, amount: int) -> None:
        lib.sbx_call_engine_set_fuel(self.pointer, amount)

    @property
    def exit_code(self) -> int:
        """Of the last proc_exit."""
        return int(lib.sbx_call_engine_exit_code(self.pointer))

    def trap_cause(self) -> str:
        """The specification's words for the last trap."""
        return trap_message(lib.sbx_call_engine_trap(self.pointer))

    def backtrace(self, most: int = 64) -> list[tuple[int, Frame]]:
        """(address of the instance, frame) of the last trap, or of the suspended activation, innermost first."""
        frames = ffi.new("sbx_backtrace_frame[]", most)
        count = min(lib.sbx_call_engine_backtrace(self.pointer, frames, most), most)
        found = (frames[i] for i in range(count))
        return [(address(f.instance), Frame(f.function_index, _text(f.name), f.wasm_offset)) for f in found]

    def fail(self, status: int) -> NoReturn:
        """Raises the exception of a status that is none of the outcomes of a call (BUSY, USAGE, …)."""
        try:
            _raise(status, self.error)
        finally:
            lib.sbx_error_clear(self.error)


def slots_read(values: Pointer, count: int) -> bytes:
    """A copy of `count` 8-byte slots."""
    return bytes_read(values, 8 * count)


def bytes_read(array: Pointer, count: int) -> bytes:
    """A copy of the first `count` bytes."""
    return bytes(ffi.buffer(array, count)) if count else b""


def slots_write(values: Pointer, data: bytes) -> None:
    """Copies packed values, or other bytes, to where there is room for them."""
    ffi.memmove(values, data, len(data))


# ---- WASI


def new_wasi() -> Pointer:
    """The environment of one guest program, which grants nothing; must outlive its store."""
    return ffi.gc(_not_null(lib.sbx_wasi_new(), "WASI environment"), lib.sbx_wasi_free)


def wasi_output(wasi: Pointer, fd: int) -> tuple[bytes, bool]:
    """(what an output collected, whether some was cut off)."""
    length, truncated = ffi.new("size_t *"), ffi.new("bool *")
    data = lib.sbx_wasi_output(wasi, fd, length, truncated)
    return (bytes(ffi.buffer(data, length[0])) if length[0] else b""), bool(truncated[0])


# ---- the process


def enumeration(ctype: str) -> dict[str, int]:
    """Its names and numbers."""
    return dict(ffi.typeof(ctype).relements)


def system(function: str, *arguments: Any) -> None:
    """Calls a function of the core that answers 0 or -errno. Raises OSError naming it."""
    result = getattr(lib, function)(*arguments)
    if result:
        raise OSError(-result, f"{function}: {os.strerror(-result)}")


def sanitized() -> bool:
    """True in a test build with AddressSanitizer, whose shadow is terabytes of data memory: no RLIMIT_DATA leaves room for it."""
    return bool(lib.sbx_process_sanitized())


def enter_thread() -> None:
    """The alternate signal stack of a thread that runs guests. Raises OSError."""
    system("sbx_thread_enter")


def stress_fail_after(count: int) -> None:
    """Hostile build only: the count-th allocation from now fails; -1: none."""
    lib.sbx_stress_fail_after(count)
