"""Builds wasm binaries by hand, valid or broken at a chosen place: numbers of any encoding, sections, bodies.

Nothing is checked: what is given is written. Source: WebAssembly Core Specification, chapter 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

HEADER = b"\0asm\1\0\0\0"
CUSTOM, TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT = range(13)
I32, I64, F32, F64, FUNCREF, EXTERNREF = 0x7F, 0x7E, 0x7D, 0x7C, 0x70, 0x6F
EMPTY = 0x40  # block type

UNREACHABLE, NOP, BLOCK, LOOP, IF, ELSE, END = b"\x00", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x0b"
BR, BR_IF, BR_TABLE, RETURN, CALL, CALL_INDIRECT = b"\x0c", b"\x0d", b"\x0e", b"\x0f", b"\x10", b"\x11"
DROP, SELECT, LOCAL_GET, LOCAL_SET, LOCAL_TEE = b"\x1a", b"\x1b", b"\x20", b"\x21", b"\x22"
I32_CONST, I64_CONST, I32_ADD, I32_EQZ = b"\x41", b"\x42", b"\x6a", b"\x45"


def unsigned(value: int, width: int = 0) -> bytes:
    """LEB128 of a non-negative integer; ``width`` bytes when that is more than it needs (the overlong form)."""
    out = bytearray()
    while value > 0x7F or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int, width: int = 0) -> bytes:
    """Signed LEB128, overlong up to ``width`` bytes."""
    out = bytearray()
    while not -0x40 <= value < 0x40 or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def name(text: str | bytes) -> bytes:
    """A length and that many bytes."""
    data = text.encode() if isinstance(text, str) else text
    return unsigned(len(data)) + data


def vector(items: Sequence[bytes], count: int | None = None) -> bytes:
    """The items behind their count, or behind a wrong one."""
    return unsigned(len(items) if count is None else count) + b"".join(items)


def section(number: int, payload: bytes, size: int | None = None) -> bytes:
    """A section with its true size, or another one."""
    return bytes([number]) + unsigned(len(payload) if size is None else size) + payload


def module(*sections: bytes) -> bytes:
    """Header and sections."""
    return HEADER + b"".join(sections)


def function_type(params: Iterable[int] = (), results: Iterable[int] = ()) -> bytes:
    """A function type."""
    given, made = bytes(params), bytes(results)
    return b"\x60" + unsigned(len(given)) + given + unsigned(len(made)) + made


def limits(minimum: int, maximum: int | None = None) -> bytes:
    """Limits of a table or memory."""
    return b"\0" + unsigned(minimum) if maximum is None else b"\1" + unsigned(minimum) + unsigned(maximum)


def body(code: bytes, locals_: Sequence[tuple[int, int]] = (), size: int | None = None) -> bytes:
    """An entry of the code section; ``locals_`` are runs of (count, type), ``code`` includes its final end."""
    data = vector([unsigned(count) + bytes([value_type]) for count, value_type in locals_]) + code
    return unsigned(len(data) if size is None else size) + data


def one_function(
    code: bytes, params: Iterable[int] = (), results: Iterable[int] = (), locals_: Sequence[tuple[int, int]] = ()
) -> bytes:
    """A module with one function, exported as f, and one page of memory."""
    return module(
        section(TYPE, vector([function_type(params, results)])),
        section(FUNCTION, vector([unsigned(0)])),
        section(MEMORY, vector([limits(1)])),
        section(EXPORT, vector([name("f") + b"\0" + unsigned(0)])),
        section(CODE, vector([body(code, locals_)])),
    )


def i32_const(value: int) -> bytes:
    """The instruction i32.const."""
    return I32_CONST + signed(value)


def everything() -> dict[int, bytes]:
    """The payload of every section of one valid module that uses all of them, in the order of the file."""
    types = [function_type(), function_type([I32, I64], [I32]), function_type([F32, F64, FUNCREF, EXTERNREF], [])]
    code = [
        body(LOCAL_GET + b"\0" + i32_const(300) + I32_ADD + END, [(2, I32), (1, F64)]),
        body(BLOCK + bytes([EMPTY]) + i32_const(1) + BR_TABLE + vector([b"\0", b"\0"]) + b"\0" + END + END),
        body(i32_const(0) + i32_const(0) + i32_const(1) + b"\xfc\x08\1\0" + b"\xd2\3\x1a" + END),
    ]
    return {
        TYPE: vector(types),
        IMPORT: vector(
            [
                name("env") + name("function") + b"\0" + unsigned(0),
                name("env") + name("global") + b"\3" + bytes([I32, 0]),
                name("env") + name("table") + b"\1" + bytes([FUNCREF]) + limits(1, 20),
            ]
        ),
        FUNCTION: vector([unsigned(1), unsigned(0), unsigned(0)]),
        TABLE: vector([bytes([FUNCREF]) + limits(4, 8), bytes([EXTERNREF]) + limits(0)]),
        MEMORY: vector([limits(1, 2)]),
        GLOBAL: vector(
            [
                bytes([I32, 1]) + i32_const(-5) + END,
                bytes([F64, 0]) + b"\x44" + bytes(8) + END,
                bytes([FUNCREF, 1]) + b"\xd2\1" + END,
            ]
        ),
        EXPORT: vector([name("one") + b"\0\1", name("memory") + b"\2\0", name("table") + b"\1\1", name("global") + b"\3\1"]),
        START: unsigned(2),
        ELEMENT: vector(
            [
                b"\0" + i32_const(0) + END + vector([b"\1"]),
                b"\1\0" + vector([b"\1", b"\2"]),
                b"\5" + bytes([EXTERNREF]) + vector([b"\xd0\x6f" + END]),
                b"\7" + bytes([FUNCREF]) + vector([b"\xd2\3" + END]),
            ]
        ),
        DATA_COUNT: unsigned(2),
        CODE: vector(code),
        DATA: vector([b"\0" + i32_const(8) + END + name("active"), b"\1" + name("passive")]),
        CUSTOM: name("name") + b"\1" + name(vector([b"\0" + name("import"), b"\1" + name("one")])),
    }


def assemble(payloads: dict[int, bytes]) -> bytes:
    """Sections in the order of the dictionary."""
    return module(*(section(number, payload) for number, payload in payloads.items()))
