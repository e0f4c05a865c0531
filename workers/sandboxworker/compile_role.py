"""The compile process: one module's bytes in, its image and description out, then the end."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import Any, cast

from sandboxhost import options, wire, wire_types
from sandboxhost.errors import LimitExceeded, MemoryLimit, ProtocolError, SandboxError, UnknownFunction, printable
from sandboxhost.limits import Limits, ProcessLimits

from . import bootstrap, native
from .engine import module_limits, resolved_tier
from .image import FunctionInfo, Image
from .lifeline import LIFELINE_FD, HostGone, Lifeline
from .types import ExternKind

_BATCH = 32 * 1024
"""Bytes after which a datagram of the answer is sent."""


def run() -> int:
    """The role. Returns the exit code: 0 also when the module is at fault, 70 for an error of our own, 71 when the host is
    gone.
    """
    lock_down = bootstrap.LockDown(bootstrap.isolate(LIFELINE_FD))
    lifeline = Lifeline()
    limits: Limits | None = None
    try:
        message, descriptors = lifeline.receive()
        if not isinstance(message, wire.Compile):
            raise ProtocolError(f"expected Compile, got {type(message).__name__}")
        asked = options.CompileOptions.decode(message.options)
        if len(descriptors) != (1 if asked.listing is None else 2):
            raise ProtocolError(f"Compile came with {len(descriptors)} descriptors")
        limits = Limits.from_wire(asked.limits)
        lock_down.confine(ProcessLimits(data=limits.compile_memory), ())
        lock_down.seal("COMPILE")
        lifeline.send(wire.encode([wire.Locked(lock_down.level, lock_down.explanation)]))
        message, source = lifeline.receive()
        if not isinstance(message, wire.Descriptors) or len(source) != 1:
            raise ProtocolError(f"expected Descriptors of the source, got {type(message).__name__}")
        answer: list[Any] = list(_compile(asked, limits, source[0], descriptors))
    except HostGone:
        return 71
    except (MemoryLimit, MemoryError) as exc:
        allowed = limits.compile_memory if limits else 0
        exceeded = LimitExceeded(f"compiling needs more than {allowed} bytes: {exc}", limit="compile_memory", allowed=allowed)
        answer = [wire.failed(0, exceeded)]
    except SandboxError as exc:
        answer = [wire.failed(0, exc)]
    return _answer(lifeline, answer)


def _answer(lifeline: Lifeline, messages: list[Any]) -> int:
    """Sends the messages in few datagrams."""
    batch: list[bytes] = []
    size = 0
    try:
        for message in messages:
            encoded = wire.encode([message])
            if batch and size + len(encoded) > _BATCH:
                lifeline.send(b"".join(batch))
                batch, size = [], 0
            batch.append(encoded)
            size += len(encoded)
        lifeline.send(b"".join(batch))
    except HostGone:
        return 71
    return 0


def _compile(asked: options.CompileOptions, limits: Limits, source: int, targets: list[int]) -> Iterator[wire.Message]:
    """Compiles into the first of the targets; yields the description."""
    compiled = resolved_tier(cast(options.Tier, asked.tier)) == "compiled"
    chosen = native.CompileOptions(
        native.feature_mask(asked.features), asked.metered, asked.explicit_bounds, module_limits(limits), compiled
    )
    if not asked.source_bytes:
        made = native.compile_bytes(b"", chosen)
    else:
        with mmap.mmap(source, asked.source_bytes, prot=mmap.PROT_READ) as data:
            made = native.compile_bytes(data, chosen)
    _write(targets[0], memoryview(made))
    image = Image.description(made)
    if asked.listing is not None:
        for function in _listed(image, asked.listing):
            title = f"function {function.index} ({printable(function.name, 200)}): {function.type}\n"
            _write(targets[1], title.encode() + image.disassemble(function.index).encode())
    yield wire.ModuleFigures(
        len(image.types),
        image.function_count,
        len(image.tables),
        len(image.memories),
        len(image.globals),
        image.element_segment_count,
        image.data_segment_count,
        image.code_section_bytes,
        image.start is not None,
    )
    for item in image.imports:
        yield wire.ModuleImport(item.module, item.name, *wire_types.fields(item.kind, item.type))
    for export in image.exports:
        yield wire.ModuleExport(export.name, *wire_types.fields(export.kind, export.type))
    for memory in image.memories:
        yield wire.ModuleMemory(memory.minimum, _signed(memory.maximum))
    for custom in image.custom_sections:
        yield wire.ModuleCustom(custom.name, custom.length)
    yield wire.Compiled(image.size, native.build_id(), image.tier, image.machine_bytes)


def _listed(image: Image, wanted: str) -> list[FunctionInfo]:
    """The module's own functions, or those of that name, or the one of that index. Raises UnknownFunction."""
    own = [function for function in image.functions if not function.imported]
    if not wanted:
        return own
    exported = {export.index for export in image.exports if export.kind == ExternKind.FUNC and export.name == wanted}
    found = [f for f in own if f.name == wanted or f.index in exported or str(f.index) == wanted]
    if not found:
        raise UnknownFunction(f"the module has no function {printable(wanted, 200)} of its own")
    return found


def _signed(maximum: int | None) -> wire.Signed:
    return wire.Signed(wire.UNLIMITED if maximum is None else maximum)


def _write(fd: int, data: memoryview | bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
