"""A compiled module as Python reads it: imports, exports, index spaces and figures of one image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from . import native
from .types import ExternKind, ExternType, FunctionType, GlobalType, MemoryType, TableType, ValueType, function_type


class ImportType(NamedTuple):
    """One import, in the module's order."""

    module: str
    name: str
    kind: ExternKind
    type: ExternType


class ExportType(NamedTuple):
    """One export; `index` is into the index space of its kind."""

    name: str
    kind: ExternKind
    index: int  # type: ignore[assignment]
    type: ExternType


class FunctionInfo(NamedTuple):
    """One entry of the function index space."""

    index: int  # type: ignore[assignment]
    name: str
    """From the name section, else from an export; "" when unknown."""
    type: FunctionType
    imported: bool
    code_units: int
    """16-bit units of interpreter code; 0 for an import."""
    frame_slots: int
    wasm_offset: int
    """Of its first instruction, in the module's bytes."""


class CustomSection(NamedTuple):
    """One custom section: its name and the length of its payload in bytes."""

    name: str
    length: int


class Image:
    """One image, mapped or copied; immutable, shared by every instance made from it, released with the last reference."""

    def __init__(self, pointer: native.Pointer) -> None:
        self.pointer = pointer
        header = pointer.header
        self.size: int = header.size
        self.metered = bool(header.metered)
        self.explicit_bounds = bool(header.explicit_bounds)
        self.code_section_bytes: int = header.code_section_bytes
        self.start: int | None = header.start if header.has_start else None
        self.imported_function_count: int = header.imported_functions
        self.function_count: int = header.function_count
        self.element_segment_count: int = header.element_count
        self.data_segment_count: int = header.data_count
        self.preinitialised = bool(header.run_count)
        self._machine_offset, self.machine_bytes = native.machine_section(pointer)
        self.tier: Literal["interpreter", "compiled"] = "compiled" if self.machine_bytes else "interpreter"
        """The executor that it was made for."""

    @classmethod
    def from_bytes(cls, image: native.Pointer) -> Image:
        """A private copy. Raises WorkerError when it is not an image of this build."""
        return cls(native.image_from_bytes(image))

    @classmethod
    def description(cls, image: native.Pointer) -> Image:
        """A private copy for reading only: its machine code cannot run, and it cannot be instantiated. Raises WorkerError."""
        return cls(native.image_from_bytes(image, runs=False))

    @classmethod
    def from_fd(cls, fd: int, allow_unsealed: bool = False) -> Image:
        """Maps a sealed descriptor read-only; the descriptor stays the caller's. Raises WorkerError."""
        return cls(native.image_from_fd(fd, allow_unsealed))

    def disassemble(self, function: int) -> str:
        """Listing of the interpreter or machine code of one of the module's own functions (index counts the imports)."""
        return native.disassemble(self.pointer, function)

    def machine_code_place(self, function: int) -> tuple[int, int]:
        """(offset in the image, bytes) of the machine code of a function of the module's own."""
        record = self._function_records[function]
        return self._machine_offset + record.machine_offset, record.machine_bytes

    def check_machine_code(self) -> None:
        """Proves of every function that it stays in its sandbox (native/src/x64_check.c). Raises WorkerError naming the place."""
        native.checked("sbx_x64_check", self.pointer)

    @cached_property
    def types(self) -> list[FunctionType]:
        """The type section."""
        return [function_type(*codes) for codes in native.image_types(self.pointer)]

    @cached_property
    def imports(self) -> list[ImportType]:
        """In the module's order."""
        out = []
        for r in native.image_records(self.pointer, "imports"):
            type_: ExternType
            if r.kind == ExternKind.FUNC:
                type_ = self.types[r.type_index]
            elif r.kind == ExternKind.TABLE:
                type_ = _table_type(r.table)
            elif r.kind == ExternKind.MEMORY:
                type_ = _memory_type(r.memory)
            else:
                type_ = _global_type(getattr(r, "global"))
            out.append(ImportType(self._name(r.module), self._name(r.name), ExternKind(r.kind), type_))
        return out

    def _name(self, record: native.Pointer) -> str:
        return native.image_name(self.pointer, record)

    @cached_property
    def exports(self) -> list[ExportType]:
        """Sorted by the names' bytes."""
        spaces = (self._function_records, self.tables, self.memories, self.globals)
        return [
            ExportType(
                self._name(r.name),
                ExternKind(r.kind),
                r.index,
                self.types[self._function_records[r.index].type_index] if r.kind == ExternKind.FUNC else spaces[r.kind][r.index],
            )
            for r in native.image_records(self.pointer, "exports")
        ]

    @cached_property
    def exported_names(self) -> dict[int, str]:
        """A name for each exported function's index."""
        records = native.image_records(self.pointer, "exports")
        return {r.index: self._name(r.name) for r in reversed(records) if r.kind == ExternKind.FUNC}

    @cached_property
    def _function_records(self) -> Sequence[native.Pointer]:
        return native.image_records(self.pointer, "functions")

    @cached_property
    def functions(self) -> list[FunctionInfo]:
        """The function index space, imports first."""
        return [
            FunctionInfo(
                i,
                self.function_name(i),
                self.types[r.type_index],
                i < self.imported_function_count,
                r.code_units,
                r.frame_slots,
                r.wasm_offset,
            )
            for i, r in enumerate(self._function_records)
        ]

    def function_name(self, index: int) -> str:
        """Of one function, without reading them all."""
        return self._name(self._function_records[index].name) or self.exported_names.get(index, "")

    @cached_property
    def tables(self) -> list[TableType]:
        """The table index space."""
        return [_table_type(r) for r in native.image_records(self.pointer, "tables")]

    @cached_property
    def memories(self) -> list[MemoryType]:
        """The memory index space."""
        return [_memory_type(r) for r in native.image_records(self.pointer, "memories")]

    @cached_property
    def globals(self) -> list[GlobalType]:
        """The global index space."""
        return [_global_type(r.type) for r in native.image_records(self.pointer, "globals")]

    @cached_property
    def custom_sections(self) -> list[CustomSection]:
        """In the module's order."""
        return [CustomSection(self._name(r.name), r.length) for r in native.image_records(self.pointer, "customs")]


def _table_type(record: native.Pointer) -> TableType:
    return TableType(ValueType(record.element), *native.limits_of(record.limits))


def _memory_type(record: native.Pointer) -> MemoryType:
    return MemoryType(*native.limits_of(record.limits))


def _global_type(record: native.Pointer) -> GlobalType:
    return GlobalType(ValueType(record.type), bool(record.is_mutable))
