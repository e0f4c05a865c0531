"""What the runner asks of an engine, so that the same scripts run on ours and, in our tests, on a second one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .values import Constant

# How a command of a script can fail in an engine: the assertion of that name expects it.
KINDS = ("malformed", "invalid", "unlinkable", "trap", "exhaustion", "exception", "other")


class Failure(Exception):
    """An engine refused or ended something. ``kind`` is one of KINDS, ``message`` the engine's words.

    ``frames`` of a trap: (function index, offset of the instruction in the module's bytes), innermost first.
    """

    def __init__(self, kind: str, message: str, frames: tuple[tuple[int, int], ...] = ()) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.frames = frames


class Instance(Protocol):
    """An instantiated module. A result is (type name, raw value as FunctionInstance.call_raw gives it)."""

    def invoke(self, field: str, args: Sequence[Constant]) -> list[tuple[str, Any]]:
        """Calls an export. Raises Failure."""

    def get(self, field: str) -> tuple[str, Any]:
        """The value of an exported global. Raises Failure."""


class Embedding(Protocol):
    """One engine with one store, for one script."""

    def compile(self, data: bytes) -> Any:
        """Decodes and validates. Raises Failure malformed or invalid."""

    def instantiate(self, module: Any, imports: Mapping[str, Instance]) -> Instance:
        """Links against the registered instances by module name and instantiates. Raises Failure."""

    def spectest(self) -> Instance:
        """The host module ``spectest``."""

    def close(self) -> None:
        """Releases the store."""


# Where the suite's message is longer than an engine's words: the engine's, with the reason.
ALTERNATIVES = {
    # A trap's cause is one of a fixed list of words, without the element's index.
    "uninitialized element 2": "uninitialized element",
}


def message_matches(expected: str, message: str) -> bool:
    """The suite's rule: the expected text is a prefix of the engine's."""
    return message.startswith((expected, ALTERNATIVES.get(expected, expected)))
