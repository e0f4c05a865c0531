"""A compiled module as Python reads it: imports, exports, index spaces and figures of one image."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

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
        header = native.image_header(pointer)
        self.size: int = header.size
        self.metered = bool(header.metered)
        self.explicit_bounds = bool(header.explicit_bounds)
        self.code_section_bytes: int = header.code_section_bytes
        self.start: int | None = header.start if header.has_start else None
        self.imported_function_count: int = header.imported_functions
        self.function_count: int = header.function_count
        self.element_segment_count: int = header.element_count
        self.data_segment_count: int = header.data_count

    @classmethod
    def from_bytes(cls, image: native.Pointer) -> Image:
        """A private copy. Raises WorkerError when it is not an image of this build."""
        return cls(native.image_from_bytes(image))

    @classmethod
    def from_fd(cls, fd: int, allow_unsealed: bool = False) -> Image:
        """Maps a sealed descriptor read-only; the descriptor stays the caller's. Raises WorkerError."""
        return cls(native.image_from_fd(fd, allow_unsealed))

    @cached_property
    def types(self) -> list[FunctionType]:
        """The type section."""
        return [function_type(*codes) for codes in native.image_types(self.pointer)]

    @cached_property
    def imports(self) -> list[ImportType]:
        """In the module's order."""
        out = []
        for module, name, kind, detail in native.image_imports(self.pointer):
            type_: ExternType
            if kind == ExternKind.FUNC:
                type_ = self.types[detail]
            elif kind == ExternKind.TABLE:
                type_ = TableType(ValueType(detail[0]), *detail[1])
            elif kind == ExternKind.MEMORY:
                type_ = MemoryType(*detail)
            else:
                type_ = GlobalType(ValueType(detail[0]), detail[1])
            out.append(ImportType(module, name, ExternKind(kind), type_))
        return out

    @cached_property
    def exports(self) -> list[ExportType]:
        """Sorted by the names' bytes."""
        return [
            ExportType(name, ExternKind(kind), index, self._type_of(kind, index))
            for name, kind, index in native.image_exports(self.pointer)
        ]

    def _type_of(self, kind: int, index: int) -> ExternType:
        if kind == ExternKind.FUNC:
            return self.types[native.image_function(self.pointer, index).type_index]
        if kind == ExternKind.TABLE:
            return self.tables[index]
        return self.memories[index] if kind == ExternKind.MEMORY else self.globals[index]

    @cached_property
    def exported_names(self) -> dict[int, str]:
        """A name for each exported function's index."""
        return {e.index: e.name for e in reversed(self.exports) if e.kind is ExternKind.FUNC}

    @cached_property
    def functions(self) -> list[FunctionInfo]:
        """The function index space, imports first."""
        imported = self.imported_function_count
        return [
            FunctionInfo(i, f.name or self.exported_names.get(i, ""), self.types[f.type_index], i < imported, *f[2:])
            for i, f in enumerate(native.image_functions(self.pointer))
        ]

    def function_name(self, index: int) -> str:
        """Of one function, without reading them all."""
        return native.image_function(self.pointer, index).name or self.exported_names.get(index, "")

    @cached_property
    def tables(self) -> list[TableType]:
        """The table index space."""
        return [TableType(ValueType(element), *limits) for element, limits in native.image_tables(self.pointer)]

    @cached_property
    def memories(self) -> list[MemoryType]:
        """The memory index space."""
        return [MemoryType(*limits) for limits in native.image_memories(self.pointer)]

    @cached_property
    def globals(self) -> list[GlobalType]:
        """The global index space."""
        return [GlobalType(ValueType(code), mutable) for code, mutable in native.image_globals(self.pointer)]

    @cached_property
    def custom_sections(self) -> list[CustomSection]:
        """In the module's order."""
        return [CustomSection(*item) for item in native.image_custom_sections(self.pointer)]
