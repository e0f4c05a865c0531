"""Modules of a script to binaries: text through PyPI wasmtime's wat2wasm (it encodes without validating), binary as it is."""

from __future__ import annotations

import re

from .script import ModuleText

# A string, or a comment: the places where text may hold bytes beyond ASCII.
_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|;;[^\n]*', re.DOTALL)
_NOT_ASCII = re.compile(r"[\x80-\xff]")


class AssemblyFailure(Exception):
    """The text could not be turned into a binary: says nothing about the engine."""


def assemble(module: ModuleText) -> bytes:
    """The binary of a module. Raises AssemblyFailure when its text is refused, or wasmtime is not installed."""
    if module.kind == "binary":
        return module.data
    try:
        from wasmtime import WasmtimeError, wat2wasm
    except ImportError as error:
        raise AssemblyFailure(f"text modules need PyPI wasmtime (the test extra): {error}") from None
    data = module.data
    if module.kind == "text" and not data.isascii():
        data = _escape(data)
    try:
        return bytes(wat2wasm(data))
    except WasmtimeError as error:
        raise AssemblyFailure(f"cannot assemble: {' '.join(str(error).split())}") from None


def _escape(data: bytes) -> bytes:
    """The same module in ASCII: wat2wasm refuses text-direction marks and the like, which the specification allows."""

    def plain(match: re.Match[str]) -> str:
        text = match.group()
        return _NOT_ASCII.sub(lambda c: f"\\{ord(c.group()):02x}", text) if text[0] == '"' else ""

    return _STRING_OR_COMMENT.sub(plain, data.decode("latin-1")).encode("latin-1")
