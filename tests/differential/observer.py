"""Our engine by way of the observer's library (tests/fuzz/native): one call of C runs a module and tells all that showed."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import NamedTuple

# As in tests/fuzz/native/observe.h.
STATUS = 100
MAX_PAGES, MAX_ELEMENTS, MAX_CALLS, ROUNDS, TABLE_SHOWN, MAX_EVENTS, BUDGET = 64, 100_000, 24, 2, 24, 4096, 40


class Tag(IntEnum):
    """What an event is."""

    INSTANTIATED = 1
    STARTED = 2
    CALLED = 3
    RESULT = 4
    FRAMES = 5
    FUEL = 6
    HOST = 7
    MEMORY_SIZE = 8
    MEMORY = 9
    GLOBAL = 10
    TABLE_SIZE = 11
    TABLE = 12


class Outcome(IntEnum):
    """How an observation ended."""

    SEEN = 0
    REFUSED = 1
    TOO_LONG = 2
    NO_STACK = 3
    BROKEN = 4


class Flags(IntFlag):
    """How a module is compiled and run."""

    INTERPRETER = 0
    COMPILED = 1
    METERED = 2
    EXPLICIT = 4
    SIPS = 16


class Event(NamedTuple):
    """One thing that was seen."""

    tag: int
    index: int
    value: int


class Observation(NamedTuple):
    """A run of a module. ``words`` say why it was refused, or what is broken; ``status`` is the core's."""

    outcome: Outcome
    events: tuple[Event, ...]
    words: str = ""
    status: str = ""


class _Event(ctypes.Structure):
    _fields_ = (("tag", ctypes.c_uint32), ("index", ctypes.c_uint32), ("value", ctypes.c_uint64))


class _Observation(ctypes.Structure):
    _fields_ = (
        ("outcome", ctypes.c_uint32), ("status", ctypes.c_uint32), ("count", ctypes.c_uint32), ("message", ctypes.c_char * 256),
        ("events", _Event * MAX_EVENTS),
    )  # fmt: skip


class Library:
    """The functions of the shared library at ``path``. Not for concurrent use."""

    def __init__(self, path: Path) -> None:
        self._c = library = ctypes.CDLL(str(path))
        size, number, short = ctypes.c_size_t, ctypes.c_uint64, ctypes.c_uint32
        library.fuzz_observe.restype = ctypes.POINTER(_Observation)
        library.fuzz_observe.argtypes = (ctypes.c_char_p, size, short, ctypes.c_int64)
        for name, arguments in (
            ("fuzz_module", (number,)),
            ("fuzz_mutant", (number, ctypes.c_char_p, size, ctypes.c_char_p, size)),
            ("fuzz_canonical", (ctypes.c_char_p, size)),
        ):
            function = getattr(library, name)
            function.restype = ctypes.c_void_p
            function.argtypes = (*arguments, ctypes.POINTER(size))
        library.fuzz_hash.restype = library.fuzz_mix.restype = library.fuzz_imported_global.restype = number
        library.fuzz_hash.argtypes = (ctypes.c_void_p, size)
        library.fuzz_mix.argtypes = (number, number)
        library.fuzz_imported_global.argtypes = (short,)
        library.fuzz_arguments.argtypes = (short, short, ctypes.c_char_p, short, ctypes.POINTER(number))
        library.fuzz_host_results.argtypes = (short, number, ctypes.c_char_p, short, ctypes.POINTER(number))
        library.fuzz_trap.restype = library.fuzz_status.restype = ctypes.c_char_p
        self._size = size()
        self.traps = {library.fuzz_trap(trap).decode(): trap for trap in range(14)}
        """The core's trap numbers by the specification's words."""
        self.status = {library.fuzz_status(status).decode(): status for status in range(19)}
        """The core's status numbers by their names."""

    def observe(self, data: bytes, flags: Flags, fuel: int) -> Observation:
        """Compiles and runs a module."""
        seen = self._c.fuzz_observe(data, len(data), flags, fuel).contents
        outcome = Outcome(seen.outcome)
        words = seen.message.decode() if outcome in (Outcome.REFUSED, Outcome.BROKEN) else ""
        status = self._c.fuzz_status(seen.status).decode() if outcome is Outcome.REFUSED else ""
        events = tuple(Event(event.tag, event.index, event.value) for event in seen.events[: seen.count])
        return Observation(outcome, events, words, status)

    def _bytes(self, pointer: int | None) -> bytes:
        return ctypes.string_at(pointer, self._size.value) if pointer else b""

    def module(self, seed: int) -> bytes:
        """The generator's module of a seed."""
        return self._bytes(self._c.fuzz_module(seed, ctypes.byref(self._size)))

    def mutant(self, seed: int, data: bytes, donor: bytes = b"") -> bytes:
        """A changed module; parts of ``donor`` may be put into it."""
        return self._bytes(self._c.fuzz_mutant(seed, data, len(data), donor or None, len(donor), ctypes.byref(self._size)))

    def canonical(self, data: bytes) -> bytes:
        """The module with one NaN for all that arithmetic makes; unchanged when it cannot be read."""
        return self._bytes(self._c.fuzz_canonical(data, len(data), ctypes.byref(self._size)))

    def hash(self, address: int, size: int) -> int:
        """Of memory, as the observer does it."""
        return int(self._c.fuzz_hash(address, size))

    def mix(self, value: int, more: int) -> int:
        """One step of a hash."""
        return int(self._c.fuzz_mix(value, more))

    def arguments(self, call: int, round_: int, types: bytes) -> Sequence[int]:
        """Raw bits of the arguments of a call."""
        out = (ctypes.c_uint64 * max(1, len(types)))()
        self._c.fuzz_arguments(call, round_, types, len(types), out)
        return out[: len(types)]

    def host_results(self, number: int, value: int, types: bytes) -> Sequence[int]:
        """Raw bits of what a host function answers."""
        out = (ctypes.c_uint64 * max(1, len(types)))()
        self._c.fuzz_host_results(number, value, types, len(types), out)
        return out[: len(types)]

    def imported_global(self, value_type: int) -> int:
        """Raw bits of an imported global's value."""
        return int(self._c.fuzz_imported_global(value_type))
