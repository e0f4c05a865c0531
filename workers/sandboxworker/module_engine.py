"""ModuleEngine: the functions of one module instance, and the references that tables, segments and globals hold to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sandboxhost.errors import ElementOffsetOutOfBounds

from .call_engine import CallEngine
from .types import ValueType

if TYPE_CHECKING:
    from .context import CallContext
    from .engine import Engine
    from .image import Image
    from .module_instance import FunctionInstance, GlobalInstance, TableInstance


class TableInitEntry(NamedTuple):
    """Function indexes to write into a table from an offset on; None is null, and null is written."""

    table_index: int
    offset: int
    function_indexes: Sequence[int | None]


class ModuleEngine:
    """The function index space of an instance: imported functions first, then the module's own."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        image: Image,
        imported_functions: Sequence[FunctionInstance],
        functions: Sequence[FunctionInstance],
    ) -> None:
        self.parent = engine
        self.name = name
        self.image = image
        self._imported = list(imported_functions)
        self._own = functions

    def function(self, index: int) -> FunctionInstance:
        """An entry of the index space. Raises IndexError naming the module."""
        imported = len(self._imported)
        if not 0 <= index < imported + len(self._own):
            raise IndexError(f"{self.name}: function index {index} of {imported + len(self._own)}")
        return self._imported[index] if index < imported else self._own[index - imported]

    def new_call_engine(self, f: FunctionInstance) -> CallEngine:
        """A reusable call engine for `f`."""
        return CallEngine(f, call_depth=f.store.limits.call_depth)

    def call(self, f: FunctionInstance, *params: Any, context: CallContext | None = None) -> tuple[Any, ...]:
        """The one-shot form: makes a call engine for this call."""
        return self.new_call_engine(f).call(*params, context=context)

    def create_func_element_instance(self, indexes: Iterable[int | None]) -> list[FunctionInstance | None]:
        """The references of a passive funcref segment; None is null. Raises IndexError."""
        return [None if index is None else self.function(index) for index in indexes]

    def initialize_funcref_globals(self, globals_: Iterable[GlobalInstance]) -> None:
        """Turns the function indexes that funcref globals wait with into references. Null stays null; globals of other types,
        and those that hold a reference already because an imported global gave it to them, stay as they are. Raises
        IndexError."""
        for variable in globals_:
            if variable.type.type is ValueType.FUNCREF and variable.function_index is not None:
                variable.pointer.cell.u64 = self.function(variable.function_index).address
                variable.function_index = None

    def apply_table_inits(self, tables: Sequence[TableInstance], entries: Iterable[TableInitEntry], checked_first: bool) -> None:
        """Writes the entries in order. Raises ElementOffsetOutOfBounds: with `checked_first` before anything is written, else
        when its turn comes, earlier entries staying written (bulk memory semantics)."""
        entries = list(entries)
        if checked_first:
            for entry in entries:
                self._check_fit(tables, entry)
        for entry in entries:
            table = self._check_fit(tables, entry)
            for i, reference in enumerate(self.create_func_element_instance(entry.function_indexes)):
                table.set(entry.offset + i, reference)

    def _check_fit(self, tables: Sequence[TableInstance], entry: TableInitEntry) -> TableInstance:
        if not 0 <= entry.table_index < len(tables):
            raise ElementOffsetOutOfBounds(f"{self.name}: unknown table {entry.table_index}")
        table, end = tables[entry.table_index], entry.offset + len(entry.function_indexes)
        if entry.offset < 0 or end > table.size:
            raise ElementOffsetOutOfBounds(
                f"out of bounds table access: {self.name}: elements {entry.offset} to {end} of table {entry.table_index}, "
                f"which has {table.size}"
            )
        return table
