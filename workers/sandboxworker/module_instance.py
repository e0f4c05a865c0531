"""What a store holds, as Python objects: module, function, table, memory and global instances."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sandboxhost.errors import SignatureMismatch

from . import native, references
from .prepared import Prepared, prepare
from .types import ExternKind, FunctionType, GlobalType, MemoryType, TableType, ValueType, call_plan

if TYPE_CHECKING:
    from .context import CallContext
    from .image import Image
    from .module_engine import ModuleEngine
    from .store import Store


class _Instance:
    """Base: an object that lives in a store and keeps it alive."""

    __slots__ = ("__weakref__", "pointer", "store")
    kind: ExternKind

    def __init__(self, store: Store, pointer: native.Pointer) -> None:
        self.store = store
        self.pointer = pointer


class FunctionInstance(_Instance):
    """A function of a store: of a module, of the host, or of the core (WASI)."""

    __slots__ = ("_prepared", "address", "instance", "metered", "name", "plan", "type")
    kind = ExternKind.FUNC

    def __init__(
        self, store: Store, pointer: native.Pointer, type_: FunctionType, name: str, instance: ModuleInstance | None
    ) -> None:
        super().__init__(store, pointer)
        self.address = native.address(pointer)
        self.type = type_
        self.plan = call_plan(type_)
        self.name = name
        self.instance = instance
        self._prepared: weakref.ref[Prepared] | None = None
        self.metered = instance is not None and instance.image.metered

    def __repr__(self) -> str:
        return f"<FunctionInstance {self.name or hex(self.address)} {self.type}>"

    def call(self, *params: Any, context: CallContext | None = None) -> tuple[Any, ...]:
        """Calls the function on the store's own call engine; inside a host function, on top of the call that is waiting. See
        CallEngine.invoke.
        """
        return self.store.invoke(self, params, context)

    def prepare(self) -> Prepared:
        """A Python function that calls this one on the store's own call engine with as little as possible between: one call into
        the core. It gives None, the result, or a tuple of several; otherwise it is like `call` without a context."""
        made = self._prepared() if self._prepared is not None else None
        if made is None:
            self.store.check_open()
            made = prepare(self, self.store.own_call_engine())
            self._prepared = weakref.ref(made)  # it leads back here
        return made

    def call_raw(self, *bits: Any, context: CallContext | None = None) -> tuple[Any, ...]:
        """The same with numbers as their bits (i32 and f32 zero-extended); references as in `call`. Exact for every NaN."""
        params, results = self.type
        if len(bits) != len(params):
            raise SignatureMismatch(f"expected {len(params)} params, but passed {len(bits)}", function=self.name)
        payload = b"".join(
            references.raw_to_bits(self.store, t, b).to_bytes(8, "little") for t, b in zip(params, bits, strict=True)
        )
        out = self.store.call_engine().invoke_packed(self, payload, context)
        return tuple(
            references.bits_to_raw(self.store, t, int.from_bytes(out[8 * i : 8 * i + 8], "little")) for i, t in enumerate(results)
        )


class TableInstance(_Instance):
    """A table."""

    __slots__ = ("_element",)
    kind = ExternKind.TABLE

    def __init__(self, store: Store, pointer: native.Pointer) -> None:
        super().__init__(store, pointer)
        self._element = ValueType(pointer.type)

    @property
    def type(self) -> TableType:
        """With the size now as its minimum, as import matching has it."""
        self.store.check_open()
        return TableType(self._element, *native.table_limits(self.pointer))

    @property
    def size(self) -> int:
        """Elements."""
        self.store.check_open()
        return int(self.pointer.size)

    def _check(self, index: int) -> None:
        size = self.size
        if not 0 <= index < size:
            raise IndexError(f"out of bounds table access: index {index} in a table of {size}")

    def get(self, index: int) -> Any:
        """The reference at `index`: a FunctionInstance, an int (externref) or None. Raises IndexError."""
        self._check(index)
        return references.from_bits(self.store, self._element, self.pointer.elements[index])

    def set(self, index: int, reference: Any) -> None:
        """Writes a reference. Raises IndexError, SignatureMismatch."""
        self._check(index)
        self.pointer.elements[index] = references.to_bits(self.store, self._element, reference)

    def grow(self, count: int, reference: Any = None) -> int:
        """Adds `count` elements; the old size, or -1 when the type or the limits do not allow it."""
        self.store.check_open()
        bits = references.to_bits(self.store, self._element, reference)
        return int(native.plain("sbx_table_grow", self.pointer, count, bits))


class MemoryInstance(_Instance):
    """A linear memory."""

    __slots__ = ()
    kind = ExternKind.MEMORY

    @property
    def type(self) -> MemoryType:
        """With the size now as its minimum, as import matching has it."""
        self.store.check_open()
        return MemoryType(*native.memory_limits(self.pointer))

    @property
    def size(self) -> int:
        """Pages of 64 KiB."""
        return self.byte_size // native.PAGE_SIZE

    @property
    def byte_size(self) -> int:
        """Bytes."""
        self.store.check_open()
        return int(self.pointer.size)

    def _check(self, offset: int, length: int) -> None:
        size = self.byte_size
        if offset < 0 or length < 0 or offset + length > size:
            raise IndexError(f"out of bounds memory access: {length} bytes at {offset:#x} in a memory of {size:#x}")

    def read(self, offset: int, length: int) -> bytes:
        """A copy. Raises IndexError."""
        self._check(offset, length)
        return native.memory_read(self.pointer, offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Copies in, all or nothing. Raises IndexError."""
        self._check(offset, len(data))
        native.memory_write(self.pointer, offset, data)

    def grow(self, pages: int) -> int:
        """The old size in pages, or -1 when the type or the limits do not allow it."""
        self.store.check_open()
        return int(native.plain("sbx_memory_grow", self.pointer, pages)) if 0 <= pages < 2**63 else -1


class GlobalInstance(_Instance):
    """A global variable. `function_index` is set while a funcref global still waits for
    ModuleEngine.initialize_funcref_globals.
    """

    __slots__ = ("function_index", "type")
    kind = ExternKind.GLOBAL

    def __init__(self, store: Store, pointer: native.Pointer) -> None:
        super().__init__(store, pointer)
        self.type = GlobalType(ValueType(pointer.type.type), bool(pointer.type.is_mutable))
        self.function_index: int | None = None

    @property
    def value(self) -> Any:
        """The value in Python's terms."""
        self.store.check_open()
        return references.from_bits(self.store, self.type.type, self.pointer.cell.u64)

    @property
    def raw(self) -> Any:
        """Numbers as their bits; references as in `value`."""
        self.store.check_open()
        return references.bits_to_raw(self.store, self.type.type, self.pointer.cell.u64)

    def set(self, value: Any) -> None:
        """Raises SignatureMismatch: wrong type, or the global is immutable."""
        self.store.check_open()
        if not self.type.mutable:
            raise SignatureMismatch("the global is immutable")
        self.pointer.cell.u64 = references.to_bits(self.store, self.type.type, value)


Extern = FunctionInstance | TableInstance | MemoryInstance | GlobalInstance


class InstanceFunctions(Sequence[FunctionInstance]):
    """A module instance's own functions, in order; each is made when it is first asked for."""

    def __init__(self, instance: ModuleInstance) -> None:
        self._instance = instance
        self._first = instance.image.imported_function_count
        self._count = instance.image.function_count - self._first

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"function {index} of {self._count}")
        return self._instance.function(self._first + index % self._count)


class Exports(Mapping[str, Extern]):
    """A module instance's exports by name; each object is made when it is first asked for."""

    def __init__(self, instance: ModuleInstance) -> None:
        self._instance = instance
        self._made: dict[str, Extern] = {}

    def __getitem__(self, name: str) -> Extern:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = self._instance.find_export(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (e.name for e in self._instance.image.exports)

    def __len__(self) -> int:
        return len(self._instance.image.exports)


class ModuleInstance:
    """An instantiated module."""

    def __init__(self, store: Store, pointer: native.Pointer, name: str, image: Image) -> None:
        self.store = store
        self.pointer = pointer
        self.name = name
        self.image = image
        # What leads back to this object is held weakly or not at all, so that the last user's going frees everything at once.
        self._engine: weakref.ref[ModuleEngine] | None = None
        self._made: dict[str, Extern] = {}

    def __repr__(self) -> str:
        return f"<ModuleInstance {self.name or hex(native.address(self.pointer))}>"

    @property
    def exports(self) -> Mapping[str, Extern]:
        """The exports by name."""
        return Exports(self)

    @property
    def engine(self) -> ModuleEngine:
        """The module engine over the instance's functions."""
        from .module_engine import ModuleEngine

        made = self._engine() if self._engine else None
        if made is None:
            imported = [self.function(i) for i in range(self.image.imported_function_count)]
            made = ModuleEngine(self.store.engine, self.name, self.image, imported, self.functions)
            self._engine = weakref.ref(made)
        return made

    @cached_property
    def memories(self) -> list[MemoryInstance]:
        """The memory index space."""
        self.store.check_open()
        return [MemoryInstance(self.store, pointer) for pointer in native.instance_memories(self.pointer)]

    @cached_property
    def tables(self) -> list[TableInstance]:
        """The table index space."""
        self.store.check_open()
        return [TableInstance(self.store, pointer) for pointer in native.instance_tables(self.pointer)]

    @property
    def functions(self) -> Sequence[FunctionInstance]:
        """The module's own functions."""
        return InstanceFunctions(self)

    def function(self, index: int) -> FunctionInstance:
        """A function of the index space, imports first. Raises IndexError."""
        self.store.check_open()
        if not 0 <= index < self.image.function_count:
            raise IndexError(f"function {index} of {self.image.function_count}")
        return self.store.function_for(native.instance_function(self.pointer, index))

    def find_export(self, name: str) -> Extern:
        """An export. Raises KeyError."""
        self.store.check_open()
        if name in self._made:
            return self._made[name]
        found = native.instance_export(self.pointer, name)
        if found is None:
            raise KeyError(name)
        kind, pointer = found
        if kind == ExternKind.FUNC:
            return self.store.function_for(pointer)
        made: Extern
        if kind == ExternKind.TABLE:
            made = TableInstance(self.store, pointer)
        else:
            made = MemoryInstance(self.store, pointer) if kind == ExternKind.MEMORY else GlobalInstance(self.store, pointer)
        self._made[name] = made
        return made
