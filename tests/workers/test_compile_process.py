"""The compile process through its wire: an image and a description out, errors with offsets, limits, its end."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

import pytest

from sandboxhost import options, shm, wire, wire_types
from sandboxhost.errors import DecodeError, LimitExceeded, ProtocolError, UnknownFunction, ValidationError, WorkerError
from sandboxhost.limits import Limits
from sandboxhost.process import Process
from sandboxhost.values import FunctionType, GlobalType, MemoryType, TableType, ValueType
from sandboxworker import native
from sandboxworker.image import Image

from .driver import I32, I64, binary

MODULE = binary("""(module
    (import "env" "log" (func (param i32 f64) (result i64)))
    (import "env" "base" (global (mut i32)))
    (memory (export "memory") 1 9)
    (table (export "table") 2 externref)
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func $start) (start $start)
    (@custom "note" "hello"))""")

COMPILED = ["compiled"] if native.HAS_COMPILED_TIER else []


def compile_(
    data: bytes, limits: Limits | None = None, listing: str | None = None, **more: Any
) -> tuple[list[Any], bytes, bytes]:
    """Runs a compile process: (messages, image, listing)."""
    fields: dict[str, Any] = {
        "features": None,
        "metered": False,
        "explicit_bounds": False,
        "source_bytes": len(data),
        "tier": "auto",
    } | more
    asked = options.CompileOptions(**fields, limits=(limits or Limits()).to_wire(), listing=listing)
    fds = [shm.sealed_copy(data, "source"), shm.create("image"), *([shm.create("listing")] if listing is not None else [])]
    process = Process("compile")
    try:
        process.send(wire.encode([wire.Compile(asked.encode())]), fds[1:])
        locked = wire.decode(process.receive(wire.MAX_DATAGRAM, 20), wire.Direction.FROM_COMPILER)
        assert locked == [wire.Locked("full", "")]
        process.send(wire.encode([wire.Descriptors("source", 0, 1)]), fds[:1])
        messages: list[Any] = []
        while frame := process.receive(wire.MAX_DATAGRAM, 20):
            messages += wire.decode(frame, wire.Direction.FROM_COMPILER)
        assert process.reap(10) and process.reason == "exit code 0", (process.reason, process.last_words())
        assert process.last_words() == ""
        texts = [os.pread(fd, os.fstat(fd).st_size, 0) for fd in fds[1:]]
        return messages, texts[0], texts[1] if listing is not None else b""
    finally:
        process.close()
        for fd in fds:
            os.close(fd)


def failure(data: bytes, limits: Limits | None = None, **more: Any) -> Exception:
    """The one error of a compilation that wrote no image."""
    messages, image, _ = compile_(data, limits, **more)
    assert len(messages) == 1 and isinstance(messages[0], wire.Failed) and (image == b"" or "listing" in more)
    return wire.failure(messages[0])


def test_image_and_description() -> None:
    messages, image, _ = compile_(MODULE)
    kinds = [type(m) for m in messages]
    assert kinds[0] is wire.ModuleFigures and kinds[-1] is wire.Compiled
    figures = messages[0]
    assert (figures.functions, figures.globals, figures.memories, figures.tables, figures.has_start) == (3, 1, 1, 1, True)
    types = {m.name: wire_types.type_of(m) for m in messages if isinstance(m, wire.ModuleImport | wire.ModuleExport)}
    assert types == {
        "log": FunctionType((I32, ValueType.F64), (I64,)), "base": GlobalType(I32, True), "memory": MemoryType(1, 9),
        "table": TableType(ValueType.EXTERNREF, 2), "add": FunctionType((I32, I32), (I32,)),
    }  # fmt: skip
    assert [m for m in messages if isinstance(m, wire.ModuleMemory)] == [wire.ModuleMemory(1, 9)]
    assert wire.ModuleCustom("note", 5) in messages
    tier = Image.description(image).tier
    assert messages[-1] == wire.Compiled(len(image), native.build_id(), tier, Image.description(image).machine_bytes)
    assert [e.name for e in Image.from_bytes(image).exports] == ["add", "memory", "table"]


def test_the_same_bytes_make_the_same_image() -> None:
    assert compile_(MODULE)[1] == compile_(MODULE)[1]


def test_disassembly() -> None:
    _, image, listing = compile_(MODULE, listing="", tier="interpreter")
    pieces = {f.name: Image.from_bytes(image).disassemble(f.index) for f in Image.from_bytes(image).functions if not f.imported}
    text = listing.decode()
    assert len(pieces) == 2 and all(piece and piece in text for piece in pieces.values())
    assert "function 1 (add): (i32, i32) -> (i32)" in text
    for wanted in ("add", "1"):
        _, _, one = compile_(MODULE, listing=wanted, tier="interpreter")
        assert pieces["add"] in one.decode() and pieces["start"] not in one.decode()
    assert isinstance(failure(MODULE, listing="0"), UnknownFunction), "an import has no code"


@pytest.mark.parametrize("tier", ["interpreter", *COMPILED])
def test_the_tier_is_what_was_asked_for(tier: str) -> None:
    messages, image, listing = compile_(MODULE, listing="add", tier=tier)
    assert Image.description(image).tier == messages[-1].tier == tier
    assert bool(messages[-1].machine_bytes) == (tier == "compiled")
    assert ("i32_add" in listing.decode()) == (tier == "interpreter")


def test_many_and_long_names_take_many_datagrams() -> None:
    names = [f"{'n' * 300}{i}" for i in range(2000)]
    messages, _, _ = compile_(binary("(module (func $f) " + "".join(f'(export "{name}" (func $f))' for name in names) + ")"))
    assert sorted(m.name for m in messages if isinstance(m, wire.ModuleExport)) == sorted(names)


def test_errors_have_their_offset() -> None:
    error = failure(b"\0asm\2\0\0\0")
    assert isinstance(error, DecodeError) and error.offset == 4
    body = b"\0asm\1\0\0\0" + b"\1\4\1\x60\0\0" + b"\3\2\1\0" + b"\x0a\5\1\3\0\x6a\x0b"
    error = failure(body)
    assert isinstance(error, ValidationError) and error.offset == body.index(b"\x6a") and "type mismatch" in str(error)
    assert isinstance(failure(b""), DecodeError)


def test_limits_and_features() -> None:
    error = failure(MODULE, Limits(functions=2))
    assert isinstance(error, LimitExceeded) and (error.limit, error.allowed) == ("functions", 2)
    extend = binary("(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))")
    error = failure(extend, features=())
    assert isinstance(error, ValidationError) and "sign-extension" in str(error)
    assert isinstance(compile_(extend, features=("sign-extension",))[0][-1], wire.Compiled)


def test_metered_and_explicit_images_are_other_images() -> None:
    images = {compile_(MODULE, metered=m, explicit_bounds=e)[1] for m in (False, True) for e in (False, True)}
    assert len(images) == 4
    assert Image.from_bytes(compile_(MODULE, metered=True)[1]).metered


def test_a_compile_bomb_meets_the_memory_limit() -> None:
    """A type section of 1,000 parameters a type grows far beyond its bytes; RLIMIT_DATA stops it, and it is said."""
    if native.sanitized():
        return  # no RLIMIT_DATA there: the shadow memory would not fit
    one = b"\x60\xe8\x07" + b"\x7f" * 1000 + b"\0"
    content = struct.pack("B", 0x80 | (20_000 & 0x7F)) + bytes([0x80 | (20_000 >> 7 & 0x7F), 20_000 >> 14]) + one * 20_000
    size = len(content)
    leb = bytes([0x80 | size & 0x7F, 0x80 | size >> 7 & 0x7F, 0x80 | size >> 14 & 0x7F, size >> 21])
    error = failure(b"\0asm\1\0\0\0\1" + leb + content, Limits(compile_memory="64MiB"))
    assert isinstance(error, LimitExceeded) and (error.limit, error.allowed) == ("compile_memory", 64 * 2**20)


def test_a_wrong_request_is_refused() -> None:
    process = Process("compile")
    try:
        process.send(wire.encode([wire.Stop()]))
        answer = wire.decode(process.receive(wire.MAX_DATAGRAM, 20), wire.Direction.FROM_COMPILER)
        assert isinstance(wire.failure(answer[0]), ProtocolError)
        assert process.reap(10)
    finally:
        process.close()


def test_it_ends_when_the_host_is_gone() -> None:
    process = Process("compile")
    try:
        process.lifeline.shutdown(socket.SHUT_RDWR)
        assert process.reap(10) and process.reason == "exit code 71"
    finally:
        process.close()


def test_every_byte_of_an_image_is_checked_or_harmless() -> None:
    """Flipping bytes of the header and the records is refused, or yields an image that can still be read to the end."""
    _, image, _ = compile_(MODULE)
    step = max(1, len(image) // 4000)
    refused = 0
    for position in range(0, len(image), step):
        broken = bytearray(image)
        broken[position] ^= 0xFF
        try:
            made = Image.from_bytes(bytes(broken))
        except WorkerError:
            refused += 1
            continue
        try:
            _ = (made.imports, made.exports, made.functions, made.memories, made.tables, made.globals, made.custom_sections)
        except ValueError:
            pass  # a value type that does not exist
    assert refused > 0


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 65536])
def test_sources_of_page_and_other_sizes(size: int) -> None:
    head = b"\0asm\1\0\0\0"
    if size < 16:
        assert isinstance(failure(head[:size]), DecodeError)
        return
    payload = size - len(head) - 4  # a custom section that fills the rest
    leb = bytes([0x80 | payload & 0x7F, 0x80 | payload >> 7 & 0x7F, payload >> 14])
    data = head + b"\0" + leb + b"\1n" + bytes(payload - 2)
    assert len(data) == size
    assert isinstance(compile_(data)[0][-1], wire.Compiled)
