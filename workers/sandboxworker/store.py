"""Store: owns instances and what they are made of; instantiates modules; makes host externs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sandboxhost.errors import Frame, LinkError
from sandboxhost.limits import Limits

from . import native, references
from .call_engine import CallEngine, spare_engines
from .host_calls import HostFunction
from .module_instance import Extern, FunctionInstance, GlobalInstance, MemoryInstance, ModuleInstance, TableInstance
from .types import FunctionType, GlobalType, MemoryType, TableType, ValueType, function_type

if TYPE_CHECKING:
    from .context import CallContext
    from .engine import Engine, Module
    from .image import Image
    from .prepared import Record

MAX_INSTANCES = 100_000
NO_LIMITS = Limits(memory=65_536 * native.PAGE_SIZE, table_elements=10_000_000)
"""What the specification's types can express at the most, and as many table elements as fit a small machine."""


class InstanceRecord(NamedTuple):
    """What a ModuleInstance is made from."""

    pointer: native.Pointer
    name: str
    image: Image


class Store:
    """Owns everything that instances share. Used by one thread at a time; calls into it from another call engine while one
    runs are refused.

    limits: memory, table_elements and call_depth of sandboxhost.limits.Limits apply to the store as a whole.
    """

    def __init__(self, engine: Engine, limits: Limits | None = None) -> None:
        self.engine = engine
        self.limits = limits or NO_LIMITS
        self.owned: list[Any] = []  # what must outlive the store's functions
        self.pointer = native.new_store(self.limits.memory_pages, self.limits.table_elements, MAX_INSTANCES, self.owned)
        self.host_functions: list[HostFunction] = []
        self._functions: weakref.WeakValueDictionary[int, FunctionInstance] = weakref.WeakValueDictionary()
        # Weak, and the records without a way back to the store: a store that nobody uses is freed at once, not by the collector.
        self._instances: weakref.WeakValueDictionary[int, ModuleInstance] = weakref.WeakValueDictionary()
        self._records: dict[int, InstanceRecord] = {}
        self._known_memories: list[native.Pointer] | None = None
        self._call_engine: CallEngine | None = None
        self._lent = False
        """Somebody else may hold the call engine."""
        self.running: list[CallEngine] = []
        """The engines whose guests wait for a host function of this store now."""
        self._prepared: weakref.WeakSet[Record] | None = None
        self.calls = 0
        """Calls in progress."""
        self.closed = False

    def close(self) -> None:
        """Releases memories, tables and instances; using any of them afterwards raises RuntimeError. Raises RuntimeError while
        a call runs.
        """
        if self.closed:
            return
        records = list(self._prepared or ())
        if self.calls or any(record.bar(True) for record in records):
            for record in records:
                record.bar(False)
            raise RuntimeError("the store is in use by a call")
        self.closed = True
        self._records.clear()
        self._known_memories = None
        self.host_functions.clear()
        native.free_store(self.pointer)
        self.owned.clear()  # a WASI environment goes with its descriptors, unless somebody still wants its output
        if self._call_engine is not None and not self._lent:
            spare_engines.give(self._call_engine)
        self._call_engine = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_open(self) -> None:
        """Raises RuntimeError when the store is closed."""
        if self.closed:
            raise RuntimeError("the store is closed")

    # ---- calls

    def call_engine(self) -> CallEngine:
        """The engine that a call made now runs on: the one whose guest waits for a host function, else the store's own."""
        return self.running[-1] if self.running else self.own_call_engine()

    def own_call_engine(self) -> CallEngine:
        """The engine of calls that no guest of the store waits for."""
        self._lent = True
        return self._own_call_engine()

    def _own_call_engine(self) -> CallEngine:
        if self._call_engine is None:
            self._call_engine = spare_engines.take(self.limits.call_depth)
        return self._call_engine

    def invoke(self, function: FunctionInstance, params: tuple[Any, ...], context: CallContext | None) -> tuple[Any, ...]:
        """CallEngine.invoke on the engine that `call_engine` gives."""
        return (self.running[-1] if self.running else self._own_call_engine()).invoke(function, params, context)

    @property
    def prepared(self) -> weakref.WeakSet[Record]:
        """The prepared calls of the store's functions; `close` waits for none and lets none begin."""
        if self._prepared is None:
            self._prepared = weakref.WeakSet()
        return self._prepared

    def use_call_engine(self, engine: CallEngine | None) -> None:
        """Makes `engine` the store's own: a thread's engine serves every store that the thread makes. None: it has none yet."""
        self._call_engine, self._lent = engine, True

    def take_memory_refusal(self) -> bool:
        """True once after a memory.grow was refused by the limits rather than by the memory's type."""
        self.check_open()
        refused = [memory for memory in self._memories() if memory.grow_refused]
        for memory in refused:
            memory.grow_refused = 0
        return bool(refused)

    def memory_bytes(self) -> int:
        """Bytes of all memories of the store's instances."""
        self.check_open()
        return sum(memory.size for memory in self._memories())

    def _memories(self) -> list[native.Pointer]:
        if self._known_memories is None:
            found = (memory for record in self._records.values() for memory in native.instance_memories(record.pointer))
            self._known_memories = list({native.address(memory): memory for memory in found}.values())
        return self._known_memories

    # ---- identity

    def function_for(self, pointer: native.Pointer) -> FunctionInstance:
        """The one FunctionInstance of a function."""
        key = native.address(pointer)
        found = self._functions.get(key)
        if found is None:
            type_ = function_type(*native.function_signature(pointer))
            owner, index, host = native.function_origin(pointer)
            instance = self.instance_at(owner)
            name = instance.image.function_name(index) if instance else self.host_functions[index].name if host else ""
            found = self._functions[key] = FunctionInstance(self, pointer, type_, name, instance)
        return found

    def function_at(self, bits: int) -> FunctionInstance:
        """The function of a non-null funcref."""
        return self._functions.get(bits) or self.function_for(native.function_from_address(bits))

    def instance_at(self, pointer: native.Pointer) -> ModuleInstance | None:
        """The instance behind a pointer of the core, None for null."""
        key = native.address(pointer)
        record = self._records.get(key)
        if record is None:
            return None
        found = self._instances.get(key)
        if found is None:
            found = self._instances[key] = ModuleInstance(self, record.pointer, record.name, record.image)
        return found

    def named_frame(self, instance: int, frame: Frame) -> Frame:
        """A frame without a name gets that of an export."""
        owner = self._records.get(instance)
        if frame.name or owner is None:
            return frame
        return frame._replace(name=owner.image.exported_names.get(frame.function_index, ""))

    # ---- host externs

    def host_function(
        self,
        type_: FunctionType,
        function: Callable[..., Any],
        name: str = "",
        *,
        packed: bool = False,
        with_caller: bool = False,
    ) -> FunctionInstance:
        """A function that guests can import: function(*values) returns None, a value or a tuple. What it raises ends the
        guest's call with HostFunctionError. packed: it takes and returns packed values instead; with_caller: a Caller comes
        first."""
        self.check_open()
        type_ = FunctionType(tuple(type_.params), tuple(type_.results))
        number = len(self.host_functions)
        name = name or getattr(function, "__name__", "host function")
        self.host_functions.append(HostFunction(type_, function, name, packed, with_caller))
        pointer = native.host_function(self.pointer, type_.params, type_.results, number)
        made = self._functions[native.address(pointer)] = FunctionInstance(self, pointer, type_, name, None)
        return made

    def new_table(self, type_: TableType, initial: Any = None) -> TableInstance:
        """A table of type_.minimum elements, each `initial`. Raises MemoryLimit."""
        self.check_open()
        bits = references.to_bits(self, type_.element, initial)
        return TableInstance(self, native.new_table(self.pointer, type_.element, type_.minimum, type_.maximum, bits))

    def new_memory(self, type_: MemoryType) -> MemoryInstance:
        """A memory of type_.minimum pages. Raises MemoryLimit."""
        self.check_open()
        guarded = not self.engine.options.explicit_bounds
        return MemoryInstance(self, native.new_memory(self.pointer, type_.minimum, type_.maximum, guarded))

    def new_global(self, type_: GlobalType, value: Any) -> GlobalInstance:
        """A global variable. An int given for a funcref is a function index that ModuleEngine.initialize_funcref_globals will
        resolve. Raises SignatureMismatch."""
        self.check_open()
        waiting = type_.type is ValueType.FUNCREF and isinstance(value, int)
        bits = 0 if waiting else references.to_bits(self, type_.type, value)
        made = GlobalInstance(self, native.new_global(self.pointer, type_.type, type_.mutable, bits))
        made.function_index = value if waiting else None
        return made

    # ---- instantiation

    def instantiate(
        self,
        module: Module,
        name: str = "",
        imports: Mapping[tuple[str, str], Extern] | None = None,
        run_start: bool = True,
        context: CallContext | None = None,
    ) -> ModuleInstance:
        """Instantiates a compiled module (specification 4.5.4); imports by (module, name).

        Raises InstantiationError (not compiled), LinkError ("unknown import: …", "incompatible import type: …"), MemoryLimit,
        ElementOffsetOutOfBounds, Trap (data segment, start function) and whatever else the start function ends with. What a
        failed instantiation wrote into imported tables and memories stays, as the specification says.
        """
        name = name or module.name
        instance = self.link(self.engine.image(module, name), name, imports or {})
        self.initialise(instance, run_start, context)
        return instance

    def link(self, image: Image, name: str, imports: Mapping[tuple[str, str], Extern]) -> ModuleInstance:
        """The first half of `instantiate`: matches the imports and allocates; nothing is written or run. Raises LinkError,
        MemoryLimit.
        """
        self.check_open()
        externs = self._externs(image, imports)
        pointer = native.new_instance(self.pointer, image.pointer, [(e.kind, e.pointer) for e in externs])
        self._records[native.address(pointer)] = InstanceRecord(pointer, name, image)
        self._known_memories = None
        instance = self.instance_at(pointer)
        assert instance is not None
        return instance

    def initialise(self, instance: ModuleInstance, run_start: bool = True, context: CallContext | None = None) -> None:
        """The second half: active segments, then the start function, under the context."""
        native.initialise(instance.pointer)
        if run_start and instance.image.start is not None:
            instance.function(instance.image.start).call(context=context)

    def _externs(self, image: Image, imports: Mapping[tuple[str, str], Extern]) -> list[Extern]:
        """One extern per import, in order."""
        out: list[Extern] = []
        for wanted in image.imports:
            extern = imports.get((wanted.module, wanted.name))
            if extern is None:
                raise LinkError(f'unknown import: "{wanted.module}"."{wanted.name}"')
            if extern.store is not self:
                raise LinkError(f'"{wanted.module}"."{wanted.name}" belongs to another store')
            if extern.kind != wanted.kind:
                raise LinkError(
                    f'incompatible import type: "{wanted.module}"."{wanted.name}" is a {extern.kind}, expected a {wanted.kind}'
                )
            out.append(extern)
        return out
