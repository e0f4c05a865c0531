"""WASI preview1 for one guest program: what it is granted, and the functions that its module imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sandboxhost.errors import MemoryLimit

from . import native

if TYPE_CHECKING:
    from .image import Image
    from .module_instance import Extern, FunctionInstance
    from .store import Store

STDIN, STDOUT, STDERR = 0, 1, 2


def is_wasi_module(name: str) -> bool:
    """True for both names of preview1: `wasi_snapshot_preview1` and `wasi_unstable`."""
    encoded = name.encode("utf-8", "surrogateescape")
    return bool(native.plain("sbx_wasi_is_module", encoded, len(encoded)))


class Wasi:
    """The environment of one guest program in one store. Made, it grants nothing; grant before the guest runs.

    Every method raises RuntimeError, in the core's words, for what cannot be granted.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.pointer = native.new_wasi()
        store.owned.append(self.pointer)

    def renew(self) -> None:
        """As if new: nothing is granted, nothing is open, nothing was written. Raises MemoryLimit."""
        if not native.plain("sbx_wasi_renew", self.pointer):
            raise MemoryLimit("the machine refused the memory for a WASI environment", limit="memory")

    def arguments(self, arguments: Sequence[str]) -> None:
        """argv, the program's name first."""
        for argument in arguments:
            data = argument.encode("utf-8", "surrogateescape")
            native.checked("sbx_wasi_add_arg", self.pointer, data, len(data))

    def environment(self, variables: Sequence[str]) -> None:
        """Variables as "NAME=value"."""
        for variable in variables:
            data = variable.encode("utf-8", "surrogateescape")
            native.checked("sbx_wasi_add_env", self.pointer, data, len(data))

    def directory(self, fd: int, guest_path: str, writable: bool) -> None:
        """A directory, under `guest_path`. The descriptor stays the caller's."""
        data = guest_path.encode("utf-8", "surrogateescape")
        native.checked("sbx_wasi_preopen_dir", self.pointer, fd, data, len(data), writable)

    def descriptor(self, stream: int, fd: int) -> None:
        """A standard stream is a descriptor of ours (which is duplicated)."""
        native.checked("sbx_wasi_stdio_host", self.pointer, stream, fd)

    def input(self, data: bytes) -> None:
        """Standard input is these bytes."""
        native.checked("sbx_wasi_stdio_input", self.pointer, STDIN, data, len(data))

    def capture(self, stream: int, most: int) -> None:
        """Collects at most `most` bytes of what the guest writes to a stream."""
        native.checked("sbx_wasi_stdio_output", self.pointer, stream, most)

    def lend_input(self, data: native.Pointer, length: int) -> None:
        """Standard input is memory that stays where it is."""
        native.checked("sbx_wasi_stdio_lend_input", self.pointer, STDIN, data, length)

    def lend_output(self, stream: int, most: int, room: native.Pointer, length: int) -> None:
        """Like `capture`, in memory that stays where it is, as long as all fits there."""
        native.checked("sbx_wasi_stdio_lend_output", self.pointer, stream, most, room, length)

    def lent_output(self, stream: int) -> int:
        """How many bytes of output are in the memory that was lent, when all are."""
        return int(native.plain("sbx_wasi_output_lent", self.pointer, stream))

    def take_output(self, stream: int) -> tuple[bytes, bool]:
        """(what was collected since the last time, whether some was cut off)."""
        if native.plain("sbx_wasi_output_none", self.pointer, stream):
            return b"", False
        out = native.wasi_output(self.pointer, stream)
        native.plain("sbx_wasi_output_clear", self.pointer, stream)
        return out

    def clock(self, resolution_ns: int | None) -> None:
        """The host's clocks, rounded down to a resolution; None: virtual ones, the same in every run."""
        if resolution_ns is None:
            native.plain("sbx_wasi_clock_virtual", self.pointer, 0, 0)
        else:
            native.plain("sbx_wasi_clock_coarse", self.pointer, resolution_ns, resolution_ns)

    def random(self, seed: int | None) -> None:
        """Random bytes of the operating system, or a stream that the seed decides."""
        if seed is None:
            native.plain("sbx_wasi_random_os", self.pointer)
        else:
            native.plain("sbx_wasi_random_seed", self.pointer, seed)

    def function(self, module: str, name: str) -> FunctionInstance:
        """One function. Raises LinkError ("unknown import")."""
        out = native.new("sbx_function **")
        first, second = module.encode("utf-8", "surrogateescape"), name.encode("utf-8", "surrogateescape")
        native.checked("sbx_wasi_function", self.pointer, self.store.pointer, first, len(first), second, len(second), out)
        return self.store.function_for(out[0])

    def imports(self, image: Image) -> Mapping[tuple[str, str], Extern]:
        """Every WASI function that the module imports. Raises LinkError."""
        wanted = [(i.module, i.name) for i in image.imports if is_wasi_module(i.module)]
        return {key: self.function(*key) for key in wanted}
