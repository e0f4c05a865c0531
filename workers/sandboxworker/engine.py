"""Engine: compiles modules, caches their images (single-flight) and makes module engines from them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from sandboxhost.errors import InstantiationError, WorkerError
from sandboxhost.options import TIERS, Tier

from . import native
from .image import Image

if TYPE_CHECKING:
    from sandboxhost.limits import Limits

    from .module_engine import ModuleEngine, TableInitEntry
    from .module_instance import FunctionInstance, TableInstance


_MODULE_LIMITS = tuple((name, "params" if name == "results" else name) for name in native.MODULE_LIMITS)
"""(field of the core's record, field of Limits): one field bounds parameters and results."""


def module_limits(limits: Limits | None) -> tuple[tuple[str, int], ...]:
    """The hard limits on modules among `limits`, for native.CompileOptions; None: the core's own."""
    return tuple((theirs, int(getattr(limits, ours))) for theirs, ours in _MODULE_LIMITS) if limits else ()


def resolved_tier(tier: Tier) -> Literal["interpreter", "compiled"]:
    """What a tier means on this machine. Raises ValueError for an unknown one, WorkerError for one that is missing."""
    if tier not in TIERS:
        raise ValueError(f"unknown tier {tier!r}; known are {', '.join(TIERS)}")
    if tier == "compiled" and not native.HAS_COMPILED_TIER:
        raise WorkerError("this build has no compiled tier for this machine")
    return "compiled" if tier != "interpreter" and native.HAS_COMPILED_TIER else "interpreter"


class Module:
    """A module's bytes and their sha256; nothing is parsed. `name` is used in errors only."""

    __slots__ = ("data", "name", "sha256")

    def __init__(self, data: bytes, name: str = "") -> None:
        import hashlib  # here: a worker makes no Module, and start-up counts

        self.data = bytes(data)
        self.name = name
        self.sha256 = hashlib.sha256(self.data).digest()

    def __repr__(self) -> str:
        return f"<Module {self.name or self.sha256.hex()[:12]} of {len(self.data)} bytes>"


class _Flight:
    """One compilation: in the air until `done` is set, then an image or the exception it failed with."""

    __slots__ = ("done", "error", "image")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.image: Image | None = None
        self.error: BaseException | None = None

    def land(self, image: Image | None, error: BaseException | None = None) -> None:
        self.image, self.error = image, error
        self.done.set()

    def wait(self) -> Image:
        self.done.wait()
        if self.error is not None:
            raise self.error
        assert self.image is not None
        return self.image


class Engine:
    """Compiles and caches. One engine may be used by several threads.

    features: names of the features that modules may use, None for all supported ones; metered: count fuel; explicit_bounds:
    compare every memory access instead of relying on guard pages; tier: "auto" takes the fastest executor that this build has
    for this machine (`tier` then says which);
    limits: hard limits on modules. Raises ValueError for an unknown feature or tier, WorkerError when the build does not have
    the tier.
    """

    def __init__(
        self,
        features: Iterable[str] | None = None,
        metered: bool = False,
        explicit_bounds: bool = False,
        tier: Tier = "auto",
        limits: Limits | None = None,
    ) -> None:
        self.tier = resolved_tier(tier)
        compiled = self.tier == "compiled"
        mask = native.feature_mask(features)
        self.options = native.CompileOptions(mask, metered, explicit_bounds, module_limits(limits), compiled)
        self._lock = threading.Lock()
        self._flights: dict[bytes, _Flight] = {}

    def compile_module(self, module: Module) -> None:
        """Makes the module's image unless the cache has it; N threads that compile the same bytes compile once.

        Raises DecodeError, ValidationError (with .offset), LimitExceeded; a failure caches nothing.
        """
        with self._lock:
            flight = self._flights.get(module.sha256)
            if mine := flight is None:
                flight = self._flights[module.sha256] = _Flight()
        if not mine:
            flight.wait()
            return
        try:
            image = self._compile(module)
        except BaseException as exc:
            with self._lock:
                if self._flights.get(module.sha256) is flight:
                    del self._flights[module.sha256]
            flight.land(None, exc)
            raise
        flight.land(image)

    def _compile(self, module: Module) -> Image:
        made = native.compile_bytes(module.data, self.options)
        image = Image.from_bytes(made)
        if not image.preinitialised or not hasattr(os, "memfd_create"):
            return image
        # Pre-initialised pages can only be shared copy-on-write when the image has a descriptor.
        fd = os.memfd_create("sandboxhost-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(made)
            return Image.from_fd(fd, allow_unsealed=True)
        finally:
            os.close(fd)

    def add_image(self, module: Module, image: Image) -> None:
        """Caches an image that another process made of this module."""
        flight = _Flight()
        flight.land(image)
        with self._lock:
            self._flights[module.sha256] = flight

    def compiled_module_count(self) -> int:
        """Modules in the cache."""
        with self._lock:
            return sum(flight.done.is_set() for flight in self._flights.values())

    def delete_compiled_module(self, module: Module) -> None:
        """Drops the module from the cache; a missing one is no error. Instances and calls that use the image keep it."""
        with self._lock:
            flight = self._flights.get(module.sha256)
            if flight is not None and flight.done.is_set():
                del self._flights[module.sha256]

    def image(self, module: Module, name: str = "") -> Image:
        """The image of a compiled module. Raises InstantiationError when it was not compiled; `name` is for that error."""
        with self._lock:
            flight = self._flights.get(module.sha256)
        if flight is None or not flight.done.is_set():
            raise InstantiationError(f"source module for {name or module.name} must be compiled before instantiation")
        return flight.wait()

    def new_module_engine(
        self,
        name: str,
        module: Module,
        imported_functions: Sequence[FunctionInstance],
        module_functions: Sequence[FunctionInstance],
        tables: Sequence[TableInstance],
        table_inits: Iterable[TableInitEntry],
    ) -> ModuleEngine:
        """A module engine over the functions, imports first; `table_inits` are applied in order.

        Raises InstantiationError when the module was not compiled, ElementOffsetOutOfBounds for an entry that does not fit its
        table: with reference types the entries before it stay written, without them nothing is written.
        """
        from .module_engine import ModuleEngine

        image = self.image(module, name)
        made = ModuleEngine(self, name, image, imported_functions, module_functions)
        made.apply_table_inits(tables, table_inits, checked_first="reference-types" not in self.feature_names)
        return made

    @property
    def feature_names(self) -> frozenset[str]:
        """Names of the features that modules may use."""
        return native.feature_names(self.options.features)
